//! Logical time, and what orders the threads of a block.
//!
//! Time is a counter of each block that every barrier and every fence advances. What a thread did at a time comes before
//! what another one does now if a barrier in which both took part lies between, or a chain of releases and acquires (see
//! [`crate::releases`]). `bar.sync` orders its threads, `bar.warp.sync` the lanes of its mask. Shuffles and votes order
//! nothing, because CUDA documents no memory ordering for them.

use crate::isa::Scope;
use crate::known::{Known, Row};
use crate::lanes::set_lanes;
use crate::releases::Releases;

/// The logical time of a block, and up to which time each thread knows what the others did.
#[derive(Debug)]
pub(crate) struct Clock {
    /// The number of the block.
    pub block: u32,
    /// The time of accesses that happen now.
    pub now: u32,
    /// All threads know everything up to this time.
    full: u32,
    /// Each warp knows everything that its own lanes did up to this time.
    warp: Vec<u32>,
    /// In `pairs[to * warps + from]`, the time up to which warp `to` knows warp `from`, through barriers of a part of the
    /// block.
    pairs: Vec<u32>,
    /// For each warp, the same in `[to][from]` between its lanes, through barriers of a part of the warp.
    lanes: Vec<Option<Box<[[u32; 32]; 32]>>>,
    /// What the threads released and acquired, once any has.
    pub releases: Option<Box<Releases>>,
}

impl Clock {
    /// The clock of a block that starts.
    pub fn new(block: u32, warps: usize) -> Self {
        Self {
            block,
            now: 1,
            full: 0,
            warp: vec![0; warps],
            pairs: Vec::new(),
            lanes: vec![None; warps],
            releases: None,
        }
    }

    /// The number of threads, in whole warps.
    pub fn threads(&self) -> u32 {
        32 * self.warp.len() as u32
    }

    /// Passes a barrier of all threads.
    pub fn join_all(&mut self) {
        if let Some(releases) = &mut self.releases {
            releases.meet_all();
        }
        self.full = self.now;
        self.now += 1;
    }

    /// Passes a barrier of some warps.
    pub fn join_warps(&mut self, members: &[usize]) {
        if let Some(releases) = &mut self.releases {
            releases.meet(members.iter().flat_map(|&w| 32 * w..32 * w + 32));
        }
        let n = self.warp.len();
        if self.pairs.is_empty() {
            self.pairs = vec![0; n * n];
        }
        for from in 0..n {
            let known = members.iter().map(|&to| self.pairs[to * n + from]).max().unwrap_or(0);
            let known = if members.contains(&from) { self.now } else { known };
            members.iter().for_each(|&to| self.pairs[to * n + from] = known);
        }
        members.iter().for_each(|&w| self.warp[w] = self.now);
        self.now += 1;
    }

    /// Passes a barrier of some lanes of a warp; `live` are the lanes that have not exited.
    pub fn join_lanes(&mut self, warp: usize, mask: u32, live: u32) {
        if let Some(releases) = &mut self.releases {
            releases.meet(set_lanes(mask).map(|lane| 32 * warp + lane as usize));
        }
        if mask & live == live {
            self.warp[warp] = self.now;
        } else {
            let known = self.lanes[warp].get_or_insert_with(|| Box::new([[0; 32]; 32]));
            let members = || (0..32).filter(|l| mask >> l & 1 == 1);
            for from in 0..32 {
                let time = members().map(|to| known[to][from]).max().unwrap_or(0);
                let time = if mask >> from & 1 == 1 { self.now } else { time };
                members().for_each(|to| known[to][from] = time);
            }
        }
        self.now += 1;
    }

    /// Up to this time, everything in the block is ordered.
    #[inline(always)]
    pub fn full(&self) -> u32 {
        self.full
    }

    /// Whether what thread `from` did at `time` comes before what thread `to` does now, with a strong access or not.
    #[inline(always)]
    pub fn ordered(&self, from: u32, time: u32, to: u32, strong: bool) -> bool {
        time <= self.full || from == to || self.ordered_in_part(from, time, to, strong)
    }

    fn ordered_in_part(&self, from: u32, time: u32, to: u32, strong: bool) -> bool {
        time <= self.by_barriers(from, to) || self.acquired(self.block, from, time, to, strong)
    }

    /// Up to which time barriers order thread `from` before what thread `to` does now.
    pub fn by_barriers(&self, from: u32, to: u32) -> u32 {
        let (f, t) = (from as usize / 32, to as usize / 32);
        let part = if f == t {
            let lanes = self.lanes[t].as_ref().map_or(0, |k| k[to as usize % 32][from as usize % 32]);
            self.warp[t].max(lanes)
        } else if self.pairs.is_empty() {
            0
        } else {
            self.pairs[t * self.warp.len() + f]
        };
        self.full.max(part)
    }

    /// Whether a thread of any block released what it did at `time`, and thread `to` of this block acquired it.
    pub fn acquired(&self, block: u32, from: u32, time: u32, to: u32, strong: bool) -> bool {
        self.releases.as_ref().is_some_and(|r| r.knows(block, from, time, to, strong))
    }

    /// What the threads released and acquired.
    pub fn releases(&mut self) -> &mut Releases {
        let threads = self.threads();
        self.releases.get_or_insert_with(|| Box::new(Releases::new(threads)))
    }

    /// Notes that the lanes of a warp fence what they did up to now.
    pub fn note_fence(&mut self, warp: u32, lanes: u32, scope: Scope) {
        let first = 32 * warp + lanes.trailing_zeros();
        let now = self.now;
        let row = Row::new(self.threads(), |from| self.by_barriers(from, first));
        let known = Known::of(self.block, row);
        for lane in set_lanes(lanes) {
            self.releases().note_fence(32 * warp + lane, scope, now, &known);
        }
    }

    /// What a thread releases with an access of a scope.
    pub fn released(&self, thread: u32, scope: Scope) -> Known {
        let Some(releases) = &self.releases else { return Known::default() };
        let (time, mut all) = releases.fence(thread, scope);
        let row = Row::new(self.threads(), |from| {
            if from == thread {
                time
            } else {
                releases.fenced(from, scope).min(self.by_barriers(from, thread))
            }
        });
        if !row.is_zero() {
            all.add(&Known::of(self.block, row));
        }
        all
    }
}
