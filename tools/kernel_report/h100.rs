//! The least time that an H100 (SXM) needs for the work of a kernel: that of each of its parts alone, at its full rate.

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
/// Instructions of warps that a multiprocessor issues in a cycle.
const ISSUE: f64 = 4.0;
/// Passes of 128 bytes through a multiprocessor's shared memory in a cycle; a shuffle is one too.
const SHARED: f64 = 1.0;

/// The parts, and the seconds for which each is busy.
pub fn parts(work: &Work) -> [(&'static str, f64); 7] {
    let cycles = MULTIPROCESSORS * CLOCK;
    [
        ("HBM", work.bytes() / HBM),
        ("MUFU", 32.0 * work.mufu / (MUFU * cycles)),
        ("FMA", 32.0 * (work.fma + work.imad) / (FMA * cycles)),
        ("ALU", 32.0 * (work.integer + work.compare) / (ALU * cycles)),
        ("conversions", 32.0 * work.convert / (CONVERT * cycles)),
        ("issue", work.slots() / (ISSUE * cycles)),
        ("shared", (work.wavefronts + work.shuffle) / (SHARED * cycles)),
    ]
}

/// The part that is busy longest, and its seconds. No run is faster.
pub fn bound(work: &Work) -> (&'static str, f64) {
    parts(work).into_iter().fold(("nothing", 0.0), |most, part| if part.1 > most.1 { part } else { most })
}

/// Seconds to move bytes that are in no cache.
pub fn copy(bytes: f64) -> f64 {
    bytes / HBM
}
