//! The race detector: who accessed what last.
//!
//! An access is noted with its thread and the time of its block. A later access of another thread conflicts with it unless
//! something orders them (see [`crate::clock`]).

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use crate::clock::Clock;

/// The earlier of two accesses that conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Conflict {
    /// The number of the thread in its block.
    pub thread: u32,
    /// The block, if it is another one.
    pub block: Option<u32>,
    /// The access was a write.
    pub wrote: bool,
    /// The access was an atomic, or a strong load or store.
    pub strong: bool,
    /// Both accesses are writes by threads of one warp.
    pub same_warp_writes: bool,
}

/// Marks the number of a thread whose access was atomic.
const ATOMIC: u32 = 1 << 10;

/// The last write, and the last reads by two warps, of a few bytes of shared memory.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Cell {
    wrote_at: u32,
    /// The thread, marked with [`ATOMIC`].
    writer: u16,
    /// The warp that read last, and another one before it.
    reader_warps: [u8; 2],
    read_at: [u32; 2],
    reader_lanes: [u32; 2],
}

impl Cell {
    /// Notes a read by `lanes` of a warp and returns the conflict of the first lane that has one. Strong reads (volatile,
    /// relaxed, acquire) go with atomics and are not noted.
    #[inline(always)]
    pub fn read(&mut self, clock: &Clock, warp: u32, lanes: u32, strong: bool) -> Option<Conflict> {
        let mut conflict = None;
        let both_strong = strong && u32::from(self.writer) & ATOMIC != 0;
        if self.wrote_at > clock.full() && !both_strong {
            conflict = self.unordered_write(clock, warp, lanes, false, strong);
        }
        if strong {
            return conflict;
        }
        let warp = warp as u8;
        if self.reader_warps[0] != warp {
            // The newest reader comes first and the one before stays second, so a reader of another warp is never lost.
            self.reader_warps.swap(0, 1);
            self.read_at.swap(0, 1);
            self.reader_lanes.swap(0, 1);
        }
        let same = self.reader_warps[0] == warp && self.read_at[0] == clock.now;
        self.reader_lanes[0] = if same { self.reader_lanes[0] | lanes } else { lanes };
        self.reader_warps[0] = warp;
        self.read_at[0] = clock.now;
        conflict
    }

    /// The last write as a conflict, if it is not ordered before one of `lanes`.
    fn unordered_write(
        &self,
        clock: &Clock,
        warp: u32,
        lanes: u32,
        writes: bool,
        strong: bool,
    ) -> Option<Conflict> {
        let writer = u32::from(self.writer) & !ATOMIC;
        let unordered =
            |l: &u32| lanes >> l & 1 == 1 && !clock.ordered(writer, self.wrote_at, warp * 32 + l, strong);
        (0..32).find(unordered).map(|_| Conflict {
            thread: writer,
            block: None,
            wrote: true,
            strong: u32::from(self.writer) & ATOMIC != 0,
            same_warp_writes: writes && writer / 32 == warp,
        })
    }

    /// Forgets the reads of some lanes of a warp.
    pub fn forget_read(&mut self, warp: u32, lanes: u32) {
        for k in 0..2 {
            if u32::from(self.reader_warps[k]) == warp {
                self.reader_lanes[k] &= !lanes;
            }
        }
    }

    /// Notes a write by one thread and returns what it conflicts with.
    #[inline(always)]
    pub fn write(&mut self, clock: &Clock, thread: u32, atomic: bool) -> Option<Conflict> {
        let mut conflict = None;
        let (warp, lane) = (thread / 32, thread % 32);
        let both_atomic = atomic && u32::from(self.writer) & ATOMIC != 0;
        if self.wrote_at > clock.full() && !both_atomic {
            conflict = self.unordered_write(clock, warp, 1 << lane, true, atomic);
        }
        for k in 0..2 {
            if self.read_at[k] > clock.full() && conflict.is_none() {
                let first = u32::from(self.reader_warps[k]) * 32;
                let unordered = |l: &u32| {
                    self.reader_lanes[k] >> l & 1 == 1
                        && !clock.ordered(first + l, self.read_at[k], thread, atomic)
                };
                conflict = (0..32).find(unordered).map(|l| Conflict {
                    thread: first + l,
                    block: None,
                    wrote: false,
                    strong: false,
                    same_warp_writes: false,
                });
            }
        }
        self.writer = (thread | if atomic { ATOMIC } else { 0 }) as u16;
        self.wrote_at = clock.now;
        conflict
    }
}

/// Notes on a buffer that a launch may write: the last write to every few bytes, and two readers once something reads.
#[derive(Debug)]
pub(crate) struct GlobalShadow {
    writes: Box<[AtomicU64]>,
    reads: std::sync::OnceLock<Box<[[AtomicU64; 2]]>>,
}

/// An access in 64 bits. From the top: 27 bits of the block, one that marks atomics, 10 of the thread, and 26 of the time.
/// 0 stands for no access, so blocks count from 1.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Note(u64);

