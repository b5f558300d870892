//! Every op, once: conformance tests, benches and the README's op table read this list.

use crate::spec::Op;

/// All ops.
pub fn all() -> Vec<Box<dyn Op>> {
    vec![
        Box::new(crate::linear::cases::Linear),
        Box::new(crate::selective_scan::cases::SelectiveScan),
        Box::new(crate::silu::cases::Silu),
    ]
}
