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

use crate::spec::Op;

/// All ops, by name.
pub fn all() -> Vec<Box<dyn Op>> {
    include!(concat!(env!("OUT_DIR"), "/ops.rs"))
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
    use super::*;

    #[test]
    fn ops_are_named_as_their_folders() {
        for op in all() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/").to_string() + op.name();
            assert!(std::path::Path::new(&folder).join("cases.rs").is_file(), "{}", op.name());
            assert!(op.cases().iter().any(|case| case.bench), "{}: no case for the benches", op.name());
        }
    }
}
