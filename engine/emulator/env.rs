//! What all blocks of a launch share.

use std::ops::Range;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::args::{Access, Arg};
use crate::heap::PAGE;
use crate::layout::Global;
use crate::memory::{Buffer, Loaded, Machine, Options};
use crate::module::Module;
use crate::output::Printed;
use crate::program::{PARAM_WINDOW, Program, Special, SystemFunction, WORKSPACE, WORKSPACE_BYTES};
use crate::shadow::GlobalShadow;

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
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    /// The parameter block.
    pub params: Vec<u8>,
    pub views: Vec<View>,
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
        params: &[u8],
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
        if program.generic_params && !params.is_empty() {
            let bytes = params.len() as u64;
            let buffer = Arc::new(Buffer::filled(PARAM_WINDOW, bytes, params));
            views.push(self.view(PARAM_WINDOW, bytes, buffer, Access::Read, program));
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
    fn variables(&self, module: &Module) -> Vec<Arc<Buffer>> {
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
        let shadow = (self.options.checks && access != Access::Read).then(|| GlobalShadow::new(granules));
        View { at, end: at + bytes, buffer, access, shadow }
    }
}
