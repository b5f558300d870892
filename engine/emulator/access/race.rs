//! What is reported of an access that races or that reads what nothing wrote.

use crate::exec::Exec;
use crate::fault::{FaultKind, Run, Stop};
use crate::program::SHARED_WINDOW;
use crate::shadow::Conflict;
use crate::suspicion::Suspect;
use crate::types::Space;

/// What the later of two accesses that conflict does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    Read,
    Write,
    /// A strong load that is none of an atomic, or a `cas` that changes nothing.
    StrongRead,
    /// A strong store or an atomic.
    StrongWrite,
}

impl Doing {
    #[inline(always)]
    pub fn read(strong: bool) -> Self {
        if strong { Self::StrongRead } else { Self::Read }
    }

    #[inline(always)]
    pub fn write(strong: bool) -> Self {
        if strong { Self::StrongWrite } else { Self::Write }
    }
}

impl Exec<'_, '_> {
    /// Reports a read of memory that nothing wrote.
    #[cold]
    #[inline(never)]
    pub(super) fn unwritten(&self, lane: u32, at: u64, detail: String) -> Run<()> {
        if !self.env.checks.uninitialised_memory {
            return Ok(());
        }
        self.report(Stop { kind: FaultKind::Uninitialised, lane, address: Some(at), detail })
    }

    /// The name of a plain read by a thread of a block at an address.
    fn suspect(&self, block: u32, thread: u32, at: u64, space: Space) -> Suspect {
        (block, thread, if space == Space::Shared { at + SHARED_WINDOW } else { at })
    }

    /// Reports a race between `lane` and the access it conflicts with.
    #[cold]
    #[inline(never)]
    pub(super) fn race(&self, lane: u32, at: u64, conflict: Conflict, doing: Doing, space: Space) -> Run<()> {
        let checks = self.env.checks;
        if !(if space == Space::Shared { checks.shared_races } else { checks.global_races }) {
            return Ok(());
        }
        let [x, y, z] = self.env.thread(conflict.thread);
        let block = match conflict.block {
            None => String::new(),
            Some(n) => format!(" of block {n}"),
        };
        let did = if conflict.wrote { "wrote" } else { "read" };
        let does = if matches!(doing, Doing::Write | Doing::StrongWrite) { "writes" } else { "reads" };
        let detail = format!("{does} what thread ({x}, {y}, {z}){block} {did}, and nothing orders them");
        let stop = Stop { kind: FaultKind::Race, lane, address: Some(at), detail };
        // Of a plain read and an atomic, the read may be the guess with which a loop around `cas` begins.
        let here = self.state.index;
        let suspect = match doing {
            Doing::Read if conflict.strong => (here, 32 * self.warp.index + lane),
            Doing::StrongWrite if !conflict.wrote && !conflict.strong => {
                (conflict.block.unwrap_or(here), conflict.thread)
            }
            _ => return self.report(stop),
        };
        if !self.env.program.has_cas {
            return self.report(stop);
        }
        let suspect = self.suspect(suspect.0, suspect.1, at, space);
        let fault = self.env.fault(self.state.ctaid, self.warp.index, self.pc, stop.clone());
        match self.env.suspicions.keep(suspect, fault) {
            Ok(()) => Ok(()),
            Err(_) => self.report(stop),
        }
    }

    /// Forgets that a lane may have read without order what others wrote, because it checks the value with a `cas`.
    #[inline(never)]
    pub(super) fn clear_suspicion(&self, lane: u32, at: u64, space: Space) {
        let suspect = self.suspect(self.state.index, 32 * self.warp.index + lane, at, space);
        self.env.suspicions.clear(suspect);
    }
}
