//! Shared memory of a block: words, what is written of them, and who accessed them last.

use crate::launch::Env;
use crate::program::SHARED_BASE;
use crate::shadow::Cell;

/// In a state byte: the first byte of the word belongs to no variable; the other bytes follow.
pub(crate) const OUTSIDE: u8 = 0x10;

#[derive(Debug)]
pub(crate) struct Shared {
    /// From offset 0 on; the first [`SHARED_BASE`] bytes belong to nobody.
    pub words: Vec<u32>,
    /// A bit for each written byte of a word, and one for each byte outside any variable, from [`OUTSIDE`] on.
    pub state: Vec<u8>,
    /// State at the start of a block.
    fresh: Vec<u8>,
    /// One per granule, or none with checks off.
    pub cells: Vec<Cell>,
    /// log2 of the granule's bytes.
    pub granule: u32,
}

impl Shared {
    pub fn new(env: &Env) -> Self {
        let program = &env.program;
        let end = if program.shared.is_empty() { 0 } else { program.dynamic_at + env.dynamic_shared };
        let words = (end.max(SHARED_BASE) / 4) as usize;
        let mut fresh = vec![OUTSIDE * 0xf; words + usize::from(end % 4 != 0)];
        for placed in &program.shared {
            let bytes = if placed.bytes == 0 { env.dynamic_shared } else { placed.bytes };
            for at in placed.at..placed.at + bytes {
                fresh[(at / 4) as usize] &= !(OUTSIDE << (at % 4));
            }
        }
        let granule = program.shared_granule.trailing_zeros();
        let cells = if env.options.checks && end > 0 { (fresh.len() * 4) >> granule } else { 0 };
        Self {
            words: vec![u32::MAX; fresh.len()],
            state: fresh.clone(),
            fresh,
            cells: vec![Cell::default(); cells],
            granule,
        }
    }

    /// At the start of a block.
    pub fn start(&mut self) {
        self.state.copy_from_slice(&self.fresh);
        self.cells.fill(Cell::default());
    }
}

/// Passes through the banks that lanes `mask` need, and the fewest for their width: 32 banks of 4 bytes, wider accesses
/// by half or quarter warps.
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
        crate::registers::each_lane(part, |l| {
            low = low.min(at[l] / 4);
            high = high.max(at[l] / 4 + per_lane - 1);
        });
        // Words within 32 of each other are in banks of their own.
        passes += if high - low < 32 { 1 } else { conflicts(at, part, per_lane) };
    }
    (passes, ideal)
}

/// The most distinct words any bank has to give.
fn conflicts(at: &[u32; 32], part: u32, per_lane: u32) -> u64 {
    let mut words = [0; 32];
    let mut n = 0;
    crate::registers::each_lane(part, |l| {
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
