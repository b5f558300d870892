use engine::{Device, Rng};

use super::*;
use crate::spec::{Case, backward_kernels};

/// Changes nothing.
const PLAIN: Normalisation = Normalisation { mean: [0.0; 3], deviation: [1.0; 3] };

fn devices() -> [Device; 2] {
    [Device::cpu_checked(), Device::emulated()]
}

/// Random values in 0..1.
fn images(shape: &[usize]) -> Vec<f32> {
    let mut rng = Rng::keyed(3, 0, 0, 0);
    (0..shape.iter().product()).map(|_| rng.range(0.0, 1.0) as f32).collect()
}

/// The output for images of `s` pixels in `size`, delta of zeros and a scale, and delta's gradient from ones.
fn run(device: &Device, pixels: &[f32], [s, size]: [usize; 2], scale: f32) -> [Vec<f32>; 2] {
    let tape = Tape::new(device);
    let b = pixels.len() / (3 * s * s);
    let images = Var::constant(Tensor::from_slice(device, pixels, &[b, 3, s, s]));
    let delta = tape.leaf(Tensor::zeros(device, &[3, size, size]));
    let scale = Var::constant(Tensor::from_slice(device, &[scale], &[1]));
    let y = zoom_prompt(&tape, &images, &delta, &scale, &PLAIN, DType::F32).unwrap();
    let out = y.value().to_host().unwrap();
    let seed = Tensor::from_slice(device, &vec![1.0; out.len()], y.shape());
    let mut grads = tape.backward(&y, seed).unwrap();
    [out, grads.take(&delta).unwrap().to_host().unwrap()]
}

/// Calls `visit(place in [planes size size], row, column)`.
fn each(planes: usize, size: usize, mut visit: impl FnMut(usize, usize, usize)) {
    (0..planes * size * size).for_each(|at| visit(at, at / size % size, at % size));
}

/// 20 pixels in 32 stand from 6 on, and so does the hole. 21 pixels stand from 6 on too, with the larger half of what
/// is left over before them, but their hole starts at 5.
#[test]
fn with_a_scale_of_one_images_are_padded_and_the_hole_may_be_off_by_one() {
    for device in devices() {
        for (s, first, hole) in [(20, 6, 6..26), (21, 6, 5..26)] {
            let pixels = images(&[2, 3, s, s]);
            let [y, ddelta] = run(&device, &pixels, [s, 32], 1.0);
            each(6, 32, |at, row, column| {
                let inside = |i: usize| (first..first + s).contains(&i);
                let image = match inside(row) && inside(column) {
                    true => pixels[(at / 1024 * s + row - first) * s + column - first],
                    false => 0.0,
                };
                let prompt = if hole.contains(&row) && hole.contains(&column) { 0.0 } else { 0.5 };
                assert_eq!(y[at], image + prompt, "{}: {s}, {row}, {column}", device.name());
            });
            each(3, 32, |at, row, column| {
                let slope = if hole.contains(&row) && hole.contains(&column) { 0.0 } else { 2.0 * 0.25 };
                assert_eq!(ddelta[at], slope, "{}: {s}, {row}, {column}", device.name());
            });
        }
    }
}

/// The hole's side is cut to a whole number, so 7.96 pixels are 7, and from 12 on it covers all.
#[test]
fn the_hole_follows_the_scale_until_there_is_no_prompt() {
    for device in devices() {
        let pixels = images(&[1, 3, 4, 4]);
        for (scale, side) in [(0.2, 0), (0.25, 1), (1.99, 7), (2.0, 8), (3.0, 12), (5.0, 12)] {
            let [_, ddelta] = run(&device, &pixels, [4, 12], scale);
            let prompted = ddelta.iter().filter(|&&slope| slope != 0.0).count();
            assert_eq!(prompted, 3 * (144 - side * side), "{}: {scale}", device.name());
        }
        let zeros = vec![0.0; 3 * 16];
        let [y, ddelta] = run(&device, &zeros, [4, 12], 3.0);
        assert!(y.iter().chain(&ddelta).all(|&v| v == 0.0), "{}", device.name());
    }
}

/// With the scale at 2 and an even number of pixels, each pixel lies at quarters between those of the image.
#[test]
fn a_zoom_reads_between_pixels() {
    for device in devices() {
        let pixels: Vec<f32> = (0..3 * 16).map(|at| (at % 4) as f32).collect();
        // Columns 0 to 3 hold their number; between them it grows evenly, and beside them lies nothing.
        let [y, _] = run(&device, &pixels, [4, 4], 2.0);
        for row in y.chunks(4) {
            assert_eq!(row, [0.75, 1.25, 1.75, 2.25], "{}", device.name());
        }
    }
}

#[test]
fn a_scale_without_a_value_reads_no_other_memory() {
    for device in devices() {
        for scale in [f32::NAN, 0.0] {
            let [y, ddelta] = run(&device, &images(&[1, 3, 5, 5]), [5, 8], scale);
            assert!(y.iter().all(|v| v.is_nan()), "{}", device.name());
            assert!(ddelta.iter().all(|&v| v == 0.25), "{}: no hole", device.name());
        }
    }
}

#[test]
fn a_fixed_scale_costs_nothing() {
    let case = Case::new(&[("b", 2), ("s", 5), ("S", 9), ("scale", 1370)]);
    let kernels = |trained: &[&str]| backward_kernels(&cases::Cases, &case, trained);
    assert_eq!(kernels(&["delta"]), ["zoom_prompt_delta_f32"]);
    assert_eq!(kernels(&["scale"]), ["rows_sum_f32", "zoom_prompt_scale_f32"]);
}

#[test]
fn no_images_give_zeros() {
    for device in devices() {
        let [y, ddelta] = run(&device, &[], [3, 4], 1.0);
        assert!(y.is_empty() && ddelta == [0.0; 48], "{}", device.name());
    }
}

#[test]
fn misfits_are_refused_by_name() {
    let tape = Tape::new(&Device::cpu());
    let zeros = |shape: &[usize]| Var::constant(Tensor::zeros(tape.device(), shape));
    let run = |images: &Var, delta: &[usize], scale: &[usize]| {
        let y = zoom_prompt(&tape, images, &zeros(delta), &zeros(scale), &PLAIN, DType::F32);
        y.map(|y| y.shape().to_vec())
    };
    let fitting = zeros(&[2, 3, 5, 5]);
    assert_eq!(run(&fitting, &[3, 8, 8], &[1]).unwrap(), [2, 3, 8, 8]);
    let trained = tape.leaf(Tensor::zeros(tape.device(), &[2, 3, 5, 5]));
    for (images, delta, scale, message) in [
        (&zeros(&[2, 1, 5, 5]), &[3, 8, 8][..], &[1][..], "images must be [b 3 s s] = [2, 3, 5, 5]"),
        (&zeros(&[2, 3, 5, 6]), &[3, 8, 8], &[1], "got [2, 3, 5, 6]"),
        (&fitting, &[1, 3, 8, 8], &[1], "delta must be [3 S S] (3 axes), got [1, 3, 8, 8]"),
        (&fitting, &[3, 8, 9], &[1], "delta must be [3 S S] = [3, 8, 8], got [3, 8, 9]"),
        (&fitting, &[3, 8, 8], &[], "scale must be [1] = [1], got []"),
        (&fitting, &[3, 4, 4], &[1], "images of 5 pixels do not fit a prompt of 4 pixels"),
        (&trained, &[3, 8, 8], &[1], "images want a gradient, and get none"),
    ] {
        let err = run(images, delta, scale).unwrap_err().to_string();
        assert!(err.contains(message), "{err}");
    }
}
