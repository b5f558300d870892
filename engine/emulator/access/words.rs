//! Data on its way between registers and the words of memory.

use crate::isa::{MemoryAccess, NO_SLOT};
use crate::lanes::{Lanes, each_lane};
use crate::memory::WHOLE_WORD;
use crate::registers::Registers;

/// What one lane stores.
pub(crate) struct Words {
    pub words: [u32; 4],
    /// The number of words, from 1 to 4.
    pub count: usize,
    /// The bytes of the first word that are written; all of them if there are more words.
    pub mask: u8,
}

/// The bytes of its word that an access of less than a word touches, or all.
#[inline(always)]
pub(crate) fn word_mask(at: u64, bytes: u32) -> u8 {
    if bytes >= 4 { WHOLE_WORD } else { ((1u8 << bytes) - 1) << (at % 4) }
}

/// Loads into registers. `word(lane, index)` gives the word at byte `4 index` of the memory in which `at` counts.
#[inline(always)]
pub(crate) fn deliver(
    r: &mut Registers,
    access: &MemoryAccess,
    at: &Lanes<u64>,
    active: u32,
    word: impl Fn(usize, usize) -> u32,
) {
    for (e, &slot) in access.registers[..access.count as usize].iter().enumerate() {
        if slot == NO_SLOT {
            continue;
        }
        if access.width == 4 && !access.double {
            let out = &mut r.words[slot as usize];
            each_lane(active, |l| out[l] = word(l, (at[l] / 4) as usize + e));
            continue;
        }
        each_lane(active, |l| {
            let here = at[l] + u64::from(access.width) * e as u64;
            let index = (here / 4) as usize;
            let bits = if access.width == 8 {
                u64::from(word(l, index)) | u64::from(word(l, index + 1)) << 32
            } else {
                let shifted = word(l, index) >> (8 * (here % 4));
                let spare = 32 - 8 * access.width;
                if access.signed {
                    i64::from((shifted << spare) as i32 >> spare) as u64
                } else {
                    u64::from(shifted << spare >> spare)
                }
            };
            if access.double {
                r.doubles[slot as usize][l] = bits;
            } else {
                let narrow = if access.register_bits == 16 { 0xffff } else { u32::MAX };
                r.words[slot as usize][l] = bits as u32 & narrow;
            }
        });
    }
}

/// Collects what `lane` stores at `at`.
#[inline(always)]
pub(crate) fn collect(r: &Registers, access: &MemoryAccess, lane: usize, at: u64) -> Words {
    let slots = &access.registers[..access.count as usize];
    let mut words = [0; 4];
    match access.width {
        4 if !access.double => {
            for (word, &slot) in words.iter_mut().zip(slots) {
                *word = r.words[slot as usize][lane];
            }
        }
        8 => {
            for (pair, &slot) in words.chunks_exact_mut(2).zip(slots) {
                let bits = r.doubles[slot as usize][lane];
                pair[0] = bits as u32;
                pair[1] = (bits >> 32) as u32;
            }
        }
        width => {
            let mut raw = 0u64;
            for (e, &slot) in slots.iter().enumerate() {
                let bits = if access.double {
                    r.doubles[slot as usize][lane]
                } else {
                    u64::from(r.words[slot as usize][lane])
                };
                raw |= (bits & ((1 << (8 * width)) - 1)) << (8 * width * e as u32);
            }
            if access.bytes() < 4 {
                raw <<= 8 * (at % 4);
            }
            words[0] = raw as u32;
            words[1] = (raw >> 32) as u32;
        }
    }
    let bytes = access.bytes();
    Words { words, count: bytes.div_ceil(4) as usize, mask: word_mask(at, bytes) }
}
