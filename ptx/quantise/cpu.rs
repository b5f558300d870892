//! Quantised weights on the CPU. They are few, so one thread takes them; sums are f64.

use super::call::{EPS, Levels};

/// Q at t.
fn level(levels: Option<Levels>, t: f64) -> f64 {
    match levels {
        None => t,
        Some(_) if t == 0.0 => 0.0,
        Some(Levels { threshold, outer, .. }) if t.abs() > threshold => outer.copysign(t),
        Some(Levels { inner, .. }) => inner.copysign(t),
    }
}

/// Writes y, and the mean and deviation of w to `moments [2]`.
pub fn forward(levels: Option<Levels>, w: &[f32], y: &mut [f32], moments: &mut [f32]) {
    let n = w.len() as f64;
    let mean = w.iter().map(|&w| f64::from(w)).sum::<f64>() / n;
    let squares = w.iter().map(|&w| (f64::from(w) - mean).powi(2)).sum::<f64>();
    let deviation = (squares / (n - 1.0)).sqrt();
    for (y, &w) in y.iter_mut().zip(w) {
        *y = (level(levels, (f64::from(w) - mean) / (deviation + EPS)) * deviation + mean) as f32;
    }
    moments.copy_from_slice(&[mean as f32, deviation as f32]);
}

/// Writes dw, or adds to it.
pub fn backward(
    levels: Option<Levels>,
    w: &[f32],
    dy: &[f32],
    moments: &[f32],
    dw: &mut [f32],
    accumulate: bool,
) {
    let (n, mean, deviation) = (w.len() as f64, f64::from(moments[0]), f64::from(moments[1]));
    let divisor = deviation + EPS;
    let mut sums = [0.0; 3];
    for (&w, &dy) in w.iter().zip(dy) {
        let (t, dy) = ((f64::from(w) - mean) / divisor, f64::from(dy));
        let terms = [dy, dy * level(levels, t), dy * t];
        sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += term);
    }
    let [all, levelled, standardised] = sums;
    let straight = deviation / divisor;
    let (dmean, ddeviation) = (all * (1.0 - straight) / n, levelled - straight * standardised);
    let by = ddeviation / ((n - 1.0) * deviation);
    for ((dw, &w), &dy) in dw.iter_mut().zip(w).zip(dy) {
        let value = (straight * f64::from(dy) + dmean + by * (f64::from(w) - mean)) as f32;
        *dw = if accumulate { *dw + value } else { value };
    }
}
