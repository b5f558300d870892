//! Vectors of floats, and functions of them that every instruction set shares.

use half::bf16;

use super::element::Element;

/// The coefficients of 2^f on [-0.5, 0.5]: a Chebyshev fit of degree 5 whose constant is held at 1, so that 2^0 = 1
/// exactly. The relative error is 2.0e-7 before rounding.
#[allow(clippy::excessive_precision)]
const EXP2: [f32; 6] =
    [1.0, std::f32::consts::LN_2, 0.240_223_49, 0.055_503_81, 0.009_666_368_5, 0.001_338_130_3];

/// The coefficients of 2 atanh(s) / s in s^2 on [0, 1/9]. The relative error is 4.1e-9 before rounding.
#[allow(clippy::excessive_precision)]
const ATANH: [f32; 5] = [2.0, 0.666_663_2, 0.400_245_95, 0.279_651_58, 0.281_577_8];

/// Above this, softplus is the identity, as in the published kernels of Mamba.
const SOFTPLUS_LINEAR: f32 = 20.0;

/// The standard normal distribution below -a is e^(-a^2 / 2) times t times a polynomial in t = 1 / (1 + `TAIL_RATE` a).
const TAIL_RATE: f32 = 0.36;

/// The coefficients of that polynomial: an interpolation at the Chebyshev points of 0 <= a <= 13.5, beyond which the
/// exponential vanishes in f32. The relative error is 7.9e-8 before rounding.
#[allow(clippy::excessive_precision)]
const TAIL: [f32; 9] = [
    0.143_623_948_1,
    0.143_565_684_6,
    0.124_893_195_9,
    0.092_419_222_0,
    0.008_385_671_3,
    0.094_415_150_6,
    -0.212_168_544_5,
    0.133_974_030_6,
    -0.029_108_395_8,
];

/// The most lanes of any instruction set.
const MOST_LANES: usize = 16;

/// 1 / sqrt(2 pi), the density of the standard normal distribution at 0.
const NORMAL_PEAK: f32 = 0.398_942_3;

/// An instruction set with vectors of `LANES` floats. A value of an implementing type is the proof that the machine has the
/// instructions: only [`simd_fn!`](crate::simd_fn) makes one.
pub trait Simd: Copy {
    /// A vector.
    type V: Copy;
    /// The number of floats in a vector.
    const LANES: usize;

    /// The vector with `x` in every lane.
    fn splat(self, x: f32) -> Self::V;
    /// a + b
    fn add(self, a: Self::V, b: Self::V) -> Self::V;
    /// a - b
    fn sub(self, a: Self::V, b: Self::V) -> Self::V;
    /// a b
    fn mul(self, a: Self::V, b: Self::V) -> Self::V;
    /// a b + c, with one rounding where the machine has the instruction.
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    /// The smaller of a and b; b where one of them is NaN.
    fn min(self, a: Self::V, b: Self::V) -> Self::V;
    /// The larger of a and b; b where one of them is NaN.
    fn max(self, a: Self::V, b: Self::V) -> Self::V;
    /// 1 / a for normal a up to 2^126, within 2 units in the last place.
    fn recip(self, a: Self::V) -> Self::V;
    /// √a
    fn sqrt(self, a: Self::V) -> Self::V;
    /// `a` where `x > y`, else `b`.
    fn where_gt(self, x: Self::V, y: Self::V, a: Self::V, b: Self::V) -> Self::V;
    /// Splits x = n + f into a whole n and f in [-0.5, 0.5], and returns (f, n).
    fn split(self, x: Self::V) -> (Self::V, Self::V);
    /// [`Simd::split`] of a b, without rounding the product first where the machine can.
    fn split_product(self, a: Self::V, b: Self::V) -> (Self::V, Self::V) {
        self.split(self.mul(a, b))
    }
    /// a 2^n for a whole n.
    fn scale(self, a: Self::V, n: Self::V) -> Self::V;
    /// The sum over the lanes, in a fixed order.
    fn sum(self, a: Self::V) -> f32;

    /// Reads `LANES` floats; [`Simd::read`] does so with a check.
    ///
    /// # Safety
    /// `LANES` floats must be readable at `at`.
    unsafe fn load(self, at: *const f32) -> Self::V;
    /// Writes `LANES` floats; [`Simd::write`] does so with a check.
    ///
    /// # Safety
    /// `LANES` floats must be writable at `at`.
    unsafe fn store(self, at: *mut f32, v: Self::V);
    /// Writes past the caches where the machine can, for what is not read again soon. Call [`Simd::fence`] before another
    /// thread reads it.
    ///
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
    /// Reads the first `n < LANES` floats; the other lanes are zero.
    ///
    /// # Safety
    /// `n` floats must be readable at `at`.
    unsafe fn load_first(self, at: *const f32, n: usize) -> Self::V;
    /// Writes the first `n < LANES` lanes.
    ///
    /// # Safety
    /// `n` floats must be writable at `at`.
    unsafe fn store_first(self, at: *mut f32, n: usize, v: Self::V);

