//! Every op, once: conformance tests, benches and the README's op table read this list.

use std::fmt::Write;

use crate::spec::Op;

/// All ops.
pub fn all() -> Vec<Box<dyn Op>> {
    vec![
        Box::new(crate::adamw::cases::AdamW),
        Box::new(crate::cross_entropy::cases::CrossEntropy),
        Box::new(crate::drop_path::cases::DropPath),
        Box::new(crate::ema::cases::Ema),
        Box::new(crate::grad_norm::cases::GradNorm),
        Box::new(crate::linear::cases::Linear),
        Box::new(crate::prompt_add_norm::cases::PromptAddNorm),
        Box::new(crate::prompt_rows::cases::PromptRows),
        Box::new(crate::causal_conv1d::cases::CausalConv1d),
        Box::new(crate::patch_embed::cases::PatchEmbed),
        Box::new(crate::selective_scan::cases::SelectiveScan),
        Box::new(crate::sgd::cases::Sgd),
        Box::new(crate::silu::cases::Silu),
        Box::new(crate::simam::cases::SimAm),
        Box::new(crate::token_rows::cases::TokenRows),
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
