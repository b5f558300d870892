//! A gate between rows of two token sequences, as between what a block makes of its prompts and what they were before it
//! (GaPT, Yoo et al., ICML 2023).
//!
//! ```text
//! y[i, rows[j]] = g x[i, rows[j]] + (1 - g) z[i, rows[j]]; elsewhere y = x      g = sigmoid(logit), or a constant
//! backward: dx is dy with the rows times g;  dz is (1 - g) dy at the rows, 0 elsewhere
//!           dlogit = g (1 - g) sum_ij dy[i, rows[j]] . (x[i, rows[j]] - z[i, rows[j]])
//! ```
//! Axes: `x`, `z: [b l d]`, of which z may be absent and is then 0; the logits are `[k]`, of which a call uses one. y takes the
//! memory of x unless somebody else holds it, and so does dx that of dy. The numbers of the rows are kept, and for a trained
//! logit what x and z differ by at the rows. x, y, z and their gradients have one type, f32 or bf16; all
//! else is f32.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Sinks, Tape, Var};
use engine::{DType, Result, Tensor};

use crate::launch::{on_type, typed};
use call::{Call, OP, at};

pub use call::Gate;

/// `x [b l d]` with the rows `rows`, which rise strictly, gated with those of `z [b l d]`.
///
/// # Errors
/// A shape or type that differs, [`engine::Error::Unsupported`] for rows that are not in order or not there, or what the device
/// fails with.
pub fn gate_rows(tape: &Tape, mut x: Var, z: Option<&Var>, gate: Gate, rows: &[usize]) -> Result<Var> {
    let device = tape.device();
    let call = Call::new(device, &x, z, gate, rows)?;
    let dtype = x.value().dtype();
    let mut y = x.take();
    y.make_unique(device);
    let trained = call.logits.is_some() && gate.logits().is_some_and(Var::wants_grad);
    let mut apart = trained.then(|| Tensor::empty(device, &[call.b, call.n, call.d]));
    let z_value = z.map(Var::value);
    match device.launcher() {
        None => on_type!(dtype, E, {
            let apart = apart.as_mut().map(Tensor::as_mut_slice);
            cpu::gate::<E>(&call, z_value.map(Tensor::slice), y.slice_mut(), apart);
        }),
        Some(launcher) => launch::gate(launcher, &call, z_value, &mut y, apart.as_mut())?,
    }
    let none = Var::constant(Tensor::from_vec(vec![], &[0]));
    let settings = || {
        let (gate, entry) = match gate {
            Gate::Constant(gate) => (vec![f64::from(gate)], vec![]),
            Gate::Logit(_, entry) => (vec![], vec![entry as f64]),
        };
        vec![("gate", gate), ("entry", entry)]
    };
    let numbers = Var::constant(call.rows.clone());
    let inputs = [&x, z.unwrap_or(&none), gate.logits().unwrap_or(&none), &numbers];
    let function = || -> Box<dyn Function> { Box::new(GateRows { dtype, call, apart }) };
    Ok(tape.record_with(OP, settings, &inputs, vec![y], function)?.remove(0))
}

struct GateRows {
    /// Type of x.
    dtype: DType,
    call: Call,
    /// `x - z` at the rows, `[b n d]`, for a trained logit.
    apart: Option<Tensor>,
}

impl Function for GateRows {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (mut dy, device) = (
            typed(sinks.device(), grads.remove(0).expect("the only output"), self.dtype)?,
            sinks.device().clone(),
        );
        let call = &self.call;
        if let (Some(apart), Some(logits)) = (&self.apart, &call.logits)
            && let Some(mut sink) = sinks.take(at::LOGITS, logits.shape())
        {
            // The other entries belong to other calls: zero until those write.
            let to = sink.zeroed_tensor();
            match device.launcher() {
                None => on_type!(self.dtype, E, {
                    cpu::grad_logit::<E>(call, apart.as_slice(), dy.slice(), to.as_mut_slice());
                }),
                Some(launcher) => launch::grad_logit(&device, launcher, call, apart, &dy, to)?,
            }
            sinks.put(at::LOGITS, sink);
        }
        if let Some(mut sink) = sinks.take_typed(at::Z, self.dtype, &[call.b, call.l, call.d]) {
            let to = sink.zeroed_tensor();
            match device.launcher() {
                None => on_type!(self.dtype, E, cpu::grad_z::<E>(call, dy.slice(), to.slice_mut())),
                Some(launcher) => launch::grad_z(launcher, call, &dy, to)?,
            }
            sinks.put(at::Z, sink);
        }
        if sinks.wants(at::X) {
            dy.make_unique(&device);
            match device.launcher() {
                None => on_type!(self.dtype, E, cpu::gate::<E>(call, None, dy.slice_mut(), None)),
                Some(launcher) => launch::gate(launcher, call, None, &mut dy, None)?,
            }
            sinks.give(at::X, dy);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
