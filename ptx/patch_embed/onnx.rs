//! The op as ONNX nodes.

use onnx::Attribute::Ints;
use onnx::{Graph, Name};

use super::at;
use crate::export::Call;

/// `y [b p+1 d]`
pub(super) fn write(graph: &mut Graph, call: &Call) -> Vec<Name> {
    let (stride, class_row) = (call.counts("stride")[0] as i64, call.counts("class_row")[0]);
    let &[_, tokens, d] = call.output() else { unreachable!("tokens have three axes") };
    let [images, weight, bias] = [at::IMAGES, at::WEIGHT, at::BIAS].map(|input| call.input(input));
    let patches =
        graph.node("Conv", &[&images, &weight, &bias], vec![("strides", Ints(vec![stride, stride]))]);
    let patches = graph.reshape(&patches, &[0, d as i64, -1]);
    let patches = graph.transpose(&patches, &[0, 2, 1]);
    let before = graph.slice(&patches, 1, 0..class_row);
    let after = graph.slice(&patches, 1, class_row..tokens - 1);
    let class = graph.for_each_sample(&call.input(at::CLS), &images);
    let all = graph.concat(&[&before, &class, &after], 1);
    vec![graph.add(&all, &call.input(at::POS))]
}
