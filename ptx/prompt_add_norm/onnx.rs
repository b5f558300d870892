//! The op as ONNX nodes.

use onnx::{Graph, Name};

use super::call::{EPS, at};
use crate::export::Call;

/// `[residual, out]`, both `[b l d]`, without drop path.
pub(super) fn write(graph: &mut Graph, call: &Call) -> Vec<Name> {
    let (mut sum, l) = (call.input(at::H), call.shape(at::H)[1]);
    let prompts: Vec<Name> =
        call.counts("rows").into_iter().enumerate().map(|(i, row)| prompt(graph, call, i, row)).collect();
    for mut prompt in prompts {
        if let Some(&skip) = call.counts("skip").first() {
            let rows: Vec<f32> = (0..l).map(|row| f32::from(row != skip)).collect();
            let rows = graph.floats(&[l, 1], rows);
            prompt = graph.mul(&prompt, &rows);
        }
        sum = graph.add(&sum, &prompt);
    }
    if let Some(residual) = call.given(at::RESIDUAL) {
        sum = graph.add(&residual, &sum);
    }
    let squares = graph.mul(&sum, &sum);
    let mean = graph.mean(&squares, &[-1]);
    let eps = graph.floats(&[], vec![EPS as f32]);
    let root = graph.add(&mean, &eps);
    let root = graph.each("Sqrt", &root);
    let out = graph.div(&sum, &root);
    let out = graph.mul(&out, &call.input(at::WEIGHT));
    vec![sum, out]
}

/// Prompt i, with row `row` of its scales.
fn prompt(graph: &mut Graph, call: &Call, i: usize, row: usize) -> Name {
    let value = graph.add(&call.input(at::generated(i)), &call.input(at::bias(i)));
    let value = graph.silu(&value);
    let scale = graph.select(&call.input(at::scale(i)), 0, row);
    graph.mul(&value, &scale)
}
