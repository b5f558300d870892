//! Python's `random.shuffle`, which the published program cuts two of its training sets by.
//!
//! Source: MT19937 (Matsumoto and Nishimura, 1998) with the seeding and the rejection of CPython's `random`, as
//! `spec/datasets.md` section 5 states them.

const N: usize = 624;
const M: usize = 397;

/// The numbers 0 to n - 1 as `random.seed(seed); random.shuffle(...)` leaves them.
pub(super) fn shuffled(n: usize, seed: u64) -> Vec<u32> {
    let mut random = Mt19937::new(seed);
    let mut order: Vec<u32> = (0..n as u32).collect();
    for i in (1..n).rev() {
        order.swap(i, random.below(i as u32 + 1) as usize);
    }
    order
}

struct Mt19937 {
    state: [u32; N],
    at: usize,
}

impl Mt19937 {
    /// Seeds by an array: the 32-bit words of the seed, the lowest first.
    fn new(seed: u64) -> Self {
        let mut state = [0; N];
        state[0] = 19650218u32;
        for i in 1..N {
            state[i] = mixed(state[i - 1], 1812433253).wrapping_add(i as u32);
        }
        let words = [seed as u32, (seed >> 32) as u32];
        let words = &words[..if words[1] == 0 { 1 } else { 2 }];
        let mut i = 1;
        for k in 0..N {
            let j = k % words.len();
            state[i] =
                (state[i] ^ mixed(state[i - 1], 1664525)).wrapping_add(words[j]).wrapping_add(j as u32);
            i = wrap(&mut state, i + 1);
        }
        for _ in 1..N {
            state[i] = (state[i] ^ mixed(state[i - 1], 1566083941)).wrapping_sub(i as u32);
            i = wrap(&mut state, i + 1);
        }
        state[0] = 0x8000_0000;
        Mt19937 { state, at: N }
    }

    fn next(&mut self) -> u32 {
        if self.at == N {
            for i in 0..N {
                let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7FFF_FFFF);
                let odd = if y & 1 == 1 { 0x9908_B0DF } else { 0 };
                self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ odd;
            }
            self.at = 0;
        }
        let mut y = self.state[self.at];
        self.at += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9D2C_5680;
        y ^= (y << 15) & 0xEFC6_0000;
        y ^ (y >> 18)
    }

    /// A number below `x`, which is at least 1.
    fn below(&mut self, x: u32) -> u32 {
        // The highest bits that `x` has; again until the number is small enough.
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

/// The next place of the seeding: behind the end it goes on at 1, the last word copied to the front.
fn wrap(state: &mut [u32; N], i: usize) -> usize {
    if i < N {
        return i;
    }
    state[0] = state[N - 1];
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of `spec/datasets.md` section 5, printed by CPython.
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

    /// Seeds of more than 32 bits have two words.
    #[test]
    fn long_seeds_count_whole() {
        assert_eq!(shuffled(10, 1 << 40), [7, 8, 2, 4, 6, 0, 3, 9, 5, 1]);
    }
}
