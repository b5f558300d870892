//! Images padded to the size of the model, zoomed, with a trained prompt around them, and normalised: the input of
//! AutoVP (Tsao et al., ICLR 2024), in one pass.
//!
//! ```text
//! padded[i] = images[i] amid zeros: ceil((S - s) / 2) of them to the left and on top, floor right and below
//! zoomed[i, y, x] = padded[i] at ((y - c) / scale + c, (x - c) / scale + c), bilinear, with zeros around; c = (S-1)/2
//! y[i] = (zoomed[i] + mask sigmoid(delta) - mean) / deviation
//! ddelta = mask sigmoid'(delta) sum_i dy[i] / deviation
//! dscale = sum over all of dy / deviation * dzoomed/dscale
//! ```
//! `images [b 3 s s]` have values in 0..1 and are not normalised, `delta [3 S S]` with S at least s, `scale [1]`; mean
//! and deviation have a number for each channel. The mask is 1 but in a hole, where it is 0: a square of
//! `min(int(s scale), S)` pixels from row and column `floor((S - hole) / 2)` on. So where `S - s` is odd, the hole of a
//! scale of 1 lies one pixel above and to the left of the image, as in the published program. A hole of S pixels
//! leaves no prompt, and delta gets zeros. How the hole grows with the scale is not differentiated.
//!
//! With a scale of 1 the zoom changes no bit. Where it samples exactly at a pixel, the bilinear function has a kink;
//! `dzoomed/dscale` is then that of the pixels that follow, as PyTorch has it. The scale is read on the device. It is
//! meant to be positive; with one of 0 or NaN all pixels are NaN.
//!
//! Images are what is prompted and get no gradient: those that want one are refused. Kept are the images for a trained
//! scale, delta for a trained delta, and the scale for both. All inputs are f32; y has the type that is asked for, f32
//! or bf16, and so has dy.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;
#[cfg(test)]
mod tests;

use autograd::{Function, Saved, Sinks, Tape, Var};
use engine::{DType, Result, Tensor};

pub use call::Normalisation;

use crate::launch::{on_type, typed};
use call::{Dims, OP, at, check};

/// `images [b 3 s s]` as a model of images of S pixels takes them, `[b 3 S S]` in type `dtype`: zoomed by `scale [1]`
/// about the centre, with the prompt `delta [3 S S]` around them.
///
/// # Errors
/// A shape that differs, [`engine::Error::Unsupported`] where images are larger than S or want a gradient, or what the
/// device fails with.
pub fn zoom_prompt(
    tape: &Tape,
    images: &Var,
    delta: &Var,
    scale: &Var,
    normalisation: &Normalisation,
    dtype: DType,
) -> Result<Var> {
    let (device, normalisation) = (tape.device(), *normalisation);
    let dims = check(images, delta, scale)?;
    let mut y = Tensor::empty_typed(device, dtype, &dims.output());
    let values = [images, delta, scale].map(Var::value);
    match device.launcher() {
        None => on_type!(dtype, E, {
            cpu::forward::<E>(dims, normalisation, values.map(Tensor::as_slice), y.slice_mut());
        }),
        Some(launcher) => launch::forward(launcher, dims, normalisation, values, &mut y)?,
    }
    let function = || -> Box<dyn Function> {
        Box::new(ZoomPrompt {
            dims,
            normalisation,
            dtype,
            images: scale.wants_grad().then(|| images.save()),
            delta: delta.wants_grad().then(|| delta.save()),
            scale: scale.save(),
        })
    };
    let settings = || {
        let numbers = |values: [f32; call::CHANNELS]| values.map(f64::from).to_vec();
        vec![("mean", numbers(normalisation.mean)), ("deviation", numbers(normalisation.deviation))]
    };
    Ok(tape.record_with(OP, settings, &[images, delta, scale], vec![y], function)?.remove(0))
}

struct ZoomPrompt {
    dims: Dims,
    normalisation: Normalisation,
    /// Type of the output.
    dtype: DType,
    /// For the gradient of the scale.
    images: Option<Saved>,
    /// For the gradient of delta.
    delta: Option<Saved>,
    scale: Saved,
}

impl Function for ZoomPrompt {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (d, normalisation, device) = (self.dims, self.normalisation, sinks.device().clone());
        let dy = typed(sinks.device(), grads.remove(0).expect("the only output"), self.dtype)?;
        let scale = self.scale.get()?;
        if let Some(mut sink) = sinks.take(at::DELTA, &d.prompt()) {
            let delta = self.delta.as_ref().expect("saved for its gradient").get()?;
            match device.launcher() {
                None => on_type!(self.dtype, E, {
                    let (delta, scale) = (delta.as_slice(), scale.as_slice());
                    cpu::grad_delta::<E>(d, normalisation, dy.slice(), [delta, scale], sink.zeroed());
                }),
                Some(launcher) => {
                    launch::grad_delta(launcher, d, normalisation, [&dy, &delta, &scale], &mut sink)?;
                }
            }
            sinks.put(at::DELTA, sink);
        }
        if let Some(mut sink) = sinks.take(at::SCALE, &[1]) {
            let images = self.images.as_ref().expect("saved for the scale's gradient").get()?;
            match device.launcher() {
                None => on_type!(self.dtype, E, {
                    let (images, scale) = (images.as_slice(), scale.as_slice());
                    sink.zeroed()[0] += cpu::grad_scale::<E>(d, normalisation, dy.slice(), [images, scale]);
                }),
                Some(_) => launch::grad_scale(&device, d, normalisation, [&dy, &images, &scale], &mut sink)?,
            }
            sinks.put(at::SCALE, sink);
        }
        Ok(())
    }
}
