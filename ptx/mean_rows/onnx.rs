//! The op as ONNX nodes.

use onnx::{Graph, Name};

use crate::export::Call;

/// The mean over the rows before and after the one that is left out, or over all.
pub(super) fn write(graph: &mut Graph, call: &Call) -> Vec<Name> {
    let (x, skip, l) = (call.input(0), call.counts("skip"), call.shape(0)[1]);
    let parts = skip.first().map_or([0..l, l..l], |&skip| [0..skip, skip + 1..l]);
    let parts: Vec<Name> =
        parts.into_iter().filter(|part| !part.is_empty()).map(|part| graph.slice(&x, 1, part)).collect();
    let rows = match &parts[..] {
        [only] => only.clone(),
        both => graph.concat(&both.iter().collect::<Vec<_>>(), 1),
    };
    let mean = graph.mean(&rows, &[1]);
    vec![graph.squeeze(&mean, 1)]
}
