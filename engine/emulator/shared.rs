//! Shared memory of a block: its words, which bytes of them were written, and who accessed them last.

use crate::lanes::each_lane;
use crate::memory::WHOLE_WORD;
use crate::program::{Program, SHARED_BASE};
use crate::shadow::Cell;

/// The bit of [`SharedMemory::bytes`] that marks the first byte of a word as belonging to no variable. The bits of the
/// other bytes follow.
pub(crate) const OUTSIDE: u8 = 0x10;

/// The shared memory of the block that a worker runs.
#[derive(Debug)]
pub(crate) struct SharedMemory {
    /// From offset 0 on; the first [`SHARED_BASE`] bytes belong to nobody.
    pub words: Vec<u32>,
    /// For each word, a bit for each byte that was written, and from [`OUTSIDE`] on one for each byte that belongs to no
    /// variable.
    pub bytes: Vec<u8>,
    /// `bytes` as they are at the start of a block.
    fresh: Vec<u8>,
    /// Notes of accesses, one for each granule, or none with checks off.
    cells: Vec<Cell>,
    /// The base-2 logarithm of the granule in bytes.
    granule: u32,
}

impl SharedMemory {
    /// Makes the shared memory for blocks with `dynamic` bytes of dynamic shared memory. Accesses are noted with `checks`.
    pub fn new(program: &Program, dynamic: u32, checks: bool) -> Self {
        let end = if program.shared.is_empty() { 0 } else { program.dynamic_at + dynamic };
        let words = (end.max(SHARED_BASE) / 4) as usize;
        let mut fresh = vec![OUTSIDE * WHOLE_WORD; words + usize::from(end % 4 != 0)];
        for placed in &program.shared {
            let bytes = if placed.bytes == 0 { dynamic } else { placed.bytes };
            for at in placed.at..placed.at + bytes {
                fresh[(at / 4) as usize] &= !(OUTSIDE << (at % 4));
            }
        }
        let granule = program.shared_granule.trailing_zeros();
        let cells = if checks && end > 0 { (fresh.len() * 4) >> granule } else { 0 };
        Self {
            words: vec![u32::MAX; fresh.len()],
            bytes: fresh.clone(),
            fresh,
            cells: vec![Cell::default(); cells],
            granule,
        }
    }

    /// Forgets everything, for a new block.
    pub fn start(&mut self) {
        self.bytes.copy_from_slice(&self.fresh);
        self.cells.fill(Cell::default());
    }

    /// Whether accesses are noted.
    #[inline(always)]
    pub fn watched(&self) -> bool {
        !self.cells.is_empty()
    }

    /// The notes of `bytes` bytes from `at` on; none with checks off.
    #[inline(always)]
    pub fn cells(&mut self, at: u64, bytes: u32) -> &mut [Cell] {
        if self.cells.is_empty() {
            return &mut [];
        }
        let last = at + u64::from(bytes) - 1;
        &mut self.cells[(at >> self.granule) as usize..=(last >> self.granule) as usize]
    }
}

/// The passes through the banks that the lanes of `mask` need, and the fewest that are possible for their width. There are
/// 32 banks of 4 bytes; wider accesses go by half or quarter warps.
pub(crate) fn wavefronts(at: &[u32; 32], mask: u32, bytes: u32) -> (u64, u64) {
    let per_lane = bytes.div_ceil(4);
    let lanes = 32 / per_lane.max(1);
    let (mut passes, mut ideal) = (0, 0);
    for group in 0..per_lane {
        let part = mask & (u32::MAX >> (32 - lanes)) << (group * lanes);
        if part == 0 {
            continue;
        }
        ideal += 1;
        let (mut low, mut high) = (u32::MAX, 0);
        each_lane(part, |l| {
            low = low.min(at[l] / 4);
            high = high.max(at[l] / 4 + per_lane - 1);
        });
        // Words that are less than 32 apart lie in banks of their own.
        passes += if high - low < 32 { 1 } else { conflicts(at, part, per_lane) };
    }
    (passes, ideal)
}

/// The most distinct words that any bank has to give.
fn conflicts(at: &[u32; 32], part: u32, per_lane: u32) -> u64 {
    let mut words = [0; 32];
    let mut n = 0;
    each_lane(part, |l| {
        for k in 0..per_lane {
            words[n] = at[l] / 4 + k;
            n += 1;
        }
    });
    let words = &mut words[..n];
    words.sort_unstable();
    let mut banks = [0u64; 32];
    for k in 0..words.len() {
        if k == 0 || words[k] != words[k - 1] {
            banks[words[k] as usize % 32] += 1;
        }
    }
    banks.into_iter().max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::wavefronts;

    fn lanes(f: impl Fn(u32) -> u32) -> [u32; 32] {
        std::array::from_fn(|l| 1024 + f(l as u32))
    }

    #[test]
    fn strides_conflict_as_banks_say() {
        let all = u32::MAX;
        assert_eq!(wavefronts(&lanes(|_| 0), all, 4), (1, 1));
        assert_eq!(wavefronts(&lanes(|l| 4 * l), all, 4), (1, 1));
        assert_eq!(wavefronts(&lanes(|l| 8 * l), all, 4), (2, 1));
        assert_eq!(wavefronts(&lanes(|l| 128 * l), all, 4), (32, 1));
        assert_eq!(wavefronts(&lanes(|l| 132 * l), all, 4), (1, 1));
        assert_eq!(wavefronts(&lanes(|l| 2 * l), all, 2), (1, 1));
        assert_eq!(wavefronts(&lanes(|l| 8 * l), all, 8), (2, 2));
        assert_eq!(wavefronts(&lanes(|l| 16 * l), all, 16), (4, 4));
        assert_eq!(wavefronts(&lanes(|l| 64 * l), all, 16), (16, 4));
        assert_eq!(wavefronts(&lanes(|l| 16 * l), 0xff, 16), (1, 1));
    }
}
