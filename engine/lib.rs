//! Tensors, devices, GEMM, SIMD and counter-based random numbers. Knows no op and no model.
#![deny(unsafe_code)]
#![deny(unsafe_op_in_unsafe_fn)]
#![warn(missing_docs)]

// The groups go from the bottom up: a module imports from its own group and from those before it, never in a circle.

#[allow(unsafe_code, reason = "an allocator")]
mod allocator;
pub mod budget;
mod error;
mod mmap;
pub mod rng;
pub mod shape;

pub mod launch;

pub mod cards;
#[allow(unsafe_code, reason = "instruction sets that are found at run time")]
pub mod simd;

#[allow(unsafe_code, reason = "pointers to the gemm crate, and instructions that are found at run time")]
pub mod gemm;

pub mod cuda;
mod elementwise;
pub mod emulated;
pub mod plain_gemm;
mod pool;

pub mod blas;
pub mod device;
pub mod tensor;

pub use allocator::Telling;
pub use device::Device;
pub use error::{Error, Result, or_out_of_memory};
pub use half::bf16;
pub use launch::DType;
pub use mmap::Mmap;
pub use pool::Recording;
pub use rng::Rng;
pub use simd::Element;
pub use tensor::{Arriving, Tensor};
