//! Lowering: from the parsed text to a [`Program`]. Names become slots and addresses, opcodes become operations, and calls
//! are inlined.

mod builder;
mod control;
mod convert;
mod float;
mod hints;
mod integer;
mod legal;
mod memory;
mod modifiers;
mod names;
mod select;
mod statement;
mod together;

use self::builder::{Builder, Lowered};
pub(crate) use self::names::FileNames;
use self::names::{Home, Name, Scope};
use crate::layout::Param;
use crate::program::Program;
use crate::steps::Steps;
use crate::syntax::Function;
use crate::types::Space;

/// The steps of one kernel, by which its [`Program`] and its entry count.
const KERNEL_STEPS: usize = 128;

/// Lowers a kernel of a file, whose parameters have their addresses already. `steps` counts for the whole file.
///
/// # Errors
/// Names the first line with something that the emulator does not have, or with which the file takes too many steps.
pub(crate) fn lower(
    file: &FileNames<'_, '_>,
    function: &Function<'_>,
    params: &[Param],
    steps: &mut Steps,
) -> Lowered<Program> {
    let mut builder = Builder::new(file, function.line, steps);
    builder.take(KERNEL_STEPS)?;
    let mut scope = Scope::default();
    for (param, placed) in function.params.iter().zip(params) {
        let home = Home { space: Space::Param, at: u64::from(placed.offset), bytes: u64::from(placed.bytes) };
        scope.names.insert(param.name, Name::Variable(home));
    }
    builder.scopes.push(scope);
    builder.block(&function.body)?;
    builder.finish(function.line)
}
