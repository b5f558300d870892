//! Cases of cross-entropy.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};

use super::reference;
use crate::spec::{Asked, Axis, Case, Cost, Draw, Input, Op, Values, sum_tolerance};

pub(crate) struct Cases;

impl Op for Cases {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn formula(&self) -> &'static str {
        "loss = -mean_b Σ_k t log_softmax(x)"
    }

    fn cases(&self) -> Vec<Case> {
        let sizes = [(1, 1), (1, 2), (5, 7), (8, 100), (3, 197), (96, 33)];
        let mut cases: Vec<Case> = sizes.iter().map(|&(b, k)| Case::new(&[("b", b), ("k", k)])).collect();
        cases.push(Case::bench(&[("b", 96), ("k", 1000)]));
        cases
    }

    /// The rows of the targets need not sum to 1 for the formulas to hold.
    fn inputs(&self, case: &Case) -> Vec<Input> {
        let shape = [case.get("b"), case.get("k")];
        vec![
            Input::new("logits", &shape, Draw::Normal(1.0, 4.0), true).typed(),
            Input::new("targets", &shape, Draw::Uniform(0.0, 1.0), false),
        ]
    }

    fn forward(&self, _: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        Ok(vec![super::cross_entropy(tape, &inputs[0], inputs[1].value())?])
    }

    fn reference(&self, case: &Case, x: &[Vec<f64>]) -> Values {
        vec![vec![reference::forward(&x[0], &x[1], case.get("k"))]]
    }

    fn reference_grad(&self, case: &Case, x: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        vec![reference::backward(&x[0], &x[1], case.get("k"), grads[0][0]), vec![]]
    }

    /// The CPU computes in f64 and rounds once.
    fn tolerance(&self, _: &Case) -> f64 {
        sum_tolerance(1)
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let typed = dtype.size() as f64;
        let n = (case.get("b") * case.get("k")) as f64;
        (
            // Targets are f32.
            Cost { bytes: (typed + 4.0) * n, flop: 4.0 * n, exp: n, ..Cost::default() },
            Cost { bytes: (2.0 * typed + 4.0) * n, flop: 4.0 * n, exp: 2.0 * n, ..Cost::default() },
        )
    }

    fn noted(&self, call: &Noted) -> Option<Case> {
        let &[b, k] = &call.inputs[0].0[..] else { return None };
        Some(Case::new(&[("b", b), ("k", k)]))
    }

    fn kept(&self, _: &Case, asked: &Asked) -> Vec<usize> {
        asked.bytes_of_all()
    }

    /// The bench case is that of training, and small enough for the emulator.
    fn training(&self) -> Vec<Axis> {
        vec![]
    }
}
