//! Cases of the gradient norm.

use autograd::{Tape, Var};
use engine::{DType, Result, Tensor};

use super::reference;
use crate::spec::{Asked, Axis, Case, Cost, Input, Op, Values, sum_tolerance};

/// The loss of every case, which is passed on.
const LOSS: f32 = 0.625;

/// Each case has three tensors: of `n` elements, of one, and of `n / 2`.
pub(crate) struct Cases;

impl Op for Cases {
    fn name(&self) -> &'static str {
        "grad_norm"
    }

    fn formula(&self) -> &'static str {
        "norm = √(Σ_i g_i·g_i)"
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases: Vec<Case> =
            [2, 5, 197, 4099, 785 * 33].iter().map(|&n| Case::new(&[("n", n)])).collect();
        // 1.6 million elements in all, as SVP trains on Vim-S.
        cases.push(Case::bench(&[("n", 1_096_192)]));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let n = case.get("n");
        [("a", n), ("b", 1), ("c", n / 2)].map(|(name, n)| Input::normal(name, &[n], false)).into()
    }

    fn forward(&self, _: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let grads: Vec<&Tensor> = inputs.iter().map(Var::value).collect();
        let device = tape.device();
        let mut health = super::healthy(device);
        super::grad_norm(device, &Tensor::from_slice(device, &[LOSS], &[1]), &grads, &mut health)?;
        Ok(vec![Var::constant(health)])
    }

    fn reference(&self, _: &Case, inputs: &[Vec<f64>]) -> Values {
        vec![vec![f64::from(LOSS), reference::grad_norm(inputs), 1.0]]
    }

    fn reference_grad(&self, _: &Case, _: &[Vec<f64>], _: &[Vec<f64>]) -> Values {
        unreachable!("no case asks for a gradient")
    }

    /// A thread adds a few hundred terms in a row at most, and the others in a tree.
    fn tolerance(&self, _: &Case) -> f64 {
        sum_tolerance(16)
    }

    fn cost(&self, case: &Case, _: DType) -> (Cost, Cost) {
        let n = 1.5 * case.get("n") as f64;
        (Cost { bytes: 4.0 * n, flop: 2.0 * n, ..Cost::default() }, Cost::default())
    }

    /// It has no backward pass.
    fn kept(&self, _: &Case, _: &Asked) -> Vec<usize> {
        vec![]
    }

    /// The bench case is that of training, and small enough for the emulator.
    fn training(&self) -> Vec<Axis> {
        vec![]
    }
}
