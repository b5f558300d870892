//! What all blocks of a launch share.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::args::{Access, Arg};
use crate::checks::Checks;
use crate::fault::{Fault, Location, Stop};
use crate::heap::PAGE;
use crate::layout::Global;
use crate::memory::{Buffer, Loaded, Machine, Options};
use crate::module::Module;
use crate::output::Printed;
use crate::program::{Program, Special, SystemFunction, WORKSPACE, WORKSPACE_BYTES};
use crate::releases::Published;
use crate::shadow::GlobalShadow;
use crate::suspicion::Suspicions;

/// A part of global memory that a launch may use.
#[derive(Debug)]
pub(crate) struct View {
    pub at: u64,
    pub end: u64,
    pub buffer: Arc<Buffer>,
    pub access: Access,
    /// Notes of accesses, for what may be written and with checks on.
    pub shadow: Option<GlobalShadow>,
}

/// All that the blocks of a launch share.
#[derive(Debug)]
pub(crate) struct Env<'l> {
    pub machine: &'l Machine,
    pub kernel: &'l str,
    pub program: Arc<Program>,
    pub options: Options,
    /// The checks that are made.
    pub checks: Checks,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    /// The parameter block.
    pub params: Vec<u8>,
    pub views: Vec<View>,
    /// What threads released to other blocks.
    pub published: Published,
    pub suspicions: Suspicions,
    /// Faults after which the launch went on, in the order in which they were found.
    pub found: Mutex<Vec<Fault>>,
    /// The pages of the heap, each from its first use on; none where no kernel has called `malloc`.
    pub heap: Option<Box<[OnceLock<View>]>>,
    /// What blocks have printed.
    pub printed: Printed,
    /// The number of the launch on its machine.
    pub number: u32,
    /// Held during atomics of 64 bits.
    pub wide_atomics: Mutex<()>,
}

impl Env<'_> {
    /// The number of threads in a block.
    pub fn threads(&self) -> u32 {
        self.block.iter().product()
    }

    /// The coordinates of a thread in its block.
    pub fn thread(&self, n: u32) -> [u32; 3] {
        let [x, y, _] = self.block;
        [n % x, n / x % y, n / x / y]
    }

    /// The fault of a lane of a warp, at an instruction.
    pub fn fault(&self, block: [u32; 3], warp: u32, pc: u32, stop: Stop) -> Fault {
        let line = &self.program.lines[pc as usize];
        Fault {
            kind: stop.kind,
            kernel: Some(self.kernel.to_string()),
            location: Some(Box::new(Location {
                file: line.file.to_string(),
                line: line.line,
                source: line.source.as_ref().map(|(file, line)| format!("{file}:{line}")),
                opcode: line.opcode.to_string(),
                thread: self.thread(warp * 32 + stop.lane),
                block,
            })),
            address: stop.address,
            detail: stop.detail,
            more: Vec::new(),
        }
    }

    /// Keeps a fault after which the launch can go on. Gives it back if it must stop: faults are not collected, or there
    /// are as many as were asked for.
    pub fn collect(&self, fault: Fault) -> Result<(), Fault> {
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let place = |f: &Fault| (f.kind, f.location.as_ref().map(|l| l.line));
        if found.iter().any(|other| place(other) == place(&fault)) {
            return Ok(());
        }
        if found.len() + 1 >= self.options.collect {
            return Err(fault);
        }
        found.push(fault);
        Ok(())
    }

    /// The outcome of a launch that ended, perhaps by a fault.
    pub fn end(&self, last: Option<Fault>) -> Result<(), Fault> {
        let mut last = last;
        if last.is_none() {
            last = self.suspicions.left().into_iter().find_map(|fault| self.collect(fault).err());
        }
        let mut found = std::mem::take(&mut *self.found.lock().unwrap_or_else(PoisonError::into_inner));
        found.extend(last);
        let mut all = found.into_iter();
        match all.next() {
            None => Ok(()),
            Some(first) => Err(Fault { more: all.collect(), ..first }),
        }
    }
}

