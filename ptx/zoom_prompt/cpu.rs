//! The zoom and the prompt on the CPU: a task takes one channel of one image, or one row of delta.

use engine::Element;
use rayon::prelude::*;

use super::call::{CHANNELS, Dims, Normalisation};

/// Where the zoom reads for a row of the output, and for the column of the same number.
#[derive(Clone, Copy)]
pub(super) struct Source {
    /// The pixels of the image before and after, where there are any.
    pub pixels: [Option<usize>; 2],
    /// How far it is from the one before to the one after.
    pub weight: f32,
    /// Its distance from the centre.
    offset: f32,
}

pub(super) fn sources(d: Dims, scale: f32) -> Vec<Source> {
    let (centre, inverse) = ((d.size as f32 - 1.0) * 0.5, scale.recip());
    let (first, last) = (d.pad() as f32, (d.pad() + d.s) as f32);
    let of = |i: usize| {
        let offset = (i as f32 - centre) * inverse;
        let position = offset + centre;
        let before = position.floor();
        let pixel = |at: f32| (at >= first && at < last).then_some((at - first) as usize);
        Source { pixels: [before, before + 1.0].map(pixel), weight: position - before, offset }
    };
    (0..d.size).map(of).collect()
}

/// The hole of the mask: its first row and column, and the first behind it.
pub(super) fn hole(d: Dims, scale: f32) -> std::ops::Range<usize> {
    let side = ((d.s as f32 * scale) as usize).min(d.size);
    let start = (d.size - side) / 2;
    start..start + side
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

/// The four pixels around a position: above and below, left and right.
fn around(s: usize, image: &[f32], row: Source, column: Source) -> [[f32; 2]; 2] {
    row.pixels.map(|y| {
        column.pixels.map(|x| match (y, x) {
            (Some(y), Some(x)) => image[y * s + x],
            _ => 0.0,
        })
    })
}

fn between([a, b]: [f32; 2], weight: f32) -> f32 {
    a + weight * (b - a)
}

/// Writes y.
pub fn forward<E: Element>(
    d: Dims,
    normalisation: Normalisation,
    [images, delta, scale]: [&[f32]; 3],
    y: &mut [E],
) {
    if y.is_empty() {
        return;
    }
    let (sources, hole) = (sources(d, scale[0]), hole(d, scale[0]));
    let (rates, size) = (normalisation.rates(), d.size);
    let mut prompt = vec![0.0; delta.len()];
    prompt.par_chunks_mut(size).zip(delta.par_chunks(size)).enumerate().for_each(|(at, (prompt, delta))| {
        for (column, (prompt, delta)) in prompt.iter_mut().zip(delta).enumerate() {
            if !(hole.contains(&(at % size)) && hole.contains(&column)) {
                *prompt = sigmoid(*delta);
            }
        }
    });
    y.par_chunks_mut(size * size).enumerate().for_each(|(plane, y)| {
        let image = &images[plane * d.s * d.s..][..d.s * d.s];
        let channel = plane % CHANNELS;
        let prompt = &prompt[channel * size * size..][..size * size];
        let (mean, rate) = (normalisation.mean[channel], rates[channel]);
        for (at, (y, prompt)) in y.iter_mut().zip(prompt).enumerate() {
            let (row, column) = (sources[at / size], sources[at % size]);
            let [above, below] = around(d.s, image, row, column);
            let zoomed = between([between(above, column.weight), between(below, column.weight)], row.weight);
            *y = E::from_f32((zoomed + prompt - mean) * rate);
        }
    });
}

/// Adds to ddelta, images in order.
pub fn grad_delta<E: Element>(
    d: Dims,
    normalisation: Normalisation,
    dy: &[E],
    [delta, scale]: [&[f32]; 2],
    ddelta: &mut [f32],
) {
    if ddelta.is_empty() {
        return;
    }
    let (hole, size, rates) = (hole(d, scale[0]), d.size, normalisation.rates());
    ddelta.par_chunks_mut(size).zip(delta.par_chunks(size)).enumerate().for_each(|(at, (ddelta, delta))| {
        let in_rows = hole.contains(&(at % size));
        for column in (0..size).filter(|column| !(in_rows && hole.contains(column))) {
            let pixel = at * size + column;
            let sum: f32 = (0..d.b).map(|image| dy[image * CHANNELS * size * size + pixel].to_f32()).sum();
            let s = sigmoid(delta[column]);
            ddelta[column] += sum * rates[at / size] * (s * (1.0 - s));
        }
    });
}

/// The gradient of the scale. Rows are summed in f32, and their sums in f64, in order.
pub fn grad_scale<E: Element>(
    d: Dims,
    normalisation: Normalisation,
    dy: &[E],
    [images, scale]: [&[f32]; 2],
) -> f32 {
    if dy.is_empty() {
        return 0.0;
    }
    let (sources, size, rates) = (sources(d, scale[0]), d.size, normalisation.rates());
    let row_sum = |(at, dy): (usize, &[E])| -> f32 {
        let (plane, row) = (at / size, sources[at % size]);
        let image = &images[plane * d.s * d.s..][..d.s * d.s];
        let term = |(column, dy): (&Source, &E)| {
            let [above, below] = around(d.s, image, row, *column);
            let along_y = between(below, column.weight) - between(above, column.weight);
            let along_x = between([above[1] - above[0], below[1] - below[0]], row.weight);
            dy.to_f32() * (row.offset * along_y + column.offset * along_x)
        };
        rates[plane % CHANNELS] * sources.iter().zip(dy).map(term).sum::<f32>()
    };
    let sums: Vec<f32> = dy.par_chunks(size).enumerate().map(row_sum).collect();
    // A position moves by -offset / scale for each unit of the scale.
    let sum: f64 = sums.into_iter().map(f64::from).sum();
    (-sum / f64::from(scale[0])) as f32
}
