//! The instruction set of any machine.

use half::bf16;

use super::element::Element;
use super::vector::Simd;

/// Arrays of eight floats, whose loops are left to the compiler.
#[derive(Clone, Copy)]
pub struct Portable;

impl Simd for Portable {
    type V = [f32; 8];
    const LANES: usize = 8;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::V {
        [x; 8]
    }
    #[inline(always)]
    fn add(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] + b[i])
    }
    #[inline(always)]
    fn sub(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] - b[i])
    }
    #[inline(always)]
    fn mul(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * b[i])
    }
    #[inline(always)]
    fn fma(self, a: Self::V, b: Self::V, c: Self::V) -> Self::V {
        // This rounds twice, because a fused product without the instruction is a slow library call.
        std::array::from_fn(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    fn min(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn max(self, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn recip(self, a: Self::V) -> Self::V {
        a.map(|a| 1.0 / a)
    }
    #[inline(always)]
    fn sqrt(self, a: Self::V) -> Self::V {
        a.map(f32::sqrt)
    }
    #[inline(always)]
    fn where_gt(self, x: Self::V, y: Self::V, a: Self::V, b: Self::V) -> Self::V {
        std::array::from_fn(|i| if x[i] > y[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    fn split(self, x: Self::V) -> (Self::V, Self::V) {
        // Adding 1.5 * 2^23 rounds to a whole number; the clamp keeps 2^n normal.
        let x = x.map(|x| if x < -126.0 { -126.0 } else { x });
        let n = x.map(|x| (x + 12_582_912.0) - 12_582_912.0);
        (self.sub(x, n), n)
    }
    #[inline(always)]
    fn scale(self, a: Self::V, n: Self::V) -> Self::V {
        std::array::from_fn(|i| a[i] * f32::from_bits(((n[i] as i32 + 127) as u32) << 23))
    }
    #[inline(always)]
    fn sum(self, a: Self::V) -> f32 {
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }
    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> Self::V {
        // SAFETY: the caller vouches for eight floats; an array of floats needs no more alignment.
        unsafe { at.cast::<[f32; 8]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32, v: Self::V) {
        // SAFETY: the caller vouches for eight floats; an array of floats needs no more alignment.
        unsafe { at.cast::<[f32; 8]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_first(self, at: *const f32, n: usize) -> Self::V {
        let mut v = [0.0; 8];
        // SAFETY: the caller vouches for `n` floats.
        v[..n].copy_from_slice(unsafe { std::slice::from_raw_parts(at, n) });
        v
    }
    #[inline(always)]
    unsafe fn store_first(self, at: *mut f32, n: usize, v: Self::V) {
        // SAFETY: the caller vouches for `n` floats.
        unsafe { std::slice::from_raw_parts_mut(at, n) }.copy_from_slice(&v[..n]);
    }
    #[inline(always)]
    unsafe fn load_bf16(self, at: *const bf16) -> Self::V {
        // SAFETY: the caller vouches for eight elements.
        unsafe { at.cast::<[bf16; 8]>().read_unaligned() }.map(Element::to_f32)
    }
    #[inline(always)]
    unsafe fn store_bf16(self, at: *mut bf16, v: Self::V) {
        // SAFETY: the caller vouches for eight elements.
        unsafe { at.cast::<[bf16; 8]>().write_unaligned(v.map(Element::from_f32)) }
    }
}
