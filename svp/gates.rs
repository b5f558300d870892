//! The gates of the scans, token by token (SVP, AAAI 2025, figures 6 and 7; `docs/methods.md`, "Gates").
//!
//! A scan's state follows `s_t = exp(delta_t A) s_{t-1} + delta_t u_t B_t`. The **update gate** of token t is what it
//! writes, `|delta_t u_t B_t|`; the **forget gate** is the share of the previous state that it keeps, `exp(delta_t A)`.
//! Both are averaged over channels, states and blocks. The paper does not say how it averages or treats the sign, so
//! these definitions are this project's.

use autograd::Var;
use engine::Tensor;
use ptx::selective_scan::{Direction, reference::softplus};
use rayon::prelude::*;
use serde::Serialize;

use crate::Result;
use crate::model::Model;
use crate::pass::Seen;

/// One gate of every patch, row by row, as the mean over channels, states and blocks. The class token and prompts are
/// left out.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gate {
    /// Values in the scan from the first token to the last.
    pub forward: Vec<f64>,
    /// Values in the scan from the last token to the first.
    pub backward: Vec<f64>,
}

/// Both gates of an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Gates {
    /// What each token writes into the state, at least 0.
    pub update: Gate,
    /// The share of the previous state that each token keeps, 0 to 1.
    pub forget: Gate,
}

/// Update and forget gate of one token in one scan.
pub type TokenGates = (f64, f64);

impl Gates {
    /// Computes the gates of one normalised image `[1 3 s s]`, with the method or with the backbone alone.
    ///
    /// Those of [`Model::forward`].
    pub fn of(model: &Model, image: Tensor, adapted: bool) -> Result<Self> {
        let (patches, depth) = (model.spec().patches(), model.spec().depth);
        let mut sums = [(); 2].map(|()| vec![(0.0, 0.0); patches]);
        model.observe(image, adapted, &mut |seen| {
            let Seen::Scan(scanned) = seen else { return Ok(()) };
            let is_patch = |row| Some(row) != scanned.class_row && !scanned.prompt_rows.contains(&row);
            for (direction, sums) in sums.iter_mut().enumerate() {
                let prompt = scanned.prompts.map(|prompts| &prompts[direction]);
                let tokens = scan_gates(&scanned.directions[direction], prompt)?;
                let patches = tokens.into_iter().enumerate().filter(|(row, _)| is_patch(*row));
                for (sum, (_, gates)) in sums.iter_mut().zip(patches) {
                    *sum = (sum.0 + gates.0, sum.1 + gates.1);
                }
            }
            Ok(())
        })?;
        let mean = |patches: &[TokenGates], gate: fn(&TokenGates) -> f64| -> Vec<f64> {
            patches.iter().map(|patch| gate(patch) / depth as f64).collect()
        };
        let gate = |of| Gate { forward: mean(&sums[0], of), backward: mean(&sums[1], of) };
        Ok(Gates { update: gate(|patch| patch.0), forget: gate(|patch| patch.1) })
    }
}

impl Gate {
    /// The gate after a share of the sequence, 0 to 1, as both scans walk it from their ends. Each token has the mean
    /// over the scans that have passed it, or `None` where neither has.
    pub fn walked(&self, share: f64) -> Vec<Option<f64>> {
        let n = self.forward.len();
        let steps = ((share * n as f64).round() as usize).min(n);
        let token = |i: usize| match (i < steps, i >= n - steps) {
            (true, true) => Some((self.forward[i] + self.backward[i]) / 2.0),
            (true, false) => Some(self.forward[i]),
            (false, true) => Some(self.backward[i]),
            (false, false) => None,
        };
        (0..n).map(token).collect()
    }
}

/// Update and forget gate of every token of a batch in one scan, as means over channels and states. `prompt [b l e]` is
/// added to `u`.
///
/// Values that cannot be read back from the device.
pub fn scan_gates(direction: &Direction, prompt: Option<&Var>) -> Result<Vec<TokenGates>> {
    let (delta, mut u, x_dbl) = (
        direction.delta.value().values()?,
        direction.u.value().values()?.to_vec(),
        direction.x_dbl.value().values()?,
    );
    if let Some(prompt) = prompt {
        u.iter_mut().zip(prompt.value().values()?.iter()).for_each(|(u, p)| *u += p);
    }
    let (a_log, bias) = (direction.a_log.value().values()?, direction.delta_bias.value().values()?);
    let (e, n) = (bias.len(), a_log.len() / bias.len());
    let width = x_dbl.len() / (delta.len() / e);
    let a: Vec<f32> = a_log.iter().map(|a_log| -a_log.exp()).collect();

    let token = |t: usize| {
        let (mut written, mut kept) = (0.0, 0.0);
        for c in 0..e {
            let delta = softplus(delta[t * e + c] + bias[c]);
            written += f64::from((delta * u[t * e + c]).abs());
            kept += a[c * n..(c + 1) * n].iter().map(|a| f64::from((delta * a).exp())).sum::<f64>();
        }
        // B is the same for every channel, so the sum over channels and states is a product of two sums.
        let b = &x_dbl[(t + 1) * width - 2 * n..(t + 1) * width - n];
        let b: f64 = b.iter().map(|b| f64::from(b.abs())).sum();
        let all = (e * n) as f64;
        (written * b / all, kept / all)
    };
    Ok((0..delta.len() / e).into_par_iter().map(token).collect())
}

#[cfg(test)]
mod tests {
    use autograd::Var;
    use engine::{Device, Rng};

    use super::*;
    use crate::backbones::vim::{Vim, VimConfig};
    use crate::methods::Chosen;
    use crate::model::Parts;
    use crate::params::Params;

