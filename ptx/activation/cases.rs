//! Cases of the elementwise functions.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};
use onnx::Graph;

use super::call::Activation;
use super::reference;
use crate::export::{Call, Written};
use crate::spec::{
    Asked, Axis, Case, Cost, Draw, Input, Op, TRAINING_IMAGES, TRAINING_TOKENS, Values, WARP, sum_tolerance,
};

/// The size `function` is the number of the function.
pub(crate) struct Cases;

fn function(case: &Case) -> Activation {
    Activation::ALL[case.get("function")]
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn formula(&self) -> &'static str {
        "y = f(x): max(x, 0), x / (1 + e^(-1.702 x)), tanh x, e^x, x (1 + erf(x / √2)) / 2"
    }

    /// Sizes that end in the middle of a vector, of 16 bytes in each type and of a block.
    fn cases(&self) -> Vec<Case> {
        let mut cases = vec![];
        for function in 0..Activation::ALL.len() {
            for (rows, d) in [(1, 1), (5, 7), (3, 16), (197, 36), (65, 33), (2077, 5)] {
                cases.push(Case::new(&[("rows", rows), ("d", d), ("function", function)]));
            }
        }
        // Between the two products of the MLP of ViT-B at batch 8.
        cases.push(Case::bench(&[("rows", 8 * 197), ("d", 3072), ("function", Activation::Gelu.number())]));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        // Wide enough for both ends of the bounded functions.
        let deviation = if function(case) == Activation::Exp { 1.0 } else { 2.0 };
        let shape = [case.get("rows"), case.get("d")];
        vec![Input::new("x", &shape, Draw::Normal(0.0, deviation), true).typed()]
    }

    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        Ok(vec![super::activation(tape, &inputs[0], function(case))?])
    }

    fn reference(&self, case: &Case, inputs: &[Vec<f64>]) -> Values {
        vec![reference::forward(function(case), &inputs[0])]
    }

    fn reference_grad(&self, case: &Case, inputs: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        vec![reference::backward(function(case), &inputs[0], &grads[0])]
    }

    /// The normal distribution function is off by 2e-7 at most. The exponential has a relative error below
    /// 3e-7 + 1e-7 |x|, and the sigmoid one of 4e-7; that of tanh is twice as large where it is not small.
    fn tolerance(&self, case: &Case) -> f64 {
        let error = if function(case) == Activation::Gelu { 2e-7 } else { 1e-6 };
        error + sum_tolerance(1)
    }

    /// The operations are those of GELU, the longest function.
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
