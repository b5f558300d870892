//! Operands in the order in which the tiles read them: pairs of neighbours along k side by side, as `vdpbf16ps` takes them.
//!
//! B is cut into panels of a few vectors of 16 columns. A panel holds, for every pair `(2 q, 2 q + 1)` along k and every
//! vector, one [`Line`]: the pair of the first column, that of the second, and so on. A is cut into strips of [`ROWS`]
//! rows, which hold for every pair the pairs of the rows. What is beyond the end of a matrix is zero.

use std::arch::x86_64::*;

use half::bf16;

use super::super::Mat;

/// Rows of a tile.
pub const ROWS: usize = 8;
/// Columns of a vector.
pub const LANES: usize = 16;

/// Columns of a transposed A that are read at a time: few enough that the strips, which are written side by side, stay in the
/// first-level cache.
const WIDE: usize = 128;
/// How far ahead of where they are read elements are asked for: rows of which little is read at a time, which are in pages
/// of their own, and elements of a row. Weights come from memory, and activations from the cache that the cores share.
const ROWS_AHEAD: usize = 16;
const AHEAD: usize = 128;

/// The pairs of 16 columns: a vector, aligned as a cache line.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Line(pub [u16; 2 * LANES]);

impl Line {
    pub const ZERO: Self = Line([0; 2 * LANES]);
}

/// For the pairs of 16 columns: the first 16 elements of a vector and the last 16 in turns.
#[target_feature(enable = "avx512f")]
fn turns() -> __m512i {
    let both = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    // Element i in the lower half of a pair, and i + 16 in the upper half.
    _mm512_or_si512(both, _mm512_slli_epi32::<16>(_mm512_add_epi32(both, _mm512_set1_epi32(16))))
}

/// The first `count` of 16, or all.
fn first16(count: usize) -> __mmask16 {
    if count >= 16 { !0 } else { (1 << count) - 1 }
}

/// The first `count` of 32, or all.
fn first32(count: usize) -> __mmask32 {
    if count >= 32 { !0 } else { (1 << count) - 1 }
}

/// Packs the columns `first..first + cols` of `b [k n]` to the panel `to`.
///
/// # Safety
/// The instructions must be there, and the columns inside the matrix.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub unsafe fn pack_columns(b: Mat<bf16>, k: usize, first: usize, cols: usize, to: &mut [Line]) {
    let pairs = k.div_ceil(2);
    if pairs == 0 {
        return;
    }
    let vectors = cols.div_ceil(LANES);
    assert!(to.len() == pairs * vectors);
    let source = b.data.as_ptr().cast::<i16>();
    // SAFETY: the caller's promise.
    unsafe {
        if !b.transposed {
            return along(source.add(first), b.ld, k, cols, to);
        }
        for v in 0..vectors {
            let from = source.add((first + LANES * v) * b.ld);
            across(from, b.ld, k, (cols - LANES * v).min(LANES), &mut to[v..], vectors);
        }
    }
}

/// Packs columns that lie beside each other.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn along(from: *const i16, ld: usize, k: usize, cols: usize, to: &mut [Line]) {
    let turns = turns();
    let vectors = cols.div_ceil(LANES);
    for (q, lines) in to.chunks_exact_mut(vectors).enumerate() {
        let row = from.wrapping_add(2 * q * ld);
        for v in 0..vectors {
            let mask = first16(cols - LANES * v);
            let next = if 2 * q + 1 < k { mask } else { 0 };
            let at = row.wrapping_add(LANES * v);
            _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add(ROWS_AHEAD * ld).cast());
            _mm_prefetch::<_MM_HINT_T0>(at.wrapping_add((ROWS_AHEAD + 1) * ld).cast());
            // SAFETY: the lanes of the masks are in the rows 2 q and 2 q + 1, and a line is 64 aligned bytes.
            unsafe {
                let one = _mm256_maskz_loadu_epi16(mask, at);
                let other = _mm256_maskz_loadu_epi16(next, at.wrapping_add(ld));
                let both = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(one), other);
                _mm512_store_si512((&raw mut lines[v]).cast(), _mm512_permutexvar_epi16(turns, both));
            }
        }
    }
}

/// Packs 16 columns of which each is contiguous: squares of 16 pairs by 16 columns are transposed.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
unsafe fn across(from: *const i16, ld: usize, k: usize, cols: usize, to: &mut [Line], step: usize) {
    let pairs = k.div_ceil(2);
    for q in (0..pairs).step_by(16) {
        let mask = first32(k - 2 * q);
        let mut square = [_mm512_setzero_si512(); 16];
        for (c, row) in square.iter_mut().enumerate().take(cols) {
            _mm_prefetch::<_MM_HINT_T0>(from.wrapping_add(c * ld + 2 * q + AHEAD).cast());
            // SAFETY: the mask stops at the end of the column.
            *row = unsafe { _mm512_maskz_loadu_epi16(mask, from.add(c * ld + 2 * q)) };
        }
        let square = transpose(square);
        for (line, row) in to[q * step..].iter_mut().step_by(step).zip(square) {
            // SAFETY: a line is 64 aligned bytes.
            unsafe { _mm512_store_si512((&raw mut *line).cast(), row) };
        }
    }
}

