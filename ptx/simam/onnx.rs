//! The op as ONNX nodes.

use onnx::{Graph, Name};

use crate::export::Call;

/// `y [b c h w]`
pub(super) fn write(graph: &mut Graph, call: &Call) -> Vec<Name> {
    let (x, n) = (call.input(0), call.shape(0)[2..].iter().product::<usize>() as f32);
    let mean = graph.mean(&x, &[2, 3]);
    let centred = graph.sub(&x, &mean);
    let q = graph.mul(&centred, &centred);
    // 4w = 4 (mean q) n / (n - 1) + 4e-3
    let mean = graph.mean(&q, &[2, 3]);
    let [rate, least, half] = [4.0 * n / (n - 1.0), 4e-3, 0.5].map(|v| graph.floats(&[], vec![v]));
    let w = graph.mul(&mean, &rate);
    let w = graph.add(&w, &least);
    let e = graph.div(&q, &w);
    let e = graph.add(&e, &half);
    let weight = graph.each("Sigmoid", &e);
    vec![graph.mul(&x, &weight)]
}
