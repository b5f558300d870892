//! The functions on the CPU: one pass over pieces.

use engine::{Element, for_vectors, simd_fn};
use rayon::prelude::*;

use super::call::Activation;

/// Elements per task.
const PIECE: usize = 1 << 14;

/// Writes y.
pub fn forward<E: Element>(f: Activation, x: &[E], y: &mut [E]) {
    y.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).for_each(|(y, x)| values(f, x, y));
}

/// Writes dx, or adds to it.
pub fn grad<E: Element>(f: Activation, x: &[E], dy: &[E], dx: &mut [E], accumulate: bool) {
    let pieces = dx.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).zip(dy.par_chunks(PIECE));
    pieces.for_each(|((dx, x), dy)| slopes(f, x, dy, dx, accumulate));
}

/// Runs a loop with the function as a constant, so that the choice is made once and not by each element.
macro_rules! with_constant {
    ($f:ident, $run:expr) => {
        with_constant!($f, $run, Relu QuickGelu Tanh Exp Gelu)
    };
    ($f:ident, $run:expr, $($known:ident)+) => {
        match $f {
            $(Activation::$known => {
                let $f = Activation::$known;
                $run
            })+
        }
    };
}

simd_fn! {
    fn values<S, E>(s, f: Activation, x: &[E], y: &mut [E]) {
        let y = &mut y[..x.len()];
        with_constant!(f, {
            for_vectors!(S, x.len(), |i, FULL| {
                // SAFETY: both slices have the same length, and a full vector ends within it.
                unsafe { s.write_at::<FULL>(y, i, f.value_and_slope(s, s.read_at::<FULL>(x, i)).0) }
            });
        });
    }
}

simd_fn! {
    fn slopes<S, E>(s, f: Activation, x: &[E], dy: &[E], dx: &mut [E], accumulate: bool) {
        let (dy, dx) = (&dy[..x.len()], &mut dx[..x.len()]);
        with_constant!(f, {
            for_vectors!(S, x.len(), |i, FULL| {
                // SAFETY: every slice has the same length, and a full vector ends within it.
                unsafe {
                    let slope = f.value_and_slope(s, s.read_at::<FULL>(x, i)).1;
                    let through = s.mul(s.read_at::<FULL>(dy, i), slope);
                    let sum = if accumulate { s.add(s.read_at::<FULL>(dx, i), through) } else { through };
                    s.write_at::<FULL>(dx, i, sum);
                }
            });
        });
    }
}
