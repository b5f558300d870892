//! Launching: arguments and limits checked, blocks spread over workers, counts gathered.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use crate::block::Block;
use crate::fault::{Fault, FaultKind};
use crate::memory::{Buffer, Machine, Options};
use crate::meter::{Meter, Tally};
use crate::module::{Entry, Module};
use crate::program::Program;
use crate::shadow::GlobalShadow;

/// Size of a launch: blocks, threads in a block, bytes of dynamic shared memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub shared: u32,
}

/// What a kernel may do with a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A store is a fault.
    Read,
    /// What the buffer held before counts as never written: a load before a store is a fault.
    Write,
    ReadWrite,
}

/// One argument of a launch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Arg {
    /// A pointer to `bytes` from `at`, which lie in one buffer of the machine.
    Buffer {
        at: u64,
        bytes: usize,
        access: Access,
    },
    /// No argument: memory that the kernel reaches through an address in a buffer.
    Reached {
        at: u64,
        bytes: usize,
        access: Access,
    },
    U32(u32),
    F32(f32),
    /// Also a pointer that is not used: 0.
    U64(u64),
}

impl Arg {
    /// Value and width; none for what is no argument.
    fn bits(self) -> (u64, u32) {
        match self {
            Self::Reached { .. } => (0, 0),
            Self::Buffer { at, .. } => (at, 8),
            Self::U32(x) => (u64::from(x), 4),
            Self::F32(x) => (u64::from(x.to_bits()), 4),
            Self::U64(x) => (x, 8),
        }
    }
}

/// Static shared memory; dynamic and static together.
const STATIC_SHARED: u32 = 48 << 10;
const MOST_SHARED: u32 = 227 << 10;
const MOST_THREADS: u64 = 1024;
const MOST_BLOCKS: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];
const MOST_IN_BLOCK: [u32; 3] = [1024, 1024, 64];
/// Blocks have 27 bits in notes of accesses.
const MOST_BLOCKS_HERE: u64 = (1 << 27) - 2;

/// A part of global memory that a launch may use.
#[derive(Debug)]
pub(crate) struct View {
    pub at: u64,
    pub end: u64,
    pub buffer: Arc<Buffer>,
    pub access: Access,
    /// For what may be written, with checks on.
    pub shadow: Option<GlobalShadow>,
}

/// All that blocks of a launch share.
#[derive(Debug)]
pub(crate) struct Env<'l> {
    pub machine: &'l Machine,
    pub kernel: &'l str,
    pub program: Arc<Program>,
    pub options: Options,
    pub grid: [u32; 3],
    pub block: [u32; 3],
    pub dynamic_shared: u32,
    pub params: Vec<u8>,
    pub views: Vec<View>,
    /// Held during atomics of 64 bits.
    pub wide_atomics: Mutex<()>,
}

impl Env<'_> {
    pub fn threads(&self) -> u32 {
        self.block.iter().product()
    }

    /// Coordinates of a thread of a block.
    pub fn thread(&self, n: u32) -> [u32; 3] {
        let [x, y, _] = self.block;
        [n % x, n / x % y, n / x / y]
    }
}

impl Machine {
    /// Runs a kernel to its end.
    ///
    /// # Errors
    /// The fault of the first block (in the grid's order) that has one. Memory then holds what was stored until it stopped.
    pub fn launch(
        &self,
        module: &Module,
        kernel: &str,
        launch: Launch,
        args: &[Arg],
    ) -> Result<Meter, Fault> {
        let fault =
            |kind, detail| Fault { kind, kernel: Some(kernel.into()), place: None, address: None, detail };
        let Some((entry, program)) = module.program(kernel) else {
            return Err(fault(FaultKind::Arguments, format!("{} has no such kernel", module.file())));
        };
        check_limits(entry, launch).map_err(|detail| fault(FaultKind::Limits, detail))?;
        let params = pack(entry, args).map_err(|detail| fault(FaultKind::Arguments, detail))?;
        let mut env = Env {
            machine: self,
            kernel,
            program: program.clone(),
            options: self.options,
            grid: launch.grid,
            block: launch.block,
            dynamic_shared: launch.shared,
            params,
            views: Vec::new(),
            wide_atomics: Mutex::new(()),
        };
        env.views =
            self.views(module, program, args).map_err(|detail| fault(FaultKind::Arguments, detail))?;
        run_blocks(&env)
    }

