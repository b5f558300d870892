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
pub struct AccessKind {
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
    pub accesses: BTreeMap<AccessKind, Traffic>,
    /// Every instruction of the kernels that ran, executed or not.
    coverage: Vec<(Arc<[Line]>, Vec<Count>)>,
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

    /// Every instruction of the kernels that ran, executed or not, in the order of their files.
    pub fn lines(&self) -> impl Iterator<Item = (&Line, Count)> {
        self.coverage.iter().flat_map(|(lines, counts)| lines.iter().zip(counts.iter().copied()))
    }

    fn cover(&mut self, lines: &Arc<[Line]>, counts: &[Count]) {
        let same = |other: &Arc<[Line]>| Arc::ptr_eq(lines, other) || lines == other;
        match self.coverage.iter_mut().find(|(other, _)| same(other)) {
            Some((_, sums)) => sums.iter_mut().zip(counts).for_each(|(sum, &c)| *sum += c),
            None => self.coverage.push((lines.clone(), counts.to_vec())),
        }
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
        other.coverage.iter().for_each(|(lines, counts)| self.cover(lines, counts));
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

    /// What another worker counted.
    pub fn add(&mut self, other: &Tally) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(sum, &c)| *sum += c);
        for (sum, t) in self.traffic.iter_mut().zip(&other.traffic) {
            sum.global += t.global;
            sum.shared += t.shared;
            sum.local += t.local;
        }
        self.barriers += other.barriers;
        self.checks += other.checks;
    }

    /// By class and kind of access.
    pub fn meter(&self, program: &Program) -> Meter {
        let mut meter = Meter { barriers: self.barriers, checks: self.checks, ..Meter::default() };
        meter.cover(&program.lines, &self.counts);
        for (((inst, &class), &count), traffic) in
            program.code.iter().zip(&program.classes).zip(&self.counts).zip(&self.traffic)
        {
            *meter.classes.entry(class).or_default() += count;
            let mut add = |space, class, bytes, traffic: Traffic| {
                if traffic.requests > 0 {
                    *meter.accesses.entry(AccessKind { space, class, bytes }).or_default() += traffic;
                }
            };
            match inst.op {
                Op::CopyAsync(copy) => {
                    add(Space::Global, Class::Load, copy.bytes, traffic.global);
                    add(Space::Shared, Class::Store, copy.bytes, traffic.shared);
                }
                Op::Load(a) | Op::Store(a) => {
                    let global = if a.space == Space::Const { Space::Const } else { Space::Global };
                    add(global, class, a.bytes(), traffic.global);
                    add(Space::Shared, class, a.bytes(), traffic.shared);
                    add(Space::Local, class, a.bytes(), traffic.local);
                }
                Op::Atomic(a) => {
                    add(Space::Global, class, a.ty.bytes(), traffic.global);
                    add(Space::Shared, class, a.ty.bytes(), traffic.shared);
                }
                _ => {}
            }
        }
        meter
    }
}
