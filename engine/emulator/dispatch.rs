//! Executes the instructions of [`crate::extended`].

use crate::exec::Exec;
use crate::extended::What;
use crate::fault::{FaultKind, Run, stop};
use crate::lanes::ALL_LANES;
use crate::matrix;

impl Exec<'_, '_> {
    /// Executes an instruction, and returns the lanes that it was executed for; the others must wait.
    #[inline(never)]
    pub(crate) fn extended(&mut self, index: u32, active: u32) -> Run<u32> {
        let env = self.env;
        match &env.program.extended[index as usize].what {
            What::Multiply(product) => {
                if !self.whole_warp(active)? {
                    return Ok(0);
                }
                matrix::multiply(&mut self.warp.registers, product);
            }
            What::Rows(access) => {
                if !self.whole_warp(active)? {
                    return Ok(0);
                }
                self.access_rows(access)?;
            }
            What::Fragment(access) => {
                if !self.whole_warp(active)? {
                    return Ok(0);
                }
                self.access_fragment(access)?;
            }
            What::Transpose { d, a } => {
                if !self.whole_warp(active)? {
                    return Ok(0);
                }
                let tile = matrix::transpose(self.warp.registers.word(*a));
                self.warp.registers.words[*d as usize] = tile;
            }
        }
        Ok(active)
    }

    /// Whether all 32 lanes are here. Those that can still come are waited for.
    fn whole_warp(&self, active: u32) -> Run<bool> {
        let gone = !self.warp.live;
        if gone == 0 {
            return Ok(active == ALL_LANES);
        }
        let lane = active.trailing_zeros();
        let missing = gone.trailing_zeros();
        if self.warp.lanes >> missing & 1 == 0 {
            let detail =
                format!("all 32 lanes are needed, and the block ends within the warp, before lane {missing}");
            return stop(FaultKind::Mask, lane, None, detail);
        }
        let detail = format!("all 32 lanes are needed, and lane {missing} has left the kernel");
        stop(FaultKind::ExitBeforeBarrier, lane, None, detail)
    }
}
