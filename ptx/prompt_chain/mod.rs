//! Prompts of a layer that build on those of the layers before (iVPT, arXiv 2404.05207, eq. 4 to 6, and table 3).
//!
//! ```text
//! previous:  y_l = p_l + p_(l-1), or with matrices p_l + m_l p_(l-1)      l = 1..k
//! all:       y_l = p_l + y_(l-1) = p_0 + ... + p_l
//!
//! previous:  dp_l = dy_l + m_(l+1)^T dy_(l+1)      dm_l = dy_l p_(l-1)^T      (dy_0 and dy_(k+1) are 0)
//! all:       dp_l = dy_l + ... + dy_k
//! ```
//! Axes: `first: [1 n d]` is p_0, `later: [k n d]` are p_1 to p_k, `matrices: [k n n]` mix the rows of a layer's prompts, and y
//! is `[k n d]`: p_0 is used as it is. All are f32. No image is involved, so this is done once in a step. The prompts are kept for
//! the gradient of the matrices, and the matrices for that of the prompts.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Saved, Sinks, Tape, Var};
use engine::{Result, Tensor};

use call::{Dims, OP, at};

pub use call::Reach;

/// The prompts `[k n d]` of the layers behind the first, by the formula above.
///
/// # Errors
/// A shape that differs, or what the device fails with.
pub fn prompt_chain(tape: &Tape, first: &Var, later: &Var, reach: Reach) -> Result<Var> {
    let (dims, device) = (Dims::new(first, later, reach)?, tape.device());
    let mut y = Tensor::empty(device, later.shape());
    let values = [first, later].map(Var::value);
    let matrices = reach.matrices();
    let matrices_value = matrices.map(Var::value);
    match device.launcher() {
        None => cpu::forward(dims, values.map(Tensor::as_slice), matrices_value, y.as_mut_slice()),
        Some(launcher) => launch::forward(launcher, dims, values, matrices_value, &mut y)?,
    }
    let none = Var::constant(Tensor::from_vec(vec![], &[0]));
    let settings = || vec![("all", vec![f64::from(u8::from(dims.all))])];
    let function = || -> Box<dyn Function> {
        let prompts_wanted = first.wants_grad() || later.wants_grad();
        Box::new(PromptChain {
            dims,
            matrices: matrices.filter(|_| prompts_wanted).map(Var::save),
            prompts: matrices.filter(|m| m.wants_grad()).map(|_| [first.save(), later.save()]),
        })
    };
    let inputs = [first, later, matrices.unwrap_or(&none)];
    Ok(tape.record_with(OP, settings, &inputs, vec![y], function)?.remove(0))
}

struct PromptChain {
    dims: Dims,
    /// For the gradients of the prompts.
    matrices: Option<Saved>,
    /// For the gradient of the matrices.
    prompts: Option<[Saved; 2]>,
}

impl Function for PromptChain {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (dy, device) = (grads.remove(0).expect("the only output"), sinks.device().clone());
        let Dims { k, n, d, .. } = self.dims;
        let matrices = self.matrices.as_ref().map(Saved::get).transpose()?;
        for (at, layers) in [(at::FIRST, 0..1), (at::LATER, 1..k + 1)] {
            let Some(mut sink) = sinks.take(at, &[layers.len(), n, d]) else { continue };
            let (to, add) = (&mut sink.tensor, sink.accumulate);
            match device.launcher() {
                None => cpu::grad_prompts(
                    self.dims,
                    layers.start,
                    matrices.as_ref(),
                    dy.as_slice(),
                    to.as_mut_slice(),
                    add,
                ),
                Some(launcher) => {
                    launch::grad_prompts(launcher, self.dims, layers, matrices.as_ref(), &dy, to, add)?
                }
            }
            sinks.put(at, sink);
        }
        let Some(prompts) = &self.prompts else { return Ok(()) };
        if let Some(mut sink) = sinks.take(at::MATRICES, &[k, n, n]) {
            let [first, later] = [prompts[0].get()?, prompts[1].get()?];
            let (to, add) = (&mut sink.tensor, sink.accumulate);
            match device.launcher() {
                None => {
                    let prompts = [first.as_slice(), later.as_slice()];
                    cpu::grad_matrices(self.dims, prompts, dy.as_slice(), to.as_mut_slice(), add);
                }
                Some(launcher) => launch::grad_matrices(launcher, self.dims, [&first, &later], &dy, to, add)?,
            }
            sinks.put(at::MATRICES, sink);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engine::Device;

    use super::*;

    #[test]
    fn misfits_are_refused_by_name() {
        let tape = Tape::inference(&Device::cpu());
        let zeros = |shape: &[usize]| Var::constant(Tensor::zeros(tape.device(), shape));
        let run = |first: &[usize], later: &[usize], matrices: &[usize]| {
            let matrices = zeros(matrices);
            let reach = Reach::Previous(Some(&matrices));
            prompt_chain(&tape, &zeros(first), &zeros(later), reach).map_err(|err| err.to_string())
        };
        assert_eq!(run(&[1, 2, 3], &[4, 2, 3], &[4, 2, 2]).unwrap().shape(), [4, 2, 3]);
        for (first, later, matrices, message) in [
            (
                &[2, 2, 3][..],
                &[4, 2, 3][..],
                &[4, 2, 2][..],
                "first must be [1 n d] = [1, 2, 3], got [2, 2, 3]",
            ),
            (&[1, 2, 3], &[4, 6], &[4, 2, 2], "later must be [k n d]"),
            (&[1, 2, 3], &[4, 2, 3], &[3, 2, 2], "matrices must be [k n n] = [4, 2, 2], got [3, 2, 2]"),
        ] {
            let error = run(first, later, matrices).err().unwrap();
            assert!(error.contains(message), "{error}");
        }
    }
}
