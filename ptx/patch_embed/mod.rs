//! Patch embedding: images `[b c s s]` to tokens `[b p+1 d]`, with a class token in any row: the middle in Vim (Zhu et
//! al. 2024), the first in ViT.
//!
//! `y[t] = w patch(t) + bias + pos[t]` for the `p = ((s - patch) / stride + 1)^2` patches in row-major order, and
//! `y[m] = cls + pos[m]` in row `m = class_row`; the patches after it move down by one row. Patches overlap where
//! the stride is below the patch size, as in Vim's stride-8 models. The images are kept only for a trained weight, and
//! the weight only where the images want a gradient. y has the type of the images; parameters and
//! their gradients are f32.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Saved, Sinks, Tape, Var};
use engine::{DType, Device, Result, Tensor};

pub use call::Weights;

use crate::launch::{on_type, typed};
use call::{Dims, OP, check};

/// Positions of the inputs in a recorded call.
mod at {
    pub const IMAGES: usize = 0;
    pub const WEIGHT: usize = 1;
    pub const BIAS: usize = 2;
    pub const CLS: usize = 3;
    pub const POS: usize = 4;
}

/// Tokens `[b p+1 d]` of `images [b c s s]`, with patches `stride` pixels apart and the class token in row
/// `class_row`.
///
/// # Errors
/// A shape that differs, [`engine::Error::Unsupported`] where no patch fits or there is no such row, or what the device fails with.
pub fn patch_embed(
    tape: &Tape,
    images: &Var,
    weights: &Weights,
    stride: usize,
    class_row: usize,
) -> Result<Var> {
    let Weights { weight, bias, cls, pos } = weights;
    let dims = check(images, weights, stride, class_row)?;
    let y = forward(tape.device(), dims, images.value(), [weight, bias, cls, pos].map(|v| v.value()))?;
    let function = || -> Box<dyn Function> {
        Box::new(PatchEmbed {
            dims,
            dtype: images.value().dtype(),
            images: weight.wants_grad().then(|| images.save()),
            weight: images.wants_grad().then(|| weight.save()),
        })
    };
    let settings = || vec![("stride", vec![stride as f64]), ("class_row", vec![class_row as f64])];
    let inputs = [images, weight, bias, cls, pos];
    Ok(tape.record_with(OP, settings, &inputs, vec![y], function)?.remove(0))
}

fn forward(device: &Device, dims: Dims, images: &Tensor, weights: [&Tensor; 4]) -> Result<Tensor> {
    if let Some(launcher) = device.launcher() {
        return launch::forward(device, launcher, dims, images, weights);
    }
    let (dtype, [w, others @ ..]) = (images.dtype(), weights);
    let (columns, w) = (gather(device, dims, images), w.cast(device, dtype)?);
    let mut y = Tensor::empty(device, &[dims.b, dims.tokens(), dims.d]);
    on_type!(dtype, E, {
        cpu::forward::<E>(dims, columns.slice(), w.slice(), others.map(Tensor::as_slice), y.as_mut_slice());
    });
    y.cast(device, dtype)
}

/// The patches of the CPU's images as rows `[b tokens k]`.
fn gather(device: &Device, dims: Dims, images: &Tensor) -> Tensor {
    let mut columns = Tensor::empty_typed(device, images.dtype(), &dims.columns());
    on_type!(images.dtype(), E, cpu::gather::<E>(dims, images.slice(), columns.slice_mut()));
    columns
}

struct PatchEmbed {
    dims: Dims,
    /// Type of the images.
    dtype: DType,
    /// For the gradient of the weight.
    images: Option<Saved>,
    /// For the gradient of the images.
    weight: Option<Saved>,
}

