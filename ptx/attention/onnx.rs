//! The op as ONNX nodes.

use onnx::Graph;

use super::call::at;
use crate::export::{Call, Written};

/// `[out [b l d]]`, and after it the probabilities of the class row where the call asks for them.
pub(super) fn write(graph: &mut Graph, call: &Call) -> Written {
    let heads = call.counts("heads")[0];
    let &[_, l, width] = call.shape(at::QKV) else { return Err("qkv has three axes") };
    let (d, c) = (width / 3, width / 3 / heads);
    // [b l 3d] to the thirds as [b heads l c].
    let third = |graph: &mut Graph, i: usize| {
        let part = graph.slice(&call.input(at::QKV), 2, i * d..(i + 1) * d);
        let split = graph.reshape(&part, &[0, l as i64, heads as i64, c as i64]);
        graph.transpose(&split, &[0, 2, 1, 3])
    };
    let (q, mut keys, mut values) = (third(graph, 0), third(graph, 1), third(graph, 2));
    if let Some(extra) = call.given(at::EXTRA) {
        let n = call.shape(at::EXTRA)[1];
        let rows = graph.reshape(&extra, &[1, (heads * n) as i64, c as i64]);
        let rows = graph.for_each_sample(&rows, &call.input(at::QKV));
        let rows = graph.reshape(&rows, &[0, heads as i64, n as i64, c as i64]);
        keys = graph.concat(&[&rows, &keys], 2);
        values = graph.concat(&[&rows, &values], 2);
    }
    let root = graph.floats(&[], vec![1.0 / (c as f32).sqrt()]);
    let scaled = graph.mul(&q, &root);
    let turned = graph.transpose(&keys, &[0, 1, 3, 2]);
    let mut scores = graph.matmul(&scaled, &turned);
    if let Some(&entry) = call.counts("temperature").first() {
        let temperature = graph.select(&call.input(at::TEMPERATURE), 0, entry);
        scores = graph.div(&scores, &temperature);
    }
    // The last axis is the default.
    let p = graph.each("Softmax", &scores);
    let out = graph.matmul(&p, &values);
    let out = graph.transpose(&out, &[0, 2, 1, 3]);
    let mut outputs = vec![graph.reshape(&out, &[0, l as i64, d as i64])];
    if let Some(&row) = call.counts("class_row").first() {
        outputs.push(graph.select(&p, 2, row));
    }
    Ok(outputs)
}
