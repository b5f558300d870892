//! Cases of SimAM.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};
use onnx::Graph;

use super::reference;
use crate::export::{Call, Written};
use crate::spec::{Asked, Axis, Case, Cost, Draw, Input, Op, Values, WARP};

pub(crate) struct Cases;

fn pixels(case: &Case) -> usize {
    case.get("h") * case.get("w")
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "simam"
    }

    fn formula(&self) -> &'static str {
        "y = x σ((x-μ)² / 4(v + 1e-3) + 1/2)"
    }

    fn cases(&self) -> Vec<Case> {
        let case = |b, c, h, w| [("b", b), ("c", c), ("h", h), ("w", w)];
        let mut cases = vec![];
        for (b, c, h, w) in [(1, 1, 1, 2), (1, 3, 5, 1), (2, 3, 7, 5), (3, 1, 197, 1), (1, 2, 32, 33)] {
            cases.push(Case::new(&case(b, c, h, w)));
        }
        // Several blocks of a sum, the last of them not whole.
        cases.push(Case::new(&case(1, 1, 157, 113)));
        cases.push(Case::bench(&case(8, 3, 224, 224)));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let shape = ["b", "c", "h", "w"].map(|axis| case.get(axis));
        vec![Input::new("x", &shape, Draw::Normal(0.3, 1.2), true).typed()]
    }

    fn forward(&self, _: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        Ok(vec![super::simam(tape, &inputs[0])?])
    }

    fn reference(&self, case: &Case, inputs: &[Vec<f64>]) -> Values {
        vec![reference::forward(pixels(case), &inputs[0])]
    }

    fn reference_grad(&self, case: &Case, inputs: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        vec![reference::backward(pixels(case), &inputs[0], &grads[0])]
    }

    /// About twenty roundings, the error of 2^x (3e-7), and sums in blocks.
    fn tolerance(&self, _: &Case) -> f64 {
        4e-6
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let typed = dtype.size() as f64;
        let n = (case.get("b") * case.get("c") * pixels(case)) as f64;
        (
            Cost {
                bytes: 2.0 * typed * n,
                flop: 10.0 * n,
                exp: n,
                slots: 20.0 * n / WARP,
                ..Cost::default()
            },
            Cost {
                bytes: 3.0 * typed * n,
                flop: 27.0 * n,
                exp: 2.0 * n,
                slots: 47.0 * n / WARP,
                ..Cost::default()
            },
        )
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        Ok(super::onnx::write(graph, call))
    }

    fn noted(&self, call: &Noted) -> Option<Case> {
        let &[b, c, h, w] = &call.inputs[0].0[..] else { return None };
        Some(Case::new(&[("b", b), ("c", c), ("h", h), ("w", w)]))
    }

    fn kept(&self, _: &Case, asked: &Asked) -> Vec<usize> {
        asked.bytes_of_all()
    }

    fn training(&self) -> Vec<Axis> {
        vec![Axis::images([1, 2, 3])]
    }
}
