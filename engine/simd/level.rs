//! The instruction set in use.

use std::sync::atomic::{AtomicU8, Ordering};

/// An instruction set that a body is compiled for, worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Plain arrays, on any machine.
    Portable = 1,
    /// AVX2 and FMA.
    Avx2 = 2,
    /// AVX-512F.
    Avx512 = 3,
}

/// The best [`Level`] that may be used.
static LIMIT: AtomicU8 = AtomicU8::new(Level::Avx512 as u8);

/// Uses nothing better than `level` from now on. Tests use it to run every body that the machine can.
pub fn limit(level: Level) {
    LIMIT.store(level as u8, Ordering::Relaxed);
}

/// The instruction set in use: the best one that the machine has and [`limit`] allows.
pub fn level() -> Level {
    #[cfg(target_arch = "x86_64")]
    {
        let limit = LIMIT.load(Ordering::Relaxed);
        if limit >= Level::Avx512 as u8 && is_x86_feature_detected!("avx512f") {
            return Level::Avx512;
        }
        if limit >= Level::Avx2 as u8 && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Level::Avx2;
        }
    }
    Level::Portable
}

/// Whether products of bf16 have instructions of their own at the level in use.
pub fn bf16_products() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        level() == Level::Avx512
            && is_x86_feature_detected!("avx512bf16")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Asks for the cache line of element `at`, which is about to be read or written. Any `at` is allowed.
#[inline(always)]
pub fn prefetch<E>(from: &[E], at: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch touches no memory that a program can see and never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(from.as_ptr().wrapping_add(at).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = (from, at);
}

/// Held by tests that set or need a level, which is that of the whole process.
#[cfg(test)]
pub(crate) static TURN: std::sync::Mutex<()> = std::sync::Mutex::new(());