    fn views(&self, module: &Module, program: &Program, args: &[Arg]) -> Result<Vec<View>, String> {
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
        for global in &module.globals {
            let buffer = Arc::new(Buffer::filled(global.at, global.bytes, &global.init));
            let access = if global.constant { Access::Read } else { Access::ReadWrite };
            views.push(self.view(global.at, global.bytes, buffer, access, program));
        }
        // Two arguments may name the same memory: what may be written is found first, and may be read.
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

    fn view(&self, at: u64, bytes: u64, buffer: Arc<Buffer>, access: Access, program: &Program) -> View {
        let granules = bytes.div_ceil(u64::from(program.global_granule)) as usize + 1;
        let shadow = (self.options.checks && access != Access::Read).then(|| GlobalShadow::new(granules));
        View { at, end: at + bytes, buffer, access, shadow }
    }
}

fn check_limits(entry: &Entry, launch: Launch) -> Result<(), String> {
    let Launch { grid, block, shared } = launch;
    let product = |n: [u32; 3]| n.iter().map(|&n| u64::from(n)).product::<u64>();
    let threads = product(block);
    let over = |n: [u32; 3], most: [u32; 3]| n.iter().zip(most).any(|(&n, most)| n == 0 || n > most);
    if over(grid, MOST_BLOCKS) || product(grid) > MOST_BLOCKS_HERE {
        return Err(format!(
            "grid {grid:?}: sizes are 1 to {MOST_BLOCKS:?}, {MOST_BLOCKS_HERE} blocks in all"
        ));
    }
    if over(block, MOST_IN_BLOCK) || threads > MOST_THREADS {
        return Err(format!(
            "block {block:?}: sizes are 1 to {MOST_IN_BLOCK:?}, {MOST_THREADS} threads in all"
        ));
    }
    if let Some(most) = entry.max_threads {
        let allowed = product(most);
        if threads > allowed || entry.exact_threads && block != most {
            return Err(format!("block {block:?}: the kernel is built for {most:?}"));
        }
    }
    if entry.shared > STATIC_SHARED {
        return Err(format!("{} bytes of static shared memory, {STATIC_SHARED} at most", entry.shared));
    }
    if u64::from(entry.shared) + u64::from(shared) > u64::from(MOST_SHARED) {
        return Err(format!("{} + {shared} bytes of shared memory, {MOST_SHARED} at most", entry.shared));
    }
    Ok(())
}

/// The parameter block.
fn pack(entry: &Entry, args: &[Arg]) -> Result<Vec<u8>, String> {
    let args: Vec<_> = args.iter().map(|a| a.bits()).filter(|(_, bytes)| *bytes > 0).collect();
    if args.len() != entry.params.len() {
        return Err(format!("{} arguments, the kernel has {} parameters", args.len(), entry.params.len()));
    }
    let size = entry.params.last().map_or(0, |p| p.offset + p.bytes);
    let mut out = vec![0; size as usize];
    for (k, (&(bits, bytes), param)) in args.iter().zip(&entry.params).enumerate() {
        if bytes != param.bytes {
            return Err(format!("argument {k} has {bytes} bytes, the parameter {}", param.bytes));
        }
        let at = param.offset as usize;
        out[at..at + bytes as usize].copy_from_slice(&bits.to_le_bytes()[..bytes as usize]);
    }
    Ok(out)
}

/// Blocks in the order of the seed, each taken by the next free worker.
fn run_blocks(env: &Env) -> Result<Meter, Fault> {
    let blocks: u32 = env.grid.iter().product();
    let threads = if env.options.threads == 0 { rayon::current_num_threads() } else { env.options.threads };
    let workers = threads.min(blocks as usize);
    let next = AtomicU32::new(0);
    // The fault of the lowest turn, so that the same one is reported whatever the number of workers.
    let first = Mutex::new(None::<(u32, Fault)>);
    let stop_at = AtomicU32::new(u32::MAX);
    let tally = Mutex::new(Tally::new(&env.program));
    let work = || {
        let mut block = Block::new(env);
        loop {
            let turn = next.fetch_add(1, SeqCst);
            if turn >= blocks || turn > stop_at.load(SeqCst) {
                break;
            }
            if let Err(fault) = block.run(env, order(turn, blocks, env.options.seed)) {
                let mut first = first.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if first.as_ref().is_none_or(|(other, _)| turn < *other) {
                    stop_at.fetch_min(turn, SeqCst);
                    *first = Some((turn, fault));
                }
            }
        }
        tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(block.tally());
    };
    if workers <= 1 {
        work();
    } else {
        rayon::scope(|scope| (0..workers).for_each(|_| scope.spawn(|_| work())));
    }
    if let Some((_, fault)) = first.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
        return Err(fault);
    }
    let tally = tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut meter = tally.meter(&env.program);
    meter.launches = 1;
    meter.blocks = u64::from(blocks);
    meter.threads = u64::from(blocks) * u64::from(env.threads());
    meter.warps = u64::from(blocks) * u64::from(env.threads().div_ceil(32));
    Ok(meter)
}

/// The block of a turn: in order for seed 0, else by a step that shares no factor with their number.
fn order(turn: u32, blocks: u32, seed: u64) -> u32 {
    if seed == 0 {
        return turn;
    }
    let n = u64::from(blocks);
    let gcd = |mut a: u64, mut b: u64| {
        while b != 0 {
            (a, b) = (b, a % b);
        }
        a
    };
    let mut step = seed % n;
    while gcd(step, n) != 1 {
        step = (step + 1) % n;
    }
    ((u64::from(turn) * step + seed / 7) % n) as u32
}
