//! The instruction sets of x86-64.

use std::arch::x86_64::*;

use half::bf16;

use super::vector::Simd;

/// Defines operations that are one intrinsic each.
macro_rules! ops {
    ($($name:ident($($arg:ident),*) = $intrinsic:ident;)*) => {
        $(
            #[inline(always)]
            fn $name(self, $($arg: Self::V),*) -> Self::V {
                // SAFETY: a token of this type exists only where the instructions do.
                unsafe { $intrinsic($($arg),*) }
            }
        )*
    };
}

/// 2^(j / 32)
static ROOTS: [f32; 32] = [
    1.0,
    1.021_897_2,
    1.044_273_7,
    1.067_140_5,
    1.090_507_7,
    1.114_386_8,
    1.138_788_6,
    1.163_724_9,
    1.189_207_1,
    1.215_247_4,
    1.241_857_8,
    1.269_051,
    1.296_839_6,
    1.325_236_7,
    1.354_255_6,
    1.383_91,
    std::f32::consts::SQRT_2,
    1.445_180_8,
    1.476_826_2,
    1.509_164_5,
    1.542_210_8,
    1.575_980_9,
    1.610_490_3,
    1.645_755_5,
    1.681_792_9,
    1.718_619_3,
    1.756_252_2,
    1.794_709_1,
    1.834_008_1,
    1.874_167_7,
    1.915_206_6,
    1.957_144_1,
];

/// Vectors of sixteen floats, with AVX-512F.
#[derive(Clone, Copy)]
pub struct Avx512(());

impl Avx512 {
    /// The proof that the machine has AVX-512F.
    ///
    /// # Safety
    /// The machine must have AVX-512F.
    #[inline]
    #[target_feature(enable = "avx512f")]
    pub fn new() -> Self {
        Avx512(())
    }
}

impl Simd for Avx512 {
    type V = __m512;
    const LANES: usize = 16;

    ops! {
        add(a, b) = _mm512_add_ps;
        sub(a, b) = _mm512_sub_ps;
        mul(a, b) = _mm512_mul_ps;
        fma(a, b, c) = _mm512_fmadd_ps;
        min(a, b) = _mm512_min_ps;
        max(a, b) = _mm512_max_ps;
        sqrt(a) = _mm512_sqrt_ps;
        scale(a, n) = _mm512_scalef_ps;
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    fn recip(self, a: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F. One Newton step takes 14 bits to 28.
        unsafe {
            let r = _mm512_rcp14_ps(a);
            _mm512_mul_ps(r, _mm512_fnmadd_ps(a, r, _mm512_set1_ps(2.0)))
        }
    }
    #[inline(always)]
    fn where_gt(self, x: __m512, y: __m512, a: __m512, b: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512F.
        unsafe { _mm512_mask_blend_ps(_mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, y), b, a) }
    }
    #[inline(always)]
    fn split(self, x: __m512) -> (__m512, __m512) {
        // SAFETY: the token proves AVX-512F. The immediate 8 rounds to whole numbers, to nearest even, without
        // exceptions.
        unsafe {
            let n = _mm512_roundscale_ps::<8>(x);
            (_mm512_sub_ps(x, n), n)
        }
    }
    #[inline(always)]
    fn exp2_product(self, a: __m512, b: __m512) -> __m512 {
        // Adding 1.5 * 2^18 rounds to whole 32nds, whose number then stands in the low bits.
        let magic = self.splat(393_216.0);
        let rounded = self.fma(a, b, magic);
        let n = self.sub(rounded, magic);
        // SAFETY: the token proves AVX-512F. `scalef` rounds n down to whole.
        unsafe {
            let f = _mm512_fmsub_ps(a, b, n);
            let [low, high] = [&ROOTS[..16], &ROOTS[16..]].map(|half| _mm512_loadu_ps(half.as_ptr()));
            let root = _mm512_permutex2var_ps(low, _mm512_castps_si512(rounded), high);
            let slope = self.fma(f, self.splat(0.240_226_5), self.splat(0.693_157_4));
            _mm512_scalef_ps(self.fma(self.mul(f, root), slope, root), n)
        }
    }
    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        // SAFETY: the token proves AVX-512F; its reduction tree is fixed.
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> __m512 {
        // SAFETY: the caller vouches for sixteen floats.
        unsafe { _mm512_loadu_ps(at) }
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32, v: __m512) {
        // SAFETY: the caller vouches for sixteen floats.
        unsafe { _mm512_storeu_ps(at, v) }
    }
    #[inline(always)]
    unsafe fn stream(self, at: *mut f32, v: __m512) {
        // SAFETY: the caller vouches for sixteen floats; streaming needs a whole cache line.
        unsafe {
            if (at as usize).is_multiple_of(64) {
                _mm512_stream_ps(at, v);
            } else {
                _mm512_storeu_ps(at, v);
            }
        }
    }
    #[inline(always)]
    fn fence(self) {
        // SAFETY: SSE is part of every x86-64 machine.
        unsafe { _mm_sfence() }
    }
    #[inline(always)]
    unsafe fn load_first(self, at: *const f32, n: usize) -> __m512 {
        // SAFETY: masked lanes are not read; the caller vouches for the others.
        unsafe { _mm512_maskz_loadu_ps(((1u32 << n) - 1) as u16, at) }
    }
    #[inline(always)]
    unsafe fn store_first(self, at: *mut f32, n: usize, v: __m512) {
        // SAFETY: masked lanes are not written; the caller vouches for the others.
        unsafe { _mm512_mask_storeu_ps(at, ((1u32 << n) - 1) as u16, v) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, at: *const bf16) -> __m512 {
        // SAFETY: the caller vouches for sixteen elements. The upper half of an f32 is a bf16.
        unsafe {
            let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(at.cast()));
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, at: *mut bf16, v: __m512) {
        // SAFETY: the token proves AVX-512F, and the caller vouches for sixteen elements. Half a unit is added, less one bit
        // where the kept part is even. A NaN, whose kept part could become that of infinity, gets its quiet bit instead.
        unsafe {
            let bits = _mm512_castps_si512(v);
            let upper = _mm512_srli_epi32::<16>(bits);
            let odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
            let half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7FFF));
            let rounded = _mm512_srli_epi32::<16>(_mm512_add_epi32(bits, half));
            let nan = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(v, v);
            let result = _mm512_mask_or_epi32(rounded, nan, upper, _mm512_set1_epi32(0x40));
            _mm256_storeu_si256(at.cast(), _mm512_cvtepi32_epi16(result));
        }
    }
}

