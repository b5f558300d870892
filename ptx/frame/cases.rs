//! Cases of the frame.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result, Tensor};
use onnx::Graph;

use super::reference;
use crate::export::{Call, Written};
use crate::spec::{Asked, Axis, Case, Cost, Input, Op, Values, sum_tolerance};

pub(crate) struct Cases;

fn sizes(case: &Case) -> [usize; 3] {
    ["c", "s", "w"].map(|name| case.get(name))
}

fn frames(case: &Case) -> usize {
    case.get("frames").max(1)
}

/// The number of each image's frame: neither in order nor evenly spread, and never the second of several.
fn frame_of(case: &Case) -> Vec<usize> {
    (0..case.get("b"))
        .map(|image| (image * image + image / 2) % frames(case))
        .map(|m| if m == 1 { 0 } else { m })
        .collect()
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "frame"
    }

    fn formula(&self) -> &'static str {
        "y = x + frame[a] on the outer pixels"
    }

    fn cases(&self) -> Vec<Case> {
        let case =
            |[b, c, s, w, frames]: [usize; 5]| [("b", b), ("c", c), ("s", s), ("w", w), ("frames", frames)];
        // One frame and several; a frame of one pixel, and one that meets itself in the middle.
        let mut cases: Vec<Case> =
            [[1, 1, 1, 0, 0], [2, 3, 5, 1, 0], [3, 3, 8, 4, 0], [6, 3, 12, 5, 3], [5, 2, 33, 7, 4]]
                .into_iter()
                .map(|sizes| Case::new(&case(sizes)))
                .collect();
        cases.push(Case::bench(&case([8, 3, 224, 30, 0])));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let ([c, s, w], b) = (sizes(case), case.get("b"));
        let mut inputs = vec![Input::normal("x", &[b, c, s, s], true).typed()];
        for _ in 0..frames(case) {
            inputs.extend(["up", "down"].map(|side| Input::normal(side, &[1, c, w, s], true)));
            inputs.extend(["left", "right"].map(|side| Input::normal(side, &[1, c, s - 2 * w, w], true)));
        }
        inputs
    }

    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let frames: Vec<[&Var; 4]> =
            inputs[1..].chunks_exact(4).map(|f| [&f[0], &f[1], &f[2], &f[3]]).collect();
        let numbers = frame_of(case).into_iter().map(|m| m as f32).collect::<Vec<_>>();
        let numbers = Tensor::from_slice(tape.device(), &numbers, &[case.get("b")]);
        Ok(vec![super::frame(tape, &inputs[0], &frames, case.is("frames").then_some(&numbers))?])
    }

    fn reference(&self, case: &Case, inputs: &[Vec<f64>]) -> Values {
        vec![reference::forward(&inputs[0], sizes(case), &inputs[1..], &frame_of(case))]
    }

    fn reference_grad(&self, case: &Case, inputs: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        let sides = reference::backward(&grads[0], sizes(case), &inputs[1..], &frame_of(case));
        [vec![grads[0].clone()], sides].concat()
    }

    fn tolerance(&self, case: &Case) -> f64 {
        sum_tolerance(case.get("b"))
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let ([c, s, w], b, typed) = (sizes(case), case.get("b") as f64, dtype.size() as f64);
        let (pixels, framed) = ((c * s * s) as f64, (c * (s * s - (s - 2 * w) * (s - 2 * w))) as f64);
        let frames = frames(case) as f64 * framed;
        (
            Cost { bytes: 2.0 * typed * b * pixels + 4.0 * frames, flop: b * framed, ..Cost::default() },
            Cost { bytes: typed * b * framed + 4.0 * frames, flop: b * framed, ..Cost::default() },
        )
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        super::onnx::write(graph, call)
    }

    fn noted(&self, call: &Noted) -> Option<Case> {
        let &[b, c, s, _] = &call.inputs[0].0[..] else { return None };
        let (w, frames) = (call.inputs[1].0[2], (call.inputs.len() - 1) / 4);
        Some(Case::new(&[("b", b), ("c", c), ("s", s), ("w", w), ("frames", frames)]))
    }

    /// The numbers of the frames.
    fn kept(&self, case: &Case, asked: &Asked) -> Vec<usize> {
        let any = asked
            .inputs
            .iter()
            .enumerate()
            .any(|(i, input)| input.grad && asked.only.is_none_or(|only| only == i));
        if any && case.is("frames") { vec![4 * case.get("b")] } else { vec![] }
    }

    fn training(&self) -> Vec<Axis> {
        vec![Axis::images([1, 2, 3])]
    }
}
