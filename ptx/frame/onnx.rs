//! The op as ONNX nodes.

use onnx::Graph;

use crate::export::{Call, Written};

/// `y [b c s s]`, with one frame.
pub(super) fn write(graph: &mut Graph, call: &Call) -> Written {
    if call.numbers("assigned") != [0.0] {
        return Err("the frame of an image is chosen by a second pass through the backbone alone");
    }
    let [up, down, left, right] = [1, 2, 3, 4].map(|side| call.input(side));
    let (&[_, c, w, s], inner) = (call.shape(1), call.shape(3)[2]) else {
        unreachable!("sides have four axes")
    };
    debug_assert_eq!(s, inner + 2 * w);
    let hole = graph.floats(&[1, c, inner, inner], vec![0.0; c * inner * inner]);
    let middle = graph.concat(&[&left, &hole, &right], 3);
    let frame = graph.concat(&[&up, &middle, &down], 2);
    Ok(vec![graph.add(&call.input(0), &frame)])
}
