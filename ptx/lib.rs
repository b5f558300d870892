//! The ops: one folder an op, with the same files in each.
//!
//! - `mod.rs`: formula, axes and limits; the op's functions, what they save and how they differentiate
//! - `call.rs`: what the other files share about one call: its sizes, the check of its shapes, where its inputs stand
//! - `reference.rs`: plain loops over f32 or f64, forward and backward; the oracle, never tuned
//! - `cpu.rs`: the CPU's code, on all threads, SIMD over channels
//! - `kernel.cu`, `kernel.ptx` (made from it by `tools/build_ptx`), `launch.rs`: the kernels and their launches
//! - `onnx.rs`: the op as nodes of an ONNX graph, where evaluation calls it
//! - `cases.rs`: what tests and benches run: sizes, inputs, tolerance, cost, memory; it knows no device
//!
//! Within a folder `mod.rs` uses the others, all may use `call.rs`, and `cases.rs` uses `mod.rs`. [`registry`] says
//! what it takes to add an op.

#![warn(missing_docs)]

pub mod activation;
pub mod adamw;
pub mod add_rows;
pub mod attention;
pub mod batch_norm;
pub mod causal_conv1d;
pub mod channels;
pub mod clamp;
pub mod cross_entropy;
pub mod ema;
pub mod frame;
pub mod gate_rows;
pub mod grad_norm;
pub mod layer_norm;
pub mod linear;
pub mod mean_rows;
pub mod nearest;
pub mod neighbour_attention;
pub mod patch_embed;
pub mod permute;
pub mod prompt_add_norm;
pub mod prompt_chain;
pub mod prompt_rows;
pub mod quantise;
pub mod salient;
pub mod scale_shift;
pub mod selective_scan;
pub mod sgd;
pub mod simam;
pub mod token_rows;
pub mod zoom_prompt;

pub mod export;
pub mod registry;
pub mod spec;

mod disjoint;
mod launch;
mod rows;
mod scalar;
