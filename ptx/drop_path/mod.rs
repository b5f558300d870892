//! Drop path: `y[i] = keep[i] x[i]`, samples `x[b l d]` scaled by 0 or `1 / (1 - p)`. Backward: `dx = keep dy`.
//!
//! `keep` is drawn by the sample's number in the dataset, so that it depends neither on its place in a batch
//! nor on the number of threads.

pub mod cases;
mod cpu;
mod launch;
pub mod reference;

use autograd::{Function, Sinks, Tape, Var};
use engine::shape::{axes, check_shape};
use engine::{Error, Result, Rng, Tensor};

const OP: &str = "drop_path";
/// Stream of [`Rng`]; the layer is added.
const STREAM: u32 = 0xD809_0000;

/// For each sample 0 with probability `p`, else `1 / (1 - p)`.
pub fn keep_scales(seed: u64, epoch: u32, samples: &[u32], layer: u32, p: f64) -> Result<Vec<f32>> {
    if !(0.0..1.0).contains(&p) {
        let what = format!("probability {p} is not in [0, 1)");
        return Err(Error::Unsupported { op: OP, what });
    }
    let scale = |&sample: &u32| {
        let dropped = Rng::keyed(seed, epoch, sample, STREAM + layer).chance(p);
        if dropped { 0.0 } else { (1.0 / (1.0 - p)) as f32 }
    };
    Ok(samples.iter().map(scale).collect())
}

/// Scales every sample of `x[b l d]` by its `keep[b]`.
pub fn drop_path(tape: &Tape, x: &Var, keep: &Tensor) -> Result<Var> {
    let [b, l, d] = axes(OP, "x", "[b l d]", x.shape())?;
    check_shape(OP, "keep", "[b]", &[b], keep.shape())?;
    let mut y = Tensor::empty_typed(tape.device(), x.value().dtype(), x.shape());
    match tape.device().launcher() {
        None => cpu::forward(l * d, keep.as_slice(), x.value().as_slice(), y.as_mut_slice()),
        Some(launcher) => launch::forward(launcher, keep, x.value(), &mut y)?,
    }
    let function = || -> Box<dyn Function> { Box::new(DropPath(keep.clone())) };
    Ok(tape.record(OP, &[x], vec![y], function)?.remove(0))
}

struct DropPath(Tensor);

impl Function for DropPath {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let mut dy = grads.remove(0).expect("the only output");
        dy.make_unique(sinks.device());
        match sinks.device().launcher() {
            None => cpu::backward(dy.numel() / self.0.numel(), self.0.as_slice(), dy.as_mut_slice()),
            Some(launcher) => launch::backward(launcher, &self.0, &mut dy)?,
        }
        sinks.give(0, dy);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_keeps_its_mask_wherever_it_stands() {
        let draw = |samples: &[u32], layer| keep_scales(7, 3, samples, layer, 0.25).unwrap();
        let samples: Vec<u32> = (0..4000).collect();
        let all = draw(&samples, 5);
        assert_eq!(draw(&[41, 7, 3999], 5), [all[41], all[7], all[3999]]);
        let dropped = all.iter().filter(|&&s| s == 0.0).count();
        // 1000 expected, standard deviation 27: five of them.
        assert!(dropped.abs_diff(1000) < 137, "{dropped}");
        assert!(all.iter().all(|&s| s == 0.0 || s == (1.0 / 0.75) as f32));
        assert_ne!(draw(&samples, 6), all, "layers draw apart");
        assert!(keep_scales(0, 0, &[0], 0, 0.0).unwrap() == [1.0]);
        assert!(keep_scales(0, 0, &[0], 0, 1.0).is_err());
    }
}
