//! The tile: 8 rows by up to 48 columns of C in registers, and one `vdpbf16ps` for a pair of products of 16 columns.

use std::arch::x86_64::*;

use half::bf16;

use super::pack::{LANES, Line, ROWS};
use super::stored::Stored;

/// The most vectors of a tile: 24 sums fill the two units for the 6 cycles that a sum takes twice over, and leave registers
/// for a row of B and an element of A.
pub const VECTORS: usize = 3;

/// What a tile reads and writes.
pub struct Tile<O> {
    /// The pairs along k.
    pub pairs: usize,
    /// Rows of C, from 1 to [`ROWS`].
    pub rows: usize,
    /// Columns of C, in as many vectors as the tile has.
    pub cols: usize,
    /// The first row of A, or a strip that was packed.
    pub a: *const bf16,
    /// The distance between rows of A, which has no meaning in a strip.
    pub lda: usize,
    /// The panel of B.
    pub b: *const Line,
    /// The sums so far, from which the tile goes on, and to which it writes: `[ROWS vectors]` vectors.
    pub sums: *mut f32,
    /// Whether there are sums so far.
    pub goes_on: bool,
    /// Where the sums end: `None` where k goes on in another tile.
    pub end: Option<End<O>>,
}

/// What becomes of finished sums.
#[derive(Clone, Copy)]
pub struct End<O> {
    /// C.
    pub c: *mut O,
    /// The distance between its rows.
    pub ldc: usize,
    /// Added to every row; null for none.
    pub bias: *const f32,
    /// Whether what C holds is added.
    pub accumulate: bool,
}

/// The same bits as elements of bf16.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn bits(x: __m512i) -> __m512bh {
    // SAFETY: both are 512 bits.
    unsafe { std::mem::transmute::<__m512i, __m512bh>(x) }
}

/// Computes a tile of `V` vectors; A is a strip that was packed where `STRIP`.
///
/// # Safety
/// The instructions must be there, and everything that the pointers of the tile stand for.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub unsafe fn tile<O: Stored, const V: usize, const STRIP: bool>(t: &Tile<O>) {
    let mut acc = [[_mm512_setzero_ps(); V]; ROWS];
    if t.goes_on {
        for r in 0..ROWS {
            for v in 0..V {
                // SAFETY: the sums are [ROWS V] vectors.
                acc[r][v] = unsafe { _mm512_loadu_ps(t.sums.add((r * V + v) * LANES)) };
            }
        }
    }
    // Rows that are not there are computed as the last one again, and not stored.
    let row = |r: usize| if STRIP { 2 * r } else { r.min(t.rows - 1) * t.lda };
    let rows: [*const bf16; ROWS] = std::array::from_fn(|r| t.a.wrapping_add(row(r)));
    let step = if STRIP { 2 * ROWS } else { 2 };
    for q in 0..t.pairs {
        // SAFETY: pair q of every row of A and of the panel is there.
        unsafe {
            let mut b = [_mm512_setzero_si512(); V];
            for v in 0..V {
                b[v] = _mm512_load_si512(t.b.add(q * V + v).cast());
            }
            for r in 0..ROWS {
                let pair = _mm512_set1_epi32(rows[r].add(q * step).cast::<i32>().read_unaligned());
                for v in 0..V {
                    acc[r][v] = _mm512_dpbf16_ps(acc[r][v], bits(pair), bits(b[v]));
                }
            }
        }
    }
    if let Some(end) = &t.end
        && t.rows == ROWS
        && t.cols == V * LANES
    {
        // SAFETY: the caller's promise.
        return unsafe { store(acc, end) };
    }
    for r in 0..ROWS {
        for v in 0..V {
            // SAFETY: the sums are [ROWS V] vectors.
            unsafe { _mm512_storeu_ps(t.sums.add((r * V + v) * LANES), acc[r][v]) };
        }
    }
    if let Some(end) = &t.end {
        // SAFETY: the caller's promise.
        unsafe { store_edge(t, V, end) };
    }
}

/// Adds what is to be added to the sums of a whole tile, and stores them.
///
/// Inlined always, which a function with target features cannot ask for: the sums stay in registers.
#[inline(always)]
unsafe fn store<O: Stored, const V: usize>(mut acc: [[__m512; V]; ROWS], end: &End<O>) {
    if !end.bias.is_null() {
        for v in 0..V {
            for r in 0..ROWS {
                // SAFETY: the bias has a value for every column.
                acc[r][v] = unsafe { _mm512_add_ps(acc[r][v], _mm512_loadu_ps(end.bias.add(LANES * v))) };
            }
        }
    }
    let at = |r: usize, v: usize| end.c.wrapping_add(r * end.ldc + LANES * v);
    if end.accumulate {
        for r in 0..ROWS {
            for v in 0..V {
                // SAFETY: the tile is in C.
                acc[r][v] = unsafe { _mm512_add_ps(acc[r][v], O::read(at(r, v), !0)) };
            }
        }
    }
    for r in 0..ROWS {
        for v in 0..V {
            // SAFETY: the tile is in C.
            unsafe { O::write(at(r, v), !0, acc[r][v]) };
        }
    }
}

/// [`store`] of a tile at the end of C, of whose sums only some are stored.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
unsafe fn store_edge<O: Stored>(t: &Tile<O>, vectors: usize, end: &End<O>) {
    for v in 0..vectors {
        let count = (t.cols - LANES * v).min(LANES);
        let lanes = !0 >> (LANES - count);
        for r in 0..t.rows {
            // SAFETY: the lanes are in C and the bias, and the sums are [ROWS vectors] vectors.
            unsafe {
                let mut sum = _mm512_loadu_ps(t.sums.add((r * vectors + v) * LANES));
                let at = end.c.add(r * end.ldc + LANES * v);
                if !end.bias.is_null() {
                    sum = _mm512_add_ps(sum, _mm512_maskz_loadu_ps(lanes, end.bias.add(LANES * v)));
                }
                if end.accumulate {
                    sum = _mm512_add_ps(sum, O::read(at, lanes));
                }
                O::write(at, lanes, sum);
            }
        }
    }
}
