//! A scale and a shift of every channel (SSF, Lian et al., NeurIPS 2022), or a scale alone.
//!
//! ```text
//! y[r, c] = scale[c] x[r, c] + shift[c]
//! dx = scale dy      dscale[c] = sum_r dy[r, c] x[r, c]      dshift[c] = sum_r dy[r, c]
//! ```
//! `x [.. d]` is any tensor with channels last, `scale` and `shift` are `[d]`. x is kept only for a trained scale, and
//! the scale only where x wants a gradient. x, y and dx have one type, f32 or bf16; the scale, the
//! shift and their gradients are f32.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Saved, Sinks, Tape, Var};
use engine::{DType, Result, Tensor};

use crate::launch::{on_type, typed};
use call::{OP, at, check};

/// `x [.. d]` times `scale [d]`, plus `shift [d]`.
///
/// # Errors
/// A shape that differs, or what the device fails with.
pub fn scale_shift(tape: &Tape, x: &Var, scale: &Var, shift: Option<&Var>) -> Result<Var> {
    let d = check(x, scale, shift)?;
    let mut y = Tensor::empty_typed(tape.device(), x.value().dtype(), x.shape());
    let shift_value = shift.map(Var::value);
    match tape.device().launcher() {
        None => on_type!(y.dtype(), E, {
            let shift = shift_value.map(Tensor::as_slice);
            cpu::forward::<E>(d, x.value().slice(), scale.value().as_slice(), shift, y.slice_mut());
        }),
        Some(launcher) => launch::forward(launcher, x.value(), scale.value(), shift_value, &mut y)?,
    }
    let none = Var::constant(Tensor::from_vec(vec![], &[0]));
    let function = || -> Box<dyn Function> {
        Box::new(ScaleShift {
            dtype: x.value().dtype(),
            shape: x.shape().to_vec(),
            x: scale.wants_grad().then(|| x.save()),
            scale: x.wants_grad().then(|| scale.save()),
        })
    };
    Ok(tape.record(OP, &[x, scale, shift.unwrap_or(&none)], vec![y], function)?.remove(0))
}

struct ScaleShift {
    /// Type and shape of x.
    dtype: DType,
    shape: Vec<usize>,
    /// For the gradient of the scale.
    x: Option<Saved>,
    /// For the gradient of x.
    scale: Option<Saved>,
}

impl Function for ScaleShift {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (dy, device) = (
            typed(sinks.device(), grads.remove(0).expect("the only output"), self.dtype)?,
            sinks.device().clone(),
        );
        let d = *self.shape.last().expect("checked: x has a last axis");
        if let Some(mut sink) = sinks.take_typed(at::X, self.dtype, &self.shape) {
            let scale = self.scale.as_ref().expect("saved for the input's gradient").get()?;
            let (dx, add) = (&mut sink.tensor, sink.accumulate);
            match device.launcher() {
                None => on_type!(self.dtype, E, {
                    cpu::grad_x::<E>(d, dy.slice(), scale.as_slice(), dx.slice_mut(), add);
                }),
                Some(launcher) => launch::grad_x(launcher, &dy, &scale, dx, add)?,
            }
            sinks.put(at::X, sink);
        }
        let mut scale = sinks.take(at::SCALE, &[d]);
        let mut shift = sinks.take(at::SHIFT, &[d]);
        let x = self.x.as_ref().filter(|_| scale.is_some()).map(Saved::get).transpose()?;
        match device.launcher() {
            None => on_type!(self.dtype, E, {
                if let (Some(sink), Some(x)) = (&mut scale, &x) {
                    cpu::grad_scale::<E>(d, dy.slice(), x.slice(), sink.zeroed());
                }
                if let Some(sink) = &mut shift {
                    crate::rows::sum_rows::<E>(dy.slice(), d, sink.zeroed());
                }
            }),
            Some(launcher) => {
                launch::grad_channels(&device, launcher, &dy, x.as_ref(), [scale.as_mut(), shift.as_mut()])?;
            }
        }
        for (at, sink) in [(at::SCALE, scale), (at::SHIFT, shift)] {
            sink.into_iter().for_each(|sink| sinks.put(at, sink));
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
        let run = |x: &[usize], scale: &[usize], shift: Option<&[usize]>| {
            let shift = shift.map(zeros);
            scale_shift(&tape, &zeros(x), &zeros(scale), shift.as_ref()).map(|y| y.shape().to_vec())
        };
        assert_eq!(run(&[2, 5, 3], &[3], None).unwrap(), [2, 5, 3]);
        for (x, scale, shift, message) in [
            (&[2, 5, 3][..], &[4][..], None, "scale must be [d] = [3], got [4]"),
            (&[2, 5, 3], &[3], Some(&[3, 1][..]), "shift must be [d] = [3], got [3, 1]"),
        ] {
            let err = run(x, scale, shift).unwrap_err().to_string();
            assert!(err.contains(message), "{err}");
        }
    }

    #[test]
    fn the_shift_alone_costs_a_sum() {
        let case = crate::spec::Case::new(&[("rows", 3), ("d", 4), ("shift", 1)]);
        let kernels = |trained: &[&str]| crate::spec::backward_kernels(&cases::Cases, &case, trained);
        assert_eq!(kernels(&["shift"]), ["rows_sum_f32"]);
        assert_eq!(kernels(&["x"]), ["scale_shift_forward_f32"]);
    }
}
