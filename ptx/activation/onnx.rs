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
        Activation::Gelu => {
            let root = graph.floats(&[], vec![std::f32::consts::FRAC_1_SQRT_2]);
            let scaled = graph.mul(&x, &root);
            let erf = graph.each("Erf", &scaled);
            let one = graph.floats(&[], vec![1.0]);
            let both = graph.add(&erf, &one);
            let half = graph.floats(&[], vec![0.5]);
            let distribution = graph.mul(&both, &half);
            graph.mul(&x, &distribution)
        }
        Activation::QuickGelu => {
            let by = graph.floats(&[], vec![QUICK]);
            let scaled = graph.mul(&x, &by);
            let share = graph.each("Sigmoid", &scaled);
            graph.mul(&x, &share)
        }
    }]
}
