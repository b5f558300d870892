//! Depthwise causal convolution + SiLU, both directions from one read of x (Vim: conv1d and conv1d_b).
//!
//! ```text
//! forward:  u_f[t] = silu(bias_f + sum_k w_f[k] x[t - (K-1) + k])    zeros before the first token
//! backward: u_b[t] = silu(bias_b + sum_k w_b[k] x[t + (K-1) - k])    zeros after the last token
//! ```
//! Axes: x is the first half of `xz: [b l 2e]`; weights `[e 1 K]`, K from 2 to 4; biases `[e]`; outputs
//! `[b l e]` each, in token order. Backward recomputes the sum under the SiLU from x; the outputs can be made
//! again from x, so who saves them saves a recipe. On a launched device xz and the outputs have one type, filters
//! and their gradients are f32.

pub mod cases;
mod cpu;
mod launch;
pub mod reference;

use autograd::{Function, Recipe, Saved, Sinks, Tape, Var};
use engine::shape::{axes3, check_shape};
use engine::{DType, Device, Error, Result, Tensor};

use crate::launch::typed;

const OP: &str = "causal_conv1d";

/// Largest kernel width.
pub const MAX_WIDTH: usize = 4;

/// Weight `[e 1 K]` and bias `[e]` of one direction.
#[derive(Clone, Copy)]
pub struct Filter<'a> {
    pub weight: &'a Var,
    pub bias: &'a Var,
}

/// Sizes of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dims {
    pub b: usize,
    pub l: usize,
    pub e: usize,
    pub k: usize,
}

/// `[u_f, u_b]`, each `[b l e]`, from `xz [b l 2e]`.
pub fn causal_conv1d(tape: &Tape, xz: &Var, filters: [Filter; 2]) -> Result<[Var; 2]> {
    let dims = check(xz, &filters)?;
    let vars = [xz, filters[0].weight, filters[0].bias, filters[1].weight, filters[1].bias];
    let values = vars.map(|v| v.value().clone());
    let outputs = forward(tape.device(), dims, &values)?;
    let function = || -> Box<dyn Function> { Box::new(Conv { dims, saved: vars.map(Var::save) }) };
    let outputs = tape.record(OP, &vars, outputs, function)?;
    let (device, saved) = (tape.device().clone(), vars.map(Var::save));
    let recipe = move || {
        Recipe::new(move || {
            let values = saved.iter().map(Saved::get).collect::<Result<Vec<_>>>()?;
            forward(&device, dims, &values)
        })
    };
    let mut outputs = tape.recomputed(outputs, recipe).into_iter();
    Ok([outputs.next().expect("two outputs"), outputs.next().expect("two outputs")])
}

fn check(xz: &Var, filters: &[Filter; 2]) -> Result<Dims> {
    let [b, l, e2] = axes3(OP, "xz", "[b l 2e]", xz.shape())?;
    let e = e2 / 2;
    let k = filters[0].weight.shape().last().copied().unwrap_or(0);
    if !(2..=MAX_WIDTH).contains(&k) || e2 % 2 != 0 {
        let what = format!("kernel width {k} over {e2} columns: 2 to {MAX_WIDTH}, an even number of columns");
        return Err(Error::Unsupported { op: OP, what });
    }
    for filter in filters {
        check_shape(OP, "weight", "[e 1 K]", &[e, 1, k], filter.weight.shape())?;
        check_shape(OP, "bias", "[e]", &[e], filter.bias.shape())?;
    }
    Ok(Dims { b, l, e, k })
}

fn forward(device: &Device, dims: Dims, values: &[Tensor]) -> Result<Vec<Tensor>> {
    let u = || Tensor::empty_typed(device, values[0].dtype(), &[dims.b, dims.l, dims.e]);
    let (mut u_f, mut u_b) = (u(), u());
    match device.launcher() {
        None => {
            let (xz, filters) = (values[0].as_slice(), cpu::Filters::new(dims, values));
            cpu::forward(dims, xz, &filters, u_f.as_mut_slice(), u_b.as_mut_slice());
        }
        Some(launcher) => launch::forward(launcher, dims, values, [&mut u_f, &mut u_b])?,
    }
    Ok(vec![u_f, u_b])
}

struct Conv {
    dims: Dims,
    saved: [Saved; 5],
}

impl Function for Conv {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let values = self.saved.iter().map(Saved::get).collect::<Result<Vec<_>>>()?;
        let mut du = || grads.remove(0).map(|du| typed(du, values[0].dtype())).transpose();
        let du = [du()?, du()?];
        match sinks.device().clone().launcher() {
            None => self.backward_cpu(&values, du, sinks),
            Some(launcher) => launch::backward(launcher, self.dims, &values, du, sinks)?,
        }
        Ok(())
    }
}

impl Conv {
    fn backward_cpu(&self, values: &[Tensor], du: [Option<Tensor>; 2], sinks: &mut Sinks) {
        let Dims { b, l, e, k } = self.dims;
        let xz = values[0].as_slice();
        let filters = cpu::Filters::new(self.dims, values);
        let device = sinks.device().clone();
        // The gradient of the sum under the SiLU; zero for a direction that nothing used.
        let mut dpre = du.map(|du| du.unwrap_or_else(|| Tensor::zeros(&device, &[b, l, e])));
        dpre.iter_mut().for_each(|g| g.make_unique(&device));
        let mut dxz = sinks.take_columns(0, DType::F32, &[b, l, 2 * e], 0..e);
        let [dpre_f, dpre_b] = dpre.each_mut().map(Tensor::as_mut_slice);
        let to = dxz.as_mut().map(|sink| (sink.tensor.as_mut_slice(), sink.accumulate));
        cpu::backward(self.dims, xz, &filters, dpre_f, dpre_b, to);
        dxz.into_iter().for_each(|sink| sinks.put(0, sink));
        let dpre = [dpre[0].as_slice(), dpre[1].as_slice()];
        for dir in 0..2 {
            if let Some(mut sink) = sinks.take(1 + 2 * dir, &[e, 1, k]) {
                cpu::grad_weight(self.dims, xz, dpre[dir], dir, sink.zeroed());
                sinks.put(1 + 2 * dir, sink);
            }
            if let Some(mut sink) = sinks.take(2 + 2 * dir, &[e]) {
                crate::rows::sum_rows(dpre[dir], e, sink.zeroed());
                sinks.put(2 + 2 * dir, sink);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::spec::{Case, backward_kernels};

    #[test]
    fn biases_alone_run_no_kernel_of_the_weights() {
        let case = Case::new(&[("b", 2), ("l", 5), ("e", 8), ("k", 4)]);
        let kernels = |trained: &[&str]| backward_kernels(&super::cases::CausalConv1d, &case, trained);
        assert_eq!(kernels(&["bias_b"]), ["causal_conv1d_backward_biases_f32", "rows_sum_f32"]);
        assert_eq!(
            kernels(&["bias_f", "bias_b", "xz"]),
            ["causal_conv1d_backward_biases_f32", "rows_sum_f32"]
        );
        assert_eq!(kernels(&["weight_b"]), ["causal_conv1d_backward_filters_f32", "rows_sum_f32"]);
        assert_eq!(kernels(&["xz"]), ["causal_conv1d_backward_f32"]);
    }
}
