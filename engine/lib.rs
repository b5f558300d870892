//! Tensors, devices, GEMM, SIMD and counter-based random numbers. Knows no op and no model.

pub mod blas;
pub mod cuda;
pub mod device;
mod elementwise;
pub mod emulated;
pub mod error;
pub mod gemm;
pub mod launch;
mod launched;
pub mod rng;
pub mod shape;
pub mod simd;
pub mod tensor;

pub use device::Device;
pub use error::{Error, Result};
pub use launch::DType;
pub use launched::Recording;
pub use rng::Rng;
pub use tensor::{Arriving, Tensor};
