//! Loads and stores: addresses to the memory they mean, and data between registers and words.

use crate::exec::Exec;
use crate::fault::{FaultKind, Run, stop};
use crate::float::{Lanes, map};
use crate::isa::{Access, Address, Slot};
use crate::program::{LOCAL_WINDOW, SHARED_WINDOW, WINDOW};
use crate::registers::{Registers, each_lane};
use crate::types::Space;

/// What a lane stores: up to four words, and the written bytes of the first (all, if there are more).
pub(crate) struct Words {
    pub words: [u32; 4],
    pub count: usize,
    pub mask: u8,
}

/// Bytes of its word that an access of less than a word touches, or all.
#[inline(always)]
pub(crate) fn word_mask(at: u64, bytes: u32) -> u8 {
    if bytes >= 4 { 0xf } else { ((1u8 << bytes) - 1) << (at % 4) }
}

impl Exec<'_, '_> {
    #[inline(always)]
    pub(crate) fn addresses(&self, address: Address) -> Lanes<u64> {
        if address.short {
            // Addresses of 32 bits wrap in 32 bits.
            map(self.warp.registers.word(address.base), |a| u64::from(a.wrapping_add(address.offset as u32)))
        } else {
            map(self.warp.registers.double(address.base), |a| a.wrapping_add(address.offset as u64))
        }
    }

    pub(crate) fn load(&mut self, access: &Access, active: u32) -> Run<()> {
        let at = self.addresses(access.address);
        match access.space {
            Space::Shared => self.load_shared(access, &at, active),
            Space::Global | Space::Const => self.load_global(access, &at, active),
            Space::Local => self.load_local(access, &at, active),
            Space::Param => self.load_param(access, &at, active),
            Space::Generic => self.by_space(&at, active, |exec, space, at, lanes| match space {
                Space::Shared => exec.load_shared(access, at, lanes),
                Space::Local => exec.load_local(access, at, lanes),
                _ => exec.load_global(access, at, lanes),
            }),
        }
    }

    pub(crate) fn store(&mut self, access: &Access, active: u32) -> Run<()> {
        let at = self.addresses(access.address);
        match access.space {
            Space::Shared => self.store_shared(access, &at, active),
            Space::Local => self.store_local(access, &at, active),
            Space::Generic => self.by_space(&at, active, |exec, space, at, lanes| match space {
                Space::Shared => exec.store_shared(access, at, lanes),
                Space::Local => exec.store_local(access, at, lanes),
                _ => exec.store_global(access, at, lanes),
            }),
            _ => self.store_global(access, &at, active),
        }
    }

    /// Generic addresses: the lanes of each space on their own, with addresses of that space.
    pub(crate) fn by_space(
        &mut self,
        at: &Lanes<u64>,
        active: u32,
        mut f: impl FnMut(&mut Self, Space, &Lanes<u64>, u32) -> Run<()>,
    ) -> Run<()> {
        for (space, base) in
            [(Space::Shared, SHARED_WINDOW), (Space::Local, LOCAL_WINDOW), (Space::Global, 0)]
        {
            let mut lanes = 0;
            each_lane(active, |l| {
                let in_window = |base| at[l].wrapping_sub(base) < WINDOW;
                let here = match space {
                    Space::Global => !in_window(SHARED_WINDOW) && !in_window(LOCAL_WINDOW),
                    _ => in_window(base),
                };
                lanes |= u32::from(here) << l;
            });
            if lanes != 0 {
                f(self, space, &map(at, |a| a.wrapping_sub(base)), lanes)?;
            }
        }
        Ok(())
    }

    fn load_param(&mut self, access: &Access, at: &Lanes<u64>, active: u32) -> Run<()> {
        let bytes = u64::from(access.bytes());
        let params = &self.env.params;
        let mut bad = None;
        each_lane(active, |l| {
            let over = at[l].checked_add(bytes).is_none_or(|end| end > params.len() as u64);
            if over || !at[l].is_multiple_of(bytes) {
                bad = bad.or(Some((l as u32, over)));
            }
        });
        if let Some((lane, over)) = bad {
            let kind = if over { FaultKind::OutOfBounds } else { FaultKind::Misaligned };
            let detail = format!("{bytes} bytes of {} bytes of parameters", params.len());
            return stop(kind, lane, Some(at[lane as usize]), detail);
        }
        let word = |_: usize, index: usize| {
            let rest = &params[index * 4..];
            let mut word = [0; 4];
            let n = rest.len().min(4);
            word[..n].copy_from_slice(&rest[..n]);
            u32::from_le_bytes(word)
        };
        deliver(&mut self.warp.registers, access, at, active, word);
        Ok(())
    }

    /// That addresses are multiples of the access width.
    #[inline(always)]
    pub(crate) fn check_aligned(&self, at: &Lanes<u64>, active: u32, bytes: u32) -> Run<()> {
        let mut bits = 0;
        each_lane(active, |l| bits |= at[l]);
        if bits & u64::from(bytes - 1) == 0 {
            return Ok(());
        }
        let lane =
            (0..32).find(|&l| active >> l & 1 == 1 && !at[l].is_multiple_of(u64::from(bytes))).unwrap_or(0);
        stop(FaultKind::Misaligned, lane as u32, Some(at[lane]), format!("an access of {bytes} bytes"))
    }
}

/// Whether all lanes of `active` have the address of the first.
#[inline(always)]
pub(crate) fn uniform(at: &Lanes<u64>, active: u32) -> bool {
    let first = at[active.trailing_zeros() as usize & 31];
    let mut differ = 0;
    each_lane(active, |l| differ |= at[l] ^ first);
    differ == 0
}

/// Loads into registers: `word(lane, index)` is the word at byte `4 index` of the memory `at` counts in.
#[inline(always)]
pub(crate) fn deliver(
    r: &mut Registers,
    access: &Access,
    at: &Lanes<u64>,
    active: u32,
    word: impl Fn(usize, usize) -> u32,
) {
    for (e, &slot) in access.registers[..access.count as usize].iter().enumerate() {
        if slot == Slot::MAX {
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

/// What `lane` stores at `at`.
#[inline(always)]
pub(crate) fn collect(r: &Registers, access: &Access, lane: usize, at: u64) -> Words {
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
