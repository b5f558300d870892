//! Cases of the moving average.

use autograd::{Tape, Var};
use engine::{DType, Result};

use super::{Slot, reference};
use crate::grad_norm::healthy;
use crate::spec::{Asked, Axis, Case, Cost, Input, Op, Values, sum_tolerance};

/// Trained elements of SVP on Vim-S.
const TRAINED: usize = 1_644_288;

/// A large rate, so that a wrong update shows.
const RATE: f32 = 0.25;

pub(crate) struct Cases;

impl Op for Cases {
    fn name(&self) -> &'static str {
        "ema"
    }

    fn formula(&self) -> &'static str {
        "a = a + (1 - decay) (x - a)"
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases: Vec<Case> = [1, 5, 197, 785 * 33].iter().map(|&n| Case::new(&[("n", n)])).collect();
        cases.push(Case::bench(&[("n", TRAINED)]));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        ["average", "value"].map(|name| Input::normal(name, &[case.get("n")], false)).into()
    }

    /// Steps on a copy, and returns it.
    fn forward(&self, _: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let mut average = inputs[0].value().to_owned_on(tape.device());
        let slot = Slot { average: &mut average, value: inputs[1].value() };
        super::step(tape.device(), &mut [slot], RATE, &healthy(tape.device()))?;
        Ok(vec![Var::constant(average)])
    }

    fn reference(&self, _: &Case, inputs: &[Vec<f64>]) -> Values {
        vec![reference::step(f64::from(RATE), &inputs[0], &inputs[1])]
    }

    fn reference_grad(&self, _: &Case, _: &[Vec<f64>], _: &[Vec<f64>]) -> Values {
        unreachable!("no case asks for a gradient")
    }

    fn tolerance(&self, _: &Case) -> f64 {
        sum_tolerance(1)
    }

    /// The step reads two values and writes one. A bench also pays for the copy, which is not counted.
    fn cost(&self, case: &Case, _: DType) -> (Cost, Cost) {
        let n = case.get("n") as f64;
        (Cost { bytes: 12.0 * n, flop: 3.0 * n, ..Cost::default() }, Cost::default())
    }

    /// It has no backward pass.
    fn kept(&self, _: &Case, _: &Asked) -> Vec<usize> {
        vec![]
    }

    fn training(&self) -> Vec<Axis> {
        vec![Axis::new("n", [1 << 15, 1 << 16, 1 << 17], TRAINED)]
    }
}
