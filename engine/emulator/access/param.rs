//! Loads of a kernel's parameters.

use super::words::deliver;
use crate::exec::Exec;
use crate::fault::{FaultKind, Run, stop};
use crate::isa::MemoryAccess;
use crate::lanes::{Lanes, each_lane};

impl Exec<'_, '_> {
    pub(super) fn load_param(&mut self, access: &MemoryAccess, at: &Lanes<u64>, active: u32) -> Run<()> {
        let bytes = u64::from(access.bytes());
        let params = &self.env.params;
        let mut bad = None;
        each_lane(active, |l| {
            let over = at[l].checked_add(bytes).is_none_or(|end| end > params.len() as u64);
            if over || !at[l].is_multiple_of(bytes) {
                bad = bad.or(Some((l as u32, over)));
            }
        });
        if let Some((lane, over)) = bad {
            let kind = if over { FaultKind::OutOfBounds } else { FaultKind::Misaligned };
            let detail = format!("{bytes} bytes, where the kernel has {} bytes of parameters", params.len());
            return stop(kind, lane, Some(at[lane as usize]), detail);
        }
        let word = |_: usize, index: usize| {
            let rest = &params[index * 4..];
            let mut word = [0; 4];
            let n = rest.len().min(4);
            word[..n].copy_from_slice(&rest[..n]);
            u32::from_le_bytes(word)
        };
        deliver(&mut self.warp.registers, access, at, active, word);
        Ok(())
    }
}
