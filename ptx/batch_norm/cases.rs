//! Cases of batch normalization.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};
use onnx::Graph;

use super::reference;
use crate::export::{Call, Written};
use crate::spec::{Asked, Axis, Case, Cost, Draw, Input, Op, Values, sum_tolerance};

/// A case with `given` has its mean and variance as inputs; others take those of the rows, and one with `moments` shows
/// them in place of y.
pub(crate) struct Cases;

impl Op for Cases {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    fn formula(&self) -> &'static str {
        "y = (x - m) / √(v + eps), m and v over the batch"
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = vec![];
        // Not two rows, which become 1 and -1 whatever they are, so that the gradient is eps alone.
        for (b, d) in [(4, 1), (3, 7), (5, 128), (33, 130), (257, 5)] {
            cases.extend([0, 1].map(|given| Case::new(&[("b", b), ("d", d), ("given", given)])));
        }
        cases.extend([(3, 7), (257, 5)].map(|(b, d)| Case::new(&[("b", b), ("d", d), ("moments", 1)])));
        // One row, which only given moments can normalise.
        cases.push(Case::new(&[("b", 1), ("d", 20), ("given", 1)]));
        // The features of ViT-B.
        cases.push(Case::bench(&[("b", 64), ("d", 768), ("given", 0)]));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let (b, d) = (case.get("b"), case.get("d"));
        let mut inputs = vec![Input::new("x", &[b, d], Draw::Normal(0.5, 2.0), !case.is("moments"))];
        if case.is("given") {
            inputs.push(Input::normal("mean", &[d], false));
            inputs.push(Input::new("variance", &[d], Draw::Uniform(0.5, 2.0), false));
        }
        inputs
    }

    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        if case.is("given") {
            return Ok(vec![super::normalised_by(tape, &inputs[0], &inputs[1], &inputs[2])?]);
        }
        let (y, moments) = super::batch_norm(tape, &inputs[0])?;
        Ok(if case.is("moments") { moments.map(Var::constant).into() } else { vec![y] })
    }

    fn reference(&self, case: &Case, inputs: &[Vec<f64>]) -> Values {
        if case.is("given") {
            return vec![reference::forward(&inputs[0], &inputs[1], &inputs[2])];
        }
        let (b, d) = (case.get("b") as f64, case.get("d"));
        let (mean, variance) = reference::moments(&inputs[0], d);
        match case.is("moments") {
            true => vec![mean, variance.into_iter().map(|v| v * b / (b - 1.0)).collect()],
            false => vec![reference::forward(&inputs[0], &mean, &variance)],
        }
    }

    fn reference_grad(&self, case: &Case, inputs: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        if case.is("given") {
            // The gradient by given moments is dy through the same division.
            let none = vec![0.0; case.get("d")];
            return vec![reference::forward(&grads[0], &none, &inputs[2])];
        }
        vec![reference::backward(&inputs[0], case.get("d"), &grads[0])]
    }

    /// Two rows that lie close to each other lose digits in their difference.
    fn tolerance(&self, case: &Case) -> f64 {
        8.0 * sum_tolerance(case.get("b"))
    }

    fn cost(&self, case: &Case, _: DType) -> (Cost, Cost) {
        let n = (case.get("b") * case.get("d")) as f64;
        let of =
            |tensors: f64, flop: f64| Cost { bytes: 4.0 * tensors * n, flop: flop * n, ..Cost::default() };
        // Given moments save the sums.
        let (forward, backward) = if case.is("given") { (2.0, 1.0) } else { (6.0, 7.0) };
        (of(2.0, forward), of(if case.is("given") { 2.0 } else { 3.0 }, backward))
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        super::onnx::write(graph, call)
    }

    fn noted(&self, call: &Noted) -> Option<Case> {
        let [(x, _), (mean, _), _] = &call.inputs[..] else { return None };
        Some(Case::new(&[("b", x[0]), ("d", x[1]), ("given", usize::from(*mean != [0]))]))
    }

    fn kept(&self, case: &Case, asked: &Asked) -> Vec<usize> {
        if case.is("moments") {
            return vec![];
        }
        let y = asked.bytes("x").filter(|_| !case.is("given"));
        y.into_iter().chain([case.get("d") * DType::F32.size()]).collect()
    }

    fn training(&self) -> Vec<Axis> {
        vec![]
    }
}
