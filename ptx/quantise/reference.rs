//! The op in plain loops.

use num_traits::Float;

use super::call::{EPS, Levels};

fn float<T: Float>(x: f64) -> T {
    T::from(x).expect("a float")
}

/// Mean and deviation of w.
fn moments<T: Float>(w: &[T]) -> (T, T) {
    let n: T = float(w.len() as f64);
    let mean = w.iter().fold(T::zero(), |sum, &w| sum + w) / n;
    let squares = w.iter().fold(T::zero(), |sum, &w| sum + (w - mean) * (w - mean));
    (mean, (squares / (n - T::one())).sqrt())
}

/// Q at t.
fn level<T: Float>(levels: Option<Levels>, t: T) -> T {
    let Some(Levels { threshold, inner, outer }) = levels else { return t };
    let size: T = float(if t.abs() > float(threshold) { outer } else { inner });
    if t > T::zero() {
        size
    } else if t < T::zero() {
        -size
    } else {
        T::zero()
    }
}

/// `y`, shaped as w. Other numbers of bits than 0, 1 and 2 panic.
pub fn forward<T: Float>(w: &[T], bits: usize) -> Vec<T> {
    let (levels, (mean, deviation)) = (Levels::new(bits).expect("a known number of bits"), moments(w));
    w.iter().map(|&w| level(levels, (w - mean) / (deviation + float(EPS))) * deviation + mean).collect()
}

/// `dw`, shaped as w, by the chain of the formulas.
pub fn backward<T: Float>(w: &[T], bits: usize, dy: &[T]) -> Vec<T> {
    let (levels, (mean, deviation)) = (Levels::new(bits).expect("a known number of bits"), moments(w));
    let (n, divisor): (T, T) = (float(w.len() as f64), deviation + float(EPS));
    let (mut dmean, mut ddeviation, mut dw) = (T::zero(), T::zero(), vec![]);
    for (&w, &dy) in w.iter().zip(dy) {
        let t = (w - mean) / divisor;
        let dt = dy * deviation;
        dmean = dmean + dy - dt / divisor;
        ddeviation = ddeviation + dy * level(levels, t) - dt * t / divisor;
        dw.push(dt / divisor);
    }
    for (dw, &w) in dw.iter_mut().zip(w) {
        *dw = *dw + dmean / n + ddeviation * (w - mean) / ((n - T::one()) * deviation);
    }
    dw
}