impl Env<'_> {
    /// The part of memory that a page of the heap is.
    pub fn page_view(&self, number: usize) -> View {
        let buffer = self.machine.heap_page(number);
        self.machine.view(buffer.at, PAGE, buffer, Access::ReadWrite, &self.program)
    }

    /// Forgets who accessed a part of a page, which is given out anew.
    pub fn forget_accesses(&self, page: usize, part: Range<u64>) {
        let view = self.heap.as_ref().and_then(|pages| pages[page].get());
        let granule = u64::from(self.program.global_granule);
        if let Some(shadow) = view.and_then(|view| view.shadow.as_ref()) {
            shadow.clear((part.start / granule) as usize..part.end.div_ceil(granule) as usize);
        }
    }
}

impl Machine {
    /// Room for the pages of the heap, if this launch or an earlier one calls `malloc`.
    pub(crate) fn heap_views(&self, program: &Program) -> Option<Box<[OnceLock<View>]>> {
        let calls = program.system_calls.iter().any(|call| call.function == SystemFunction::Malloc);
        let pages = self.heap.pages();
        self.heap.note_use(calls).then(|| std::iter::repeat_with(OnceLock::new).take(pages).collect())
    }

    /// The memory that the arguments name and the variables of the module. The error says which argument lies in no buffer.
    pub(crate) fn views(
        &self,
        module: &Module,
        program: &Program,
        args: &[Arg],
    ) -> Result<Vec<View>, String> {
        let mut views = Vec::new();
        for (k, arg) in args.iter().enumerate() {
            let (Arg::Buffer { at, bytes, access } | Arg::Reached { at, bytes, access }) = *arg else {
                continue;
            };
            if bytes == 0 {
                continue;
            }
            let buffer =
                self.buffer_at(at).ok_or_else(|| format!("argument {k}: {at:#x} lies in no buffer"))?;
            let left = buffer.bytes - (at - buffer.at);
            if bytes as u64 > left {
                return Err(format!(
                    "argument {k}: {bytes} bytes at {at:#x}, where {left} are left in the buffer"
                ));
            }
            views.push(self.view(at, bytes as u64, buffer, access, program));
        }
        for (global, buffer) in module.globals.iter().zip(self.variables(module)) {
            let access = if global.constant { Access::Read } else { Access::ReadWrite };
            views.push(self.view(global.at, global.bytes, buffer, access, program));
        }
        if program.specials.iter().any(|(special, _)| matches!(special, Special::EnvReg(1 | 2))) {
            let buffer = Arc::new(Buffer::filled(WORKSPACE, WORKSPACE_BYTES, &[]));
            views.push(self.view(WORKSPACE, WORKSPACE_BYTES, buffer, Access::ReadWrite, program));
        }
        // Two arguments may name the same memory. What may be written is found first, and may then be read as well.
        views.sort_by_key(|v| v.access == Access::Read);
        for k in 0..views.len() {
            let (at, end) = (views[k].at, views[k].end);
            let overlaps = |(j, v): (usize, &View)| j != k && v.at < end && at < v.end;
            if views[k].access == Access::Write && views.iter().enumerate().any(overlaps) {
                views[k].access = Access::ReadWrite;
            }
        }
        Ok(views)
    }

    /// The memory of a module's variables. They have their initial values at the first launch on this machine, and live as
    /// long as the module, as they do on a GPU while it is loaded.
    pub(crate) fn variables(&self, module: &Module) -> Vec<Arc<Buffer>> {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        let known = loaded.iter().find(|one| one.module.as_ptr() == Arc::as_ptr(&module.identity));
        if let Some(known) = known {
            return known.variables.clone();
        }
        loaded.retain(|one| one.module.strong_count() > 0);
        let fresh = |global: &Global| Arc::new(Buffer::filled(global.at, global.bytes, &global.init));
        let variables: Vec<_> = module.globals.iter().map(fresh).collect();
        loaded.push(Loaded { module: Arc::downgrade(&module.identity), variables: variables.clone() });
        variables
    }

    fn view(&self, at: u64, bytes: u64, buffer: Arc<Buffer>, access: Access, program: &Program) -> View {
        let granules = bytes.div_ceil(u64::from(program.global_granule)) as usize + 1;
        let shadow = (self.options.checks().notes_global() && access != Access::Read)
            .then(|| GlobalShadow::new(granules));
        View { at, end: at + bytes, buffer, access, shadow }
    }
}
