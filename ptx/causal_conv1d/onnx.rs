//! The op as ONNX nodes.

use onnx::Attribute::{Int, Ints};
use onnx::{Graph, Name};

use super::call::at;
use crate::export::Call;

/// `[u_f, u_b]`, each `[b l e]`.
pub(super) fn write(graph: &mut Graph, call: &Call) -> Vec<Name> {
    let e = call.shape(at::XZ)[2] / 2;
    let x = graph.slice(&call.input(at::XZ), 2, 0..e);
    let x = graph.transpose(&x, &[0, 2, 1]);
    let mut direction = |dir: usize| {
        let (mut weight, bias) = (call.input(at::weight(dir)), call.input(at::bias(dir)));
        let outside = call.shape(at::weight(dir))[2] as i64 - 1;
        // The operator's taps rise with the tokens. Those of the backward direction fall.
        let mut pads = vec![outside, 0];
        if dir == 1 {
            weight = graph.reversed(&weight, 2);
            pads.reverse();
        }
        let attributes = vec![("group", Int(e as i64)), ("pads", Ints(pads))];
        let u = graph.node("Conv", &[&x, &weight, &bias], attributes);
        let u = graph.silu(&u);
        graph.transpose(&u, &[0, 2, 1])
    };
    vec![direction(0), direction(1)]
}
