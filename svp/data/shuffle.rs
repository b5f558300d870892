//! Python's `random.shuffle`, by which the published program draws two of its training sets (`docs/data.md`).
//!
//! Source: MT19937 (Matsumoto and Nishimura, 1998), with the seeding and the rejection of CPython's `random`.

/// Words of the generator.
const N: usize = 624;
/// Distance of the words that are combined.
const M: usize = 397;

/// The numbers 0 to n - 1 in the order that `random.seed(seed)` and `random.shuffle` give them.
pub(crate) fn shuffled(n: usize, seed: u64) -> Vec<u32> {
    let mut random = Mt19937::new(seed);
    let mut order: Vec<u32> = (0..n as u32).collect();
    for i in (1..n).rev() {
        order.swap(i, random.below(i as u32 + 1) as usize);
    }
    order
}

struct Mt19937 {
    words: [u32; N],
    at: usize,
}

impl Mt19937 {
    /// Seeds the generator by an array, which holds the 32-bit words of the seed, the lowest first.
    fn new(seed: u64) -> Self {
        let mut words = [0; N];
        words[0] = 19650218u32;
        for i in 1..N {
            words[i] = mixed(words[i - 1], 1812433253).wrapping_add(i as u32);
        }
        let key = [seed as u32, (seed >> 32) as u32];
        let key = &key[..if key[1] == 0 { 1 } else { 2 }];
        let mut i = 1;
        for k in 0..N {
            let j = k % key.len();
            words[i] = (words[i] ^ mixed(words[i - 1], 1664525)).wrapping_add(key[j]).wrapping_add(j as u32);
            i = wrap(&mut words, i + 1);
        }
        for _ in 1..N {
            words[i] = (words[i] ^ mixed(words[i - 1], 1566083941)).wrapping_sub(i as u32);
            i = wrap(&mut words, i + 1);
        }
        words[0] = 0x8000_0000;
        Mt19937 { words, at: N }
    }

    /// The next 32 bits.
    fn next(&mut self) -> u32 {
        if self.at == N {
            for i in 0..N {
                let y = (self.words[i] & 0x8000_0000) | (self.words[(i + 1) % N] & 0x7FFF_FFFF);
                let odd = if y & 1 == 1 { 0x9908_B0DF } else { 0 };
                self.words[i] = self.words[(i + M) % N] ^ (y >> 1) ^ odd;
            }
            self.at = 0;
        }
        let mut y = self.words[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9D2C_5680;
        y ^= (y << 15) & 0xEFC6_0000;
        y ^ (y >> 18)
    }

    /// A number below `x`, which is at least 1.
    fn below(&mut self, x: u32) -> u32 {
        // As many of the highest bits as `x` has, drawn again until the number is small enough.
        let shift = x.leading_zeros();
        loop {
            let number = self.next() >> shift;
            if number < x {
                return number;
            }
        }
    }
}

fn mixed(previous: u32, factor: u32) -> u32 {
    (previous ^ (previous >> 30)).wrapping_mul(factor)
}

/// The next index of the seeding. Behind the end it goes on at 1, with the last word copied to the front.
fn wrap(words: &mut [u32; N], i: usize) -> usize {
    if i < N {
        return i;
    }
    words[0] = words[N - 1];
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The values were printed by CPython.
    #[test]
    fn it_shuffles_as_python_does() {
        assert_eq!(shuffled(10, 0), [7, 8, 1, 5, 3, 4, 2, 0, 9, 6]);
        assert_eq!(shuffled(10, 3407), [9, 5, 4, 8, 3, 1, 7, 2, 6, 0]);
        for (n, start, end, part, sum) in [
            (26640, [5488, 5588, 20290, 10606, 6136, 557], [13781, 24836, 12623], 21312, 284326614u64),
            (75750, [8331, 49912, 41124, 29029, 3439, 2465], [5306, 55125, 50494], 60600, 2296812208),
        ] {
            let order = shuffled(n, 0);
            assert_eq!((&order[..6], &order[n - 3..]), (&start[..], &end[..]));
            assert_eq!(order[..part].iter().map(|&i| u64::from(i)).sum::<u64>(), sum);
        }
        assert_eq!((shuffled(0, 1), shuffled(1, 1)), (vec![], vec![0]));
    }

    /// Seeds of more than 32 bits have two words, and both count.
    #[test]
    fn long_seeds_count_whole() {
        assert_eq!(shuffled(10, 1 << 40), [7, 8, 2, 4, 6, 0, 3, 9, 5, 1]);
    }
}
