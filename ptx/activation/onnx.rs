//! The op as ONNX nodes.

use onnx::{Graph, Name};

use super::call::{Activation, QUICK};
use crate::export::Call;

/// y, shaped as x.
pub(super) fn write(graph: &mut Graph, call: &Call) -> Vec<Name> {
    let x = call.input(0);
    vec![match Activation::ALL[call.counts("function")[0]] {
        Activation::Relu => graph.each("Relu", &x),
        Activation::Tanh => graph.each("Tanh", &x),
        Activation::Exp => graph.each("Exp", &x),
        Activation::QuickGelu => {
            let by = graph.floats(&[], vec![QUICK]);
            let scaled = graph.mul(&x, &by);
            let share = graph.each("Sigmoid", &scaled);
            graph.mul(&x, &share)
        }
    }]
}
