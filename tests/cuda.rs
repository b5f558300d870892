//! The CUDA device on a driver and a cuBLASLt that need no GPU (`tests/fake_cuda`): loading, every error message, the
//! order of calls, and the values of the emulated device. Each test runs in a process of its own, as libraries
//! stay loaded and their environment is read once.

#[path = "support/fake_cuda.rs"]
mod fake_cuda;
// What other tests need of it is not used here.
#[allow(dead_code)]
mod harness;
mod support;

mod cuda {
    pub mod child;
    pub mod errors;
    pub mod loading;
    pub mod order;
    pub mod values;
}
