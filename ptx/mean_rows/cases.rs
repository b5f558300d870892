//! Cases of the mean of rows.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};
use onnx::Graph;

use super::reference;
use crate::export::{Call, Written};
use crate::spec::{Asked, Axis, Case, Cost, Input, Op, Values, sum_tolerance};

pub(crate) struct Cases;

impl Op for Cases {
    fn name(&self) -> &'static str {
        "mean_rows"
    }

    fn formula(&self) -> &'static str {
        "y = mean of x[:, j], j != skip"
    }

    fn cases(&self) -> Vec<Case> {
        let case = |[b, l, d, skip]: [usize; 4]| [("b", b), ("l", l), ("d", d), ("skip", skip)];
        // The first, the last and a middle row is left out, or none, which is row l; fewer and more rows than a block has rows of threads; widths
        // that fill 16 bytes in both types, in f32 alone, and in neither.
        let sizes = [
            [1, 2, 1, 0],
            [2, 2, 7, 1],
            [3, 5, 16, 2],
            [2, 33, 36, 32],
            [2, 197, 33, 0],
            [1, 785, 5, 392],
            [5, 70, 40, 0],
            [1, 1, 5, 1],
            [3, 40, 36, 40],
        ];
        let mut cases: Vec<Case> = sizes.into_iter().map(|sizes| Case::new(&case(sizes))).collect();
        cases.push(Case::bench(&case([8, 197, 384, 0])));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        vec![Input::normal("x", &[case.get("b"), case.get("l"), case.get("d")], true).typed()]
    }

    fn forward(&self, case: &Case, tape: &Tape, x: &[Var]) -> Result<Vec<Var>> {
        let skip = Some(case.get("skip")).filter(|&skip| skip < case.get("l"));
        Ok(vec![super::mean_rows(tape, &x[0], skip)?])
    }

    fn reference(&self, case: &Case, x: &[Vec<f64>]) -> Values {
        vec![reference::forward(&x[0], case.get("b"), case.get("d"), case.get("skip"))]
    }

    fn reference_grad(&self, case: &Case, _: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        let [b, l, d, skip] = ["b", "l", "d", "skip"].map(|name| case.get(name));
        vec![reference::backward(&grads[0], b, l, d, skip)]
    }

    fn tolerance(&self, case: &Case) -> f64 {
        sum_tolerance(case.get("l"))
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let [b, l, d] = ["b", "l", "d"].map(|name| case.get(name) as f64);
        let of = |rows: f64| Cost {
            bytes: dtype.size() as f64 * b * d * (rows + 1.0),
            flop: b * d * (l - 1.0),
            ..Cost::default()
        };
        // Forward does not read the row that is left out; backward writes zeros there.
        (of(l - 1.0), of(l))
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        Ok(super::onnx::write(graph, call))
    }

    fn noted(&self, call: &Noted) -> Option<Case> {
        let [(x, _)] = &call.inputs[..] else { return None };
        Some(Case::new(&[("b", x[0]), ("l", x[1]), ("d", x[2])]))
    }

    /// Only sizes.
    fn kept(&self, _: &Case, _: &Asked) -> Vec<usize> {
        vec![]
    }

    fn training(&self) -> Vec<Axis> {
        vec![Axis::images([1, 2, 3])]
    }
}
