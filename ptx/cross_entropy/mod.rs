//! Cross-entropy with soft targets: `loss = -mean_b sum_k t log_softmax(x)`, x and t `[b k]`, loss `[1]`.
//!
//! Backward: `dx = dloss (softmax(x) sum_k t - t) / b`; targets get no gradient. Logits and targets are kept. Rows are
//! few and short, so the CPU computes sums and exponentials in f64; kernels use f32. The logits may be
//! bf16; targets and the loss are f32.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
pub mod reference;

use autograd::{Function, Saved, Sinks, Tape, Var};
use engine::{Error, Result, Tensor};

use crate::launch::on_type;
use call::{OP, check};

/// The mean loss `[1]` of `logits [b k]` against `targets [b k]`, whose rows sum to 1.
///
/// # Errors
/// A shape that differs, [`Error::Unsupported`] where there is no sample or no class, or what the device fails with.
pub fn cross_entropy(tape: &Tape, logits: &Var, targets: &Tensor) -> Result<Var> {
    let k = check(logits.shape(), targets)?;
    let loss = match tape.device().launcher() {
        None => {
            let targets = targets.as_slice();
            let loss =
                on_type!(logits.value().dtype(), E, cpu::forward::<E>(k, logits.value().slice(), targets));
            Tensor::from_slice(tape.device(), &[loss], &[1])
        }
        Some(launcher) => launch::forward(tape.device(), launcher, k, logits.value(), targets)?,
    };
    let function = || -> Box<dyn Function> {
        Box::new(CrossEntropy { k, logits: logits.save(), targets: targets.clone() })
    };
    Ok(tape.record(OP, &[logits], vec![loss], function)?.remove(0))
}

/// The targets `[b k]` of class numbers, row-major: `1 - e + e / k` at the class and `e / k` elsewhere, where e is
/// `smoothing` (Szegedy et al. 2016).
///
/// # Errors
/// A label that is no class is [`Error::Unsupported`].
pub fn smooth_targets(labels: &[u32], k: usize, smoothing: f32) -> Result<Vec<f32>> {
    let off = smoothing / k as f32;
    let mut targets = vec![off; labels.len() * k];
    for (row, &label) in labels.iter().enumerate() {
        if label as usize >= k {
            let what = format!("label {label} of sample {row} is not one of {k} classes");
            return Err(Error::Unsupported { op: OP, what });
        }
        targets[row * k + label as usize] = 1.0 - smoothing + off;
    }
    Ok(targets)
}

struct CrossEntropy {
    k: usize,
    logits: Saved,
    targets: Tensor,
}

impl Function for CrossEntropy {
    fn backward(&self, grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let dloss = grads[0].as_ref().expect("the only output");
        let x = self.logits.get()?;
        let mut dx = Tensor::empty_typed(sinks.device(), x.dtype(), x.shape());
        match sinks.device().launcher() {
            None => {
                let (targets, dloss) = (self.targets.as_slice(), dloss.as_slice()[0]);
                on_type!(x.dtype(), E, cpu::backward::<E>(self.k, x.slice(), targets, dloss, dx.slice_mut()));
            }
            Some(launcher) => launch::backward(launcher, self.k, &x, &self.targets, dloss, &mut dx)?,
        }
        sinks.give(0, dx);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engine::Device;

    use super::*;

    #[test]
    fn smoothing_keeps_rows_at_one_and_labels_in_range() {
        let targets = smooth_targets(&[2, 0], 4, 0.1).unwrap();
        assert_eq!(targets.len(), 8);
        assert_eq!(targets[..4], [0.025, 0.025, 1.0 - 0.1 + 0.025, 0.025]);
        assert_eq!(targets[4], 1.0 - 0.1 + 0.025);
        let err = smooth_targets(&[1, 4], 4, 0.1).unwrap_err().to_string();
        assert_eq!(err, "cross_entropy: label 4 of sample 1 is not one of 4 classes");
    }

    #[test]
    fn far_apart_logits_give_finite_losses() {
        let tape = Tape::new(&Device::cpu());
        let logits = tape.leaf(Tensor::from_vec(vec![3e4, -3e4, 0.0], &[1, 3]));
        let targets = Tensor::from_vec(smooth_targets(&[1], 3, 0.0).unwrap(), &[1, 3]);
        let loss = cross_entropy(&tape, &logits, &targets).unwrap();
        assert_eq!(loss.value().as_slice(), [6e4]);
        let mut grads = tape.backward(&loss, Tensor::from_vec(vec![1.0], &[1])).unwrap();
        assert_eq!(grads.take(&logits).unwrap().as_slice(), [1.0, -1.0, 0.0]);
    }
}
