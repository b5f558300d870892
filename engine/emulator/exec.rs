//! A warp at work: what every instruction that needs more than registers works on.

use crate::block_state::BlockState;
use crate::env::Env;
use crate::fault::{Run, Stop};
use crate::warp::Warp;

/// A warp at work. The modules of instructions add its methods; the loop over instructions is in [`crate::run`].
pub(crate) struct Exec<'e, 'l> {
    pub env: &'e Env<'l>,
    pub warp: &'e mut Warp,
    pub state: &'e mut BlockState,
    /// The counter of the instruction that is being executed.
    pub pc: u32,
}

impl Exec<'_, '_> {
    /// Reports a fault after which the launch can go on: it stops only if faults are not collected.
    #[cold]
    #[inline(never)]
    pub fn report(&self, stop: Stop) -> Run<()> {
        let fault = self.env.fault(self.state.ctaid, self.warp.index, self.pc, stop.clone());
        self.env.collect(fault).map_err(|_| Box::new(stop))
    }
}
