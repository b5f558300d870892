//! Cases of the nearest prototype.

use autograd::{Tape, Var};
use engine::{DType, Result};

use super::reference;
use crate::spec::{Asked, Axis, Case, Cost, Draw, Input, Op, Values, WARP, sum_tolerance};

pub(crate) struct Cases;

impl Op for Cases {
    fn name(&self) -> &'static str {
        "nearest"
    }

    fn formula(&self) -> &'static str {
        "a = argmin_j |x - p[j]|"
    }

    /// Fewer prototypes than a block has warps, as many, and more; rows that fill no warp, one and several. In the case
    /// `alike` all distances are zero.
    fn cases(&self) -> Vec<Case> {
        let case = |[b, m, d]: [usize; 3]| [("b", b), ("m", m), ("d", d)];
        let sizes = [[1, 1, 1], [7, 2, 5], [9, 4, 33], [33, 7, 31], [5, 40, 197], [4, 5, 768]];
        let mut cases: Vec<Case> = sizes.into_iter().map(|sizes| Case::new(&case(sizes))).collect();
        cases.push(cases[3].with("alike", 1));
        cases.push(Case::bench(&case([96, 30, 384])));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let [b, m, d] = ["b", "m", "d"].map(|name| case.get(name));
        let spread = if case.is("alike") { 0.0 } else { 1.0 };
        [("x", b), ("prototypes", m)]
            .map(|(name, rows)| Input::new(name, &[rows, d], Draw::Normal(1.0, spread), false))
            .into()
    }

    fn forward(&self, _: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let numbers = super::nearest(tape.device(), inputs[0].value(), inputs[1].value())?;
        Ok(vec![Var::constant(numbers)])
    }

    fn reference(&self, case: &Case, inputs: &[Vec<f64>]) -> Values {
        let numbers = reference::nearest(&inputs[0], &inputs[1], case.get("d"));
        vec![numbers.into_iter().map(|number| number as f64).collect()]
    }

    fn reference_grad(&self, _: &Case, _: &[Vec<f64>], _: &[Vec<f64>]) -> Values {
        unreachable!("no case asks for a gradient")
    }

    /// Numbers are exact. Prototypes that are as near as rounding tells would be drawn once in a million cases.
    fn tolerance(&self, _: &Case) -> f64 {
        sum_tolerance(1)
    }

    fn cost(&self, case: &Case, _: DType) -> (Cost, Cost) {
        let [b, m, d] = ["b", "m", "d"].map(|name| case.get(name) as f64);
        let (pairs, values) = (b * m, b * m * d);
        let slots = pairs * (8.5 * d / WARP + 34.0);
        let bytes = 4.0 * (b * d + m * d + b);
        (Cost { bytes, flop: 3.0 * values, slots, ..Cost::default() }, Cost::default())
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
