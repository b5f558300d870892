//! Elements of tensors as the vectors of [`Simd`] read and write them.

use bytemuck::Pod;
use half::bf16;

use super::vector::Simd;
use crate::launch::DType;

/// A type of elements. Arithmetic is done in f32: an element is widened where it is read, and a result is rounded to
/// nearest, ties to even, where it is written.
pub trait Element: Pod + Send + Sync + PartialEq + std::fmt::Debug + 'static {
    /// The type by its name.
    const DTYPE: DType;
    /// Zero.
    const ZERO: Self;

    /// The value in f32, which is exact.
    fn to_f32(self) -> f32;
    /// The value rounded to this type. NaN stays NaN.
    fn from_f32(value: f32) -> Self;

    /// Reads `S::LANES` elements.
    ///
    /// # Safety
    /// `S::LANES` elements must be readable at `at`.
    unsafe fn load<S: Simd>(s: S, at: *const Self) -> S::V;
    /// Writes `S::LANES` elements.
    ///
    /// # Safety
    /// `S::LANES` elements must be writable at `at`.
    unsafe fn store<S: Simd>(s: S, at: *mut Self, v: S::V);
    /// [`Element::store`] for what is not read again soon: past the caches, as [`Simd::stream`], where a vector is a whole cache
    /// line. Parts of lines would go to memory one by one.
    ///
    /// # Safety
    /// `S::LANES` elements must be writable at `at`.
    #[inline(always)]
    unsafe fn stream<S: Simd>(s: S, at: *mut Self, v: S::V) {
        // SAFETY: the caller vouches for the elements.
        unsafe { Self::store(s, at, v) }
    }
    /// Reads the first `n < S::LANES` elements; the other lanes are zero.
    ///
    /// # Safety
    /// `n` elements must be readable at `at`.
    unsafe fn load_first<S: Simd>(s: S, at: *const Self, n: usize) -> S::V;
    /// Writes the first `n < S::LANES` lanes.
    ///
    /// # Safety
    /// `n` elements must be writable at `at`.
    unsafe fn store_first<S: Simd>(s: S, at: *mut Self, n: usize, v: S::V);
}

/// Passes the four accesses on to the instruction set, under its own names.
macro_rules! accesses {
    ($load:ident, $store:ident, $load_first:ident, $store_first:ident) => {
        #[inline(always)]
        unsafe fn load<S: Simd>(s: S, at: *const Self) -> S::V {
            // SAFETY: the caller vouches for the elements.
            unsafe { s.$load(at) }
        }
        #[inline(always)]
        unsafe fn store<S: Simd>(s: S, at: *mut Self, v: S::V) {
            // SAFETY: the caller vouches for the elements.
            unsafe { s.$store(at, v) }
        }
        #[inline(always)]
        unsafe fn load_first<S: Simd>(s: S, at: *const Self, n: usize) -> S::V {
            // SAFETY: the caller vouches for the elements.
            unsafe { s.$load_first(at, n) }
        }
        #[inline(always)]
        unsafe fn store_first<S: Simd>(s: S, at: *mut Self, n: usize, v: S::V) {
            // SAFETY: the caller vouches for the elements.
            unsafe { s.$store_first(at, n, v) }
        }
    };
}

impl Element for f32 {
    const DTYPE: DType = DType::F32;
    const ZERO: Self = 0.0;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
    accesses!(load, store, load_first, store_first);
    #[inline(always)]
    unsafe fn stream<S: Simd>(s: S, at: *mut Self, v: S::V) {
        // SAFETY: the caller vouches for the elements.
        unsafe { s.stream(at, v) }
    }
}

impl Element for bf16 {
    const DTYPE: DType = DType::Bf16;
    const ZERO: Self = bf16::ZERO;

    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        let bits = value.to_bits();
        if value.is_nan() {
            // The upper half alone could be that of infinity.
            return bf16::from_bits((bits >> 16) as u16 | 0x40);
        }
        bf16::from_bits(((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16) as u16)
    }
    accesses!(load_bf16, store_bf16, load_first_bf16, store_first_bf16);
}
