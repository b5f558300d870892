//! The blocks of a launch on their way through the workers.
//!
//! A worker runs a block to its end, unless all its warps wait for something that another block has to do. It is then set
//! aside, and comes to turn again after the blocks that have not started and those that were set aside before. As on a
//! GPU, only so many blocks are there at a time: those of [`MOST_THREADS`] threads, in [`MOST_BYTES`] of memory, but
//! always four. A grid whose blocks all wait for each other must be no larger.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::block::Block;
use crate::env::Env;
use crate::fault::Fault;
use crate::tally::Tally;

/// The most threads whose blocks have started and not ended: those of 32 multiprocessors.
const MOST_THREADS: u32 = 1 << 16;
/// The most bytes that their blocks may take.
const MOST_BYTES: u64 = 1 << 30;
/// How long a worker that has nothing but waiting blocks leaves the core to the others.
const PAUSE: Duration = Duration::from_millis(1);

/// What the workers share.
#[derive(Debug)]
struct State {
    /// The next turn that has not started.
    next: u32,
    /// Blocks that were set aside, with their turns, in the order in which they go on.
    aside: VecDeque<(u32, Block)>,
    /// The blocks that have started and not ended.
    started: usize,
    /// Of them, those that a worker has now.
    running: usize,
    /// Of several faults, the one of the lowest turn, so that it does not depend on the number of workers.
    first: Option<(u32, Fault)>,
}

/// The blocks of a launch, by the turn in which they start.
#[derive(Debug)]
pub(crate) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    blocks: u32,
    /// The most blocks that may have started and not ended.
    most: usize,
}

impl Queue {
    /// The queue of a launch of `blocks` blocks.
    pub fn new(env: &Env, blocks: u32, workers: usize) -> Self {
        let by_bytes = (MOST_BYTES / Block::bytes(env).max(1)).min(u64::from(u32::MAX)) as usize;
        let most = by_bytes.min((MOST_THREADS / env.threads()) as usize).max(4).max(workers);
        let state = State { next: 0, aside: VecDeque::new(), started: 0, running: 0, first: None };
        Self { state: Mutex::new(state), changed: Condvar::new(), blocks, most }
    }

    /// The fault that ended the launch, and the turn of its block.
    pub fn fault(self) -> Option<(u32, Fault)> {
        self.state.into_inner().unwrap_or_else(PoisonError::into_inner).first
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs blocks until none is left, and returns what they executed. `index` is the number in the grid of the block that
    /// has a turn.
    pub fn work(&self, env: &Env, index: impl Fn(u32) -> u32) -> Tally {
        let mut tally = Tally::new(&env.program);
        let mut free: Option<Block> = None;
        loop {
            let Some((turn, block)) = self.next() else { return tally };
            let mut block = block.unwrap_or_else(|| {
                let mut block = free.take().unwrap_or_else(|| Block::new(env));
                block.start(env, index(turn));
                block
            });
            std::mem::swap(block.tally(), &mut tally);
            let outcome = block.go_on(env);
            std::mem::swap(block.tally(), &mut tally);
            // What it has printed is not kept with each block that waits.
            env.printed.add(turn, &block.take_printed());
            let mut state = self.state();
            state.running -= 1;
            // A block that waits when another has stopped the launch might wait for that one.
            if let (Ok(false), None) = (&outcome, &state.first) {
                state.aside.push_back((turn, block));
            } else {
                state.started -= 1;
                free = Some(block);
            }
            if let Err(fault) = outcome
                && state.first.as_ref().is_none_or(|(other, _)| turn < *other)
            {
                state.first = Some((turn, fault));
            }
            self.changed.notify_all();
        }
    }

    /// The turn of the next block for a worker, and the block where it has started. With a fault, only blocks of earlier
    /// turns start.
    fn next(&self) -> Option<(u32, Option<Block>)> {
        let mut state = self.state();
        let mut paused = false;
        loop {
            let last = state.first.as_ref().map_or(u32::MAX, |(turn, _)| *turn);
            if state.next < self.blocks.min(last) && state.started < self.most {
                state.next += 1;
                state.started += 1;
                state.running += 1;
                return Some((state.next - 1, None));
            }
            if state.first.is_some() {
                state.started -= state.aside.len();
                state.aside.clear();
            }
            if state.aside.is_empty() {
                return None;
            }
            if paused || state.running == 0 {
                let (turn, block) = state.aside.pop_front()?;
                state.running += 1;
                return Some((turn, Some(block)));
            }
            (state, _) = self.changed.wait_timeout(state, PAUSE).unwrap_or_else(PoisonError::into_inner);
            paused = true;
        }
    }
}
