//! Depthwise causal convolution and SiLU, in both directions from one read of x (Vim's `conv1d` and `conv1d_b`, Zhu et
//! al. 2024).
//!
//! ```text
//! u_f[t] = silu(bias_f + sum_k w_f[k] x[t - (K-1) + k])    zeros before the first token
//! u_b[t] = silu(bias_b + sum_k w_b[k] x[t + (K-1) - k])    zeros after the last token
//! ```
//! x is the first half of `xz [b l 2e]`; weights are `[e 1 K]` with K from 2 to 4, biases `[e]`, and both outputs
//! `[b l e]` in token order. The inputs are kept: backward computes the sum under the SiLU again from x. The outputs
//! can be computed again from x too, so a function that saves them saves a recipe. xz and the outputs have one type, f32
//! or bf16; filters and their gradients are f32.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Recipe, Saved, Sinks, Tape, Var};
use engine::{DType, Device, Element, Result, Tensor};

pub use call::{Filter, MAX_WIDTH};

use crate::launch::{on_type, typed};
use crate::rows::sum_rows;
use call::{Dims, OP, at, check};

/// `[u_f, u_b]`, each `[b l e]`, of `xz [b l 2e]`; `filters` are those of the forward and the backward direction.
///
/// # Errors
/// A shape that differs, [`engine::Error::Unsupported`] for a filter of other than 2 to 4 taps, or what the device
/// fails with.
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

/// `[u_f, u_b]` of the inputs in recorded order.
fn forward(device: &Device, dims: Dims, values: &[Tensor]) -> Result<Vec<Tensor>> {
    let u = || Tensor::empty_typed(device, values[at::XZ].dtype(), &[dims.b, dims.l, dims.e]);
    let (mut u_f, mut u_b) = (u(), u());
    match device.launcher() {
        None => on_type!(values[at::XZ].dtype(), E, {
            let (xz, filters) = (values[at::XZ].slice::<E>(), cpu::Filters::new(dims, values));
            cpu::forward(dims, xz, &filters, u_f.slice_mut(), u_b.slice_mut());
        }),
        Some(launcher) => launch::forward(launcher, dims, values, [&mut u_f, &mut u_b])?,
    }
    Ok(vec![u_f, u_b])
}

struct Conv {
    dims: Dims,
    /// The inputs in recorded order.
    saved: [Saved; 5],
}

impl Function for Conv {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let values = self.saved.iter().map(Saved::get).collect::<Result<Vec<_>>>()?;
        let mut du =
            || grads.remove(0).map(|du| typed(sinks.device(), du, values[at::XZ].dtype())).transpose();
        let du = [du()?, du()?];
        match sinks.device().clone().launcher() {
            None => on_type!(values[at::XZ].dtype(), E, self.backward_cpu::<E>(&values, du, sinks)),
            Some(launcher) => launch::backward(launcher, self.dims, &values, du, sinks)?,
        }
        Ok(())
    }
}

impl Conv {
    fn backward_cpu<E: Element>(&self, values: &[Tensor], mut du: [Option<Tensor>; 2], sinks: &mut Sinks) {
        let Dims { b, l, e, k } = self.dims;
        let xz = values[at::XZ].slice::<E>();
        let filters = cpu::Filters::new(self.dims, values);
        let device = sinks.device().clone();
        // The gradient of the sum under the SiLU is f32, so it takes the place of a du in f32. It is zero in a direction
        // whose output nothing used.
        let mut dpre = du.each_mut().map(|du| match du.take_if(|du| du.dtype() == DType::F32) {
            Some(du) => du,
            None if du.is_some() => Tensor::empty(&device, &[b, l, e]),
            None => Tensor::zeros(&device, &[b, l, e]),
        });
        dpre.iter_mut().for_each(|g| g.make_unique(&device));
        let mut dxz = sinks.take_columns(at::XZ, E::DTYPE, &[b, l, 2 * e], 0..e);
        let du = du.each_ref().map(|du| du.as_ref().map(Tensor::slice));
        let to = dxz.as_mut().map(|sink| (sink.tensor.slice_mut(), sink.accumulate));
        cpu::backward(self.dims, xz, &filters, du, dpre.each_mut().map(Tensor::as_mut_slice), to);
        dxz.into_iter().for_each(|sink| sinks.put(at::XZ, sink));
        let dpre = [dpre[0].as_slice(), dpre[1].as_slice()];
        for dir in 0..2 {
            if let Some(mut sink) = sinks.take(at::weight(dir), &[e, 1, k]) {
                cpu::grad_weight(self.dims, xz, dpre[dir], dir, sink.zeroed());
                sinks.put(at::weight(dir), sink);
            }
            if let Some(mut sink) = sinks.take(at::bias(dir), &[e]) {
                sum_rows(dpre[dir], e, sink.zeroed());
                sinks.put(at::bias(dir), sink);
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
        let kernels = |trained: &[&str]| backward_kernels(&super::cases::Cases, &case, trained);
        assert_eq!(kernels(&["bias_b"]), ["causal_conv1d_backward_biases_f32", "rows_sum_f32"]);
        assert_eq!(
            kernels(&["bias_f", "bias_b", "xz"]),
            ["causal_conv1d_backward_biases_f32", "rows_sum_f32"]
        );
        assert_eq!(kernels(&["weight_b"]), ["causal_conv1d_backward_filters_f32", "rows_sum_f32"]);
        assert_eq!(kernels(&["xz"]), ["causal_conv1d_backward_f32"]);
    }
}
