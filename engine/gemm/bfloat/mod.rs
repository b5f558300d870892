//! Products of bf16 with sums in f32.

#[cfg(target_arch = "x86_64")]
mod blocks;
#[cfg(target_arch = "x86_64")]
mod pack;
mod stored;
#[cfg(target_arch = "x86_64")]
mod tile;
mod widen;

use half::bf16;

use super::{Mat, Options};

pub use stored::Stored;

/// Computes `c = a b`; the sizes were checked.
pub fn product<O: Stored>(
    size: [usize; 3],
    a: Mat<bf16>,
    b: Mat<bf16>,
    c: &mut [O],
    ldc: usize,
    options: Options,
) {
    #[cfg(target_arch = "x86_64")]
    if crate::simd::bf16_products() {
        return blocks::product(size, a, b, c, ldc, options);
    }
    widen::product(size, a, b, c, ldc, options);
}
