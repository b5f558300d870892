//! The op as ONNX nodes.

use onnx::{Attribute, Graph, Name};

use crate::export::Call;

/// The mean over the heads, of it the keys of the rows, and of these the largest; TopK takes the lower of equals first.
pub(super) fn write(graph: &mut Graph, call: &Call) -> Vec<Name> {
    let (extra, k, rows) = (call.counts("extra")[0], call.counts("k")[0], call.counts("rows"));
    let mean = graph.mean(&call.input(0), &[1]);
    let mean = graph.squeeze(&mean, 1);
    let keys: Vec<i64> = rows.iter().map(|row| (extra + row) as i64).collect();
    let competing = graph.gather(&mean, 1, &keys);
    let k = graph.ints(&[k as i64]);
    let [_, places] = graph.node_of("TopK", &[&competing, &k], vec![("axis", Attribute::Int(1))]);
    let numbers = call.input(1);
    vec![graph.node("Gather", &[&numbers, &places], vec![("axis", Attribute::Int(0))])]
}
