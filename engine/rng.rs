//! Counter-based random numbers: Philox 4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
//!
//! A stream is named by what it is for, `(seed, epoch, sample, op)`, and not by when it is drawn. So a sample gets the
//! same numbers whatever the number of threads is and wherever a run was resumed.

/// The multipliers and the key increments of the paper.
const MUL: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];

/// Computes one block of the generator: 128 random bits from a key of 64 bits and a counter of 128 bits.
pub fn philox(key: [u32; 2], counter: [u32; 4]) -> [u32; 4] {
    let (mut k, mut c) = (key, counter);
    for _ in 0..10 {
        let p0 = u64::from(MUL[0]) * u64::from(c[0]);
        let p1 = u64::from(MUL[1]) * u64::from(c[2]);
        c = [(p1 >> 32) as u32 ^ c[1] ^ k[0], p1 as u32, (p0 >> 32) as u32 ^ c[3] ^ k[1], p0 as u32];
        k = [k[0].wrapping_add(WEYL[0]), k[1].wrapping_add(WEYL[1])];
    }
    c
}

/// A stream of random numbers.
#[derive(Debug, Clone)]
pub struct Rng {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    /// How many words of `block` were drawn.
    used: usize,
}

impl Rng {
    /// Starts the stream of one purpose: `op` tells uses apart, `epoch` and `sample` tell repetitions of one use apart.
    pub fn keyed(seed: u64, epoch: u32, sample: u32, op: u32) -> Self {
        Rng {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, epoch, sample, op],
            block: [0; 4],
            used: 4,
        }
    }

    /// Draws 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == 4 {
            self.block = philox(self.key, self.counter);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        self.block[self.used - 1]
    }

    /// Draws a number that is uniform in [0, 1), with 53 random bits.
    pub fn uniform(&mut self) -> f64 {
        let (hi, lo) = (u64::from(self.next_u32()), u64::from(self.next_u32()));
        ((hi << 32 | lo) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Draws a number that is uniform in [lo, hi).
    pub fn range(&mut self, lo: f64, hi: f64) -> f64 {
        lo + (hi - lo) * self.uniform()
    }

    /// Draws a whole number that is uniform in 0..n, without bias. Panics when `n` is 0.
    pub fn below(&mut self, n: u32) -> u32 {
        assert!(n > 0, "below(0)");
        let zone = u32::MAX - (u32::MAX % n + 1) % n;
        loop {
            let r = self.next_u32();
            if r <= zone {
                return r % n;
            }
        }
    }

    /// Draws true with probability `p`.
    pub fn chance(&mut self, p: f64) -> bool {
        self.uniform() < p
    }

    /// Draws from the standard normal distribution, by the method of Box and Muller (one of the pair).
    pub fn normal(&mut self) -> f64 {
        let r = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        r * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Shuffles by the method of Fisher and Yates, from the end.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.below(i as u32 + 1) as usize;
            items.swap(i, j);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers come with the published Random123 library.
    #[test]
    fn philox_gives_the_published_vectors() {
        assert_eq!(philox([0; 2], [0; 4]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        assert_eq!(philox([u32::MAX; 2], [u32::MAX; 4]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    }

    #[test]
    fn below_is_uniform_and_streams_differ() {
        let mut rng = Rng::keyed(7, 0, 0, 0);
        let mut counts = [0u32; 6];
        (0..60_000).for_each(|_| counts[rng.below(6) as usize] += 1);
        // 10,000 are expected in a bin; the bound is five standard deviations of 91.
        assert!(counts.iter().all(|&c| c.abs_diff(10_000) < 460), "{counts:?}");
        assert_ne!(Rng::keyed(7, 0, 0, 1).next_u32(), Rng::keyed(7, 0, 1, 0).next_u32());
    }

    #[test]
    fn normal_has_unit_moments() {
        let mut rng = Rng::keyed(1, 2, 3, 4);
        let n = 100_000;
        let x: Vec<f64> = (0..n).map(|_| rng.normal()).collect();
        let mean = x.iter().sum::<f64>() / n as f64;
        let var = x.iter().map(|v| v * v).sum::<f64>() / n as f64;
        assert!(mean.abs() < 0.016 && (var - 1.0).abs() < 0.023, "{mean} {var}");
    }
}
