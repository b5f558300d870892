//! Turns: how threads that wait for others in a loop let those go on.
//!
//! Lanes that are together run until they wait at a barrier or exit. Where they jump backwards and have used up their
//! turn, the other lanes of the warp go on, then the other warps of the block, and then the other blocks
//! ([`crate::queue`]). A turn is short only after a read by which the lanes could wait for others: of a strong load, or of
//! an atomic whose result is used. So kernels that wait for nothing run as if there were no turns.

use crate::exec::Exec;
use crate::fault::{FaultKind, Run, stop};

/// The instructions of a turn.
const TURN: u64 = 1 << 20;
/// The instructions of a turn after a read by which threads may wait for others.
const POLLING_TURN: u64 = 1 << 10;

impl Exec<'_, '_> {
    /// Gives the lanes that go on next a whole turn.
    pub(crate) fn start_turn(&mut self) {
        self.warp.turn_ends = self.warp.executed + TURN;
    }

    /// Shortens the turn of lanes that read what others may write meanwhile.
    pub(crate) fn poll(&mut self) {
        let warp = &mut *self.warp;
        warp.polls = true;
        warp.turn_ends = warp.turn_ends.min(warp.executed + POLLING_TURN);
    }

    /// Ends the turn of lanes that release something, at their next jump backwards. Those who wait for it run in between,
    /// which shows whether the lanes wait for them in their turn before they write again.
    pub(crate) fn end_turn_soon(&mut self) {
        self.warp.turn_ends = self.warp.turn_ends.min(self.warp.executed);
    }

    /// Adds what the warp executed to the total of the block and checks that against the limit, where `lanes` jump. Says
    /// whether their turn is over.
    pub(crate) fn turn_is_over(&mut self, lanes: u32) -> Run<bool> {
        self.state.executed += self.warp.executed - self.warp.reported;
        self.warp.reported = self.warp.executed;
        let most = self.env.options.max_instructions;
        if self.state.executed > most {
            return endless(lanes, most);
        }
        Ok(self.warp.executed >= self.warp.turn_ends)
    }
}

#[cold]
fn endless(lanes: u32, most: u64) -> Run<bool> {
    let detail = format!(
        "the block has executed more than {most} instructions, while the other threads were let run as well"
    );
    stop(FaultKind::EndlessLoop, lanes.trailing_zeros(), None, detail)
}
