//! The CUDA device on a driver and a cuBLASLt that need no GPU (`tests/fake_cuda`): loading, every error message, the
//! order of calls, and the values of the emulated device. Each test runs in a process of its own, as libraries
//! stay loaded and their environment is read once.

mod child;
mod errors;
mod loading;
mod order;
mod values;
