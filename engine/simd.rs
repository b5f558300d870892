//! SIMD for the CPU ops: one generic body, compiled for AVX-512, AVX2 + FMA and plain arrays, chosen at run time.
//!
//! ```
//! engine::simd_fn! {
//!     /// y += a x
//!     fn axpy<S>(s, a: f32, x: &[f32], y: &mut [f32]) {
//!         for i in (0..x.len()).step_by(S::LANES) {
//!             let sum = s.fma(s.splat(a), s.read(x, i), s.read(y, i));
//!             s.write(y, i, sum);
//!         }
//!     }
//! }
//! let mut y = vec![1.0; 20];
//! axpy(2.0, &[3.0; 20], &mut y);
//! assert_eq!(y, [7.0; 20]);
//! ```

use std::sync::atomic::{AtomicU8, Ordering};

mod backends;

pub use backends::Portable;
#[cfg(target_arch = "x86_64")]
pub use backends::{Avx2, Avx512};

/// An instruction set that a body is compiled for, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    Portable = 1,
    Avx2 = 2,
    Avx512 = 3,
}

static LIMIT: AtomicU8 = AtomicU8::new(Level::Avx512 as u8);

/// Uses nothing better than `level`: lets tests run every body this machine can.
pub fn limit(level: Level) {
    LIMIT.store(level as u8, Ordering::Relaxed);
}

/// The instruction set in use.
pub fn level() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let limit = LIMIT.load(Ordering::Relaxed);
        if limit >= Level::Avx512 as u8 && is_x86_feature_detected!("avx512f") {
            return Level::Avx512;
        }
        if limit >= Level::Avx2 as u8 && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Level::Avx2;
        }
    }
    Level::Portable
}

/// Asks for the cache line of element `at`, which is about to be read or written; any `at` is allowed.
#[inline(always)]
pub fn prefetch(from: &[f32], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch touches no memory that a program can see and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.as_ptr().wrapping_add(at).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, at);
}

/// Coefficients of 2^f on [-0.5, 0.5]: Chebyshev fit of degree 5 with the constant held at 1, so that
/// 2^0 = 1 exactly; relative error 2.0e-7 before rounding.
#[allow(clippy::excessive_precision)]
const EXP2: [f32; 6] =
    [1.0, std::f32::consts::LN_2, 0.240_223_49, 0.055_503_81, 0.009_666_368_5, 0.001_338_130_3];

/// Coefficients of 2 atanh(s) / s in s^2 on [0, 1/9]; relative error 4.1e-9 before rounding.
#[allow(clippy::excessive_precision)]
const ATANH: [f32; 5] = [2.0, 0.666_663_2, 0.400_245_95, 0.279_651_58, 0.281_577_8];

/// Above this, softplus is the identity, as in the published kernels.
const SOFTPLUS_LINEAR: f32 = 20.0;

/// Vectors of `LANES` floats. A value of an implementing type is the proof that the machine has the
/// instructions: only [`simd_fn!`](crate::simd_fn) makes one.
pub trait Simd: Copy {
    type V: Copy;
    const LANES: usize;

