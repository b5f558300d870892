//! The least time that an H100 (SXM) needs for the work of a kernel: that of each of its parts alone, at its full rate.

use engine::DType;
use engine::cards::H100;

use crate::work::Work;

/// Bytes of HBM a second, as copies measure them.
const HBM: f64 = 3.0e12;
const MULTIPROCESSORS: f64 = 132.0;
/// Cycles a second, under load.
const CLOCK: f64 = 1.7e9;
/// Operations of each kind that a multiprocessor completes in a cycle.
const MUFU: f64 = 16.0;
const FMA: f64 = 128.0;
const ALU: f64 = 64.0;
const CONVERT: f64 = 64.0;
/// Products of 16 x 8 x 16, which are 4096 FLOP. At NVIDIA's figure for dense bf16, 989.4 TFLOP/s at 1.83 GHz, it is 1; but
/// that takes `wgmma`. For `mma.sync`, which kernels for every architecture have, 62.9 % of it is the mean that we remember from
/// Luo et al., Benchmarking and Dissecting the Nvidia Hopper GPU Architecture (arXiv 2402.13499, 2024), measured on an H800.
/// The figure could not be checked in the paper's tables and was not measured here; "about 60 %" is all that rests on it.
const TENSOR: f64 = 0.629;
const TENSOR_FLOP: f64 = 4096.0;
/// Instructions of warps that a multiprocessor issues in a cycle.
const ISSUE: f64 = 4.0;
/// Passes of 128 bytes through a multiprocessor's shared memory in a cycle; a shuffle is one too.
const SHARED: f64 = 1.0;

/// The parts, and the seconds for which each is busy.
pub fn parts(work: &Work) -> [(&'static str, f64); 8] {
    let cycles = MULTIPROCESSORS * CLOCK;
    [
        ("HBM", work.bytes() / HBM),
        ("MUFU", 32.0 * work.mufu / (MUFU * cycles)),
        ("FMA", 32.0 * (work.fma + work.imad) / (FMA * cycles)),
        ("tensor cores", work.tensor / (TENSOR * cycles)),
        ("ALU", 32.0 * (work.integer + work.compare) / (ALU * cycles)),
        ("conversions", 32.0 * work.convert / (CONVERT * cycles)),
        ("issue", work.slots() / (ISSUE * cycles)),
        ("shared", (work.wavefronts + work.shuffle) / (SHARED * cycles)),
    ]
}

/// Seconds in which all multiprocessors make so many FLOP of products and so many exponentials, whichever takes longer.
pub fn products_and_powers(flop: f64, exp: f64) -> f64 {
    let cycles = MULTIPROCESSORS * CLOCK;
    (flop / (TENSOR_FLOP * TENSOR * cycles)).max(exp / (MUFU * cycles))
}

/// Seconds for which the busiest part beside HBM is busy.
pub fn on_chip(work: &Work) -> f64 {
    let chip = parts(work).into_iter().filter(|part| part.0 != "HBM");
    chip.map(|part| part.1).fold(0.0, f64::max)
}

/// The part that is busy longest, and its seconds. No run is faster.
pub fn bound(work: &Work) -> (&'static str, f64) {
    longest(&parts(work))
}

fn longest(parts: &[(&'static str, f64)]) -> (&'static str, f64) {
    parts.iter().fold(("nothing", 0.0), |most, part| if part.1 > most.1 { *part } else { most })
}

/// Seconds to move bytes that are in no cache.
pub fn copy(bytes: f64) -> f64 {
    bytes / HBM
}

/// Bytes that one multiprocessor can move in a cycle.
const PORT: f64 = 64.0;
/// FLOP a second of the library's products, in bf16 and in f32 (TF32), as large products reach them.
const PRODUCTS: [f64; 2] = [600e12, 300e12];
/// Seconds between two kernels of a graph.
pub const GAP: f64 = 1e-6;

/// Seconds of a product of so many FLOP that moves so many bytes, and what binds it.
pub fn product(flop: f64, bytes: f64, dtype: DType) -> (&'static str, f64) {
    let rate = PRODUCTS[usize::from(dtype == DType::F32)];
    longest(&[("product, FLOP", flop / rate), ("product, HBM", copy(bytes))])
}

/// Blocks that a multiprocessor has at once.
pub fn resident(threads: u32, registers: u32, shared: u32) -> u32 {
    H100.resident(threads as usize, registers as usize, shared as usize).max(1) as u32
}

/// How often the device fills up with blocks.
pub fn waves(blocks: u64, resident: u32) -> f64 {
    blocks as f64 / (MULTIPROCESSORS * f64::from(resident))
}

/// The predicted time of one launch.
pub struct Time {
    pub by: &'static str,
    pub seconds: f64,
    /// What it would be if all multiprocessors were busy to the end.
    pub full: f64,
}

/// The time of a launch whose blocks come in waves. In a wave, a multiprocessor needs as long as its busiest part does
/// for its blocks, but never less than one warp alone, whose memory answers at once. The last wave has fewer blocks.
pub fn time(work: &Work, blocks: u64, resident: u32) -> Time {
    let full = bound(work).1;
    let chip: Vec<_> = parts(work).into_iter().filter(|part| part.0 != "HBM").collect();
    let (by, busy) = longest(&chip);
    let block = busy * MULTIPROCESSORS / blocks.max(1) as f64;
    let alone = work.stalls / work.warps.max(1.0) / CLOCK;
    let wave = |blocks: u64| (blocks as f64 * block).max(alone);
    let each = MULTIPROCESSORS as u64 * u64::from(resident);
    let last = (blocks % each).div_ceil(MULTIPROCESSORS as u64);
    let waves = (blocks / each) as f64 * wave(resident.into()) + if last > 0 { wave(last) } else { 0.0 };
    let ports = MULTIPROCESSORS.min(blocks as f64) * PORT * CLOCK;
    let memory = work.bytes() / HBM.min(ports);
    let most = if blocks < each { last } else { resident.into() };
    let by = match memory >= waves {
        true => "HBM",
        false if most as f64 * block < alone => "a warp alone",
        false => by,
    };
    Time { by, seconds: memory.max(waves), full }
}

#[test]
fn a_last_wave_with_few_blocks_takes_its_own_time() {
    let work =
        |blocks: f64| Work { fma: 1e6 * blocks, warps: blocks, stalls: 1e3 * blocks, ..Work::default() };
    let of = |blocks: u64| time(&work(blocks as f64), blocks, 2).seconds;
    assert!((of(264) / of(132) - 2.0).abs() < 1e-9, "two blocks share a multiprocessor");
    assert!((of(265) / of(132) - 3.0).abs() < 1e-9, "one block more, one block's time more");
    assert!((of(1) / of(132) - 1.0).abs() < 1e-9, "a single block keeps one multiprocessor as busy");
}
