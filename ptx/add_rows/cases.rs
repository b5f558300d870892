//! Cases of added rows.

use autograd::{Noted, Tape, Var};
use engine::{DType, Result, Tensor};
use onnx::Graph;

use super::{At, Rows, add_rows, reference};
use crate::export::{Call, Written};
use crate::spec::{Asked, Axis, Case, Cost, Input, Op, Values, sum_tolerance};

/// `n` learned rows, entry `entry` of `k`, added to the rows `first`, `first + step`, ... of the `l` of every image; with
/// `each`, image i begins at `first + i` and goes round.
pub(crate) struct Cases;

const WEIGHT: f32 = 0.75;

/// The places in each image.
fn places(case: &Case) -> Vec<Vec<usize>> {
    let [l, n, first, step] = ["l", "n", "first", "step"].map(|name| case.get(name));
    let of = |image: usize| {
        let shift = if case.is("each") { image } else { 0 };
        (0..n).map(|j| (first + shift + j * step) % l).collect()
    };
    (0..case.get("b")).map(of).collect()
}

fn reference<'a>(case: &Case, at: &'a [Vec<usize>]) -> reference::AddRows<'a, f64> {
    reference::AddRows { l: case.get("l"), d: case.get("d"), at, weight: f64::from(WEIGHT) }
}

impl Op for Cases {
    fn name(&self) -> &'static str {
        "add_rows"
    }

    fn formula(&self) -> &'static str {
        "y[:, at] = x[:, at] + weight·rows; elsewhere y = x"
    }

    fn cases(&self) -> Vec<Case> {
        let case = |[b, l, n, d, k, entry, first, step, each]: [usize; 9]| {
            [
                ("b", b),
                ("l", l),
                ("n", n),
                ("d", d),
                ("k", k),
                ("entry", entry),
                ("first", first),
                ("step", step),
                ("each", each),
            ]
        };
        // The only row, the first, the last and all; rows apart; widths that fill 16 bytes in both types, in f32 alone and in
        // neither; more images than a block has warps; places that fall and differ from image to image.
        let sizes = [
            [1, 1, 1, 5, 1, 0, 0, 1, 0],
            [2, 5, 2, 7, 3, 1, 0, 1, 0],
            [3, 5, 2, 16, 2, 1, 3, 1, 0],
            [2, 6, 6, 12, 2, 0, 0, 1, 0],
            [35, 9, 3, 40, 2, 1, 1, 3, 0],
            [1, 1, 1, 5, 1, 0, 0, 1, 1],
            [3, 7, 4, 8, 3, 2, 5, 3, 1],
            [2, 9, 9, 33, 2, 0, 4, 8, 1],
            [35, 17, 5, 36, 2, 1, 2, 7, 1],
            [2, 207, 10, 33, 3, 1, 11, 25, 1],
        ];
        let mut cases: Vec<Case> = sizes.into_iter().map(|sizes| Case::new(&case(sizes))).collect();
        // Ten patches of ViT-B among ten prompts, chosen for each image.
        cases.push(Case::bench(&case([8, 207, 10, 768, 11, 5, 11, 31, 1])));
        cases
    }

    fn inputs(&self, case: &Case) -> Vec<Input> {
        let [b, l, n, d, k] = ["b", "l", "n", "d", "k"].map(|name| case.get(name));
        vec![Input::normal("x", &[b, l, d], true).typed(), Input::normal("rows", &[k, n, d], true)]
    }

    fn forward(&self, case: &Case, tape: &Tape, inputs: &[Var]) -> Result<Vec<Var>> {
        let places = places(case);
        let rows = Rows { values: &inputs[1], entry: case.get("entry"), weight: WEIGHT };
        let x = inputs[0].clone();
        if !case.is("each") {
            return Ok(vec![add_rows(tape, x, rows, At::Same(&places[0]))?]);
        }
        let numbers: Vec<f32> = places.iter().flatten().map(|&row| row as f32).collect();
        let each = Tensor::from_slice(tape.device(), &numbers, &[case.get("b"), case.get("n")]);
        Ok(vec![add_rows(tape, x, rows, At::Each(&Var::constant(each)))?])
    }

    fn reference(&self, case: &Case, x: &[Vec<f64>]) -> Values {
        let size = case.get("n") * case.get("d");
        let rows = &x[1][case.get("entry") * size..][..size];
        vec![reference(case, &places(case)).forward(&x[0], rows)]
    }

    fn reference_grad(&self, case: &Case, x: &[Vec<f64>], grads: &[Vec<f64>]) -> Values {
        let drows = reference(case, &places(case)).backward(&grads[0], case.get("n"));
        let mut entries = vec![0.0; x[1].len()];
        entries[case.get("entry") * drows.len()..][..drows.len()].copy_from_slice(&drows);
        vec![grads[0].clone(), entries]
    }

    fn tolerance(&self, case: &Case) -> f64 {
        sum_tolerance(case.get("b"))
    }

    fn cost(&self, case: &Case, dtype: DType) -> (Cost, Cost) {
        let [b, n, d] = ["b", "n", "d"].map(|name| case.get(name) as f64);
        let typed = dtype.size() as f64 * b * n * d;
        (
            Cost { bytes: 2.0 * typed + 4.0 * n * d, flop: 2.0 * b * n * d, ..Cost::default() },
            Cost { bytes: typed + 8.0 * n * d, flop: b * n * d, ..Cost::default() },
        )
    }

    fn onnx(&self, graph: &mut Graph, call: &Call) -> Written {
        Ok(super::onnx::write(graph, call))
    }

    /// The input gave its memory away, so the sizes are those of the output.
    fn noted(&self, call: &Noted) -> Option<Case> {
        let (&[b, l, d], [_, (rows, _), _]) = (&call.outputs[0][..], &call.inputs[..]) else { return None };
        Some(Case::new(&[("b", b), ("l", l), ("n", rows[1]), ("d", d)]))
    }

    /// The places, for the gradient of the rows.
    fn kept(&self, case: &Case, asked: &Asked) -> Vec<usize> {
        let images = if case.is("each") { case.get("b") } else { 1 };
        if asked.wants("rows") { vec![4 * images * case.get("n")] } else { vec![] }
    }

    fn training(&self) -> Vec<Axis> {
        vec![Axis::images([1, 2, 3])]
    }
}
