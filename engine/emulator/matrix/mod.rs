//! Products of matrices that lie in the registers of a warp (`mma` and `wmma.mma`).
//!
//! Products are exact. Sums of floats are rounded to f32 (f64 for f64) after each product, in the order of ascending `k`,
//! and start from C. Sums that belong to an f16 matrix are rounded to f16 once, at the end. NaN results are 0x7fffffff, or
//! 0x7fff in f16. Of tf32 the low 13 bits are ignored.

mod elements;
mod floats;
mod integers;

use crate::extended::{Element, Multiply};
use crate::registers::Registers;

/// Computes D = A B + C for the whole warp.
#[inline(never)]
pub(crate) fn multiply(r: &mut Registers, product: &Multiply) {
    match product.a.element {
        Element::F64 => floats::multiply64(r, product),
        Element::S8 | Element::U8 | Element::S4 | Element::U4 => integers::multiply(r, product),
        Element::B1 => integers::multiply_bits(r, product),
        _ => floats::multiply(r, product),
    }
}

/// Swaps the rows and columns of 8 by 8 elements of 16 bits (`movmatrix`). Lane `l` holds of row `l / 4` the columns
/// `2 (l % 4)` and the next.
pub(crate) fn transpose(a: &[u32; 32]) -> [u32; 32] {
    let element = |row: usize, column: usize| a[4 * row + column / 2] >> (16 * (column % 2)) & 0xffff;
    std::array::from_fn(|l| {
        let (row, column) = (l / 4, l % 4 * 2);
        element(column, row) | element(column + 1, row) << 16
    })
}
