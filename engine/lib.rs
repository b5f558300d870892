//! Tensors, devices, GEMM, SIMD and counter-based random numbers. Knows no op and no model.

pub mod device;
pub mod error;
pub mod gemm;
pub mod launch;
pub mod rng;
pub mod shape;
pub mod simd;
pub mod tensor;

pub use device::Device;
pub use error::{Error, Result};
pub use rng::Rng;
pub use tensor::Tensor;
