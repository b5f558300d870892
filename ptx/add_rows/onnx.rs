//! The op as ONNX nodes.

use onnx::{Graph, Name};

use super::at;
use crate::export::Call;

/// Where all images have the same places, the rows in them and zeros elsewhere, added to every image. Where each image has
/// its own, the product of a matrix with a one in every place and the rows.
pub(super) fn write(graph: &mut Graph, call: &Call) -> Vec<Name> {
    let (x, &[_, l, d]) = (call.input(at::X), call.output()) else {
        unreachable!("sequences have three axes")
    };
    let rows = graph.select(&call.input(at::VALUES), 0, call.counts("entry")[0]);
    let weight = graph.floats(&[], vec![call.numbers("weight")[0] as f32]);
    let rows = graph.mul(&rows, &weight);
    let added = match call.given(at::EACH) {
        None => {
            let places = call.counts("rows");
            let zeros = graph.floats(&[1, d], vec![0.0; d]);
            let all = graph.concat(&[&rows, &zeros], 0);
            let source = |row| places.binary_search(&row).unwrap_or(places.len()) as i64;
            let sources: Vec<i64> = (0..l).map(source).collect();
            graph.gather(&all, 0, &sources)
        }
        Some(each) => {
            let numbers = graph.floats(&[l, 1], (0..l).map(|row| row as f32).collect::<Vec<_>>());
            let each = graph.unsqueeze(&each, 1);
            let there = graph.node("Equal", &[&numbers, &each], vec![]);
            let ones = graph.to_floats(&there);
            graph.matmul(&ones, &rows)
        }
    };
    vec![graph.add(&x, &added)]
}
