//! A PTX file, parsed and lowered once.

use std::collections::HashMap;
use std::sync::Arc;

use crate::ParseError;
use crate::lower::lower;
use crate::parse::parse;
use crate::program::{MODULE_BASE, Program};
use crate::syntax::{Text, Variable};
use crate::types::Space;

/// Bytes of a kernel's parameters.
const MOST_PARAMS: u32 = 32_764;

/// A parsed PTX file.
#[derive(Debug)]
pub struct Module {
    pub(crate) file: Arc<str>,
    pub(crate) globals: Vec<Global>,
    entries: Vec<Entry>,
    programs: Vec<Arc<Program>>,
}

/// A kernel of a module.
#[derive(Debug, Clone)]
pub struct Entry {
    pub name: String,
    pub params: Vec<Param>,
    /// `.maxntid`, or `.reqntid` if `exact_threads`.
    pub max_threads: Option<[u32; 3]>,
    pub exact_threads: bool,
    /// Bytes of static shared memory.
    pub shared: u32,
    /// Line of `.entry` in the PTX file.
    pub line: u32,
}

/// A parameter of a kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Offset in the parameter block.
    pub offset: u32,
    pub bytes: u32,
    pub align: u32,
}

impl Param {
    /// Wide enough for a pointer.
    pub fn is_64_bit(&self) -> bool {
        self.bytes == 8
    }
}

/// A `.global` or `.const` variable with its address.
#[derive(Debug, Clone)]
pub(crate) struct Global {
    pub name: String,
    pub at: u64,
    pub bytes: u64,
    pub init: Vec<u8>,
    pub constant: bool,
}

impl Module {
    /// Parses and lowers every kernel of `text`; `file` is for messages.
    ///
    /// # Errors
    /// The first line that is no PTX, or an instruction or directive outside the supported set, by its text.
    pub fn parse(file: &str, text: &str) -> Result<Self, ParseError> {
        let text = parse(file, text)?;
        let globals = place_globals(&text.variables);
        let mut module = Self { file: file.into(), globals, entries: Vec::new(), programs: Vec::new() };
        for function in text.functions.iter().filter(|f| f.entry) {
            let params = place_params(&function.params);
            if params.last().is_some_and(|p| p.offset + p.bytes > MOST_PARAMS) {
                let message = format!("parameters of more than {MOST_PARAMS} bytes");
                return Err(ParseError { file: file.into(), line: function.line, message });
            }
            let program = lower(file, &text, &module.globals, function, &params)?;
            module.entries.push(Entry {
                name: function.name.into(),
                params,
                max_threads: function.max_threads,
                exact_threads: function.exact_threads,
                shared: program.static_shared,
                line: function.line,
            });
            module.programs.push(Arc::new(program));
        }
        Ok(module)
    }

    /// The name given to [`Module::parse`].
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The kernels, in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().find(|e| e.name == name)
    }

    pub(crate) fn program(&self, name: &str) -> Option<(&Entry, &Arc<Program>)> {
        let at = self.entries.iter().position(|e| e.name == name)?;
        Some((&self.entries[at], &self.programs[at]))
    }
}

fn place_params(params: &[Variable<'_>]) -> Vec<Param> {
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

/// Addresses for the variables of a module, with gaps.
fn place_globals(variables: &[Variable<'_>]) -> Vec<Global> {
    let mut at = MODULE_BASE;
    variables
        .iter()
        .filter(|v| matches!(v.space, Space::Global | Space::Const))
        .map(|v| {
            let here = at.next_multiple_of(u64::from(v.align.max(256)));
            at = here + v.bytes + 256;
            Global {
                name: v.name.into(),
                at: here,
                bytes: v.bytes,
                init: v.init.clone(),
                constant: v.space == Space::Const,
            }
        })
        .collect()
}

/// Names of the functions of a file that are not kernels, by name.
pub(crate) fn functions<'a, 't>(text: &'a Text<'t>) -> HashMap<&'t str, &'a crate::syntax::Function<'t>> {
    text.functions.iter().filter(|f| !f.entry).map(|f| (f.name, f)).collect()
}
