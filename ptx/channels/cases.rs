//! Cases of chosen channels.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result, Tensor};
use onnx::Graph;

use super::reference;
use crate::export::{Call, Written};
use crate::spec::{
    Asked, Axis, Case, Cost, Input, Op, TRAINING_IMAGES, TRAINING_TOKENS, Values, sum_tolerance,
};

/// A case with `add` adds to the channels, others gather them. The channels are spread over the row, the last one among
/// them.
pub(crate) struct Cases;

fn numbers(case: &Case) -> Vec<f32> {
    let (d, n) = (case.get("d"), case.get("n"));
    (0..n).map(|j| ((j + 1) * d / n - 1) as f32).collect()
}

fn wide(numbers: &[f32]) -> Vec<f64> {
    numbers.iter().map(|&number| number.into()).collect()
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "channels"
    }

    fn formula(&self) -> &'static str {
        "y = x[:, c]; y = x, y[:, c] += s"
    }

    fn cases(&self) -> Vec<Case> {
        let case = |[rows, d, n]: [usize; 3], add| [("rows", rows), ("d", d), ("n", n), ("add", add)];
        let mut cases = vec![];
        for sizes in [[1, 1, 1], [5, 7, 3], [197, 36, 36], [65, 33, 6], [2077, 5, 1]] {
            cases.extend([0, 1].map(|add| Case::new(&case(sizes, add))));
        }
        // As published, 96 of the 768 channels of ViT-B, at batch 8.
        cases.extend([0, 1].map(|add| Case::bench(&case([8 * 197, 768, 96], add))));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let [rows, d, n] = ["rows", "d", "n"].map(|name| case.get(name));
        let mut inputs = vec![Input::normal("x", &[rows, d], true).typed()];
        if case.is("add") {
            inputs.push(Input::normal("s", &[rows, n], true).typed());
        }
        inputs
    }

    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let numbers = numbers(case);
        let channels = Var::constant(Tensor::from_slice(tape.device(), &numbers, &[numbers.len()]));
        Ok(vec![match case.is("add") {
            true => super::add(tape, inputs[0].clone(), &channels, &inputs[1])?,
            false => super::gather(tape, &inputs[0], &channels)?,
        }])
    }

    fn reference(&self, case: &Case, inputs: &[Vec<f64>]) -> Values {
        let (d, channels) = (case.get("d"), wide(&numbers(case)));
        vec![match case.is("add") {
            true => reference::add(&inputs[0], d, &channels, &inputs[1]),
            false => reference::gather(&inputs[0], d, &channels),
        }]
    }

    fn reference_grad(&self, case: &Case, _: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        let (d, channels) = (case.get("d"), wide(&numbers(case)));
        match case.is("add") {
            true => vec![grads[0].clone(), reference::gather(&grads[0], d, &channels)],
            false => vec![reference::gather_grad(&grads[0], d, &channels)],
        }
    }

    /// One addition at most, and one where gradients meet.
    fn tolerance(&self, _: &Case) -> f64 {
        sum_tolerance(2)
    }

    /// The sum is written where x lies, so its other channels need not be moved; the gradient of what is gathered is zero in
    /// the other channels.
    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let [rows, d, n] = ["rows", "d", "n"].map(|name| case.get(name) as f64);
        let of = |channels: f64| Cost { bytes: dtype.size() as f64 * rows * channels, ..Cost::default() };
        if case.is("add") { (of(3.0 * n), of(2.0 * n)) } else { (of(2.0 * n), of(d + n)) }
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        super::onnx::write(graph, call)
    }

    fn noted(&self, _: &Noted) -> Option<Case> {
        // Values are moved; the additions are few, and are not counted.
        Some(Case::new(&[]))
    }

    /// The numbers of the channels.
    fn kept(&self, case: &Case, _: &Asked) -> Vec<usize> {
        vec![case.get("n") * DType::F32.size()]
    }

    fn training(&self) -> Vec<Axis> {
        vec![Axis::new("rows", [2048, 4096, 3072], TRAINING_IMAGES * TRAINING_TOKENS)]
    }
}
