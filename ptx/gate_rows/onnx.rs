//! The op as ONNX nodes.

use onnx::{Graph, Name};

use super::at;
use crate::export::Call;

/// `x + m (1 - g) (z - x)`, with a mask m of the rows.
pub(super) fn write(graph: &mut Graph, call: &Call) -> Vec<Name> {
    let (x, l) = (call.input(at::X), call.output()[1]);
    let rows = call.values(at::ROWS).expect("the numbers of the rows are given");
    let mask = (0..l).map(|row| f32::from(u8::from(rows.contains(&(row as f32))))).collect::<Vec<_>>();
    let mask = graph.floats(&[l, 1], mask);
    let rest = match call.counts("entry").first() {
        Some(&entry) => {
            let logit = graph.select(&call.input(at::LOGITS), 0, entry);
            let turned = graph.each("Neg", &logit);
            graph.each("Sigmoid", &turned)
        }
        None => graph.floats(&[], vec![1.0 - call.numbers("gate")[0] as f32]),
    };
    let weight = graph.mul(&mask, &rest);
    let apart = match call.given(at::Z) {
        Some(z) => graph.sub(&z, &x),
        None => graph.each("Neg", &x),
    };
    let change = graph.mul(&weight, &apart);
    vec![graph.add(&x, &change)]
}
