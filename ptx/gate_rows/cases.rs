//! Cases of gated rows.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result};
use onnx::Graph;

use super::{Gate, gate_rows, reference};
use crate::export::{Call, Written};
use crate::spec::{Asked, Axis, Case, Cost, Input, Op, Values, sum_tolerance};

/// `n` of the `l` rows from `first` on are gated, with those of z where there is one (`z`), by a trained logit, entry `entry` of
/// `k`, or by a constant where `k` is 0.
pub(crate) struct Cases;

const CONSTANT: f32 = 0.3;

fn rows(case: &Case) -> Vec<usize> {
    (0..case.get("n")).map(|j| case.get("first") + 2 * j).collect()
}

/// Positions of z and of the logits, where the case has them.
fn at(case: &Case) -> [Option<usize>; 2] {
    let z = case.is("z").then_some(1);
    [z, case.is("k").then_some(1 + usize::from(z.is_some()))]
}

/// The gate, and z or zeros.
fn inputs(case: &Case, x: &[Vec<f64>]) -> (f64, Vec<f64>) {
    let [z, logits] = at(case);
    let gate = logits.map_or(f64::from(CONSTANT), |at| reference::sigmoid(x[at][case.get("entry")]));
    (gate, z.map_or_else(|| vec![0.0; x[0].len()], |at| x[at].clone()))
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "gate_rows"
    }

    fn formula(&self) -> &'static str {
        "y[:, rows] = g·x[:, rows] + (1 - g)·z[:, rows]; elsewhere y = x"
    }

    fn cases(&self) -> Vec<Case> {
        let case = |[b, l, n, d, first, k, entry, z]: [usize; 8]| {
            [("b", b), ("l", l), ("n", n), ("d", d), ("first", first), ("k", k), ("entry", entry), ("z", z)]
        };
        // The only row, the first and the last; widths that fill 16 bytes in both types, in f32 alone and in neither; rows
        // that fill one part of a block and several.
        let mut cases = vec![];
        for [b, l, n, d, first] in
            [[1, 1, 1, 5, 0], [2, 5, 2, 7, 2], [3, 7, 3, 16, 0], [35, 9, 2, 36, 1], [2, 40, 19, 264, 1]]
        {
            for [k, entry, z] in [[0, 0, 0], [0, 0, 1], [1, 0, 0], [3, 1, 1], [3, 2, 0]] {
                cases.push(Case::new(&case([b, l, n, d, first, k, entry, z])));
            }
        }
        // A hundred prompts of ViT-B.
        cases.push(Case::bench(&case([8, 297, 100, 768, 1, 11, 5, 1])));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let [b, l, d, k] = ["b", "l", "d", "k"].map(|name| case.get(name));
        let mut inputs = vec![Input::normal("x", &[b, l, d], true).typed()];
        if case.is("z") {
            inputs.push(Input::normal("z", &[b, l, d], true).typed());
        }
        if k > 0 {
            inputs.push(Input::normal("logits", &[k], true));
        }
        inputs
    }

    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let [z, logits] = at(case);
        let gate = logits.map_or(Gate::Constant(CONSTANT), |at| Gate::Logit(&inputs[at], case.get("entry")));
        Ok(vec![gate_rows(tape, inputs[0].clone(), z.map(|at| &inputs[at]), gate, &rows(case))?])
    }

    fn reference(&self, case: &Case, x: &[Vec<f64>]) -> Values {
        let (rows, (gate, z)) = (rows(case), inputs(case, x));
        let of = reference::GateRows { l: case.get("l"), d: case.get("d"), rows: &rows, gate };
        vec![of.forward(&x[0], &z)]
    }

    fn reference_grad(&self, case: &Case, x: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        let (rows, (gate, z)) = (rows(case), inputs(case, x));
        let of = reference::GateRows { l: case.get("l"), d: case.get("d"), rows: &rows, gate };
        let (dx, dz, dlogit) = of.backward(&x[0], &z, &grads[0]);
        let mut all = vec![dx];
        if case.is("z") {
            all.push(dz);
        }
        if case.is("k") {
            let mut logits = vec![0.0; case.get("k")];
            logits[case.get("entry")] = dlogit;
            all.push(logits);
        }
        all
    }

    /// The logit's gradient is a sum over all elements of the rows; the sigmoid is off by 4e-7 and more.
    fn tolerance(&self, case: &Case) -> f64 {
        1e-6 + sum_tolerance(case.get("b") * case.get("n") * case.get("d"))
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let [b, n, d] = ["b", "n", "d"].map(|name| case.get(name) as f64);
        let (rows, typed) = (b * n * d, dtype.size() as f64);
        let (z, logit) = (f64::from(case.is("z")), f64::from(case.is("k")));
        // Backward reads dy once for each gradient, and writes two of them over what is there.
        (
            Cost {
                bytes: rows * (typed * (2.0 + z) + 4.0 * logit),
                flop: rows * (1.0 + 2.0 * z),
                ..Cost::default()
            },
            Cost {
                bytes: rows * (typed * (2.0 + 3.0 * z + logit) + 4.0 * logit),
                flop: rows * (1.0 + 2.0 * z + 2.0 * logit),
                ..Cost::default()
            },
        )
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        Ok(super::onnx::write(graph, call))
    }

    /// The input gave its memory away, so the sizes are those of the output.
    fn noted(&self, call: &Noted) -> Option<Case> {
        let (&[b, _, d], [_, (z, _), (logits, _), (rows, _)]) = (&call.outputs[0][..], &call.inputs[..])
        else {
            return None;
        };
        let switch = |shape: &[usize]| usize::from(*shape != [0]);
        Some(Case::new(&[("b", b), ("n", rows[0]), ("d", d), ("z", switch(z)), ("k", switch(logits))]))
    }

    /// The numbers of the rows; the logits, and what x and z differ by where they are trained.
    fn kept(&self, case: &Case, asked: &Asked) -> Vec<usize> {
        let [b, n, d, k] = ["b", "n", "d", "k"].map(|name| case.get(name));
        let mut kept = vec![4 * n];
        if k > 0 {
            kept.push(4 * k);
        }
        if asked.wants("logits") {
            kept.push(4 * b * n * d);
        }
        kept
    }

    fn training(&self) -> Vec<Axis> {
        // The sum of a gradient's parts has too few of them to grow evenly with the images.
        vec![]
    }
}
