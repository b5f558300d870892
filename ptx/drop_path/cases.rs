//! Cases of drop path.

use autograd::{Tape, Var};
use engine::{DType, Result};

use super::reference;
use crate::spec::{Case, Cost, Draw, Input, Op, Values, sum_tolerance};

pub struct DropPath;

impl Op for DropPath {
    fn name(&self) -> &'static str {
        "drop_path"
    }

    fn formula(&self) -> &'static str {
        "y[i] = keep[i] x[i]"
    }

    fn cases(&self) -> Vec<Case> {
        let case = |b, l, d| [("b", b), ("l", l), ("d", d)];
        let sizes = [(1, 1, 1), (2, 5, 7), (3, 197, 33), (1, 785, 5)];
        let mut cases: Vec<Case> = sizes.iter().map(|&(b, l, d)| Case::new(&case(b, l, d))).collect();
        cases.push(Case::bench(&case(8, 197, 384)));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let b = case.get("b");
        vec![
            Input::normal("x", &[b, case.get("l"), case.get("d")], true).typed(),
            Input::new("keep", &[b], Draw::Uniform(0.0, 2.0), false),
        ]
    }

    fn forward(&self, _: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        Ok(vec![super::drop_path(tape, &inputs[0], inputs[1].value())?])
    }

    fn reference(&self, _: &Case, x: &[Vec<f64>]) -> Values {
        vec![reference::scale(&x[0], &x[1])]
    }

    fn reference_grad(&self, _: &Case, x: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        vec![reference::scale(&grads[0], &x[1]), vec![]]
    }

    fn tolerance(&self, _: &Case) -> f64 {
        sum_tolerance(1)
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let n = (case.get("b") * case.get("l") * case.get("d")) as f64;
        let one = Cost { bytes: (2 * dtype.size()) as f64 * n, flop: n, exp: 0.0 };
        (one, one)
    }
}
