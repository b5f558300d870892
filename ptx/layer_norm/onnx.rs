//! The op as ONNX nodes.

use onnx::{Graph, Name};

use super::call::at;
use crate::export::Call;

/// `[out]`, after the sum where the call adds, without drop path.
pub(super) fn write(graph: &mut Graph, call: &Call) -> Vec<Name> {
    let mut sum = call.input(at::X);
    if let Some(residual) = call.given(at::RESIDUAL) {
        sum = graph.add(&residual, &sum);
    }
    let mean = graph.mean(&sum, &[-1]);
    let away = graph.sub(&sum, &mean);
    let squares = graph.mul(&away, &away);
    let variance = graph.mean(&squares, &[-1]);
    let eps = graph.floats(&[], vec![call.numbers("eps")[0] as f32]);
    let variance = graph.add(&variance, &eps);
    let deviation = graph.each("Sqrt", &variance);
    let out = graph.div(&away, &deviation);
    let out = graph.mul(&out, &call.input(at::WEIGHT));
    let out = graph.add(&out, &call.input(at::BIAS));
    if call.counts("adds") == [1] { vec![sum, out] } else { vec![out] }
}
