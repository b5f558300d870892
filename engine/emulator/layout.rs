//! Where the parameters of a kernel and the variables of a module lie.

use std::sync::Arc;

use crate::program::{CONST_BASE, MODULE_BASE};
use crate::syntax::Variable;
use crate::types::Space;

/// The most bytes that the parameters of a kernel may have.
pub(crate) const MOST_PARAMS: u32 = 32_764;
/// The least alignment of a module's variables, and the gap after each.
pub(crate) const GLOBAL_GAP: u64 = 256;

/// A parameter of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// The offset in the parameter block, in bytes.
    pub offset: u32,
    /// The size in bytes.
    pub bytes: u32,
    /// The alignment in bytes, a power of two.
    pub align: u32,
}

impl Param {
    /// True if the parameter is as wide as a pointer.
    pub fn is_64_bit(&self) -> bool {
        self.bytes == 8
    }
}

/// A `.global` or `.const` variable of a module (`__device__` or `__constant__`).
#[derive(Debug, Clone)]
pub struct Global {
    /// The name in the PTX file.
    pub name: Arc<str>,
    /// The size in bytes.
    pub bytes: u64,
    /// Whether kernels can only read it (`.const`).
    pub constant: bool,
    pub(crate) at: u64,
    pub(crate) init: Vec<u8>,
}

/// Lays parameters out in the order of their declaration, each at its alignment.
pub(crate) fn place_params(params: &[Variable<'_>]) -> Vec<Param> {
    let mut at = 0u32;
    params
        .iter()
        .map(|p| {
            let align = p.align.max(1);
            let offset = at.next_multiple_of(align);
            at = (offset + p.bytes as u32).min(MOST_PARAMS + 1);
            Param { offset, bytes: p.bytes as u32, align }
        })
        .collect()
}

/// Gives addresses to the variables of a module, with gaps between them; constants have a range of their own.
pub(crate) fn place_globals(variables: &[Variable<'_>]) -> Vec<Global> {
    let (mut globals, mut constants) = (MODULE_BASE, CONST_BASE);
    variables
        .iter()
        .filter(|v| matches!(v.space, Space::Global | Space::Const))
        .map(|v| {
            let at = if v.space == Space::Const { &mut constants } else { &mut globals };
            let here = at.next_multiple_of(u64::from(v.align).max(GLOBAL_GAP));
            *at = here + v.bytes + GLOBAL_GAP;
            let constant = v.space == Space::Const;
            Global { name: v.name.into(), bytes: v.bytes, constant, at: here, init: v.init.clone() }
        })
        .collect()
}
