//! A warp at work: what every instruction that needs more than registers works on.

use crate::block_state::BlockState;
use crate::env::Env;
use crate::warp::Warp;

/// A warp at work. The modules of instructions add its methods; the loop over instructions is in [`crate::run`].
pub(crate) struct Exec<'e, 'l> {
    pub env: &'e Env<'l>,
    pub warp: &'e mut Warp,
    pub state: &'e mut BlockState,
    /// The counter of the instruction that is being executed.
    pub pc: u32,
}
