//! The op as ONNX nodes.

use onnx::{Graph, Name};

use super::call::EPS;
use crate::export::{Call, Written};

/// y, by given mean and variance, as evaluation has them.
pub(super) fn write(graph: &mut Graph, call: &Call) -> Written {
    let (Some(mean), Some(variance)) = (call.given(1), call.given(2)) else {
        return Err("the moments of a batch are for training");
    };
    let eps = graph.floats(&[], vec![EPS]);
    let shifted = graph.add(&variance, &eps);
    let root = graph.each("Sqrt", &shifted);
    let centred = graph.sub(&call.input(0), &mean);
    let y: Name = graph.div(&centred, &root);
    Ok(vec![y])
}
