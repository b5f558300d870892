//! Cases of GELU.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};
use onnx::Graph;

use super::reference;
use crate::export::{Call, Written};
use crate::spec::{
    Asked, Axis, Case, Cost, Draw, Input, Op, TRAINING_IMAGES, TRAINING_TOKENS, Values, WARP, sum_tolerance,
};

pub(crate) struct Cases;

impl Op for Cases {
    fn name(&self) -> &'static str {
        "gelu"
    }

    fn formula(&self) -> &'static str {
        "y = x (1 + erf(x / √2)) / 2"
    }

    /// Sizes that end in the middle of a vector, of 16 bytes in each type and of a block.
    fn cases(&self) -> Vec<Case> {
        let sizes = [(1, 1), (5, 7), (3, 16), (197, 36), (65, 33), (2077, 5)];
        let mut cases: Vec<Case> =
            sizes.iter().map(|&(rows, d)| Case::new(&[("rows", rows), ("d", d)])).collect();
        // Between the two products of the MLP of ViT-B at batch 8.
        cases.push(Case::bench(&[("rows", 8 * 197), ("d", 3072)]));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        // Wide enough for both ends.
        vec![Input::new("x", &[case.get("rows"), case.get("d")], Draw::Normal(0.0, 2.0), true).typed()]
    }

    fn forward(&self, _: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        Ok(vec![super::gelu(tape, &inputs[0])?])
    }

    fn reference(&self, _: &Case, inputs: &[Vec<f64>]) -> Values {
        vec![reference::forward(&inputs[0])]
    }

    fn reference_grad(&self, _: &Case, inputs: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        vec![reference::backward(&inputs[0], &grads[0])]
    }

    /// The distribution function is off by 2e-7 at most.
    fn tolerance(&self, _: &Case) -> f64 {
        2e-7 + sum_tolerance(1)
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let n = (case.get("rows") * case.get("d")) as f64;
        let of = |tensors: f64, flop: f64| Cost {
            bytes: tensors * dtype.size() as f64 * n,
            flop: flop * n,
            exp: n,
            // Each operation takes one.
            slots: flop * n / WARP,
            ..Cost::default()
        };
        (of(2.0, 23.0), of(3.0, 27.0))
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        Ok(super::onnx::write(graph, call))
    }

    fn noted(&self, call: &Noted) -> Option<Case> {
        let (x, _) = &call.inputs[0];
        let d = *x.last()?;
        Some(Case::new(&[("rows", x.iter().product::<usize>() / d.max(1)), ("d", d)]))
    }

    fn kept(&self, _: &Case, asked: &Asked) -> Vec<usize> {
        asked.bytes("x").into_iter().collect()
    }

    fn training(&self) -> Vec<Axis> {
        vec![Axis::new("rows", [2048, 4096, 3072], TRAINING_IMAGES * TRAINING_TOKENS)]
    }
}
