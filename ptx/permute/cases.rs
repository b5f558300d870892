//! Cases of the order of axes.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};
use onnx::Graph;

use super::reference;
use crate::export::{Call, Written};
use crate::spec::{Asked, Axis, Case, Cost, Input, Op, Values, sum_tolerance};

/// The size `order` has the order as digits: 102 exchanges the first two axes.
pub(crate) struct Cases;

fn order(case: &Case) -> [usize; 3] {
    [case.get("order") / 100, case.get("order") / 10 % 10, case.get("order") % 10]
}

fn shape(case: &Case) -> [usize; 3] {
    ["a", "b", "c"].map(|name| case.get(name))
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "permute"
    }

    fn formula(&self) -> &'static str {
        "y[i, j, k] = x[k, i, j] and the other orders of axes"
    }

    fn cases(&self) -> Vec<Case> {
        let case = |[a, b, c]: [usize; 3], order| [("a", a), ("b", b), ("c", c), ("order", order)];
        let mut cases = vec![];
        // Every order; single rows and columns; more than a block.
        for sizes in [[1, 1, 1], [3, 5, 7], [1, 33, 20], [4, 16, 65]] {
            cases.extend([12, 21, 102, 120, 201, 210].map(|order| Case::new(&case(sizes, order))));
        }
        // The core of FacT for the two products of an MLP, at rank 16, and the factor of all 12 blocks.
        cases.push(Case::bench(&case([16, 16, 4], 120)));
        cases.push(Case::bench(&case([1, 16, 144], 21)));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        vec![Input::normal("x", &shape(case), true).typed()]
    }

    fn forward(&self, case: &Case, tape: &Tape, x: &[Var]) -> Result<Vec<Var>> {
        Ok(vec![super::permute(tape, &x[0], order(case))?])
    }

    fn reference(&self, case: &Case, x: &[Vec<f64>]) -> Values {
        vec![reference::forward(&x[0], shape(case), order(case))]
    }

    fn reference_grad(&self, case: &Case, _: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        vec![reference::backward(&grads[0], shape(case), order(case))]
    }

    /// Copies are exact; where gradients meet, they are added.
    fn tolerance(&self, _: &Case) -> f64 {
        sum_tolerance(1)
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let n = shape(case).iter().product::<usize>() as f64;
        let moved = Cost { bytes: 2.0 * dtype.size() as f64 * n, ..Cost::default() };
        (moved, moved)
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        Ok(super::onnx::write(graph, call))
    }

    fn noted(&self, _: &Noted) -> Option<Case> {
        // Elements are moved, and nothing is computed with them.
        Some(Case::new(&[]))
    }

    /// Only sizes.
    fn kept(&self, _: &Case, _: &Asked) -> Vec<usize> {
        vec![]
    }

    /// Parameters do not grow with the images.
    fn training(&self) -> Vec<Axis> {
        vec![]
    }
}
