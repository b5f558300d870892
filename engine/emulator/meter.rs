//! What a launch executed: counts that add up over launches.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Arc;

use crate::isa::Op;
use crate::program::Program;
use crate::types::Space;

/// What an instruction keeps busy. Moves and predicate logic mostly vanish in the driver's compiler; a rounded division
/// or root becomes one special function and about eight FMA there, an integer division about twenty instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// Special functions: `ex2 lg2 sin cos tanh rcp rsqrt sqrt div` in their `.approx` forms.
    Mufu,
    /// f32 `fma`.
    Fma,
    /// f32 `add` and `sub`.
    FloatAdd,
    /// f32 `mul`.
    FloatMul,
    /// f32 comparisons, `min max neg abs copysign`.
    Float,
    /// f32 `div rcp sqrt`, rounded.
    FloatDivide,
    /// Anything on f64.
    Double,
    Bf16,
    Integer,
    IntegerMul,
    IntegerDivide,
    Convert,
    Move,
    /// Branches, returns, `trap`.
    Control,
    Load,
    Store,
    Atomic,
    /// `cp.async` and its waits.
    Copy,
    /// Shuffles and `redux`.
    Shuffle,
    /// Votes, `match`, `activemask`.
    Vote,
    /// Barriers of a block or warp.
    Barrier,
    Fence,
    /// Prefetches and hints.
    Other,
}

/// Executions of instructions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// By warps.
    pub warps: u64,
    /// By threads whose guard held.
    pub threads: u64,
    /// By warps of which only a part was there: divergence.
    pub partial: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.warps += other.warps;
        self.threads += other.threads;
        self.partial += other.partial;
    }
}

/// Memory traffic of one direction in one space at one width.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Warp-level requests.
    pub requests: u64,
    /// Accesses by threads.
    pub threads: u64,
    /// Bytes the threads asked for; a broadcast counts for every thread.
    pub bytes: u64,
    /// Distinct 32-byte sectors touched, summed over requests (global memory).
    pub sectors: u64,
    /// Passes through the 32 banks that the requests need (shared memory), and the fewest possible for their width.
    pub wavefronts: u64,
    pub ideal_wavefronts: u64,
}

impl AddAssign for Traffic {
    fn add_assign(&mut self, other: Self) {
        self.requests += other.requests;
        self.threads += other.threads;
        self.bytes += other.bytes;
        self.sectors += other.sectors;
        self.wavefronts += other.wavefronts;
        self.ideal_wavefronts += other.ideal_wavefronts;
    }
}

/// A kind of memory access.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Access {
    pub space: Space,
    /// Load, store or atomic. An asynchronous copy is a load of global and a store of shared memory.
    pub class: Class,
    /// Bytes a thread moves in one instruction.
    pub bytes: u32,
}

/// Where an instruction is written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    pub file: Arc<str>,
    pub line: u32,
    /// `.loc`: file name and line.
    pub source: Option<(Arc<str>, u32)>,
    pub opcode: Arc<str>,
}

/// Counts of launches; add them with `+=`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meter {
    pub launches: u64,
    pub blocks: u64,
    /// Warps and threads started.
    pub warps: u64,
    pub threads: u64,
    pub classes: BTreeMap<Class, Count>,
    pub accesses: BTreeMap<Access, Traffic>,
    /// Every instruction of the kernels that ran, executed or not: coverage.
    pub lines: BTreeMap<Line, Count>,
    /// Barriers of whole blocks that were completed.
    pub barriers: u64,
    /// Checks made: of addresses, of initialisation, of races, of barriers; one per thread and access.
    pub checks: u64,
}

impl Meter {
    pub fn class(&self, class: Class) -> Count {
        self.classes.get(&class).copied().unwrap_or_default()
    }

    /// Instructions executed by threads, by warps, and by warps in part.
    pub fn instructions(&self) -> Count {
        let mut sum = Count::default();
        self.classes.values().for_each(|&c| sum += c);
        sum
    }

    /// Traffic of a class of access (load, store, atomic) in a space, over all widths.
    pub fn traffic(&self, space: Space, class: Class) -> Traffic {
        let mut sum = Traffic::default();
        let all = self.accesses.iter().filter(|(a, _)| a.space == space && a.class == class);
        all.for_each(|(_, &t)| sum += t);
        sum
    }
}

impl AddAssign<&Meter> for Meter {
    fn add_assign(&mut self, other: &Meter) {
        self.launches += other.launches;
        self.blocks += other.blocks;
        self.warps += other.warps;
        self.threads += other.threads;
        self.barriers += other.barriers;
        self.checks += other.checks;
        other.classes.iter().for_each(|(k, &c)| *self.classes.entry(*k).or_default() += c);
        other.accesses.iter().for_each(|(k, &t)| *self.accesses.entry(*k).or_default() += t);
        other.lines.iter().for_each(|(k, &c)| *self.lines.entry(k.clone()).or_default() += c);
    }
}

impl AddAssign for Meter {
    fn add_assign(&mut self, other: Meter) {
        *self += &other;
    }
}

/// Counts of one worker, by instruction; folded into a [`Meter`] at the end of a launch.
#[derive(Debug, Clone)]
pub(crate) struct Tally {
    pub counts: Vec<Count>,
    pub traffic: Vec<PcTraffic>,
    pub barriers: u64,
    pub checks: u64,
}

/// Traffic of an instruction in global and in shared memory.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PcTraffic {
    pub global: Traffic,
    pub shared: Traffic,
    pub local: Traffic,
}

impl Tally {
    pub fn new(program: &Program) -> Self {
        Self {
            counts: vec![Count::default(); program.code.len()],
            traffic: vec![PcTraffic::default(); program.code.len()],
            barriers: 0,
            checks: 0,
        }
    }

    /// Adds what this worker counted.
    pub fn fold(&self, program: &Program, file: &Arc<str>, sources: &[Arc<str>], meter: &mut Meter) {
        meter.barriers += self.barriers;
        meter.checks += self.checks;
        for ((inst, info), (&count, traffic)) in
            program.code.iter().zip(&program.info).zip(self.counts.iter().zip(&self.traffic))
        {
            *meter.classes.entry(info.class).or_default() += count;
            let source = info.source.map(|(file, line)| (sources[file as usize].clone(), line));
            let line = Line { file: file.clone(), line: info.line, source, opcode: info.opcode.clone() };
            *meter.lines.entry(line).or_default() += count;
            let mut add = |space, class, bytes, traffic: Traffic| {
                if traffic.requests > 0 {
                    *meter.accesses.entry(Access { space, class, bytes }).or_default() += traffic;
                }
            };
            match inst.op {
                Op::CopyAsync(copy) => {
                    add(Space::Global, Class::Load, copy.bytes, traffic.global);
                    add(Space::Shared, Class::Store, copy.bytes, traffic.shared);
                }
                Op::Load(a) | Op::Store(a) => {
                    let global = if a.space == Space::Const { Space::Const } else { Space::Global };
                    add(global, info.class, a.bytes(), traffic.global);
                    add(Space::Shared, info.class, a.bytes(), traffic.shared);
                    add(Space::Local, info.class, a.bytes(), traffic.local);
                }
                Op::Atomic(a) => {
                    add(Space::Global, info.class, a.ty.bytes(), traffic.global);
                    add(Space::Shared, info.class, a.ty.bytes(), traffic.shared);
                }
                _ => {}
            }
        }
    }
}
