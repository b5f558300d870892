//! Cases of the three row ops.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};
use onnx::Graph;

use super::reference;
use crate::export::{Call, Written};
use crate::spec::{Asked, Axis, Case, Cost, Input, Op, Values, sum_tolerance};

/// Each case has `count` rows of `l`, from row `first` on. A case of `select` or `window` reads them from x; in a case
/// of `join` they are the gap between a tensor of the rows before and one of the rows after.
pub(crate) struct Cases;

impl Op for Cases {
    fn name(&self) -> &'static str {
        "token_rows"
    }

    fn formula(&self) -> &'static str {
        "y = x[:, i]; y = x[:, i..i+n]; y = [a, 0, b]"
    }

    fn cases(&self) -> Vec<Case> {
        let case = |[b, l, d, first, count]: [usize; 5], switch| {
            [("b", b), ("l", l), ("d", d), ("first", first), ("count", count), (switch, 1)]
        };
        let mut cases = vec![];
        for sizes in
            [[1, 1, 1, 0, 1], [2, 5, 7, 2, 1], [3, 5, 16, 4, 1], [2, 197, 33, 98, 1], [1, 785, 5, 392, 1]]
        {
            cases.extend(["select", "window", "join"].map(|switch| Case::new(&case(sizes, switch))));
        }
        for sizes in [[2, 197, 33, 0, 98], [2, 197, 33, 99, 98], [3, 5, 16, 2, 0], [1, 785, 5, 100, 300]] {
            cases.extend(["window", "join"].map(|switch| Case::new(&case(sizes, switch))));
        }
        cases.push(Case::bench(&case([8, 197, 384, 98, 1], "select")));
        cases.push(Case::bench(&case([8, 197, 384, 0, 98], "window")));
        cases.push(Case::bench(&case([8, 197, 384, 98, 1], "join")));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let (b, l, d) = (case.get("b"), case.get("l"), case.get("d"));
        if case.is("join") {
            let (m, n) = (case.get("first"), l - case.get("first") - case.get("count"));
            vec![Input::normal("a", &[b, m, d], true).typed(), Input::normal("b", &[b, n, d], true).typed()]
        } else {
            vec![Input::normal("x", &[b, l, d], true).typed()]
        }
    }

    fn forward(&self, case: &Case, tape: &Tape, x: &[Var]) -> Result<Vec<Var>> {
        let (first, count) = (case.get("first"), case.get("count"));
        Ok(vec![if case.is("join") {
            super::join(tape, &x[0], &x[1], count)?
        } else if case.is("select") {
            super::select(tape, &x[0], first)?
        } else {
            super::window(tape, &x[0], first, count)?
        }])
    }

    fn reference(&self, case: &Case, x: &[Vec<f64>]) -> Values {
        let (b, d, first, count) = (case.get("b"), case.get("d"), case.get("first"), case.get("count"));
        vec![if case.is("join") {
            reference::join(&x[0], &x[1], b, d, count)
        } else {
            reference::window(&x[0], b, d, first, count)
        }]
    }

    fn reference_grad(&self, case: &Case, _: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        let [b, l, d, first, count] = ["b", "l", "d", "first", "count"].map(|name| case.get(name));
        if case.is("join") {
            let rest = first + count;
            let of = |first, count| reference::window(&grads[0], b, d, first, count);
            vec![of(0, first), of(rest, l - rest)]
        } else {
            vec![reference::window_grad(&grads[0], b, l, d, first, count)]
        }
    }

    /// Copies are exact; where gradients meet, they are added.
    fn tolerance(&self, _: &Case) -> f64 {
        sum_tolerance(1)
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let typed = dtype.size() as f64;
        let [b, l, d, count] = ["b", "l", "d", "count"].map(|name| case.get(name) as f64);
        let rows = |read, written| Cost { bytes: typed * b * d * (read + written), ..Cost::default() };
        if case.is("join") {
            (rows(l - count, l), rows(l - count, l - count))
        } else {
            (rows(count, count), rows(count, l))
        }
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        Ok(super::onnx::write(graph, call))
    }

    fn noted(&self, _: &Noted) -> Option<Case> {
        // Rows are moved, and nothing is computed with them.
        Some(Case::new(&[]))
    }

    /// Only sizes.
    fn kept(&self, _: &Case, _: &Asked) -> Vec<usize> {
        vec![]
    }

    fn training(&self) -> Vec<Axis> {
        vec![Axis::images([1, 2, 3])]
    }
}
