//! Addresses of a request, and what all requests check and count.

use crate::exec::Exec;
use crate::fault::{FaultKind, Run, stop};
use crate::isa::Address;
use crate::lanes::{Lanes, each_lane, lanes_where, map, set_lanes};
use crate::meter::Traffic;
use crate::program::{LOCAL_WINDOW, SHARED_WINDOW, WINDOW};
use crate::tally::SpaceTraffic;
use crate::types::Space;

/// Whether all lanes of `active` have the address of the first.
#[inline(always)]
pub(super) fn uniform(at: &Lanes<u64>, active: u32) -> bool {
    let first = at[active.trailing_zeros() as usize & 31];
    let mut differ = 0;
    each_lane(active, |l| differ |= at[l] ^ first);
    differ == 0
}

impl Exec<'_, '_> {
    /// The address of each lane.
    #[inline(always)]
    pub(super) fn addresses(&self, address: Address) -> Lanes<u64> {
        if address.short {
            // Addresses of 32 bits wrap in 32 bits.
            map(self.warp.registers.word(address.base), |a| u64::from(a.wrapping_add(address.offset as u32)))
        } else {
            map(self.warp.registers.double(address.base), |a| a.wrapping_add(address.offset as u64))
        }
    }

    /// Calls `f` for the lanes of each space that generic addresses mean, with their addresses in that space.
    pub(super) fn by_space(
        &mut self,
        at: &Lanes<u64>,
        active: u32,
        mut f: impl FnMut(&mut Self, Space, &Lanes<u64>, u32) -> Run<()>,
    ) -> Run<()> {
        for (space, base) in
            [(Space::Shared, SHARED_WINDOW), (Space::Local, LOCAL_WINDOW), (Space::Global, 0)]
        {
            let lanes = lanes_where(active, |l| {
                let in_window = |base| at[l].wrapping_sub(base) < WINDOW;
                match space {
                    Space::Global => !in_window(SHARED_WINDOW) && !in_window(LOCAL_WINDOW),
                    _ => in_window(base),
                }
            });
            if lanes != 0 {
                f(self, space, &map(at, |a| a.wrapping_sub(base)), lanes)?;
            }
        }
        Ok(())
    }

    /// Checks that addresses are multiples of the access width.
    #[inline(always)]
    pub(super) fn check_aligned(&self, at: &Lanes<u64>, active: u32, bytes: u32) -> Run<()> {
        let mut bits = 0;
        each_lane(active, |l| bits |= at[l]);
        if bits & u64::from(bytes - 1) == 0 {
            return Ok(());
        }
        let misaligned = |&l: &u32| !at[l as usize].is_multiple_of(u64::from(bytes));
        let lane = set_lanes(active).find(misaligned).unwrap_or(0);
        stop(FaultKind::Misaligned, lane, Some(at[lane as usize]), format!("an access of {bytes} bytes"))
    }

    /// Counts the checks of one request, and returns its traffic without what depends on the addresses.
    #[inline(always)]
    pub(super) fn request(&mut self, active: u32, bytes: u32) -> Traffic {
        let threads = u64::from(active.count_ones());
        self.state.tally.checks += threads;
        Traffic { requests: 1, threads, bytes: threads * u64::from(bytes), ..Traffic::default() }
    }

    /// The traffic of the instruction that is being executed.
    #[inline(always)]
    pub(super) fn traffic(&mut self) -> &mut SpaceTraffic {
        &mut self.state.tally.traffic[self.pc as usize]
    }
}
