//! The op as ONNX nodes.

use onnx::Graph;

use super::call::{Dims, at};
use crate::export::{Call, Written};

/// `out [b l d]`: attention to all rows, where the scores of those that are no neighbours are minus infinity.
pub(super) fn write(graph: &mut Graph, call: &Call) -> Written {
    let heads = call.counts("heads")[0];
    let &[_, l, width] = call.shape(at::QUERIES) else { return Err("queries have three axes") };
    let (d, c) = (width / 3, width / 3 / heads);
    let dims = Dims { b: 1, l, heads, c, grid: (l - 1).isqrt() };
    // [b l 3d] to a third as [b heads l c].
    let third = |graph: &mut Graph, of: usize, i: usize| {
        let part = graph.slice(&call.input(of), 2, i * d..(i + 1) * d);
        let split = graph.reshape(&part, &[0, l as i64, heads as i64, c as i64]);
        graph.transpose(&split, &[0, 2, 1, 3])
    };
    let (q, k) = (third(graph, at::QUERIES, 0), third(graph, at::KEYS, 1));
    let v = third(graph, at::KEYS, 2);
    let root = graph.floats(&[], vec![dims.scale()]);
    let scaled = graph.mul(&q, &root);
    let turned = graph.transpose(&k, &[0, 1, 3, 2]);
    let scores = graph.matmul(&scaled, &turned);
    let mut far = vec![f32::NEG_INFINITY; l * l];
    for i in 0..l {
        dims.neighbours(i).for_each(|j| far[i * l + j] = 0.0);
    }
    let far = graph.floats(&[l, l], far);
    let scores = graph.add(&scores, &far);
    // The last axis is the default.
    let p = graph.each("Softmax", &scores);
    let out = graph.matmul(&p, &v);
    let out = graph.transpose(&out, &[0, 2, 1, 3]);
    Ok(vec![graph.reshape(&out, &[0, l as i64, d as i64])])
}
