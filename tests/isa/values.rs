//! Inputs: the awkward values of each type, and random ones from a fixed seed.

use engine::Rng;

/// Bit patterns of f32 where something changes: zeros, both ends of the subnormal and normal ranges, neighbours
/// of one, ties of later conversions, integers at the ends of their types, infinities, NaN.
const FLOATS: [u32; 44] = [
    0x0000_0000, // 0
    0x8000_0000, // -0
    0x0000_0001, // smallest subnormal
    0x8000_0001,
    0x0000_0003,
    0x0040_0000, // middle subnormal
    0x007F_FFFF, // largest subnormal
    0x807F_FFFF,
    0x0080_0000, // smallest normal
    0x8080_0000,
    0x0080_0001,
    0x0100_0000,
    0x1F80_0000, // 2^-64: its square underflows
    0x2000_0001,
    0x3300_0000, // 2^-25: half of what 1 keeps
    0xB380_0000,
    0x3380_0001,
    0x3E99_999A, // 0.3
    0x3F00_0000, // 0.5: a tie between integers
    0xBF00_0000,
    0x3F7F_FFFF, // below 1
    0x3F80_0000, // 1
    0xBF80_0000,
    0x3F80_0001, // above 1
    0x3F80_8000, // a tie in bf16, to even
    0x3F81_8000, // a tie in bf16, to odd
    0x3FC0_0000, // 1.5
    0xC020_0000, // -2.5
    0x4049_0FDB, // pi
    0x40E0_0000, // 7
    0x437F_8000, // 255.5
    0x4B00_0001, // 2^23 + 1
    0xCB80_0001, // -(2^24 + 2)
    0x4EFF_FFFF, // below 2^31
    0x4F00_0000, // 2^31
    0xCF00_0000,
    0x4F80_0000, // 2^32
    0x5F00_0000, // 2^63: its square overflows
    0xDF80_0000,
    0x7F7F_8000, // rounds to infinity in bf16
    0x7F7F_FFFF, // largest
    0xFF7F_FFFF,
    0x7F80_0000, // infinity
    0xFF80_0000,
];

const NANS: [u32; 2] = [0x7FC0_0000, 0xFFFF_FFFF];

const INTEGERS: [u64; 24] = [
    0,
    1,
    2,
    3,
    7,
    31,
    32,
    33,
    63,
    64,
    255,
    0x7FFF,
    0x8000,
    0xFFFF,
    0x1_0001,
    0x7FFF_FFFF,
    0x8000_0000,
    0x8000_0001,
    0xFFFF_FFFE,
    0xFFFF_FFFF,
    0x1_0000_0000,
    0x7FFF_FFFF_FFFF_FFFF,
    0x8000_0000_0000_0000,
    0xFFFF_FFFF_FFFF_FFFF,
];

/// The awkward floats and NaNs, and random ones up to `count`.
pub fn floats(count: usize) -> Vec<u64> {
    let fixed = FLOATS.into_iter().chain(NANS).map(u64::from);
    let mut rng = Rng::keyed(3, 0, 0, 32);
    // Half of them close to 1, so that sums and quotients keep bits of both.
    let random = (0..).map(|i| {
        let bits = rng.next_u32();
        u64::from(if i % 2 == 0 { bits } else { bits & 0x807F_FFFF | (0x3C + (bits >> 24 & 7)) << 24 })
    });
    fixed.chain(random).take(count).collect()
}

/// The awkward integers of a width, and random ones up to `count`.
pub fn integers(bits: u32, count: usize) -> Vec<u64> {
    let mask = super::exact::mask(bits);
    let mut fixed: Vec<u64> = INTEGERS.iter().map(|v| v & mask).collect();
    let ends = [mask >> 1, (mask >> 1) + 1];
    fixed.extend(ends);
    fixed.sort_unstable();
    fixed.dedup();
    let mut rng = Rng::keyed(3, 0, 0, bits);
    let random = (0..).map(|_| {
        let wide = u64::from(rng.next_u32()) << 32 | u64::from(rng.next_u32());
        wide >> (rng.next_u32() % bits) & mask
    });
    fixed.into_iter().chain(random).take(count).collect()
}

/// Every value with every other.
pub fn pairs(values: &[u64]) -> Vec<Vec<u64>> {
    values.iter().flat_map(|&a| values.iter().map(move |&b| vec![a, b])).collect()
}

/// Rows of three: each value as the first, with the others in a fixed shuffle, `per` times.
pub fn triples(values: &[u64], per: usize) -> Vec<Vec<u64>> {
    let n = values.len();
    let row =
        |i: usize, k: usize| vec![values[i], values[(i * 5 + k * 7 + 3) % n], values[(i + k * k + k) % n]];
    (0..n).flat_map(|i| (0..per).map(move |k| (i, k))).map(|(i, k)| row(i, k)).collect()
}

/// Each value alone.
pub fn singles(values: &[u64]) -> Vec<Vec<u64>> {
    values.iter().map(|&v| vec![v]).collect()
}
