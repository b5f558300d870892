//! Bilinear resampling of a plane of floats to a square, as PyTorch's `interpolate` computes it with pixels' corners aligned
//! at half pixels: a change of the aspect ratio, and nothing is cut off. AutoVP takes its images so.

/// For each output, the first input and the weights from there on.
type Weights = Vec<(usize, Vec<f64>)>;

/// Resizes a plane `[height width]` to `[side side]`. With `antialias` the kernel widens where the plane shrinks, so that
/// every input counts.
///
/// # Panics
/// When the plane does not have `height width` values, or has none.
pub fn square(plane: &[f32], [height, width]: [usize; 2], side: usize, antialias: bool) -> Vec<f32> {
    assert_eq!(plane.len(), height * width, "a plane of {height} x {width}");
    let [rows, columns] = [height, width].map(|length| weights(length, side, antialias));
    let across: Vec<f64> = plane
        .chunks_exact(width)
        .flat_map(|line| columns.iter().map(|(first, weights)| sum(weights, &line[*first..], 1)))
        .collect();
    let down = |(first, weights): &(usize, Vec<f64>)| -> Vec<f32> {
        let lines = &across[first * side..];
        (0..side).map(|x| sum(weights, &lines[x..], side) as f32).collect()
    };
    rows.iter().flat_map(down).collect()
}

/// The weighted sum of every `step`-th value.
fn sum<T: Copy + Into<f64>>(weights: &[f64], values: &[T], step: usize) -> f64 {
    weights.iter().zip(values.iter().step_by(step)).map(|(weight, &value)| weight * value.into()).sum()
}

fn weights(input: usize, output: usize, antialias: bool) -> Weights {
    let scale = input as f64 / output as f64;
    (0..output)
        .map(|i| {
            let centre = (i as f64 + 0.5) * scale;
            if !antialias {
                let at = (centre - 0.5).clamp(0.0, (input - 1) as f64);
                let (first, part) = (at.floor() as usize, at.fract());
                return (first, if part > 0.0 { vec![1.0 - part, part] } else { vec![1.0] });
            }
            let support = scale.max(1.0);
            let first = (centre - support + 0.5).max(0.0) as usize;
            let end = ((centre + support + 0.5) as usize).min(input);
            let at = |k: usize| (1.0 - ((k as f64 - centre + 0.5) / support).abs()).max(0.0);
            let whole: f64 = (first..end).map(at).sum();
            (first, (first..end).map(|k| at(k) / whole).collect())
        })
        .collect()
}
