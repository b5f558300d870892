//! Cases of the most salient rows.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};
use onnx::Graph;

use super::{reference, salient};
use crate::export::{Call, Written};
use crate::spec::{Asked, Axis, Case, Cost, Draw, Input, Op, Values, WARP, sum_tolerance};

/// `k` of `n` rows, which are `first`, `first + step`, ... of the `l` rows behind `extra` keys. In a case with `alike` all
/// probabilities are equal.
pub(crate) struct Cases;

fn rows(case: &Case) -> Vec<usize> {
    (0..case.get("n")).map(|j| case.get("first") + j * case.get("step")).collect()
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "salient"
    }

    fn formula(&self) -> &'static str {
        "y = the k rows with the largest mean over heads of p"
    }

    fn cases(&self) -> Vec<Case> {
        let case = |[b, heads, l, extra, first, step, n, k]: [usize; 8]| {
            [
                ("b", b),
                ("heads", heads),
                ("l", l),
                ("extra", extra),
                ("first", first),
                ("step", step),
                ("n", n),
                ("k", k),
            ]
        };
        // One row; all rows; rows behind a class token and prompts; more rows than a block has threads.
        let sizes = [
            [1, 1, 1, 0, 0, 1, 1, 1],
            [3, 2, 5, 3, 0, 1, 5, 5],
            [2, 3, 22, 0, 6, 1, 16, 3],
            [2, 2, 40, 1, 3, 4, 9, 2],
            [1, 2, 300, 0, 4, 1, 296, 100],
        ];
        let mut cases: Vec<Case> = sizes.into_iter().map(|sizes| Case::new(&case(sizes))).collect();
        cases.push(cases[4].with("alike", 1));
        cases.push(Case::new(&case([1, 1, 8200, 0, 1, 1, 8193, 1])).with("cpu_only", 1));
        // ViT-B with ten prompts.
        cases.push(Case::bench(&case([8, 12, 207, 0, 11, 1, 196, 10])));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let [b, heads, l, extra] = ["b", "heads", "l", "extra"].map(|name| case.get(name));
        let most = if case.is("alike") { 0.0 } else { 1.0 };
        vec![Input::new("p", &[b, heads, extra + l], Draw::Uniform(0.0, most), false)]
    }

    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        Ok(vec![salient(tape, &inputs[0], case.get("extra"), &rows(case), case.get("k"))?])
    }

    fn reference(&self, case: &Case, inputs: &[Vec<f64>]) -> Values {
        let sizes = [case.get("heads"), case.get("extra") + case.get("l")];
        let chosen = reference::salient(&inputs[0], sizes, case.get("extra"), &rows(case), case.get("k"));
        vec![chosen.into_iter().map(|row| row as f64).collect()]
    }

    fn reference_grad(&self, _: &Case, _: &[Vec<f64>], _: &[Vec<f64>]) -> Values {
        unreachable!("no case asks for a gradient")
    }

    /// Numbers are exact. Rows that are as salient as rounding tells would be drawn once in a thousand cases.
    fn tolerance(&self, _: &Case) -> f64 {
        sum_tolerance(1)
    }

    fn cost(&self, case: &Case, _: DType) -> (Cost, Cost) {
        let [b, heads, n, k] = ["b", "heads", "n", "k"].map(|name| case.get(name) as f64);
        let bytes = 4.0 * (b * heads * n + n + b * k);
        // Those of a pair of rows in its machine code.
        let slots = b * n * n * 10.4 / WARP;
        (Cost { bytes, flop: b * heads * n, slots, ..Cost::default() }, Cost::default())
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        Ok(super::onnx::write(graph, call))
    }

    fn noted(&self, call: &Noted) -> Option<Case> {
        let [(p, _), (rows, _)] = &call.inputs[..] else { return None };
        Some(Case::new(&[("b", p[0]), ("heads", p[1]), ("n", rows[0])]))
    }

    /// It has no backward pass.
    fn kept(&self, _: &Case, _: &Asked) -> Vec<usize> {
        vec![]
    }

    fn training(&self) -> Vec<Axis> {
        vec![Axis::images([1, 2, 3])]
    }
}
