//! The op as ONNX nodes.

use onnx::{Graph, Name};

use super::reference;
use crate::export::{Call, Written};

/// The quantised weights themselves, since weights are given.
pub(super) fn write(graph: &mut Graph, call: &Call) -> Written {
    let Some(w) = call.values(0) else { return Err("its weights are computed") };
    let y: Vec<f32> = reference::forward(w, call.counts("bits")[0]);
    let y: Name = graph.floats(call.shape(0), y);
    Ok(vec![y])
}