const TIME_BITS: u32 = 26;
const THREAD_BITS: u32 = 10;
/// The most blocks that notes can tell apart.
pub(crate) const MOST_NOTED_BLOCKS: u64 = (1 << (64 - TIME_BITS - THREAD_BITS - 1)) - 2;

impl Note {
    pub fn new(block: u32, thread: u32, time: u32, atomic: bool) -> Self {
        let time = u64::from(time.min((1 << TIME_BITS) - 1));
        let upper = u64::from(block + 1) << 1 | u64::from(atomic);
        Self(upper << (TIME_BITS + THREAD_BITS) | u64::from(thread) << TIME_BITS | time)
    }

    fn block(self) -> u32 {
        (self.0 >> (TIME_BITS + THREAD_BITS + 1)) as u32
    }

    fn thread(self) -> u32 {
        (self.0 >> TIME_BITS) as u32 & ((1 << THREAD_BITS) - 1)
    }

    fn time(self) -> u32 {
        self.0 as u32 & ((1 << TIME_BITS) - 1)
    }

    fn atomic(self) -> bool {
        self.0 >> (TIME_BITS + THREAD_BITS) & 1 == 1
    }

    /// Whether `self`, which was noted earlier, and `later` conflict.
    #[inline(always)]
    fn conflicts(self, later: Note, clock: &Clock) -> bool {
        if self.0 == 0 || self.atomic() && later.atomic() {
            return false;
        }
        if self.block() != later.block() {
            return !clock.acquired(
                self.block() - 1,
                self.thread(),
                self.time(),
                later.thread(),
                later.atomic(),
            );
        }
        self.time() > clock.full()
            && !clock.ordered(self.thread(), self.time(), later.thread(), later.atomic())
    }

    fn conflict(self, later: Note, wrote: bool, writes: bool) -> Conflict {
        let same_block = self.block() == later.block();
        Conflict {
            thread: self.thread(),
            block: if same_block { None } else { Some(self.block() - 1) },
            wrote,
            strong: self.atomic(),
            same_warp_writes: wrote && writes && same_block && self.thread() / 32 == later.thread() / 32,
        }
    }
}

impl GlobalShadow {
    pub fn new(granules: usize) -> Self {
        let writes = std::iter::repeat_with(AtomicU64::default).take(granules).collect();
        Self { writes, reads: std::sync::OnceLock::new() }
    }

    /// Forgets all accesses of some granules.
    pub fn clear(&self, granules: std::ops::Range<usize>) {
        self.writes[granules.clone()].iter().for_each(|write| write.store(0, SeqCst));
        if let Some(reads) = self.reads.get() {
            reads[granules].iter().flatten().for_each(|read| read.store(0, SeqCst));
        }
    }

    /// Whether this launch wrote here.
    #[inline(always)]
    pub fn written(&self, granule: usize) -> bool {
        self.writes[granule].load(SeqCst) != 0
    }

    /// Notes a write and returns what it conflicts with.
    #[inline(always)]
    pub fn write(&self, granule: usize, note: Note, clock: &Clock) -> Option<Conflict> {
        let before = Note(self.writes[granule].swap(note.0, SeqCst));
        if before.conflicts(note, clock) {
            return Some(before.conflict(note, true, true));
        }
        let reads = self.reads.get()?;
        reads[granule].iter().find_map(|r| {
            let read = Note(r.load(SeqCst));
            read.conflicts(note, clock).then(|| read.conflict(note, false, true))
        })
    }

    /// Forgets the plain reads of a thread; `note` is one of them.
    pub fn forget_read(&self, granule: usize, note: Note) {
        for read in self.reads.get().into_iter().flat_map(|reads| &reads[granule]) {
            let known = Note(read.load(SeqCst));
            if known.0 >> TIME_BITS == note.0 >> TIME_BITS {
                // Where another worker has noted a read meanwhile, that stays.
                let _ = read.compare_exchange(known.0, 0, SeqCst, SeqCst);
            }
        }
    }

    /// Notes a read and returns what it conflicts with. Keeps the newest reader, and one of another block where there was
    /// any.
    #[inline(always)]
    pub fn read(&self, granule: usize, note: Note, clock: &Clock) -> Option<Conflict> {
        let make = || {
            std::iter::repeat_with(Default::default)
                .take(self.writes.len())
                .collect::<Box<[[AtomicU64; 2]]>>()
        };
        let [newest, other] = &self.reads.get_or_init(make)[granule];
        let before = Note(newest.swap(note.0, SeqCst));
        let of_this_warp = |n: Note| n.block() == note.block() && n.thread() / 32 == note.thread() / 32;
        if before.0 != 0 && !of_this_warp(before) {
            let kept = Note(other.load(SeqCst));
            if kept.0 == 0 || kept.block() == note.block() || before.block() != note.block() {
                other.store(before.0, SeqCst);
            }
        }
        let written = Note(self.writes[granule].load(SeqCst));
        written.conflicts(note, clock).then(|| written.conflict(note, true, false))
    }
}
