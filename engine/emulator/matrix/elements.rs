//! From the registers of a warp to arrays of numbers: A by rows, B in panels of eight columns, C in panels of eight columns
//! by rows.

use crate::extended::{Fragment, Multiply};
use crate::lanes::Lanes;
use crate::registers::Registers;

/// The most elements of A, of B and of C.
pub(super) const MOST_A: usize = 16 * 64;
pub(super) const MOST_B: usize = 16 * 32;
pub(super) const MOST_C: usize = 16 * 16;

/// The sizes of a product as indices.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    pub m: usize,
    pub n: usize,
    pub k: usize,
}

impl Sizes {
    pub fn of(product: &Multiply) -> Self {
        let shape = product.shape;
        Self { m: shape.m as usize, n: shape.n as usize, k: shape.k as usize }
    }

    /// The elements of each matrix.
    pub fn counts(self) -> [usize; 3] {
        [self.m * self.k, self.k * self.n, self.m * self.n]
    }
}

/// Spreads A, whose registers hold `E` elements each, by rows; `element(register, e)` takes one out.
#[inline(always)]
pub(super) fn spread_a<T: Copy, const E: usize>(
    r: &Registers,
    a: &Fragment,
    sizes: Sizes,
    out: &mut [T],
    element: impl Fn(u32, usize) -> T,
) {
    let tiles = sizes.m / 8;
    for tile in 0..a.registers() as usize {
        let words = r.word(a.slots[tile]);
        let first = tile % tiles * 8 * sizes.k + tile / tiles * 4 * E;
        for (g, four) in words.chunks_exact(4).enumerate() {
            let row = &mut out[first + g * sizes.k..][..4 * E];
            for (out, &word) in row.chunks_exact_mut(E).zip(four) {
                for e in 0..E {
                    out[e] = element(word, e);
                }
            }
        }
    }
}

/// Spreads B in panels: for each eight columns all `k` rows.
#[inline(always)]
pub(super) fn spread_b<T: Copy, const E: usize>(
    r: &Registers,
    b: &Fragment,
    sizes: Sizes,
    out: &mut [T],
    element: impl Fn(u32, usize) -> T,
) {
    let tiles = sizes.n / 8;
    for tile in 0..b.registers() as usize {
        let words = r.word(b.slots[tile]);
        let first = (tile % tiles * sizes.k + tile / tiles * 4 * E) * 8;
        let rows = &mut out[first..][..4 * E * 8];
        for (t, rows) in rows.chunks_exact_mut(8 * E).enumerate() {
            for (e, row) in rows.chunks_exact_mut(8).enumerate() {
                for g in 0..8 {
                    row[g] = element(words[4 * g + t], e);
                }
            }
        }
    }
}

/// The first index of a tile of C, whose tiles go down the rows first, as its panels do.
fn tile_of_c(tile: usize) -> usize {
    64 * tile
}

/// Spreads C, two registers for each tile.
pub(super) fn spread_c<T: Copy>(c: &Fragment, out: &mut [T], register: impl Fn(u32) -> Lanes<T>) {
    for (pair, slots) in c.slots.chunks_exact(2).enumerate() {
        let (even, odd) = (register(slots[0]), register(slots[1]));
        let out = &mut out[tile_of_c(pair)..][..64];
        for (l, out) in out.chunks_exact_mut(2).enumerate() {
            out[0] = even[l];
            out[1] = odd[l];
        }
    }
}

/// Collects D, two registers for each tile.
pub(super) fn collect_d<T: Copy + Default>(d: &Fragment, from: &[T], mut put: impl FnMut(u32, &Lanes<T>)) {
    for (pair, slots) in d.slots.chunks_exact(2).enumerate() {
        let from = &from[tile_of_c(pair)..][..64];
        let mut both = [[T::default(); 32]; 2];
        for (l, from) in from.chunks_exact(2).enumerate() {
            both[0][l] = from[0];
            both[1][l] = from[1];
        }
        put(slots[0], &both[0]);
        put(slots[1], &both[1]);
    }
}
