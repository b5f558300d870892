//! Cross-entropy on the CPU.

use engine::Element;
use rayon::prelude::*;

/// `log sum_k e^x`, with the largest x taken out of the exponentials.
fn log_sum_exp<E: Element>(x: &[E]) -> f64 {
    let largest = f64::from(x.iter().fold(f32::NEG_INFINITY, |m, x| m.max(x.to_f32())));
    largest + x.iter().map(|x| (f64::from(x.to_f32()) - largest).exp()).sum::<f64>().ln()
}

/// The mean loss. Rows are collected first, so that the order of the sum is fixed.
pub fn forward<E: Element>(k: usize, x: &[E], targets: &[f32]) -> f32 {
    let row = |(x, t): (&[E], &[f32])| {
        let log_sum = log_sum_exp(x);
        x.iter().zip(t).map(|(x, &t)| f64::from(t) * (log_sum - f64::from(x.to_f32()))).sum()
    };
    let losses: Vec<f64> = x.par_chunks(k).zip(targets.par_chunks(k)).map(row).collect();
    (losses.iter().sum::<f64>() / losses.len() as f64) as f32
}

/// Writes dx.
pub fn backward<E: Element>(k: usize, x: &[E], targets: &[f32], dloss: f32, dx: &mut [E]) {
    let scale = f64::from(dloss) / (x.len() / k) as f64;
    let rows = dx.par_chunks_mut(k).zip(x.par_chunks(k)).zip(targets.par_chunks(k));
    rows.for_each(|((dx, x), t)| {
        let log_sum = log_sum_exp(x);
        let weight: f64 = t.iter().map(|&t| f64::from(t)).sum();
        for ((dx, x), &t) in dx.iter_mut().zip(x).zip(t) {
            let share = (f64::from(x.to_f32()) - log_sum).exp();
            *dx = E::from_f32((scale * (share * weight - f64::from(t))) as f32);
        }
    });
}
