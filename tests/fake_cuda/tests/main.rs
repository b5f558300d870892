//! The library as programs see it: found by name, called through cudarc. Each test runs in a process of its own, as
//! what the environment asks for is read once, and as errors stay.

mod capture;
mod control;
mod gpu;
mod kernel;
mod memory;
mod product;
mod stream;
