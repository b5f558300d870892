//! Executes the instructions of [`crate::extended`].

use crate::exec::Exec;
use crate::extended::What;
use crate::fault::{FaultKind, Run, stop};
use crate::isa::Slot;
use crate::lanes::{ALL_LANES, lanes_where, map};
use crate::matrix;
use crate::mbarrier::token_parts;
use crate::warp::Wait;

impl Exec<'_, '_> {
    /// Executes an instruction, and returns the lanes that it was executed for, and what the others wait for.
    #[inline(never)]
    pub(crate) fn extended(&mut self, index: u32, active: u32) -> Run<(u32, Wait)> {
        let env = self.env;
        match &env.program.extended[index as usize].what {
            What::Multiply(product) => {
                if !self.whole_warp(active)? {
                    return Ok((0, Wait::Lanes));
                }
                matrix::multiply(&mut self.warp.registers, product);
            }
            What::Rows(access) => {
                if !self.whole_warp(active)? {
                    return Ok((0, Wait::Lanes));
                }
                self.access_rows(access)?;
            }
            What::Fragment(access) => {
                if !self.whole_warp(active)? {
                    return Ok((0, Wait::Lanes));
                }
                self.access_fragment(access)?;
            }
            What::Transpose { d, a } => {
                if !self.whole_warp(active)? {
                    return Ok((0, Wait::Lanes));
                }
                let tile = matrix::transpose(self.warp.registers.word(*a));
                self.warp.registers.words[*d as usize] = tile;
            }
            What::Mbarrier(access) => self.mbarrier(access, active)?,
            What::Bulk(access) => self.bulk(access, active)?,
            What::Tensor(access) => self.tensor(access, active)?,
            What::PendingCount { d, state } => {
                let counts = map(self.warp.registers.double(*state), |state| token_parts(state).0);
                self.warp.registers.set_word(*d, &counts, active);
            }
            What::ClusterArrive => self.cluster_arrive(active)?,
            What::ClusterWait => return Ok((self.cluster_wait(active)?, Wait::Turn)),
            What::MapRank { double, d, a, rank } => {
                self.check_rank(*rank, active)?;
                let r = &mut self.warp.registers;
                if *double {
                    let at = *r.double(*a);
                    r.set_double(*d, &at, active);
                } else {
                    let at = *r.word(*a);
                    r.set_word(*d, &at, active);
                }
            }
            What::Elect { d, p, mask } => {
                let ready = self.meet(*mask, active)?;
                let masks = *self.warp.registers.word(*mask);
                let leaders = map(&masks, |mask| (mask & self.warp.live).trailing_zeros());
                let elected = lanes_where(ready, |l| leaders[l] == l as u32);
                self.warp.registers.set_pred(*p, elected, ready);
                if let Some(d) = d {
                    self.warp.registers.set_word(*d, &leaders, ready);
                }
                return Ok((ready, Wait::Lanes));
            }
        }
        Ok((active, Wait::Lanes))
    }

    /// Checks that a block of the cluster is the only one there is.
    fn check_rank(&self, rank: Slot, active: u32) -> Run<()> {
        let ranks = self.warp.registers.word(rank);
        let others = lanes_where(active, |l| ranks[l] != 0);
        if others == 0 {
            return Ok(());
        }
        let lane = others.trailing_zeros();
        let detail = format!("block {} of a cluster, which has one block", ranks[lane as usize]);
        stop(FaultKind::OutOfBounds, lane, None, detail)
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
