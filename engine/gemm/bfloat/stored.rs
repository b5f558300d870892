//! What C holds, as the tiles read and write it: rounding by one instruction, which the functions of [`Element`] may not use.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

use half::bf16;

use crate::simd::Element;

/// What C holds: f32 or bf16.
pub trait Stored: Element {
    #[cfg(target_arch = "x86_64")]
    /// Reads the lanes of the mask; the others are zero.
    /// # Safety
    /// The instructions must be there, and the elements.
    unsafe fn read(at: *const Self, lanes: __mmask16) -> __m512;
    #[cfg(target_arch = "x86_64")]
    /// Writes the lanes of the mask.
    /// # Safety
    /// The instructions must be there, and the elements.
    unsafe fn write(at: *mut Self, lanes: __mmask16, values: __m512);
}

impl Stored for f32 {
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn read(at: *const Self, lanes: __mmask16) -> __m512 {
        // SAFETY: the caller's promise.
        unsafe { _mm512_maskz_loadu_ps(lanes, at) }
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn write(at: *mut Self, lanes: __mmask16, values: __m512) {
        // SAFETY: the caller's promise.
        unsafe { _mm512_mask_storeu_ps(at, lanes, values) }
    }
}

impl Stored for bf16 {
    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl")]
    unsafe fn read(at: *const Self, lanes: __mmask16) -> __m512 {
        // SAFETY: the caller's promise.
        let halves = unsafe { _mm256_maskz_loadu_epi16(lanes, at.cast()) };
        _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(halves)))
    }

    #[cfg(target_arch = "x86_64")]
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
    unsafe fn write(at: *mut Self, lanes: __mmask16, values: __m512) {
        let rounded = _mm512_cvtneps_pbh(values);
        // SAFETY: both are 256 bits; the caller's promise for the elements.
        unsafe {
            _mm256_mask_storeu_epi16(at.cast(), lanes, std::mem::transmute::<__m256bh, __m256i>(rounded))
        }
    }
}