    /// Reads `LANES` elements and widens them.
    ///
    /// # Safety
    /// `LANES` elements must be readable at `at`.
    unsafe fn load_bf16(self, at: *const bf16) -> Self::V;
    /// Writes `LANES` elements, rounded to nearest, ties to even; NaN stays NaN.
    ///
    /// # Safety
    /// `LANES` elements must be writable at `at`.
    unsafe fn store_bf16(self, at: *mut bf16, v: Self::V);
    /// Reads and widens the first `n < LANES` elements; the other lanes are zero.
    ///
    /// # Safety
    /// `n` elements must be readable at `at`.
    #[inline(always)]
    unsafe fn load_first_bf16(self, at: *const bf16, n: usize) -> Self::V {
        let mut whole = [bf16::ZERO; MOST_LANES];
        // SAFETY: the caller vouches for `n` elements, and `n < LANES`, which is at most the length of the array.
        unsafe {
            std::ptr::copy_nonoverlapping(at, whole.as_mut_ptr(), n);
            self.load_bf16(whole.as_ptr())
        }
    }
    /// Writes the first `n < LANES` lanes, rounded as by [`Simd::store_bf16`].
    ///
    /// # Safety
    /// `n` elements must be writable at `at`.
    #[inline(always)]
    unsafe fn store_first_bf16(self, at: *mut bf16, n: usize, v: Self::V) {
        let mut whole = [bf16::ZERO; MOST_LANES];
        // SAFETY: the caller vouches for `n` elements, and `n < LANES`, which is at most the length of the array.
        unsafe {
            self.store_bf16(whole.as_mut_ptr(), v);
            std::ptr::copy_nonoverlapping(whole.as_ptr(), at, n);
        }
    }

    /// Reads the elements `i..i + LANES`; lanes beyond the end are zero.
    #[inline(always)]
    fn read<E: Element>(self, from: &[E], i: usize) -> Self::V {
        let from = &from[i..];
        // SAFETY: the slice holds at least as many elements as are read.
        unsafe {
            if from.len() >= Self::LANES {
                E::load(self, from.as_ptr())
            } else {
                E::load_first(self, from.as_ptr(), from.len())
            }
        }
    }

    /// Writes the elements `i..i + LANES`; lanes beyond the end are dropped.
    #[inline(always)]
    fn write<E: Element>(self, to: &mut [E], i: usize, v: Self::V) {
        let to = &mut to[i..];
        // SAFETY: the slice holds at least as many elements as are written.
        unsafe {
            if to.len() >= Self::LANES {
                E::store(self, to.as_mut_ptr(), v);
            } else {
                E::store_first(self, to.as_mut_ptr(), to.len(), v);
            }
        }
    }

    /// [`Simd::read`] without a look at the end where `FULL` says that no vector reaches beyond it.
    ///
    /// # Safety
    /// With `FULL`, the slice must hold elements `i..i + LANES`.
    #[inline(always)]
    unsafe fn read_at<const FULL: bool>(self, from: &[impl Element], i: usize) -> Self::V {
        if !FULL {
            return self.read(from, i);
        }
        debug_assert!(i + Self::LANES <= from.len());
        // SAFETY: the caller vouches for the elements.
        unsafe { Element::load(self, from.as_ptr().add(i)) }
    }

    /// [`Simd::write`] without a look at the end where `FULL` says that no vector reaches beyond it.
    ///
    /// # Safety
    /// With `FULL`, the slice must hold elements `i..i + LANES`.
    #[inline(always)]
    unsafe fn write_at<const FULL: bool>(self, to: &mut [impl Element], i: usize, v: Self::V) {
        if !FULL {
            return self.write(to, i, v);
        }
        debug_assert!(i + Self::LANES <= to.len());
        // SAFETY: the caller vouches for the elements.
        unsafe { Element::store(self, to.as_mut_ptr().add(i), v) }
    }

    /// 2^(a b), with a relative error below 3e-7 where the product enters unrounded (see [`Simd::split_product`]).
    #[inline(always)]
    fn exp2_product(self, a: Self::V, b: Self::V) -> Self::V {
        self.raise(self.split_product(a, b))
    }

    /// 2^(f + n) for f in [-0.5, 0.5] and a whole n.
    #[inline(always)]
    fn raise(self, (f, n): (Self::V, Self::V)) -> Self::V {
        let mut p = self.splat(EXP2[5]);
        for c in [EXP2[4], EXP2[3], EXP2[2], EXP2[1], EXP2[0]] {
            p = self.fma(p, f, self.splat(c));
        }
        self.scale(p, n)
    }

    /// e^x, with a relative error below 3e-7 + 1e-7 |x|; x above 87 counts as 87.
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

    /// log(1 + e^x) = max(x, 0) + log1p(e^-|x|), and x itself above 20.
    #[inline(always)]
    fn softplus(self, x: Self::V) -> Self::V {
        self.softplus_and_grad(x).0
    }

    /// (softplus(x), softplus'(x)), with softplus' = sigmoid(x), and 1 above 20. One exponential serves both.
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

    /// The standard normal distribution function and its density, `(P(X < x), e^(-x^2 / 2) / sqrt(2 pi))`. The absolute error
    /// is below 2e-7. Beyond 13 on either side the density counts as 0 or as less than 1e-37.
    #[inline(always)]
    fn normal(self, x: Self::V) -> (Self::V, Self::V) {
        let (zero, one) = (self.splat(0.0), self.splat(1.0));
        let away = self.max(x, self.sub(zero, x));
        // Beyond this the square could become infinite.
        let square = self.min(self.mul(x, x), self.splat(175.0));
        let e = self.exp2_product(square, self.splat(-0.5 * std::f32::consts::LOG2_E));
        let t = self.recip(self.fma(away, self.splat(TAIL_RATE), one));
        let mut p = self.splat(TAIL[8]);
        for i in (0..8).rev() {
            p = self.fma(p, t, self.splat(TAIL[i]));
        }
        let tail = self.mul(self.mul(p, t), e);
        let distribution = self.where_gt(x, zero, self.sub(one, tail), tail);
        (distribution, self.mul(e, self.splat(NORMAL_PEAK)))
    }
}
