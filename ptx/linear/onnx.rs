//! The op as ONNX nodes.

use onnx::{Graph, Name};

use super::at;
use crate::export::Call;

/// `y [.. n]`
pub(super) fn write(graph: &mut Graph, call: &Call) -> Vec<Name> {
    let (mut x, width, first) = (call.input(at::X), call.shape(at::X), call.counts("first")[0]);
    let (last, k) = (width.len() - 1, call.shape(at::W)[1]);
    if k < width[last] {
        x = graph.slice(&x, last as i64, first..first + k);
    }
    let w = graph.transpose(&call.input(at::W), &[1, 0]);
    let mut y = graph.matmul(&x, &w);
    for added in [at::BIAS, at::BASE] {
        if let Some(added) = call.given(added) {
            y = graph.add(&y, &added);
        }
    }
    vec![y]
}
