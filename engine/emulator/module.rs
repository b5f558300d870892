//! A PTX file that was parsed and lowered.

use std::sync::Arc;

use crate::fault::ParseError;
use crate::layout::{Global, MOST_PARAMS, Param, place_globals, place_params};
use crate::lower::{FileNames, Refusal, lower};
use crate::parse::parse;
use crate::program::Program;
use crate::steps::{Steps, TooMany};

/// A parsed PTX file.
#[derive(Debug)]
pub struct Module {
    pub(crate) file: Arc<str>,
    pub(crate) globals: Vec<Global>,
    /// By which a machine knows that it has the variables of this module already. It is dropped with the module.
    pub(crate) identity: Arc<()>,
    entries: Vec<Entry>,
    programs: Vec<Arc<Program>>,
}

/// A kernel of a module.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The name after `.entry`.
    pub name: String,
    /// The parameters, in the order of the arguments of a launch.
    pub params: Vec<Param>,
    /// The block size of `.maxntid` or `.reqntid`.
    pub max_threads: Option<[u32; 3]>,
    /// True for `.reqntid`: a block must have exactly that size.
    pub exact_threads: bool,
    /// Blocks that a multiprocessor must have room for, by `.minnctapersm`. The emulator has no registers to run out of.
    pub min_blocks: Option<u64>,
    /// The most registers of a thread, by `.maxnreg`.
    pub max_registers: Option<u64>,
    /// The blocks of a cluster along x, y and z, by `.reqnctapercluster`. Only clusters of one block can be launched.
    pub cluster: [u32; 3],
    /// Bytes of static shared memory, as a driver counts them.
    pub shared: u32,
    /// The line of `.entry` in the PTX file.
    pub line: u32,
    /// Why the kernel cannot run: the first thing in it, or in a function that it calls, that the emulator does not have.
    pub unsupported: Option<ParseError>,
}

impl Module {
    /// Parses and lowers every kernel of `text`; `file` is its name for messages. A kernel with something that the emulator
    /// does not have is kept, with its reason in [`Entry::unsupported`], and its launch is a fault.
    ///
    /// # Errors
    /// Names the first line that is not PTX, or with which the file goes beyond one of the limits on its size.
    pub fn parse(file: &str, text: &str) -> Result<Self, ParseError> {
        let text = parse(file, text)?;
        let globals = place_globals(&text.variables);
        let mut module = Self {
            file: file.into(),
            globals,
            identity: Arc::default(),
            entries: Vec::new(),
            programs: Vec::new(),
        };
        let mut names = FileNames::new(module.file.clone(), &text, &module.globals);
        names.fill(&text, &mut module.globals);
        let mut steps = Steps::default();
        let refused_program = Arc::new(Program::default());
        for function in text.functions.iter().filter(|f| f.entry) {
            let params = place_params(&function.params);
            let large = params.last().is_some_and(|p| p.offset + p.bytes > MOST_PARAMS);
            let program = if large {
                let message = format!("the parameters have more than {MOST_PARAMS} bytes");
                Err(Refusal::Kernel(ParseError { file: file.into(), line: function.line, message }))
            } else {
                lower(&names, function, &params, &mut steps)
            };
            let (program, unsupported) = match program {
                Ok(program) => (Arc::new(program), None),
                Err(Refusal::Kernel(reason)) => {
                    // Kernels share functions, and each keeps the reason.
                    let error = |e: TooMany| ParseError { message: e.to_string(), ..reason.clone() };
                    steps.take(reason.message.len()).map_err(error)?;
                    (refused_program.clone(), Some(reason))
                }
                Err(Refusal::File(error)) => return Err(error),
            };
            module.entries.push(Entry {
                name: function.name.into(),
                params,
                max_threads: function.max_threads,
                exact_threads: function.exact_threads,
                min_blocks: function.min_blocks,
                max_registers: function.max_registers,
                cluster: function.cluster,
                shared: program.static_shared,
                line: function.line,
                unsupported,
            });
            module.programs.push(program);
        }
        Ok(module)
    }

    /// Like [`Module::parse`], for files of which every kernel has to run.
    ///
    /// # Errors
    /// Those of [`Module::parse`], and the reason of the first kernel that is refused.
    pub fn parse_whole(file: &str, text: &str) -> Result<Self, ParseError> {
        let module = Self::parse(file, text)?;
        let reason = module.refused().next().map(|(_, reason)| reason.clone());
        reason.map_or(Ok(module), Err)
    }

    /// The kernels that cannot run, each with its reason.
    pub fn refused(&self) -> impl Iterator<Item = (&Entry, &ParseError)> {
        self.entries.iter().filter_map(|e| Some((e, e.unsupported.as_ref()?)))
    }

    /// The file name that was given to [`Module::parse`].
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The kernels, in the order of the file.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The variables, in the order of the file.
    pub fn globals(&self) -> &[Global] {
        &self.globals
    }

    /// The kernel of this name: its symbol, or its name in C++, with the types of its parameters or without, and of a
    /// template without its arguments, if that means no other kernel.
    pub fn entry(&self, name: &str) -> Option<&Entry> {
        self.find(name).ok().map(|at| &self.entries[at])
    }

    /// A kernel by its position among the entries.
    pub(crate) fn kernel(&self, at: usize) -> (&Entry, &Arc<Program>) {
        (&self.entries[at], &self.programs[at])
    }
}
