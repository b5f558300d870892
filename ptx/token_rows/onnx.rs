//! The op as ONNX nodes.

use onnx::{Graph, Name};

use crate::export::Call;

/// `select`, `window` or `join`.
pub(super) fn write(graph: &mut Graph, call: &Call) -> Vec<Name> {
    let (x, first, output) = (call.input(0), call.counts("first")[0], call.output());
    let y = match call.given(1) {
        None if output.len() == 2 => graph.select(&x, 1, first),
        None => graph.slice(&x, 1, first..first + output[1]),
        Some(second) => {
            let gap = first - call.shape(0)[1];
            let zeros = graph.zeros_like(&x, &[gap, output[2]]);
            graph.concat(&[&x, &zeros, &second], 1)
        }
    };
    vec![y]
}