impl Function for PatchEmbed {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (d, device) = (self.dims, sinks.device().clone());
        let dy = typed(sinks.device(), grads.remove(0).expect("the only output"), self.dtype)?;
        if let Some(mut sink) = sinks.take_typed(at::IMAGES, self.dtype, &d.images()) {
            let weight = self.weight.as_ref().expect("saved for the images' gradient").get()?;
            match device.launcher() {
                None => {
                    let (mut columns, w) =
                        (Tensor::empty(&device, &d.columns()), weight.cast(&device, self.dtype)?);
                    on_type!(self.dtype, E, {
                        cpu::grad_columns::<E>(d, dy.slice(), w.slice(), columns.as_mut_slice());
                        cpu::scatter::<E>(d, columns.as_slice(), sink.tensor.slice_mut(), sink.accumulate);
                    });
                }
                Some(launcher) => {
                    let to = (&mut sink.tensor, sink.accumulate);
                    launch::grad_images(&device, launcher, d, &dy, &weight, to)?;
                }
            }
            sinks.put(at::IMAGES, sink);
        }
        if let Some(mut sink) = sinks.take(at::WEIGHT, &d.weight()) {
            let images = self.images.as_ref().expect("saved for the weight's gradient").get()?;
            let (dw, accumulate) = (&mut sink.tensor, sink.accumulate);
            match device.launcher() {
                None => {
                    let columns = gather(&device, d, &images);
                    on_type!(self.dtype, E, {
                        cpu::grad_weight::<E>(d, dy.slice(), columns.slice(), dw.as_mut_slice(), accumulate);
                    });
                }
                Some(launcher) => {
                    let columns = launch::gather(&device, launcher, d, &images)?;
                    launch::grad_weight(launcher, d, &dy, &columns, (dw, accumulate))?;
                }
            }
            sinks.put(at::WEIGHT, sink);
        }
        if let Some(mut sink) = sinks.take(at::BIAS, &[d.d]) {
            match device.launcher() {
                None => on_type!(self.dtype, E, cpu::grad_bias::<E>(d, dy.slice(), sink.zeroed())),
                Some(_) => launch::grad_bias(&device, d, &dy, sink.tensor.region_mut(), sink.accumulate)?,
            }
            sinks.put(at::BIAS, sink);
        }
        // Each sums its rows over the images: input, first row, number of rows.
        for (input, first, count) in [(at::CLS, d.class_row, 1), (at::POS, 0, d.tokens())] {
            if let Some(mut sink) = sinks.take(input, &[1, count, d.d]) {
                match device.launcher() {
                    None => {
                        on_type!(self.dtype, E, cpu::sum_samples::<E>(d, dy.slice(), first, sink.zeroed()))
                    }
                    Some(_) => {
                        let (to, rows) = (sink.tensor.region_mut(), (count, sink.accumulate));
                        launch::sum_samples(&device, d, &dy, first, to, rows)?;
                    }
                }
                sinks.put(input, sink);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misfits_are_refused_by_name() {
        let tape = Tape::inference(&Device::cpu());
        let zeros = |shape: &[usize]| Var::constant(Tensor::zeros(tape.device(), shape));
        let (weight, bias, cls) = (zeros(&[5, 3, 4, 4]), zeros(&[5]), zeros(&[1, 1, 5]));
        let run = |images: &[usize], tokens, stride| {
            let pos = zeros(&[1, tokens, 5]);
            let weights = Weights { weight: &weight, bias: &bias, cls: &cls, pos: &pos };
            patch_embed(&tape, &zeros(images), &weights, stride, 2).map(|y| y.shape().to_vec())
        };
        assert_eq!(run(&[2, 3, 8, 8], 5, 4).unwrap(), [2, 5, 5]);
        for (images, tokens, stride, message) in [
            (&[2, 3, 8, 8][..], 6, 4, "pos must be [1 p+1 d] = [1, 5, 5], got [1, 6, 5]"),
            (&[2, 3, 8, 9], 5, 4, "images must be [b c s s] = [2, 3, 8, 8], got [2, 3, 8, 9]"),
            (&[3, 8, 8], 5, 4, "images must be [b c s s]"),
            (&[2, 3, 3, 3], 2, 4, "do not fit images of 3 pixels"),
            (&[2, 3, 4, 4], 2, 4, "class row 2 of 2 tokens"),
            (&[2, 3, 8, 8], 5, 0, "0 apart"),
        ] {
            let err = run(images, tokens, stride).unwrap_err().to_string();
            assert!(err.contains(message), "{err}");
        }
    }

    #[test]
    fn the_bias_alone_costs_a_sum() {
        let sizes = [("b", 2), ("c", 3), ("size", 8), ("patch", 4), ("stride", 4), ("d", 4)];
        let kernels = |trained: &[&str]| {
            crate::spec::backward_kernels(&cases::Cases, &crate::spec::Case::new(&sizes), trained)
        };
        assert_eq!(kernels(&["bias"]), ["rows_sum_f32"]);
        assert_eq!(kernels(&["bias", "weight"]), ["patch_embed_gather_f32", "rows_sum_f32"]);
    }
}
