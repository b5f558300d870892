//! What launches executed, as counts that add up.

use std::collections::BTreeMap;
use std::ops::AddAssign;
use std::sync::Arc;

use crate::types::Space;

/// The unit of a GPU that an instruction keeps busy. Moves and predicate logic mostly vanish in the driver's compiler; a
/// rounded division or root becomes one special function and about eight FMA there, an integer division about twenty
/// instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Class {
    /// The special functions `ex2 lg2 sin cos tanh rcp rsqrt sqrt div` in their `.approx` forms.
    Mufu,
    /// `fma` on f32.
    Fma,
    /// `add` and `sub` on f32.
    FloatAdd,
    /// `mul` on f32.
    FloatMul,
    /// Comparisons and `min max neg abs copysign` on f32.
    Float,
    /// The rounded `div rcp sqrt` on f32.
    FloatDivide,
    /// Everything on f64.
    Double,
    /// Arithmetic on bf16, without its special functions.
    Bf16,
    /// Products of matrices (`mma` and `wmma.mma`).
    Mma,
    /// Whole numbers, bits and predicates, without products and divisions.
    Integer,
    /// Products of whole numbers.
    IntegerMul,
    /// Divisions and remainders of whole numbers.
    IntegerDivide,
    /// Conversions between types (`cvt`).
    Convert,
    /// `mov` and `cvta`.
    Move,
    /// Branches, returns and `trap`.
    Control,
    /// Loads from any space.
    Load,
    /// Stores to any space.
    Store,
    /// `atom` and `red`.
    Atomic,
    /// `cp.async` and its waits.
    Copy,
    /// Shuffles and `redux`.
    Shuffle,
    /// Votes, `match` and `activemask`.
    Vote,
    /// Barriers of a block or of a warp.
    Barrier,
    /// `membar` and `fence`.
    Fence,
    /// Prefetches and hints.
    Other,
}

/// How often instructions were executed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Executions by warps.
    pub warps: u64,
    /// Executions by threads whose guard held.
    pub threads: u64,
    /// Executions by warps of which only some lanes were there, because the others had taken another way.
    pub partial: u64,
}

impl AddAssign for Count {
    fn add_assign(&mut self, other: Self) {
        self.warps += other.warps;
        self.threads += other.threads;
        self.partial += other.partial;
    }
}

/// Memory traffic of one kind of access.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Requests by warps.
    pub requests: u64,
    /// Accesses by threads.
    pub threads: u64,
    /// Bytes that the threads asked for; a broadcast counts for every thread.
    pub bytes: u64,
    /// Distinct sectors of 32 bytes that each request touched, in global memory.
    pub sectors: u64,
    /// Passes through the 32 banks of shared memory that the requests need.
    pub wavefronts: u64,
    /// The fewest passes that are possible for the width of the requests.
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
    /// The space that was accessed; generic accesses count in the space that their address means.
    pub space: Space,
    /// Load, store or atomic. An asynchronous copy is a load of global and a store of shared memory.
    pub class: Class,
    /// Bytes that a thread moves in one instruction.
    pub bytes: u32,
}

/// The line that an instruction is written in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Line {
    /// The name of the PTX file.
    pub file: Arc<str>,
    /// The line in the PTX file, from 1.
    pub line: u32,
    /// The file name and line of the CUDA source, where the PTX file names them (`.loc`).
    pub source: Option<(Arc<str>, u32)>,
    /// The opcode with all its modifiers.
    pub opcode: Arc<str>,
}

impl Line {
    /// The line as messages name it: in the source where that is known, else in the PTX file.
    pub(crate) fn place(&self) -> String {
        match &self.source {
            Some((file, line)) => format!("{file}:{line}"),
            None => format!("{}:{}", self.file, self.line),
        }
    }
}

/// Counts of launches; add them with `+=`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meter {
    /// Launches that were counted.
    pub launches: u64,
    /// Blocks that ran.
    pub blocks: u64,
    /// Warps that were started.
    pub warps: u64,
    /// Threads that were started.
    pub threads: u64,
    /// Executions by class of instruction.
    pub classes: BTreeMap<Class, Count>,
    /// Memory traffic by kind of access.
    pub accesses: BTreeMap<AccessKind, Traffic>,
    /// Every instruction of the kernels that ran, executed or not.
    pub(crate) coverage: Vec<(Arc<[Line]>, Vec<Count>)>,
    /// Barriers of blocks that were completed.
    pub barriers: u64,
    /// Multiply-adds of products of matrices (`mma` and `wmma.mma`).
    pub multiply_adds: u64,
    /// Checks of addresses, of initialisation, of races and of barriers, each counted for every thread.
    pub checks: u64,
}

impl Meter {
    /// The executions of one class of instruction.
    pub fn class(&self, class: Class) -> Count {
        self.classes.get(&class).copied().unwrap_or_default()
    }

    /// The executions of all instructions.
    pub fn instructions(&self) -> Count {
        let mut sum = Count::default();
        self.classes.values().for_each(|&c| sum += c);
        sum
    }

    /// Every instruction of the kernels that ran, executed or not, in the order of their files.
    pub fn lines(&self) -> impl Iterator<Item = (&Line, Count)> {
        self.coverage.iter().flat_map(|(lines, counts)| lines.iter().zip(counts.iter().copied()))
    }

    /// Adds the counts of a kernel's instructions.
    pub(crate) fn cover(&mut self, lines: &Arc<[Line]>, counts: &[Count]) {
        let same = |other: &Arc<[Line]>| Arc::ptr_eq(lines, other) || lines == other;
        match self.coverage.iter_mut().find(|(other, _)| same(other)) {
            Some((_, sums)) => sums.iter_mut().zip(counts).for_each(|(sum, &c)| *sum += c),
            None => self.coverage.push((lines.clone(), counts.to_vec())),
        }
    }

    /// The traffic of a class of access (load, store, atomic) in a space, over all widths.
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
        self.multiply_adds += other.multiply_adds;
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
