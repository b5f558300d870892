//! SIMD for the CPU ops: one generic body is compiled for AVX-512, for AVX2 with FMA and for plain arrays, and the best one
//! that the machine has is chosen at run time.
//!
//! ```
//! engine::simd_fn! {
//!     /// y += a x
//!     fn axpy<S>(s, a: f32, x: &[f32], y: &mut [f32]) {
//!         for i in (0..x.len()).step_by(S::LANES) {
//!             let sum = s.fma(s.splat(a), s.read(x, i), s.read(y, i));
//!             s.write(y, i, sum);
//!         }
//!     }
//! }
//! let mut y = vec![1.0; 20];
//! axpy(2.0, &[3.0; 20], &mut y);
//! assert_eq!(y, [7.0; 20]);
//! ```

mod dispatch;
mod element;
mod level;
mod portable;
mod slices;
#[cfg(test)]
mod tests;
mod vector;
#[cfg(target_arch = "x86_64")]
mod x86;

pub use element::Element;
#[cfg(test)]
pub(crate) use level::TURN;
pub use level::{Level, bf16_products, level, limit, prefetch};
pub use portable::Portable;
pub(crate) use slices::{add, convert, copy};
pub use vector::Simd;
#[cfg(target_arch = "x86_64")]
pub use x86::{Avx2, Avx512};
