//! The memory that the program may take for what others wrote: one budget of the whole process.
//!
//! A file can claim any size. Whoever reads one asks here before it allocates what the file claims, holds the
//! [`Claim`] as long as the memory, and refuses the file if the answer is no.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use sysinfo::System;

/// What the machine had to give when it was first looked at.
static OF_MACHINE: OnceLock<u64> = OnceLock::new();
/// What [`limit_to`] set; 0 if nothing was set.
static SET: AtomicU64 = AtomicU64::new(0);
/// The bytes of all live claims.
static CLAIMED: AtomicU64 = AtomicU64::new(0);

/// The budget is not enough.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "needs {} MiB of memory, {} of {} MiB are left (--max-memory)",
    asked.div_ceil(1 << 20), left >> 20, most >> 20
)]
pub struct Refused {
    /// The bytes that were asked for.
    pub asked: u64,
    /// The bytes that are not claimed.
    pub left: u64,
    /// The whole budget in bytes.
    pub most: u64,
}

/// Bytes that are taken from the budget until this is dropped.
#[derive(Debug, Default)]
pub struct Claim(u64);

impl Claim {
    /// Claims `more` bytes beside those that are claimed already.
    ///
    /// # Errors
    /// A budget that has fewer left; then the claim stays as it was.
    pub fn grow(&mut self, more: u64) -> Result<(), Refused> {
        let most = most();
        let enough = |claimed: u64| claimed.checked_add(more).filter(|&now| now <= most);
        match CLAIMED.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enough) {
            Ok(_) => {
                self.0 += more;
                Ok(())
            }
            Err(claimed) => Err(Refused { asked: more, left: most.saturating_sub(claimed), most }),
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        CLAIMED.fetch_sub(self.0, Ordering::Relaxed);
    }
}

/// Takes bytes from the budget.
///
/// # Errors
/// A budget that has fewer left.
pub fn claim(bytes: u64) -> Result<Claim, Refused> {
    let mut claim = Claim::default();
    claim.grow(bytes)?;
    Ok(claim)
}

/// Sets the budget in bytes, in place of the machine's.
pub fn limit_to(bytes: u64) {
    SET.store(bytes.max(1), Ordering::Relaxed);
}

/// What [`limit_to`] set.
pub fn set() -> Option<u64> {
    Some(SET.load(Ordering::Relaxed)).filter(|&set| set > 0)
}

/// The budget in bytes: what was set, or nine tenths of the memory that the machine, or the control group of the
/// process, had left at the start.
pub fn most() -> u64 {
    set().unwrap_or_else(|| *OF_MACHINE.get_or_init(of_machine))
}

/// The bytes of the budget that are not claimed.
pub fn left() -> u64 {
    most().saturating_sub(CLAIMED.load(Ordering::Relaxed))
}

fn of_machine() -> u64 {
    let mut system = System::new();
    system.refresh_memory();
    let free = match system.cgroup_limits() {
        Some(group) => group.free_memory.min(system.available_memory()),
        None => system.available_memory(),
    };
    let free = of_address_space().map_or(free, |limit| limit.min(free));
    // A system that does not tell gets no limit of ours.
    if free == 0 { u64::MAX } else { free / 10 * 9 }
}

/// What the limit on the address space (`ulimit -v`) leaves, where there is one and the system says so.
fn of_address_space() -> Option<u64> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max address space"))?;
    let most: u64 = line.split_whitespace().next()?.parse().ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let taken = status.lines().find_map(|line| line.strip_prefix("VmSize:"))?;
    let taken: u64 = taken.split_whitespace().next()?.parse().ok()?;
    // 0 would be a system that does not tell.
    Some(most.saturating_sub(taken << 10).max(1))
}
