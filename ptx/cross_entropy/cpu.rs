//! Cross-entropy on the CPU.

use rayon::prelude::*;

/// `log sum_k e^x`, with the largest x taken out of the exponentials.
fn log_sum_exp(x: &[f32]) -> f64 {
    let largest = f64::from(x.iter().fold(f32::NEG_INFINITY, |m, &x| m.max(x)));
    largest + x.iter().map(|&x| (f64::from(x) - largest).exp()).sum::<f64>().ln()
}

/// The mean loss. Rows are collected first, so that the order of the sum is fixed.
pub fn forward(k: usize, x: &[f32], targets: &[f32]) -> f32 {
    let row = |(x, t): (&[f32], &[f32])| {
        let log_sum = log_sum_exp(x);
        x.iter().zip(t).map(|(&x, &t)| f64::from(t) * (log_sum - f64::from(x))).sum()
    };
    let losses: Vec<f64> = x.par_chunks(k).zip(targets.par_chunks(k)).map(row).collect();
    (losses.iter().sum::<f64>() / losses.len() as f64) as f32
}

/// Writes dx.
pub fn backward(k: usize, x: &[f32], targets: &[f32], dloss: f32, dx: &mut [f32]) {
    let scale = f64::from(dloss) / (x.len() / k) as f64;
    let rows = dx.par_chunks_mut(k).zip(x.par_chunks(k)).zip(targets.par_chunks(k));
    rows.for_each(|((dx, x), t)| {
        let log_sum = log_sum_exp(x);
        let weight: f64 = t.iter().map(|&t| f64::from(t)).sum();
        for ((dx, &x), &t) in dx.iter_mut().zip(x).zip(t) {
            *dx = (scale * ((f64::from(x) - log_sum).exp() * weight - f64::from(t))) as f32;
        }
    });
}
