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

/// Whether the machine has `vdpbf16ps`, and may use it.
pub fn native() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        crate::simd::level() == crate::simd::Level::Avx512
            && is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

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
    if native() {
        return blocks::product(size, a, b, c, ldc, options);
    }
    widen::product(size, a, b, c, ldc, options);
}