    fn splat(self, x: f32) -> Self::V;
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a b + c
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// 1 / a for normal a up to 2^126, within 2 units in the last place.
    fn recip(self, a: Self::V) -> Self::V;
    fn sqrt(self, a: Self::V) -> Self::V;
    /// `a` where `x > y`, else `b`.
    fn where_gt(self, x: Self::V, y: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// x = n + f with n whole and f in [-0.5, 0.5]: returns (f, n).
    fn split(self, x: Self::V) -> (Self::V, Self::V);
    /// As `split` of a b, without rounding the product first where the machine can.
    fn split_product(self, a: Self::V, b: Self::V) -> (Self::V, Self::V) {
        self.split(self.mul(a, b))
    }
    /// a 2^n for whole n.
    fn scale(self, a: Self::V, n: Self::V) -> Self::V;
    /// The sum over the lanes, in a fixed order.
    fn sum(self, a: Self::V) -> f32;

    /// # Safety
    /// `LANES` floats must be readable at `at`.
    unsafe fn load(self, at: *const f32) -> Self::V;
    /// # Safety
    /// `LANES` floats must be writable at `at`.
    unsafe fn store(self, at: *mut f32, v: Self::V);
    /// Writes past the caches where the machine can: for what is not read again soon. Call [`Simd::fence`]
    /// before another thread reads it.
    /// # Safety
    /// `LANES` floats must be writable at `at`.
    #[inline(always)]
    unsafe fn stream(self, at: *mut f32, v: Self::V) {
        // SAFETY: the caller vouches for the floats.
        unsafe { self.store(at, v) }
    }
    /// Orders what [`Simd::stream`] wrote before what follows.
    #[inline(always)]
    fn fence(self) {}
    /// The first `n < LANES` floats, zero in the other lanes.
    /// # Safety
    /// `n` floats must be readable at `at`.
    unsafe fn load_first(self, at: *const f32, n: usize) -> Self::V;
    /// # Safety
    /// `n` floats must be writable at `at`.
    unsafe fn store_first(self, at: *mut f32, n: usize, v: Self::V);

    /// Elements `i..i + LANES`, zero beyond the end.
    #[inline(always)]
    fn read(self, from: &[f32], i: usize) -> Self::V {
        let from = &from[i..];
        // SAFETY: the slice holds at least as many floats as are read.
        unsafe {
            if from.len() >= Self::LANES {
                self.load(from.as_ptr())
            } else {
                self.load_first(from.as_ptr(), from.len())
            }
        }
    }

    /// Writes elements `i..i + LANES`, fewer at the end.
    #[inline(always)]
    fn write(self, to: &mut [f32], i: usize, v: Self::V) {
        let to = &mut to[i..];
        // SAFETY: the slice holds at least as many floats as are written.
        unsafe {
            if to.len() >= Self::LANES {
                self.store(to.as_mut_ptr(), v);
            } else {
                self.store_first(to.as_mut_ptr(), to.len(), v);
            }
        }
    }

    /// [`Simd::read`] without a look at the end where `FULL` says that no vector reaches beyond it.
    /// # Safety
    /// With `FULL`, the slice must hold elements `i..i + LANES`.
    #[inline(always)]
    unsafe fn read_at<const FULL: bool>(self, from: &[f32], i: usize) -> Self::V {
        if !FULL {
            return self.read(from, i);
        }
        debug_assert!(i + Self::LANES <= from.len());
        // SAFETY: the caller vouches for the floats.
        unsafe { self.load(from.as_ptr().add(i)) }
    }

    /// [`Simd::write`] without a look at the end where `FULL` says that no vector reaches beyond it.
    /// # Safety
    /// With `FULL`, the slice must hold elements `i..i + LANES`.
    #[inline(always)]
    unsafe fn write_at<const FULL: bool>(self, to: &mut [f32], i: usize, v: Self::V) {
        if !FULL {
            return self.write(to, i, v);
        }
        debug_assert!(i + Self::LANES <= to.len());
        // SAFETY: the caller vouches for the floats.
        unsafe { self.store(to.as_mut_ptr().add(i), v) }
    }

    /// 2^(a b), relative error below 3e-7 where the product enters unrounded (see [`Simd::split_product`]).
    #[inline(always)]
    fn exp2_product(self, a: Self::V, b: Self::V) -> Self::V {
        self.raise(self.split_product(a, b))
    }

    /// 2^(f + n) for f in [-0.5, 0.5] and whole n.
    #[inline(always)]
    fn raise(self, (f, n): (Self::V, Self::V)) -> Self::V {
        let mut p = self.splat(EXP2[5]);
        for c in [EXP2[4], EXP2[3], EXP2[2], EXP2[1], EXP2[0]] {
            p = self.fma(p, f, self.splat(c));
        }
        self.scale(p, n)
    }

    /// e^x, relative error below 3e-7 plus 1e-7 |x|; x up to 87.
    #[inline(always)]
    fn exp(self, x: Self::V) -> Self::V {
        let x = self.min(x, self.splat(87.0));
        self.exp2_product(x, self.splat(std::f32::consts::LOG2_E))
    }

    /// 1 / (1 + e^-x)
    #[inline(always)]
    fn sigmoid(self, x: Self::V) -> Self::V {
        let e = self.exp(self.sub(self.splat(0.0), x));
        self.recip(self.add(self.splat(1.0), e))
    }

    /// x sigmoid(x)
    #[inline(always)]
    fn silu(self, x: Self::V) -> Self::V {
        self.mul(x, self.sigmoid(x))
    }

    /// (silu(x), silu'(x)), with silu' = s (1 + x (1 - s)), s = sigmoid(x).
    #[inline(always)]
    fn silu_and_grad(self, x: Self::V) -> (Self::V, Self::V) {
        let one = self.splat(1.0);
        let s = self.sigmoid(x);
        (self.mul(x, s), self.mul(s, self.fma(x, self.sub(one, s), one)))
    }

    /// log(1 + e^x) = max(x, 0) + log1p(e^-|x|); x itself above 20.
    #[inline(always)]
    fn softplus(self, x: Self::V) -> Self::V {
        self.softplus_and_grad(x).0
    }

    /// (softplus(x), softplus'(x)), with softplus' = sigmoid(x), 1 above 20; one exponential for both.
    #[inline(always)]
    fn softplus_and_grad(self, x: Self::V) -> (Self::V, Self::V) {
        let zero = self.splat(0.0);
        let negative = self.min(x, self.sub(zero, x));
        let e = self.exp(negative);
        // log1p(e) = 2 atanh(s) with s = e / (2 + e) in (0, 1/3].
        let s = self.mul(e, self.recip(self.add(self.splat(2.0), e)));
        let q = self.mul(s, s);
        let mut p = self.splat(ATANH[4]);
        for c in [ATANH[3], ATANH[2], ATANH[1], ATANH[0]] {
            p = self.fma(p, q, self.splat(c));
        }
        let y = self.fma(p, s, self.max(x, zero));
        let (one, linear) = (self.splat(1.0), self.splat(SOFTPLUS_LINEAR));
        let falling = self.recip(self.add(one, e));
        let slope = self.where_gt(x, zero, falling, self.mul(e, falling));
        (self.where_gt(x, linear, x, y), self.where_gt(x, linear, one, slope))
    }
}

/// Defines a function whose body is compiled once per instruction set; `S` is the set, `s` its operations.
#[macro_export]
macro_rules! simd_fn {
    ($(#[$meta:meta])* $vis:vis fn $name:ident<$S:ident>($s:ident, $($arg:ident: $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        $(#[$meta])*
        #[allow(clippy::too_many_arguments)]
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[inline(always)]
            fn generic<$S: $crate::simd::Simd>($s: $S, $($arg: $ty),*) $(-> $ret)? $body

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx512f")]
            fn avx512($($arg: $ty),*) $(-> $ret)? {
                generic($crate::simd::Avx512::new(), $($arg),*)
            }

            #[cfg(target_arch = "x86_64")]
            #[target_feature(enable = "avx2,fma")]
            fn avx2($($arg: $ty),*) $(-> $ret)? {
                generic($crate::simd::Avx2::new(), $($arg),*)
            }

            match $crate::simd::level() {
                // SAFETY: `level` found the instructions on this machine.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx512 => unsafe { avx512($($arg),*) },
                // SAFETY: as above.
                #[cfg(target_arch = "x86_64")]
                $crate::simd::Level::Avx2 => unsafe { avx2($($arg),*) },
                _ => generic($crate::simd::Portable, $($arg),*),
            }
        }
    };
}

/// Runs `$body` for the first element `$i` of every vector of a row of `$len`: a copy of it with `$FULL` true, for
/// [`Simd::read_at`] and [`Simd::write_at`], and one for the end of the row.
#[macro_export]
macro_rules! for_vectors {
    ($S:ident, $len:expr, |$i:ident, $FULL:ident| $body:block) => {
        let mut $i = 0;
        while $i + $S::LANES <= $len {
            const $FULL: bool = true;
            $body
            $i += $S::LANES;
        }
        if $i < $len {
            const $FULL: bool = false;
            $body
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    simd_fn! {
        fn apply<S>(s, which: usize, x: &[f32], y: &mut [f32]) {
            for i in (0..x.len()).step_by(S::LANES) {
                let v = s.read(x, i);
                let r = match which {
                    0 => s.exp2_product(v, s.splat(1.0)),
                    1 => s.sigmoid(v),
                    2 => s.silu(v),
                    3 => s.silu_and_grad(v).1,
                    4 => s.softplus(v),
                    5 => s.softplus_and_grad(v).1,
                    6 => s.recip(v),
                    8 => s.exp2_product(v, s.splat(1.5)),
                    _ => s.exp(v),
                };
                s.write(y, i, r);
            }
        }
    }

    simd_fn! {
        fn total<S>(s, x: &[f32]) -> f32 {
            (0..x.len()).step_by(S::LANES).map(|i| s.sum(s.read(x, i))).sum()
        }
    }

    #[test]
    fn every_level_agrees_with_f64() {
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        type Function<'a> = (&'a str, &'a dyn Fn(f64) -> f64, f64);
        let functions: [Function; 9] = [
            ("exp2", &|x| x.exp2(), 4e-7),
            ("sigmoid", &sigmoid, 1e-5),
            ("silu", &|x| x * sigmoid(x), 1e-5),
            ("silu'", &|x| sigmoid(x) * (1.0 + x * (1.0 - sigmoid(x))), 4e-6),
            ("softplus", &|x| if x > 20.0 { x } else { x.exp().ln_1p() }, 1e-5),
            ("softplus'", &|x| if x > 20.0 { 1.0 } else { sigmoid(x) }, 1e-5),
            ("recip", &|x| 1.0 / x, 2.5e-7),
            ("exp", &|x| x.exp(), 1e-5),
            // Up to 2^60, half a unit in the last place of the exponent where the product is rounded first.
            ("exp2_product", &|x| (1.5 * x).exp2(), 3e-6),
        ];
        let x: Vec<f32> = (0..40_003).map(|i| (i as f32 - 20_000.5) * 0.002).collect();
        for limit_to in [Level::Avx512, Level::Avx2, Level::Portable] {
            limit(limit_to);
            for (which, (name, exact, tolerance)) in functions.iter().enumerate() {
                let mut y = vec![f32::NAN; x.len()];
                apply(which, &x, &mut y);
                for (x, y) in x.iter().zip(&y) {
                    let want = exact(f64::from(*x));
                    // silu' crosses zero: absolute there, relative elsewhere.
                    let err = (f64::from(*y) - want).abs() / if *name == "silu'" { 1.0 } else { want.abs() };
                    assert!(err <= *tolerance, "{limit_to:?} {name}({x}) = {y}, want {want}, error {err:e}");
                }
            }
            let mut one = [0.0];
            apply(0, &[0.0], &mut one);
            assert_eq!(one, [1.0], "2^0 must be exact: a frozen state must not drift");
            apply(8, &[0.0], &mut one);
            assert_eq!(one, [1.0], "as above");
            apply(1, &[-1e4], &mut one);
            assert!(one[0].abs() < 1e-30, "sigmoid far below: {}", one[0]);
            let whole: Vec<f32> = (0..19).map(|i| (1 << i) as f32).collect();
            assert_eq!(total(&whole), ((1 << 19) - 1) as f32);
        }
        limit(Level::Avx512);
    }
}
