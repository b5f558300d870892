//! The op as ONNX nodes.

use onnx::{Graph, Name};

use crate::export::Call;

/// x with its axes in the order of the call.
pub(super) fn write(graph: &mut Graph, call: &Call) -> Vec<Name> {
    let order: Vec<i64> = call.counts("order").into_iter().map(|axis| axis as i64).collect();
    vec![graph.transpose(&call.input(0), &order)]
}
