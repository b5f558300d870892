//! Cases of quantised weights.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};
use onnx::Graph;

use super::reference;
use crate::export::{Call, Written};
use crate::spec::{Asked, Axis, Case, Cost, Draw, Input, Op, Values, sum_tolerance};

pub(crate) struct Cases;

impl Op for Cases {
    fn name(&self) -> &'static str {
        "quantise"
    }

    fn formula(&self) -> &'static str {
        "y = Q((w - m) / (s + eps)) s + m"
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = vec![];
        for n in [2, 5, 197, 1024, 33 * 65] {
            cases.extend([0, 1, 2].map(|bits| Case::new(&[("n", n), ("bits", bits)])));
        }
        // A factor of Bi-AdaptFormer on ViT-B, at the published width of 32.
        cases.push(Case::bench(&[("n", 768 * 32), ("bits", 1)]));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        vec![Input::new("w", &[case.get("n")], Draw::Normal(0.3, 0.5), true)]
    }

    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        Ok(vec![super::quantise(tape, &inputs[0], case.get("bits"))?])
    }

    fn reference(&self, case: &Case, inputs: &[Vec<f64>]) -> Values {
        vec![reference::forward(&inputs[0], case.get("bits"))]
    }

    fn reference_grad(&self, case: &Case, inputs: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        vec![reference::backward(&inputs[0], case.get("bits"), &grads[0])]
    }

    /// Straight through a step is an estimate; without any bits there is no step.
    fn is_slope(&self, case: &Case) -> bool {
        !case.is("bits")
    }

    fn tolerance(&self, case: &Case) -> f64 {
        sum_tolerance(case.get("n"))
    }

    fn cost(&self, case: &Case, _: DType) -> (Cost, Cost) {
        let n = case.get("n") as f64;
        let of =
            |tensors: f64, flop: f64| Cost { bytes: 4.0 * tensors * n, flop: flop * n, ..Cost::default() };
        (of(2.0, 8.0), of(3.0, 13.0))
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        super::onnx::write(graph, call)
    }

    fn noted(&self, call: &Noted) -> Option<Case> {
        Some(Case::new(&[("n", call.inputs[0].0.iter().product())]))
    }

    /// The weights, their mean and their deviation.
    fn kept(&self, _: &Case, asked: &Asked) -> Vec<usize> {
        asked.bytes("w").into_iter().chain([2 * DType::F32.size()]).collect()
    }

    /// Weights do not grow with the images.
    fn training(&self) -> Vec<Axis> {
        vec![]
    }
}
