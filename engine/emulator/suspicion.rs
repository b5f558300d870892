//! Plain reads that conflict with atomics, in kernels that have a `cas`.
//!
//! A loop around `atomicCAS` may begin with a plain read: a wrong value only makes the first `cas` fail. So such a conflict
//! is no fault yet. A `cas` of the same thread at the same address clears it; what is left at the end of a launch is a
//! race.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::fault::Fault;

/// The most suspicions that are kept at a time.
const MOST: usize = 1 << 16;

/// A plain read: its block, its thread, and the generic address.
pub(crate) type Suspect = (u32, u32, u64);

/// The suspicions of a launch.
#[derive(Debug, Default)]
pub(crate) struct Suspicions {
    any: AtomicBool,
    all: Mutex<BTreeMap<Suspect, Fault>>,
}

impl Suspicions {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Suspect, Fault>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the fault that it would be. Gives it back if there are too many.
    pub fn keep(&self, suspect: Suspect, fault: Fault) -> Result<(), Fault> {
        let mut all = self.all();
        if all.len() >= MOST && !all.contains_key(&suspect) {
            return Err(fault);
        }
        all.entry(suspect).or_insert(fault);
        self.any.store(true, SeqCst);
        Ok(())
    }

    /// Forgets a suspicion, because the thread has executed a `cas` at the address.
    pub fn clear(&self, suspect: Suspect) {
        if self.any.load(SeqCst) {
            self.all().remove(&suspect);
        }
    }

    /// What is left, in the order of the blocks.
    pub fn left(&self) -> Vec<Fault> {
        std::mem::take(&mut *self.all()).into_values().collect()
    }
}
