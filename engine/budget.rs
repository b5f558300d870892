//! The memory that the program may take for what others wrote: one budget of the whole process.
//!
//! A file can claim any size. Whoever reads one asks here before it allocates what the file claims, holds the
//! [`Claim`] as long as the memory, and refuses the file if the answer is no.

use std::path::Path;
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
    let limits = [of_groups(), of_address_space()];
    let free = limits.into_iter().flatten().fold(system.available_memory(), u64::min);
    // A system that does not tell gets no limit of ours.
    if free == 0 { u64::MAX } else { free / 10 * 9 }
}

/// What the control groups of the process leave, in either form that Linux has. A group is held to the limits of those
/// around it too.
fn of_groups() -> Option<u64> {
    let groups = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let of_line = |line: &str| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let (root, of): (_, fn(&Path) -> Option<u64>) = match controllers {
            "" => ("/sys/fs/cgroup", |group| {
                left_of(group, ["memory.max", "memory.current"], ["file", "shmem"])
            }),
            "memory" => ("/sys/fs/cgroup/memory", |group| {
                left_of(
                    group,
                    ["memory.limit_in_bytes", "memory.usage_in_bytes"],
                    ["total_cache", "total_shmem"],
                )
            }),
            _ => return None,
        };
        let group = Path::new(root).join(path.trim_start_matches('/'));
        group.ancestors().take_while(|group| group.starts_with(root)).filter_map(of).min()
    };
    groups.lines().filter_map(of_line).min()
}

/// What a group leaves, by the names of its files and of its statistics. Files that the system keeps in memory count as
/// used there, but make room.
fn left_of(group: &Path, [most, used]: [&str; 2], [kept, shared]: [&str; 2]) -> Option<u64> {
    let read = |name: &str| std::fs::read_to_string(group.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    let stat = read("memory.stat")?;
    let statistic = |name: &str| {
        let value =
            |line: &str| line.split_once(' ').filter(|(key, _)| *key == name)?.1.trim().parse::<u64>().ok();
        stat.lines().find_map(value).unwrap_or(0)
    };
    let room = statistic(kept).saturating_sub(statistic(shared));
    // 0 would be a system that does not tell.
    Some(number(most)?.saturating_sub(number(used)?.saturating_sub(room)).max(1))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_control_group_leaves_is_read_without_the_files_that_make_room() {
        let folder = std::env::temp_dir().join(format!("svp-group-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
        let left = || left_of(&folder, ["memory.max", "memory.current"], ["file", "shmem"]);
        assert_eq!(left(), None);
        write("memory.current", "900\n");
        write("memory.stat", "anon 300\nfile 600\nkernel 50\nshmem 100\n");
        write("memory.max", "1000\n");
        assert_eq!(left(), Some(600));
        write("memory.max", "300\n");
        assert_eq!(left(), Some(1), "over its limit");
        write("memory.max", "max\n");
        assert_eq!(left(), None, "no limit");
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
