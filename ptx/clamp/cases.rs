//! Cases of the bounds.

use autograd::{Tape, Var};
use engine::{DType, Result};

use super::reference;
use crate::spec::{Asked, Axis, Case, Cost, Input, Op, Values, sum_tolerance};

/// Both are passed by some values of a normal distribution.
const LOW: f32 = -0.5;
const HIGH: f32 = 1.25;

pub(crate) struct Cases;

impl Op for Cases {
    fn name(&self) -> &'static str {
        "clamp"
    }

    fn formula(&self) -> &'static str {
        "x = min(max(x, low), high)"
    }

    /// The scale of AutoVP is a single value; others are several blocks, and runs that end at any place.
    fn cases(&self) -> Vec<Case> {
        let mut cases: Vec<Case> =
            [1, 6, 197, 1024, 785 * 33].iter().map(|&n| Case::new(&[("n", n)])).collect();
        cases.push(Case::bench(&[("n", 1)]));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        vec![Input::normal("x", &[case.get("n")], false)]
    }

    /// Changes a copy, and returns it.
    fn forward(&self, _: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let mut x = inputs[0].value().to_owned_on(tape.device());
        super::clamp(tape.device(), &mut x, LOW, HIGH)?;
        Ok(vec![Var::constant(x)])
    }

    fn reference(&self, _: &Case, inputs: &[Vec<f64>]) -> Values {
        vec![reference::clamp(&inputs[0], f64::from(LOW), f64::from(HIGH))]
    }

    fn reference_grad(&self, _: &Case, _: &[Vec<f64>], _: &[Vec<f64>]) -> Values {
        unreachable!("no case asks for a gradient")
    }

    fn tolerance(&self, _: &Case) -> f64 {
        sum_tolerance(1)
    }

    /// A bench also pays for the copy, which is not counted.
    fn cost(&self, case: &Case, _: DType) -> (Cost, Cost) {
        let n = case.get("n") as f64;
        (Cost { bytes: 8.0 * n, flop: 2.0 * n, ..Cost::default() }, Cost::default())
    }

    /// It has no backward pass.
    fn kept(&self, _: &Case, _: &Asked) -> Vec<usize> {
        vec![]
    }

    /// The bench case is that of training.
    fn training(&self) -> Vec<Axis> {
        vec![]
    }
}
