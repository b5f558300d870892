//! The shared parts of the workspace's tests, benches and tools.
//!
//! - One case of one op, run on any device and compared with its reference: [`problem`], [`compare`], on a GPU in
//!   [`guarded`] memory; the GPU itself ([`cuda`]) and the committed [`kernels`].
//! - The programs as a user starts them ([`programs`]), whole [`runs`] of training, and the stand-in for the CUDA
//!   driver ([`fake_cuda`]).
//! - Files with numbers of the published code: [`golden`].
//! - When kernels ran on a GPU: [`activity`].
//! - The sizes that are timed and counted: [`vim_s`], [`shapes`].

#![deny(unsafe_code)]
#![warn(missing_docs)]

#[allow(unsafe_code, reason = "calls a C library")]
pub mod activity;
pub mod compare;
pub mod cuda;
pub mod fake_cuda;
pub mod golden;
pub mod guarded;
pub mod kernels;
pub mod problem;
pub mod programs;
pub mod root;
pub mod runs;
pub mod shapes;
pub mod vim_s;
