//! Distance of f32 values from the exact ones.

use std::fmt::Write;

/// How far a single element may be off, in multiples of the tolerance, relative to its own size and the root mean
/// square of the tensor. A norm alone would hide one wrong element among many.
const ELEMENT: f64 = 16.0;

/// Returns `|difference| / |want|`, or the plain difference where `want` is zero, so equal zeros are at distance 0.
pub fn relative(difference: f64, want: f64) -> f64 {
    if want == 0.0 { difference } else { difference / want }
}

/// Returns the relative error by norm, or what is wrong, with the five worst positions.
pub fn compare(
    shape: &[usize],
    got: &[f32],
    want: &[f64],
    tolerance: f64,
) -> std::result::Result<f64, String> {
    if got.len() != want.len() || shape.iter().product::<usize>() != got.len() {
        return Err(format!("{} elements of shape {shape:?}, want {}", got.len(), want.len()));
    }
    if let Some(i) = got.iter().position(|v| !v.is_finite()) {
        return Err(format!("{} at {:?}, want {:e}", got[i], index(i, shape), want[i]));
    }
    let difference = |i: usize| (f64::from(got[i]) - want[i]).abs();
    let norm = |sum: f64| sum.sqrt();
    let want_norm = norm(want.iter().map(|w| w * w).sum());
    let rms = want_norm / (want.len() as f64).sqrt();
    let error = relative(norm((0..got.len()).map(|i| difference(i).powi(2)).sum()), want_norm);
    let off = |i: usize| relative(difference(i), want[i].abs() + rms);
    let worst = (0..got.len()).map(off).fold(0.0, f64::max);
    if error <= tolerance && worst <= ELEMENT * tolerance {
        return Ok(error);
    }
    let mut order: Vec<usize> = (0..got.len()).collect();
    order.sort_by(|&a, &b| off(b).total_cmp(&off(a)));
    let mut text = format!(
        "error {error:.1e} by norm, {worst:.1e} at the worst element, tolerance {tolerance:.1e} and {:.1e}",
        ELEMENT * tolerance
    );
    for &i in order.iter().take(5) {
        write!(text, "\n    {:?}: got {:e}, want {:e}", index(i, shape), got[i], want[i])
            .expect("a string takes all");
    }
    Err(text)
}

/// Position `flat` along each axis.
fn index(mut flat: usize, shape: &[usize]) -> Vec<usize> {
    let mut index = vec![0; shape.len()];
    for (to, &size) in index.iter_mut().zip(shape).rev() {
        *to = flat % size;
        flat /= size;
    }
    index
}
