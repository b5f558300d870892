//! Cases of scale and shift.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};
use onnx::Graph;

use super::reference;
use crate::export::{Call, Written};
use crate::spec::{
    Asked, Axis, Case, Cost, Draw, Input, Op, TRAINING_IMAGES, TRAINING_TOKENS, Values, sum_tolerance,
};

pub(crate) struct Cases;

impl Op for Cases {
    fn name(&self) -> &'static str {
        "scale_shift"
    }

    fn formula(&self) -> &'static str {
        "y = scale x + shift"
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = vec![];
        // Widths that fill 16 bytes in both types, in f32 alone, and in neither; more rows than a block of a launched
        // device sums.
        for (rows, d) in [(1, 1), (5, 7), (3, 16), (197, 36), (65, 33), (2077, 5)] {
            for shift in [0, 1] {
                cases.push(Case::new(&[("rows", rows), ("d", d), ("shift", shift)]));
            }
        }
        // After in_proj of Vim-S at batch 8, and frozen, as the factor of a low-rank update.
        cases.push(Case::bench(&[("rows", 8 * 197), ("d", 1536), ("shift", 1)]));
        cases.push(Case::new(&[("rows", 197), ("d", 4), ("frozen", 1)]));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let (d, trained) = (case.get("d"), !case.is("frozen"));
        let mut inputs = vec![
            Input::normal("x", &[case.get("rows"), d], true).typed(),
            Input::new("scale", &[d], Draw::Normal(1.0, 0.5), trained),
        ];
        if case.is("shift") {
            inputs.push(Input::normal("shift", &[d], trained));
        }
        inputs
    }

    fn forward(&self, _: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        Ok(vec![super::scale_shift(tape, &inputs[0], &inputs[1], inputs.get(2))?])
    }

    fn reference(&self, _: &Case, inputs: &[Vec<f64>]) -> Values {
        vec![reference::forward(&inputs[0], &inputs[1], inputs.get(2).map_or(&[], Vec::as_slice))]
    }

    fn reference_grad(&self, _: &Case, inputs: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        let (dx, dscale, dshift) = reference::backward(&inputs[0], &inputs[1], &grads[0]);
        vec![dx, dscale, dshift]
    }

    fn tolerance(&self, case: &Case) -> f64 {
        sum_tolerance(case.get("rows"))
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let n = (case.get("rows") * case.get("d")) as f64;
        let of = |tensors: f64, flop: f64| Cost {
            bytes: tensors * dtype.size() as f64 * n,
            flop: flop * n,
            ..Cost::default()
        };
        // Backward reads dy for each of its results: for dx, with x for the scale's, and for the shift's.
        let sums = if case.is("frozen") { 0.0 } else { 2.0 + f64::from(case.is("shift")) };
        (of(2.0, 2.0), of(2.0 + sums, 1.0 + sums))
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        Ok(super::onnx::write(graph, call))
    }

    fn noted(&self, call: &Noted) -> Option<Case> {
        let [(x, _), (scale, trained), (shift, _)] = &call.inputs[..] else { return None };
        let d = scale[0];
        let switches = [("shift", usize::from(*shift != [0])), ("frozen", usize::from(!trained))];
        let rows = x.iter().product::<usize>() / d;
        Some(Case::new(&[&[("rows", rows), ("d", d)], &switches[..]].concat()))
    }

    fn kept(&self, _: &Case, asked: &Asked) -> Vec<usize> {
        let saved_for = |gradient: &str, input: &str| asked.bytes(input).filter(|_| asked.wants(gradient));
        [saved_for("scale", "x"), saved_for("x", "scale")].into_iter().flatten().collect()
    }

    fn training(&self) -> Vec<Axis> {
        vec![Axis::new("rows", [2048, 4096, 3072], TRAINING_IMAGES * TRAINING_TOKENS)]
    }
}