/// Transposes 16 x 16 elements of 32 bits.
#[target_feature(enable = "avx512f")]
#[inline]
fn transpose(x: [__m512i; 16]) -> [__m512i; 16] {
    let mut y = x;
    for i in 0..8 {
        y[2 * i] = _mm512_unpacklo_epi32(x[2 * i], x[2 * i + 1]);
        y[2 * i + 1] = _mm512_unpackhi_epi32(x[2 * i], x[2 * i + 1]);
    }
    let mut z = y;
    for i in 0..4 {
        for j in 0..2 {
            z[4 * i + 2 * j] = _mm512_unpacklo_epi64(y[4 * i + j], y[4 * i + 2 + j]);
            z[4 * i + 2 * j + 1] = _mm512_unpackhi_epi64(y[4 * i + j], y[4 * i + 2 + j]);
        }
    }
    // Column c of rows 4 i.. stands in part c / 4 of z[4 i + c % 4]; now the parts are transposed.
    let mut out = x;
    for c in 0..4 {
        let even = _mm512_shuffle_i32x4::<0x88>(z[c], z[4 + c]);
        let odd = _mm512_shuffle_i32x4::<0xdd>(z[c], z[4 + c]);
        let even_below = _mm512_shuffle_i32x4::<0x88>(z[8 + c], z[12 + c]);
        let odd_below = _mm512_shuffle_i32x4::<0xdd>(z[8 + c], z[12 + c]);
        out[c] = _mm512_shuffle_i32x4::<0x88>(even, even_below);
        out[8 + c] = _mm512_shuffle_i32x4::<0xdd>(even, even_below);
        out[4 + c] = _mm512_shuffle_i32x4::<0x88>(odd, odd_below);
        out[12 + c] = _mm512_shuffle_i32x4::<0xdd>(odd, odd_below);
    }
    out
}

/// Packs the rows `first..first + rows` of `a [m k]` to `to`, strip after strip.
///
/// # Safety
/// The instructions must be there, and the rows inside the matrix.
#[target_feature(enable = "avx512f,avx512bw,avx512vl")]
pub unsafe fn pack_rows(a: Mat<bf16>, k: usize, first: usize, rows: usize, to: &mut [Line]) {
    let pairs = k.div_ceil(2);
    let strip = pairs * 2 * ROWS;
    assert!(rows.div_ceil(ROWS) * strip <= 32 * to.len());
    let to = to.as_mut_ptr().cast::<u16>();
    if !a.transposed {
        for i in 0..rows.next_multiple_of(ROWS) {
            for p in 0..2 * pairs {
                let inside = i < rows && p < k;
                let value = if inside { a.data[(first + i) * a.ld + p].to_bits() } else { 0 };
                // SAFETY: the assertion above.
                unsafe { *to.add(i / ROWS * strip + p / 2 * 2 * ROWS + i % ROWS * 2 + p % 2) = value };
            }
        }
        return;
    }
    let source = a.data.as_ptr().cast::<i16>();
    let turns = turns();
    for wide in (0..rows).step_by(WIDE) {
        for q in 0..pairs {
            for i in (wide..rows.min(wide + WIDE)).step_by(32) {
                let mask = first32(rows - i);
                let strips = (rows - i).div_ceil(ROWS).min(4);
                // SAFETY: the mask stops at the last row, and p at k; the strips end inside `to`.
                unsafe {
                    let row = source.add(2 * q * a.ld + first + i);
                    _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add(ROWS_AHEAD * a.ld).cast());
                    _mm_prefetch::<_MM_HINT_T0>(row.wrapping_add((ROWS_AHEAD + 1) * a.ld).cast());
                    let next = if 2 * q + 1 < k { mask } else { 0 };
                    let one = _mm512_maskz_loadu_epi16(mask, row);
                    let other = _mm512_maskz_loadu_epi16(next, row.wrapping_add(a.ld));
                    let low = _mm512_shuffle_i64x2::<0x44>(one, other);
                    let high = _mm512_shuffle_i64x2::<0xee>(one, other);
                    let low = _mm512_permutexvar_epi16(turns, low);
                    let high = _mm512_permutexvar_epi16(turns, high);
                    let at = to.add(i / ROWS * strip + q * 2 * ROWS);
                    let parts = [
                        _mm512_castsi512_si256(low),
                        _mm512_extracti64x4_epi64::<1>(low),
                        _mm512_castsi512_si256(high),
                        _mm512_extracti64x4_epi64::<1>(high),
                    ];
                    for (s, part) in parts.into_iter().enumerate().take(strips) {
                        _mm256_storeu_si256(at.add(s * strip).cast(), part);
                    }
                }
            }
        }
    }
}