/// Vectors of eight floats, with AVX2 and FMA.
#[derive(Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    /// The proof that the machine has AVX2 and FMA.
    ///
    /// # Safety
    /// The machine must have AVX2 and FMA.
    #[inline]
    #[target_feature(enable = "avx2,fma")]
    pub fn new() -> Self {
        Avx2(())
    }
}

impl Simd for Avx2 {
    type V = __m256;
    const LANES: usize = 8;

    ops! {
        add(a, b) = _mm256_add_ps;
        sub(a, b) = _mm256_sub_ps;
        mul(a, b) = _mm256_mul_ps;
        fma(a, b, c) = _mm256_fmadd_ps;
        min(a, b) = _mm256_min_ps;
        max(a, b) = _mm256_max_ps;
        sqrt(a) = _mm256_sqrt_ps;
    }
    #[inline(always)]
    fn splat(self, x: f32) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_set1_ps(x) }
    }
    #[inline(always)]
    fn recip(self, a: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_div_ps(_mm256_set1_ps(1.0), a) }
    }
    #[inline(always)]
    fn where_gt(self, x: __m256, y: __m256, a: __m256, b: __m256) -> __m256 {
        // SAFETY: the token proves AVX2.
        unsafe { _mm256_blendv_ps(b, a, _mm256_cmp_ps::<_CMP_GT_OQ>(x, y)) }
    }
    #[inline(always)]
    fn split(self, x: __m256) -> (__m256, __m256) {
        // SAFETY: the token proves AVX2. The clamp keeps 2^n normal for `scale`.
        unsafe {
            let x = _mm256_max_ps(x, _mm256_set1_ps(-126.0));
            let n = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(x);
            (_mm256_sub_ps(x, n), n)
        }
    }
    #[inline(always)]
    fn scale(self, a: __m256, n: __m256) -> __m256 {
        // SAFETY: the token proves AVX2. 2^n is built from its exponent bits.
        unsafe {
            let bits = _mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127));
            _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32::<23>(bits)))
        }
    }
    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        // SAFETY: the token proves AVX2.
        unsafe {
            let v = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let v = _mm_add_ps(v, _mm_movehl_ps(v, v));
            _mm_cvtss_f32(_mm_add_ss(v, _mm_movehdup_ps(v)))
        }
    }
    #[inline(always)]
    unsafe fn load(self, at: *const f32) -> __m256 {
        // SAFETY: the caller vouches for eight floats.
        unsafe { _mm256_loadu_ps(at) }
    }
    #[inline(always)]
    unsafe fn store(self, at: *mut f32, v: __m256) {
        // SAFETY: the caller vouches for eight floats.
        unsafe { _mm256_storeu_ps(at, v) }
    }
    #[inline(always)]
    unsafe fn load_first(self, at: *const f32, n: usize) -> __m256 {
        // SAFETY: masked lanes are not read; the caller vouches for the others.
        unsafe { _mm256_maskload_ps(at, mask(n)) }
    }
    #[inline(always)]
    unsafe fn store_first(self, at: *mut f32, n: usize, v: __m256) {
        // SAFETY: masked lanes are not written; the caller vouches for the others.
        unsafe { _mm256_maskstore_ps(at, mask(n), v) }
    }
    #[inline(always)]
    unsafe fn load_bf16(self, at: *const bf16) -> __m256 {
        // SAFETY: the token proves AVX2, and the caller vouches for eight elements. The upper half of an f32 is a bf16.
        unsafe {
            let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(at.cast()));
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide))
        }
    }
    #[inline(always)]
    unsafe fn store_bf16(self, at: *mut bf16, v: __m256) {
        // SAFETY: the token proves AVX2, and the caller vouches for eight elements. Rounding is as with AVX-512. Packing works
        // in each half of the vector, so the halves are put side by side after it.
        unsafe {
            let bits = _mm256_castps_si256(v);
            let upper = _mm256_srli_epi32::<16>(bits);
            let odd = _mm256_and_si256(upper, _mm256_set1_epi32(1));
            let half = _mm256_add_epi32(odd, _mm256_set1_epi32(0x7FFF));
            let rounded = _mm256_srli_epi32::<16>(_mm256_add_epi32(bits, half));
            let nan = _mm256_castps_si256(_mm256_cmp_ps::<_CMP_UNORD_Q>(v, v));
            let result = _mm256_blendv_epi8(rounded, _mm256_or_si256(upper, _mm256_set1_epi32(0x40)), nan);
            let packed = _mm256_permute4x64_epi64::<0b1000>(_mm256_packus_epi32(result, result));
            _mm_storeu_si128(at.cast(), _mm256_castsi256_si128(packed));
        }
    }
}

/// All ones in the first `n` of eight lanes.
///
/// # Safety
/// The machine must have AVX2.
#[inline(always)]
unsafe fn mask(n: usize) -> __m256i {
    // SAFETY: called where AVX2 is proven.
    unsafe { _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)) }
}
