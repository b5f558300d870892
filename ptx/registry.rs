//! Every op, once: conformance tests, benches and the README's op table read this list.

use std::fmt::Write;

use crate::spec::Op;
use crate::{adamw, cross_entropy, drop_path, linear, patch_embed, silu, simam, token_rows};

/// All ops.
pub fn all() -> Vec<Box<dyn Op>> {
    vec![
        Box::new(patch_embed::cases::PatchEmbed),
        Box::new(linear::cases::Linear),
        Box::new(silu::cases::Silu),
        Box::new(token_rows::cases::TokenRows),
        Box::new(drop_path::cases::DropPath),
        Box::new(simam::cases::SimAm),
        Box::new(cross_entropy::cases::CrossEntropy),
        Box::new(adamw::cases::AdamW),
    ]
}

/// The README's op table, in Markdown: name, formula, number of conformance cases.
pub fn table() -> String {
    let mut table = String::from("| op | computes | cases |\n|---|---|---|\n");
    for op in all() {
        let (name, formula, cases) = (op.name(), op.formula(), op.cases().len());
        writeln!(table, "| `{name}` | `{formula}` | {cases} |").expect("a string takes all");
    }
    table
}
