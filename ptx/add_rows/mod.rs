//! Learned rows added to rows of token sequences: the residual tokens of EXPRESS (Das et al. 2023), prompts that are added to
//! what their rows have become (ProVP, Xu et al. 2025), and those that iVPT adds to the patches an image attends to most.
//!
//! ```text
//! y[i, at(i, j)] = x[i, at(i, j)] + weight rows[j]; elsewhere y = x
//! backward: dx = dy;  drows[j] = weight sum_i dy[i, at(i, j)]
//! ```
//! Axes: `x: [b l d]`; `rows: [n d]` is one entry of `values: [k n d]`, so that the layers of a model share one tensor. The
//! rows `at` of a sequence differ from each other; they are the same for all images, or each image has its own in a tensor
//! `[b n]` of numbers, of which those beyond the last row add nothing. y takes the memory of x unless somebody else holds it.
//! `at` is kept for the gradient of the rows. On a launched device x, y and dx have one type, f32 or bf16; all else is f32.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Sinks, Tape, Var};
use engine::{DType, Result, Tensor};

use crate::launch::typed;
use call::{Call, OP, at};

pub use call::{At, Rows};

/// `x [b l d]` with the learned rows added where `at` says.
///
/// # Errors
/// A shape that differs, [`engine::Error::Unsupported`] for rows that are not in order or not there, or what the device fails
/// with.
pub fn add_rows(tape: &Tape, mut x: Var, rows: Rows, places: At) -> Result<Var> {
    let device = tape.device();
    let call = Call::new(device, &x, rows, places)?;
    let dtype = x.value().dtype();
    let mut y = x.take();
    y.make_unique(device);
    match device.launcher() {
        None => cpu::add(&call, rows.values.value().as_slice(), y.as_mut_slice()),
        Some(launcher) => launch::add(launcher, &call, rows.values.value(), &mut y)?,
    }
    let none = Var::constant(Tensor::from_vec(vec![], &[0]));
    let each = match places {
        At::Same(_) => &none,
        At::Each(each) => each,
    };
    let settings = || {
        let same = match places {
            At::Same(rows) => rows.iter().map(|&row| row as f64).collect(),
            At::Each(_) => vec![],
        };
        vec![("entry", vec![rows.entry as f64]), ("weight", vec![f64::from(rows.weight)]), ("rows", same)]
    };
    let function = || -> Box<dyn Function> {
        let shape = rows.values.shape().to_vec();
        let call = rows.values.wants_grad().then_some(call);
        Box::new(AddRows { dtype, shape, call })
    };
    Ok(tape.record_with(OP, settings, &[&x, rows.values, each], vec![y], function)?.remove(0))
}

struct AddRows {
    /// Type of x.
    dtype: DType,
    /// `[k n d]`
    shape: Vec<usize>,
    /// Where the rows want a gradient.
    call: Option<Call>,
}

impl Function for AddRows {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (dy, device) = (
            typed(sinks.device(), grads.remove(0).expect("the only output"), self.dtype)?,
            sinks.device().clone(),
        );
        if let Some(call) = &self.call
            && let Some(mut sink) = sinks.take(at::VALUES, &self.shape)
        {
            // The other entries belong to other calls: zero until those write.
            let to = sink.zeroed_tensor();
            match device.launcher() {
                None => cpu::grad(call, dy.as_slice(), to.as_mut_slice()),
                Some(launcher) => launch::grad(launcher, call, &dy, to)?,
            }
            sinks.put(at::VALUES, sink);
        }
        if sinks.wants(at::X) {
            sinks.give(at::X, dy);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
