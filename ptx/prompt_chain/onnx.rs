//! The op as ONNX nodes.

use onnx::{Graph, Name};

use super::at;
use crate::export::Call;

/// The prompts of each layer before, mixed or as they are, or the sums of all of them, added to those of the layer.
pub(super) fn write(graph: &mut Graph, call: &Call) -> Vec<Name> {
    let (first, later, k) = (call.input(at::FIRST), call.input(at::LATER), call.output()[0]);
    let mut before = first.clone();
    if k > 1 {
        let all_but_last = graph.slice(&later, 0, 0..k - 1);
        before = graph.concat(&[&first, &all_but_last], 0);
    }
    if let Some(matrices) = call.given(at::MATRICES) {
        before = graph.matmul(&matrices, &before);
    } else if call.counts("all")[0] == 1 {
        let axis = graph.int(0);
        before = graph.node("CumSum", &[&before, &axis], vec![]);
    }
    vec![graph.add(&later, &before)]
}
