//! Cases of the linear op.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};
use onnx::Graph;

use super::reference;
use crate::export::{Call, Written};
use crate::spec::{
    Asked, Axis, Case, Cost, Input, Op, TRAINING_IMAGES, TRAINING_TOKENS, Values, sum_tolerance,
};

pub(crate) struct Cases;

impl Op for Cases {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn formula(&self) -> &'static str {
        "y = x[:, c0..c0+k] wᵀ + bias; y = y0 + x wᵀ + bias"
    }

    fn cases(&self) -> Vec<Case> {
        let mut cases = vec![];
        // The last has more rows than one block of a launched device sums.
        for (rows, width, first, n) in [
            (1, 1, 0, 1),
            (5, 7, 0, 3),
            (197, 56, 3, 24),
            (785, 33, 0, 65),
            (65, 40, 8, 17),
            (2077, 5, 0, 34),
        ] {
            for bias in [0, 1] {
                for frozen in [0, 1] {
                    let k = width - first - usize::from(first > 0);
                    cases.push(Case::new(&[
                        ("rows", rows),
                        ("width", width),
                        ("first", first),
                        ("k", k),
                        ("n", n),
                        ("bias", bias),
                        ("frozen", frozen),
                    ]));
                }
            }
        }
        // Added to what is there.
        for (rows, k, n, frozen) in [(1, 1, 1, 0), (197, 4, 48, 0), (33, 8, 65, 1), (785, 3, 7, 0)] {
            for bias in [0, 1] {
                cases.push(Case::new(&[
                    ("rows", rows),
                    ("width", k),
                    ("k", k),
                    ("n", n),
                    ("bias", bias),
                    ("frozen", frozen),
                    ("added", 1),
                ]));
            }
        }
        // The projections of Vim-S at batch 8: in_proj, x_proj, dt_proj, out_proj.
        for (width, k, n) in [(384, 384, 1536), (768, 768, 56), (56, 24, 768), (768, 768, 384)] {
            cases.push(Case::bench(&[
                ("rows", 8 * 197),
                ("width", width),
                ("k", k),
                ("n", n),
                ("frozen", 1),
            ]));
        }
        // The generators of SVP, trained: cross, inner down, inner up.
        for (k, n) in [(384, 384), (384, 64), (64, 384)] {
            cases.push(Case::bench(&[("rows", 8 * 197), ("width", k), ("k", k), ("n", n), ("bias", 1)]));
        }
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let (k, n, trained) = (case.get("k"), case.get("n"), !case.is("frozen"));
        let mut inputs = vec![
            Input::normal("x", &[case.get("rows"), case.get("width")], true).typed(),
            Input::normal("w", &[n, k], trained).typed(),
        ];
        if case.is("bias") {
            inputs.push(Input::normal("bias", &[n], trained));
        }
        if case.is("added") {
            inputs.push(Input::normal("y", &[case.get("rows"), n], true).typed());
        }
        inputs
    }

    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        if case.is("added") {
            let bias = inputs.get(2).filter(|_| case.is("bias"));
            let y = inputs.last().expect("what is added to").clone();
            return Ok(vec![super::added(tape, y, &inputs[0], &inputs[1], bias)?]);
        }
        Ok(vec![super::window(tape, &inputs[0], case.get("first"), &inputs[1], inputs.get(2))?])
    }

    fn reference(&self, case: &Case, inputs: &[Vec<f64>]) -> Values {
        let (width, first, k) = (case.get("width"), case.get("first"), case.get("k"));
        let product = |bias: &[f64]| reference::forward(&inputs[0], width, first, &inputs[1], k, bias);
        let product = product(inputs.get(2).filter(|_| case.is("bias")).map_or(&[][..], Vec::as_slice));
        match inputs.last().filter(|_| case.is("added")) {
            Some(y) => vec![product.iter().zip(y).map(|(product, y)| product + y).collect()],
            None => vec![product],
        }
    }

    fn reference_grad(&self, case: &Case, inputs: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        let (width, first, k) = (case.get("width"), case.get("first"), case.get("k"));
        let (dx, dw, dbias) = reference::backward(&inputs[0], width, first, &inputs[1], k, &grads[0]);
        let mut all = vec![dx, dw];
        if case.is("bias") {
            all.push(dbias);
        }
        if case.is("added") {
            all.push(grads[0].clone());
        }
        all
    }

    fn tolerance(&self, case: &Case) -> f64 {
        sum_tolerance(case.get("rows").max(case.get("k")).max(case.get("n")))
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let (r, k, n) = (case.get("rows") as f64, case.get("k") as f64, case.get("n") as f64);
        let one = Cost {
            bytes: dtype.size() as f64 * (r * k + n * k + r * n),
            flop: 2.0 * r * k * n,
            ..Cost::default()
        };
        // Those of the gradients that are asked for.
        let products = f64::from(u8::from(!case.is("constant")) + u8::from(!case.is("frozen")));
        (one, Cost { bytes: products * one.bytes, flop: products * one.flop, ..Cost::default() })
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        Ok(super::onnx::write(graph, call))
    }

    fn noted(&self, call: &Noted) -> Option<Case> {
        let [(_, x), (weight, w), ..] = &call.inputs[..] else { return None };
        let (&[n, k], rows) = (&weight[..], call.outputs[0].iter().rev().skip(1).product()) else {
            return None;
        };
        let switches = [("frozen", usize::from(!w)), ("constant", usize::from(!x))];
        Some(Case::new(&[&[("rows", rows), ("k", k), ("n", n)], &switches[..]].concat()))
    }

    fn kept(&self, _: &Case, asked: &Asked) -> Vec<usize> {
        let saved_for = |gradient: &str, input: &str| asked.bytes(input).filter(|_| asked.wants(gradient));
        [saved_for("w", "x"), saved_for("x", "w")].into_iter().flatten().collect()
    }

    fn training(&self) -> Vec<Axis> {
        vec![Axis::new("rows", [2048, 4096, 3072], TRAINING_IMAGES * TRAINING_TOKENS)]
    }

    fn is_product(&self) -> bool {
        true
    }
}
