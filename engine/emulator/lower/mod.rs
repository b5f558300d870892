//! Lowering: from the parsed text to a [`Program`]. Names become slots and addresses, opcodes become operations, and calls
//! are inlined.

mod atomic;
mod builder;
mod bulk;
mod call;
mod calls_of;
mod control;
mod convert;
mod float;
mod half;
mod hints;
mod integer;
mod legal;
mod matrix;
mod mbarrier;
mod memory;
mod modifiers;
mod names;
mod order;
mod select;
mod statement;
mod together;
mod vectors;
mod video;
mod words;

use self::builder::{Builder, Lowered};
pub(crate) use self::names::FileNames;
use self::names::{Home, Name, Scope};
use crate::fault::ParseError;
use crate::isa::Op;
use crate::layout::Param;
use crate::meter::Class;
use crate::program::Program;
use crate::steps::Steps;
use crate::syntax::Function;
use crate::types::Space;

/// The steps of one kernel, by which its [`Program`] and its entry count.
const KERNEL_STEPS: usize = 128;

/// Why a kernel was not lowered.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The kernel has something that the emulator does not have.
    Kernel(ParseError),
    /// The file is beyond a limit.
    File(ParseError),
}

/// Lowers a kernel of a file, whose parameters have their addresses already. `steps` counts for the whole file.
///
/// # Errors
/// Names the first line with something that the emulator does not have, or with which the file takes too many steps.
pub(crate) fn lower(
    file: &FileNames<'_, '_>,
    function: &Function<'_>,
    params: &[Param],
    steps: &mut Steps,
) -> Result<Program, Refusal> {
    let mut builder = Builder::new(file, function.line, steps);
    builder
        .kernel(function, params)
        .map_err(|error| if builder.over_limit() { Refusal::File(error) } else { Refusal::Kernel(error) })
}

impl<'t, 'b> Builder<'t, 'b> {
    /// Lowers the kernel.
    fn kernel(&mut self, function: &'b Function<'t>, params: &[Param]) -> Lowered<Program> {
        self.take(KERNEL_STEPS)?;
        if let Some(refused) = &function.refused {
            return Err(refused.clone());
        }
        let mut scope = Scope::default();
        for (param, placed) in function.params.iter().zip(params) {
            let (at, bytes) = (u64::from(placed.offset), u64::from(placed.bytes));
            scope
                .names
                .insert(param.name, Name::Variable(Home { space: Space::Param, at, bytes, in_frame: false }));
        }
        self.scopes.push(scope);
        self.block(&function.body)?;
        self.opcode = "ret";
        self.emit_part(Class::Control, Op::Exit)?;
        self.functions()?;
        self.finish(function.line)
    }
}
