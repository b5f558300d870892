//! Gated rows on the CPU: an image a task. Bound by memory.

use engine::Tensor;
use rayon::prelude::*;

use super::call::Call;

impl Call {
    /// What x weighs.
    fn gate(&self) -> f32 {
        match &self.logits {
            Some(logits) => 1.0 / (1.0 + (-logits.as_slice()[self.entry]).exp()),
            None => self.constant,
        }
    }

    /// Where each row begins in an image.
    fn starts(&self) -> impl Iterator<Item = usize> {
        self.rows.as_slice().iter().map(|&row| row as usize * self.d)
    }
}

/// Gates the rows of `y [b l d]`, which is x before, with those of z or with zeros, and writes `x - z` at the rows to `apart [b
/// n d]`.
pub fn gate(call: &Call, z: Option<&Tensor>, y: &mut Tensor, apart: Option<&mut Tensor>) {
    let (gate, d, size) = (call.gate(), call.d, call.l * call.d);
    if y.numel() == 0 {
        return;
    }
    let z = z.map(Tensor::as_slice);
    let z_row = |image: usize, start: usize| z.map(|z| &z[image * size + start..][..d]);
    if let Some(apart) = apart {
        let x = y.as_slice();
        apart.as_mut_slice().par_chunks_mut(call.n * d).enumerate().for_each(|(image, apart)| {
            for (start, apart) in call.starts().zip(apart.chunks_exact_mut(d)) {
                apart.copy_from_slice(&x[image * size + start..][..d]);
                if let Some(z) = z_row(image, start) {
                    apart.iter_mut().zip(z).for_each(|(a, z)| *a -= z);
                }
            }
        });
    }
    y.as_mut_slice().par_chunks_mut(size).enumerate().for_each(|(image, y)| {
        for start in call.starts() {
            let y = &mut y[start..][..d];
            match z_row(image, start) {
                None => y.iter_mut().for_each(|y| *y *= gate),
                Some(z) => y.iter_mut().zip(z).for_each(|(y, z)| *y = gate * *y + (1.0 - gate) * z),
            }
        }
    });
}

/// Adds to the gradient of `z [b l d]`.
pub fn grad_z(call: &Call, dy: &[f32], to: &mut [f32]) {
    let (rest, d, size) = (1.0 - call.gate(), call.d, call.l * call.d);
    if to.is_empty() {
        return;
    }
    to.par_chunks_mut(size).zip(dy.par_chunks(size)).for_each(|(to, dy)| {
        for start in call.starts() {
            let both = to[start..][..d].iter_mut().zip(&dy[start..][..d]);
            both.for_each(|(to, dy)| *to += rest * dy);
        }
    });
}

/// Adds to the gradient of the logits `[k]`: the sum of each image in f64, and of images in order.
pub fn grad_logit(call: &Call, apart: &[f32], dy: &[f32], to: &mut [f32]) {
    let (gate, d, size) = (call.gate(), call.d, call.l * call.d);
    if apart.is_empty() {
        return;
    }
    let image = |(apart, dy): (&[f32], &[f32])| {
        let mut sum = 0.0;
        for (start, apart) in call.starts().zip(apart.chunks_exact(d)) {
            let both = apart.iter().zip(&dy[start..][..d]);
            sum += both.map(|(a, dy)| f64::from(*a) * f64::from(*dy)).sum::<f64>();
        }
        sum
    };
    let sums: Vec<f64> = apart.par_chunks(call.n * d).zip(dy.par_chunks(size)).map(image).collect();
    to[call.entry] += gate * (1.0 - gate) * sums.iter().sum::<f64>() as f32;
}
