//! Lowering: from the parsed text to a [`Program`]. Names become slots and addresses, opcodes become operations, and calls
//! are inlined.

mod builder;
mod control;
mod convert;
mod float;
mod integer;
mod memory;
mod modifiers;
mod select;
mod statement;
mod together;

use self::builder::{Builder, Home, Lowered, Name};
use crate::layout::{Global, Param};
use crate::program::Program;
use crate::syntax::{Function, ParsedFile};
use crate::types::Space;

/// Lowers a kernel of a file, whose variables and parameters have their addresses already.
///
/// # Errors
/// Names the first line with something that the emulator does not have.
pub(crate) fn lower(
    file: &str,
    text: &ParsedFile<'_>,
    globals: &[Global],
    function: &Function<'_>,
    params: &[Param],
) -> Lowered<Program> {
    let mut builder = Builder::new(file, text, function.line);
    let top = builder.scope();
    for global in globals {
        let space = if global.constant { Space::Const } else { Space::Global };
        let name = text.variables.iter().find(|v| v.name == global.name).expect("placed from this list").name;
        top.names.insert(name, Name::Variable(Home { space, at: global.at, bytes: global.bytes }));
    }
    for variable in text.variables.iter().filter(|v| v.space == Space::Shared) {
        top.names.insert(variable.name, Name::Unplaced(variable.clone()));
    }
    for (param, placed) in function.params.iter().zip(params) {
        let home = Home { space: Space::Param, at: u64::from(placed.offset), bytes: u64::from(placed.bytes) };
        top.names.insert(param.name, Name::Variable(home));
    }
    builder.block(&function.body)?;
    builder.finish()
}
