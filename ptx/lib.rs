//! The ops: one folder an op, with the same files in each.
//!
//! - `mod.rs`: formula, axes, limits, shape check; the autograd function (what is saved, what is recomputed)
//! - `reference.rs`: plain loops over f32 or f64, forward and backward; the oracle, never tuned
//! - `cpu.rs`: fast, multi-threaded, SIMD over channels
//! - `kernel.cu`, `kernel.ptx` (made from it by `tools/build_ptx`), `launch.rs`: the kernels and their launches
//! - `cases.rs`: shapes, settings, tolerance, bytes and FLOP: data that knows no device
//!
//! Adding an op is one folder and one line in [`registry`]; tests, benches and the README's table read it.

pub mod adamw;
pub mod causal_conv1d;
pub mod cross_entropy;
pub mod drop_path;
pub mod ema;
pub mod grad_norm;
pub mod linear;
pub mod patch_embed;
pub mod prompt_add_norm;
pub mod prompt_rows;
pub mod registry;
pub mod selective_scan;
pub mod sgd;
pub mod silu;
pub mod simam;
pub mod spec;
pub mod token_rows;

mod launch;
mod rows;
