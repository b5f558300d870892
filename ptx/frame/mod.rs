//! A trained frame of pixels around every image: the prompt of VP (Bahng et al. 2022) and of DAM-VP (Huang et al., CVPR
//! 2023), which has several frames and gives each image one of them.
//!
//! ```text
//! y[i] = x[i] + frame[a[i]] on the outer w pixels, and x[i] inside        dx = dy
//! dframe[m] = sum over the images i with a[i] = m of dy[i] on the outer w pixels
//! ```
//! `x [b c s s]`. A frame has four sides, published as `pad_up` and `pad_down` `[1 c w s]`, `pad_left` and `pad_right`
//! `[1 c s-2w w]`. `a [b]` holds the number of each image's frame as an f32; without it there is one frame. Nothing but
//! `a` is kept. x and y have one type, f32 or bf16; the frames and their gradients are f32.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Sinks, Tape, Var};
use engine::{DType, Result, Tensor};

use crate::launch::{on_type, typed};
use call::{Dims, OP, check};

/// The sides of a frame: up, down, left, right.
pub type Sides<'a> = [&'a Var; 4];

/// `x [b c s s]` with a frame added to each image: that of its number in `assignment [b]`, or the only one.
///
/// # Errors
/// A shape that differs, or what the device fails with. Numbers beyond the last frame are taken for the last one.
pub fn frame(tape: &Tape, x: &Var, frames: &[Sides], assignment: Option<&Tensor>) -> Result<Var> {
    let dims = check(x, frames, assignment)?;
    let sides: Vec<&Var> = frames.iter().flatten().copied().collect();
    let values: Vec<&Tensor> = sides.iter().map(|side| side.value()).collect();
    let mut y = Tensor::empty_typed(tape.device(), x.value().dtype(), x.shape());
    match tape.device().launcher() {
        None => {
            let numbers = assignment.map(Tensor::as_slice);
            let values: Vec<&[f32]> = values.iter().map(|value| value.as_slice()).collect();
            on_type!(x.value().dtype(), E, {
                cpu::forward::<E>(dims, x.value().slice(), &values, numbers, y.slice_mut());
            });
        }
        Some(launcher) => {
            launch::forward(tape.device(), launcher, dims, x.value(), &values, assignment, &mut y)?
        }
    }
    let dtype = x.value().dtype();
    let function =
        || -> Box<dyn Function> { Box::new(Frame { dims, dtype, assignment: assignment.cloned() }) };
    let inputs = [&[x], &sides[..]].concat();
    let settings = || vec![("assigned", vec![f64::from(assignment.is_some())])];
    Ok(tape.record_with(OP, settings, &inputs, vec![y], function)?.remove(0))
}

struct Frame {
    dims: Dims,
    /// Type of the images.
    dtype: DType,
    assignment: Option<Tensor>,
}

impl Function for Frame {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (d, device) = (self.dims, sinks.device().clone());
        let dy = typed(sinks.device(), grads.remove(0).expect("the only output"), self.dtype)?;
        let mut sides: Vec<_> =
            (0..4 * d.frames).map(|side| sinks.take(1 + side, &d.side(side % 4))).collect();
        match device.launcher() {
            None => {
                let numbers = self.assignment.as_ref().map(Tensor::as_slice);
                for (side, sink) in sides.iter_mut().enumerate() {
                    if let Some(sink) = sink {
                        let side = (side / 4, side % 4);
                        on_type!(
                            self.dtype,
                            E,
                            cpu::grad_side::<E>(d, dy.slice(), numbers, side, sink.zeroed())
                        );
                    }
                }
            }
            Some(launcher) if sides.iter().any(Option::is_some) => {
                launch::grad_sides(&device, launcher, d, &dy, self.assignment.as_ref(), &mut sides)?;
            }
            Some(_) => {}
        }
        for (side, sink) in sides.into_iter().enumerate() {
            sink.into_iter().for_each(|sink| sinks.put(1 + side, sink));
        }
        if sinks.wants(0) {
            sinks.give(0, dy);
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
        let run = |side: &[usize], w: usize, images: &[usize], numbers: Option<usize>| {
            let (row, column) = (zeros(side), zeros(&[1, 3, 8 - 2 * w, w]));
            let numbers = numbers.map(|n| Tensor::zeros(tape.device(), &[n]));
            let frames = [[&row, &row, &column, &column]];
            frame(&tape, &zeros(images), &frames, numbers.as_ref()).map(|y| y.shape().to_vec())
        };
        assert_eq!(run(&[1, 3, 2, 8], 2, &[2, 3, 8, 8], Some(2)).unwrap(), [2, 3, 8, 8]);
        for (side, w, images, numbers, message) in [
            (
                &[1, 3, 2, 7][..],
                2,
                &[2, 3, 8, 8][..],
                None,
                "a side must be [1 c w s] = [1, 3, 2, 8], got [1, 3, 2, 7]",
            ),
            (&[1, 3, 2, 8], 2, &[2, 3, 8, 9], None, "images must be [b c s s]"),
            (&[1, 3, 5, 8], 3, &[2, 3, 8, 8], None, "a frame of 5 pixels does not fit images of 8 pixels"),
            (&[1, 3, 2, 8], 2, &[2, 3, 8, 8], Some(3), "assignment must be [b] = [2], got [3]"),
        ] {
            let err = run(side, w, images, numbers).unwrap_err().to_string();
            assert!(err.contains(message), "{err}");
        }
    }
}
