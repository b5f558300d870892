//! Tests the CUDA device on a driver and a cuBLASLt that need no GPU (`tests/fake_cuda`): loading, every error message,
//! the order of calls, and agreement with the emulated device. Each test runs in a process of its own, because
//! libraries stay loaded and their environment is read once.

mod cards;
mod child;
mod errors;
mod loading;
mod order;
mod values;
