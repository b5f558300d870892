//! Every op, once. Conformance tests, benches, `kernel_report` and the table in docs/ops.md read this list.
//!
//! Adding an op takes a folder and one line:
//!
//! 1. The folder `ptx/NAME/` with `mod.rs`, `call.rs`, `reference.rs`, `cpu.rs`, `kernel.cu`, `launch.rs` and
//!    `cases.rs`, which holds `pub(crate) struct Cases;` and its [`Op`].
//! 2. The line `pub mod NAME;` in `ptx/lib.rs`.
//!
//! Two files are then written by commands: `NAME/kernel.ptx` by `cargo run --release -p tools --bin build_ptx`, and
//! docs/ops.md by `UPDATE_DOCS=1 cargo test --release --test readme`. Nothing else is edited. The build script of this
//! crate lists the folders that have a `cases.rs`, so a folder without its line does not compile; tests fail where a
//! kernel is not launched by any case, where [`Op::kept`] is wrong, and where one of the two files is old.

use std::fmt::Write;

use autograd::Noted;
use engine::DType;

use crate::spec::Op;

/// All ops, by name.
pub fn all() -> Vec<Box<dyn Op>> {
    include!(concat!(env!("OUT_DIR"), "/ops.rs"))
}

/// Additions and multiplications of calls and backward passes that tapes noted, by the ops' cost functions.
///
/// # Errors
/// The name of an op that does not say what its calls cost.
pub fn flop(calls: &[Noted]) -> Result<f64, &'static str> {
    let ops = all();
    let of = |call: &Noted| {
        // The tape's own calls move values and compute nothing.
        if ["cast", "reshape"].contains(&call.op) {
            return Ok(0.0);
        }
        let op = ops.iter().find(|op| op.name() == call.op).ok_or(call.op)?;
        let (forward, backward) = op.cost(&op.noted(call).ok_or(call.op)?, DType::F32);
        Ok(if call.backward { backward.flop } else { forward.flop })
    };
    calls.iter().map(of).sum()
}

/// The table of ops in Markdown: name, formula, number of conformance cases.
pub fn table() -> String {
    let mut table = String::from("| op | computes | cases |\n|---|---|---|\n");
    for op in all() {
        let (name, formula, cases) = (op.name(), op.formula(), op.cases().len());
        writeln!(table, "| `{name}` | `{formula}` | {cases} |").expect("a string takes all");
    }
    table
}

#[cfg(test)]
mod tests {
    use autograd::{Tape, Var, noted};
    use engine::{Device, Rng, Tensor};

    use super::*;

    /// What a call costs is found by its shapes alone, for every case of every op.
    #[test]
    fn noted_calls_cost_what_their_cases_cost() {
        let device = Device::cpu();
        for op in all() {
            for case in op.cases().into_iter().filter(|case| !case.bench) {
                let tape = Tape::new(&device);
                let input = |input: crate::spec::Input| {
                    let value = Tensor::from_vec(input.values(&mut Rng::keyed(1, 0, 0, 0)), &input.shape);
                    if input.grad { tape.leaf(value) } else { Var::constant(value) }
                };
                let inputs: Vec<Var> = op.inputs(&case).into_iter().map(input).collect();
                let (outputs, forward) = noted(|| op.forward(&case, &tape, &inputs).unwrap());
                // The optimizers record nothing.
                let Some(call) = forward.first() else { continue };
                let cost = op.cost(&case, DType::F32);
                let name = format!("{}:{}", op.name(), case.name);
                assert_eq!((forward.len(), call.op), (1, op.name()), "{name}");
                assert_eq!(flop(&forward), Ok(cost.0.flop), "{name}");
                if inputs.iter().all(|input| !input.wants_grad()) {
                    continue;
                }
                let output =
                    outputs.iter().find(|output| output.wants_grad()).expect("a gradient is asked for");
                let seed = Tensor::zeros(&device, output.shape());
                let (walked, backward) = noted(|| tape.backward(output, seed));
                walked.unwrap();
                assert_eq!(flop(&backward), Ok(cost.1.flop), "{name}, backward");
            }
        }
        let unknown = Noted { op: "none", inputs: vec![], outputs: vec![], backward: false };
        assert_eq!(flop(&[unknown]), Err("none"));
    }

    #[test]
    fn ops_are_named_as_their_folders() {
        for op in all() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/").to_string() + op.name();
            assert!(std::path::Path::new(&folder).join("cases.rs").is_file(), "{}", op.name());
            assert!(op.cases().iter().any(|case| case.bench), "{}: no case for the benches", op.name());
        }
    }
}
