//! The op as ONNX nodes. The scale is given, so that the zoom is a product with shares of rows, and one of columns.

use onnx::Graph;

use super::call::{CHANNELS, Dims, at};
use super::cpu::{hole, sources};
use crate::export::{Call, Written};

/// `y [b 3 S S]`
pub(super) fn write(graph: &mut Graph, call: &Call) -> Written {
    let Some(&[scale]) = call.values(at::SCALE) else { return Err("its scale depends on the image") };
    let dims = Dims { b: 1, s: call.shape(0)[2], size: call.output()[2] };
    let Dims { s, size, .. } = dims;
    let mut shares = vec![0.0; size * s];
    for (row, source) in shares.chunks_exact_mut(s).zip(sources(dims, scale)) {
        for (pixel, share) in source.pixels.into_iter().zip([1.0 - source.weight, source.weight]) {
            pixel.into_iter().for_each(|pixel| row[pixel] += share);
        }
    }
    let shares = graph.floats(&[size, s], shares);
    let zoomed = graph.matmul(&shares, &call.input(0));
    let shares = graph.transpose(&shares, &[1, 0]);
    let zoomed = graph.matmul(&zoomed, &shares);
    let hole = hole(dims, scale);
    let outside = |i: usize| !(hole.contains(&(i / size)) && hole.contains(&(i % size)));
    let mask: Vec<f32> = (0..size * size).map(|i| f32::from(outside(i))).collect();
    let mask = graph.floats(&[size, size], mask);
    let prompt = graph.each("Sigmoid", &call.input(at::DELTA));
    let prompt = graph.mul(&prompt, &mask);
    let sum = graph.add(&zoomed, &prompt);
    let [mean, deviation] = ["mean", "deviation"].map(|name| {
        let values: Vec<f32> = call.numbers(name).iter().map(|&value| value as f32).collect();
        graph.floats(&[CHANNELS, 1, 1], values)
    });
    let centred = graph.sub(&sum, &mean);
    Ok(vec![graph.div(&centred, &deviation)])
}
