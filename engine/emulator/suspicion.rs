//! Plain reads that conflict with atomics, in kernels that have a `cas`.
//!
//! A loop around `atomicCAS` may begin with a plain read: a wrong value only makes the first `cas` fail. So such a conflict
//! is no fault yet. A later `cas` of the same thread at the same address clears it; what is left at the end of a launch is
//! a race. Blocks run at the same time, so a conflict may be found after the `cas` that clears it: every `cas` is kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::fault::Fault;

/// The most addresses of threads with a `cas` that are kept. Where there are more, no suspicion is reported.
const MOST_CLEARED: usize = 1 << 20;
/// The most suspicions that are kept.
const MOST_KEPT: usize = 1 << 14;

/// A plain read: its block, its thread, and the generic address.
pub(crate) type Suspect = (u32, u32, u64);

#[derive(Debug, Default)]
struct State {
    /// The time of each suspected read, and the fault that it would be.
    kept: BTreeMap<Suspect, (u32, Fault)>,
    /// The time of the last `cas` that clears earlier reads.
    cleared: HashMap<Suspect, u32>,
}

/// The suspicions of a launch.
#[derive(Debug, Default)]
pub(crate) struct Suspicions(Mutex<State>);

impl Suspicions {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Suspects a read at a time of its block.
    pub fn keep(&self, suspect: Suspect, time: u32, fault: Fault) {
        let mut state = self.state();
        let cleared = state.cleared.get(&suspect).is_some_and(|&cas| time <= cas);
        if !cleared && state.kept.len() < MOST_KEPT {
            state.kept.entry(suspect).or_insert((time, fault));
        }
    }

    /// Notes that the thread executes a `cas` at the address, at a time of its block.
    pub fn clear(&self, suspect: Suspect, time: u32) {
        let mut state = self.state();
        if state.kept.get(&suspect).is_some_and(|kept| kept.0 <= time) {
            state.kept.remove(&suspect);
        }
        if state.cleared.len() < MOST_CLEARED {
            state.cleared.insert(suspect, time);
        }
    }

    /// What is left, in the order of the blocks.
    pub fn left(&self) -> Vec<Fault> {
        let mut state = self.state();
        if state.cleared.len() >= MOST_CLEARED {
            return Vec::new();
        }
        std::mem::take(&mut state.kept).into_values().map(|(_, fault)| fault).collect()
    }
}