    /// Side of an image of 4x4 patches of 4 pixels, whose class token is token 8.
    const SIDE: usize = 16;

    fn model(depth: usize) -> Model {
        let mut params = Params::default();
        let vim = Vim::init(VimConfig::sized(SIDE, 4, 16, depth), &mut params, 5).unwrap();
        let method = Chosen::named("svp").unwrap();
        let method = method.with_flag("hidden", "8").unwrap().with_flag("group-size", "1").unwrap();
        let parts = Parts::new(method, 3);
        Model::new(&Device::cpu(), Box::new(vim), params, parts, 5).unwrap()
    }

    fn image() -> Vec<f32> {
        let mut rng = Rng::keyed(7, 0, 0, 0);
        (0..3 * SIDE * SIDE).map(|_| rng.normal() as f32).collect()
    }

    fn gates(model: &Model, image: Vec<f32>, adapted: bool) -> Gates {
        Gates::of(model, Tensor::from_vec(image, &[1, 3, SIDE, SIDE]), adapted).unwrap()
    }

    /// In the first block a patch reaches the gates of its own token and of the next three, because the convolution of
    /// each direction carries it there. The class token is one of them.
    #[test]
    fn gates_stand_where_their_patches_are() {
        let model = model(1);
        let (before, mut changed) = (gates(&model, image(), false), image());
        // Patch 7 is in row 1, column 3.
        changed[4 * SIDE + 12] += 1.0;
        let after = gates(&model, changed, false);
        let moved = |a: &[f64], b: &[f64]| -> Vec<usize> {
            assert_eq!((a.len(), b.len()), (16, 16));
            (0..16).filter(|&i| a[i] != b[i]).collect()
        };
        for (a, b) in [(&before.update, &after.update), (&before.forget, &after.forget)] {
            assert_eq!(moved(&a.forward, &b.forward), [7, 8, 9]);
            assert_eq!(moved(&a.backward, &b.backward), [4, 5, 6, 7]);
        }
    }

    #[test]
    fn prompts_move_the_gates_once_their_scales_do() {
        let mut model = model(2);
        let frozen = gates(&model, image(), false);
        assert_eq!(gates(&model, image(), true), frozen, "scales begin at zero");
        let id = model.params.id("prompt_shared_scale").unwrap();
        let shape = model.params.get(id).shape().to_vec();
        model.params.set(id, Tensor::from_vec(vec![0.5; shape.iter().product()], &shape));
        assert_ne!(gates(&model, image(), true), frozen);
        assert_eq!(gates(&model, image(), false), frozen);
        let shares = [&frozen.forget.forward, &frozen.forget.backward].into_iter().flatten();
        assert!(shares.into_iter().all(|&share| share > 0.0 && share < 1.0), "{frozen:?}");
    }

    /// Two tokens, two channels, two states and r = 1, with every product written out.
    #[test]
    fn gates_are_means_over_channels_and_states() {
        let var = |values: &[f32], shape: &[usize]| Var::constant(Tensor::from_vec(values.to_vec(), shape));
        let direction = Direction {
            u: &var(&[1.0, -2.0, 0.5, 3.0], &[1, 2, 2]),
            delta: &var(&[0.1, 0.2, -0.3, 30.0], &[1, 2, 2]),
            // Each token has one column for delta, then B and C.
            x_dbl: &var(&[9.0, 0.5, -0.25, 7.0, 7.0, 9.0, -2.0, 1.0, 7.0, 7.0], &[1, 2, 5]),
            a_log: &var(&[0.0, 0.5, -0.5, 1.0], &[2, 2]),
            d: &var(&[0.0; 2], &[2]),
            delta_bias: &var(&[0.25, -0.5], &[2]),
        };
        let softplus = |x: f64| if x > 20.0 { x } else { (1.0 + x.exp()).ln() };
        let gates = scan_gates(&direction, None).unwrap();
        let tokens = [
            ([softplus(0.35), softplus(-0.3)], [1.0, -2.0], [0.5, -0.25]),
            ([softplus(-0.05), softplus(29.5)], [0.5, 3.0], [-2.0, 1.0]),
        ];
        assert_eq!(gates.len(), 2);
        for ((delta, u, b), found) in tokens.into_iter().zip(gates) {
            let (mut update, mut forget) = (0.0, 0.0);
            for c in 0..2 {
                for i in 0..2 {
                    let a = -[[0.0f64, 0.5], [-0.5, 1.0]][c][i].exp();
                    update += (delta[c] * u[c] * b[i]).abs() / 4.0;
                    forget += (delta[c] * a).exp() / 4.0;
                }
            }
            assert!((found.0 / update - 1.0).abs() < 1e-6, "update gate {} for {update}", found.0);
            assert!((found.1 / forget - 1.0).abs() < 1e-6, "forget gate {} for {forget}", found.1);
        }
    }

    #[test]
    fn a_token_counts_in_the_scans_that_have_passed_it() {
        let gate = Gate { forward: vec![1.0, 2.0, 3.0, 4.0], backward: vec![10.0, 20.0, 30.0, 40.0] };
        assert_eq!(gate.walked(0.0), [None; 4]);
        assert_eq!(gate.walked(0.25), [Some(1.0), None, None, Some(40.0)]);
        assert_eq!(gate.walked(0.5), [Some(1.0), Some(2.0), Some(30.0), Some(40.0)]);
        assert_eq!(gate.walked(0.75), [Some(1.0), Some(11.0), Some(16.5), Some(40.0)]);
        assert_eq!(gate.walked(1.0), [Some(5.5), Some(11.0), Some(16.5), Some(22.0)]);
    }
}
