//! Gated rows on the CPU: an image a task. Bound by memory.

use engine::{Element, simd_fn};
use rayon::prelude::*;

use super::call::Call;
use crate::rows::{add_times, write_times};

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
pub fn gate<E: Element>(call: &Call, z: Option<&[E]>, y: &mut [E], apart: Option<&mut [f32]>) {
    let (gate, d, size) = (call.gate(), call.d, call.l * call.d);
    if y.is_empty() {
        return;
    }
    let z_row = |image: usize, start: usize| z.map(|z| &z[image * size + start..][..d]);
    if let Some(apart) = apart {
        let x = &*y;
        apart.par_chunks_mut(call.n * d).enumerate().for_each(|(image, apart)| {
            for (start, apart) in call.starts().zip(apart.chunks_exact_mut(d)) {
                write_times(1.0, &x[image * size + start..][..d], apart);
                if let Some(z) = z_row(image, start) {
                    add_times(-1.0, z, apart);
                }
            }
        });
    }
    y.par_chunks_mut(size).enumerate().for_each(|(image, y)| {
        for start in call.starts() {
            let y = &mut y[start..][..d];
            match z_row(image, start) {
                None => y.iter_mut().for_each(|y| *y = E::from_f32(gate * y.to_f32())),
                Some(z) => mix(gate, y, z),
            }
        }
    });
}

simd_fn! {
    /// Replaces y by `gate y + (1 - gate) z`.
    fn mix<S, E>(s, gate: f32, y: &mut [E], z: &[E]) {
        let (gate, rest) = (s.splat(gate), s.splat(1.0 - gate));
        for i in (0..y.len()).step_by(S::LANES) {
            let mixed = s.add(s.mul(gate, s.read(y, i)), s.mul(rest, s.read(z, i)));
            s.write(y, i, mixed);
        }
    }
}

/// Adds to the gradient of `z [b l d]`.
pub fn grad_z<E: Element>(call: &Call, dy: &[E], to: &mut [E]) {
    let (rest, d, size) = (1.0 - call.gate(), call.d, call.l * call.d);
    if to.is_empty() {
        return;
    }
    to.par_chunks_mut(size).zip(dy.par_chunks(size)).for_each(|(to, dy)| {
        for start in call.starts() {
            add_times(rest, &dy[start..][..d], &mut to[start..][..d]);
        }
    });
}

/// Adds to the gradient of the logits `[k]`: the sum of each image in f64, and of images in order.
pub fn grad_logit<E: Element>(call: &Call, apart: &[f32], dy: &[E], to: &mut [f32]) {
    let (gate, d, size) = (call.gate(), call.d, call.l * call.d);
    if apart.is_empty() {
        return;
    }
    let image = |(apart, dy): (&[f32], &[E])| {
        let mut sum = 0.0;
        for (start, apart) in call.starts().zip(apart.chunks_exact(d)) {
            let both = apart.iter().zip(&dy[start..][..d]);
            sum += both.map(|(a, dy)| f64::from(*a) * f64::from(dy.to_f32())).sum::<f64>();
        }
        sum
    };
    let sums: Vec<f64> = apart.par_chunks(call.n * d).zip(dy.par_chunks(size)).map(image).collect();
    to[call.entry] += gate * (1.0 - gate) * sums.iter().sum::<f64>() as f32;
}
