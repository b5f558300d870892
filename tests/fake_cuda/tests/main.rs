//! The library as programs see it: found by name and called through cudarc. Each test runs in a process of its own,
//! because the environment is read once and errors stay.

mod capture;
mod control;
mod gpu;
mod kernel;
mod memory;
mod product;
mod stream;
