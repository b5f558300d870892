//! The op as ONNX nodes.

use onnx::Graph;

use super::call::at;
use crate::export::{Call, Written};

/// `y [.. n]`, or `y [.. d]` with what is added.
pub(super) fn write(graph: &mut Graph, call: &Call) -> Written {
    let (x, axis) = (call.input(at::X), call.shape(at::X).len() as i64 - 1);
    let Some(channels) = call.values(at::CHANNELS) else { return Err("its channels are computed") };
    let d = call.shape(at::X)[axis as usize];
    let numbers: Vec<usize> = channels.iter().map(|&channel| (channel as usize).min(d - 1)).collect();
    let Some(added) = call.given(at::ADDED) else {
        let numbers: Vec<i64> = numbers.iter().map(|&number| number as i64).collect();
        return Ok(vec![graph.gather(&x, axis, &numbers)]);
    };
    // A product with a matrix of zeros and ones puts each value at its channel.
    let mut places = vec![0.0; numbers.len() * d];
    numbers.iter().enumerate().for_each(|(j, &number)| places[j * d + number] = 1.0);
    let places = graph.floats(&[numbers.len(), d], places);
    let spread = graph.matmul(&added, &places);
    Ok(vec![graph.add(&x, &spread)])
}
