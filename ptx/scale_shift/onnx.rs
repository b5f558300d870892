//! The op as ONNX nodes.

use onnx::{Graph, Name};

use super::call::at;
use crate::export::Call;

/// `y [.. d]`
pub(super) fn write(graph: &mut Graph, call: &Call) -> Vec<Name> {
    let y = graph.mul(&call.input(at::X), &call.input(at::SCALE));
    vec![call.given(at::SHIFT).map_or(y.clone(), |shift| graph.add(&y, &shift))]
}
