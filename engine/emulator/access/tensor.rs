//! Copies of boxes of tensors between global and shared memory (`cp.async.bulk.tensor`).

use std::sync::atomic::Ordering::Relaxed;

use super::global::Effect;
use super::words::word_mask;
use crate::checks::Checks;
use crate::exec::Exec;
use crate::extended::TensorAccess;
use crate::fault::{FaultKind, Run, stop};
use crate::lanes::{Lanes, set_lanes};
use crate::memory::byte_mask;
use crate::program::MODULE_BASE;
use crate::tensor_map::TensorMap;

/// What a box in shared memory is aligned to in bytes.
const BOX_ALIGN: u32 = 128;
/// What a map is aligned to, and its size, in bytes.
const MAP_ALIGN: u32 = 64;
const MAP_BYTES: u32 = 128;
/// The most bytes of a box: what fits a block's shared memory.
const MOST_BYTES: u64 = 1 << 18;

impl Exec<'_, '_> {
    /// Executes a copy of each lane of `active`.
    pub(crate) fn tensor(&mut self, access: &TensorAccess, active: u32) -> Run<()> {
        let (maps, shared) = (self.addresses(access.map), self.addresses(access.shared));
        self.check_aligned(&maps, active, MAP_ALIGN)?;
        self.check_aligned(&shared, active, BOX_ALIGN)?;
        for lane in set_lanes(active) {
            let l = lane as usize;
            let map = self.tensor_map(lane, maps[l])?;
            let bytes = map.rows() * u64::from(map.row_bytes());
            if map.sizes.len() != access.corner.len() || bytes > MOST_BYTES {
                let detail = format!(
                    "a tensor of {} dimensions with boxes of {bytes} bytes: the instruction has {}, and {MOST_BYTES} bytes are possible",
                    map.sizes.len(),
                    access.corner.len()
                );
                return stop(FaultKind::OutOfBounds, lane, Some(maps[l]), detail);
            }
            if let Some(mask) = access.multicast {
                self.check_multicast(lane, mask)?;
            }
            let corner: Vec<i32> =
                access.corner.iter().map(|&s| self.warp.registers.word(s)[l] as i32).collect();
            match access.barrier {
                Some(barrier) => {
                    self.check_shared(lane, shared[l], bytes as u32, false)?;
                    let words = self.gather(lane, &map, &corner, shared[l])?;
                    self.send(lane, shared[l], words, barrier)?;
                }
                None => {
                    let words = self.read_shared(lane, shared[l], bytes as u32)?;
                    self.scatter_box(lane, &map, &corner, shared[l], &words)?;
                }
            }
        }
        Ok(())
    }

    /// Reads a map, from the parameters of the kernel or from global memory.
    fn tensor_map(&mut self, lane: u32, at: u64) -> Run<TensorMap> {
        let mut bytes = [0u8; MAP_BYTES as usize];
        if at < MODULE_BASE {
            // The parameters have the lowest addresses: no other memory lies there.
            let end = (at as usize).saturating_add(bytes.len());
            let Some(param) = self.env.params.get(at as usize..end) else {
                let detail = "a tensor map that lies neither in global memory nor in the parameters";
                return stop(FaultKind::OutOfBounds, lane, Some(at), detail);
            };
            bytes.copy_from_slice(param);
        } else {
            let words = self.read_global(lane, at, MAP_BYTES)?;
            bytes.chunks_exact_mut(4).zip(&words).for_each(|(b, w)| b.copy_from_slice(&w.to_le_bytes()));
        }
        match TensorMap::read(&bytes) {
            Ok(map) => Ok(map),
            Err(why) => stop(FaultKind::Arguments, lane, Some(at), format!("a tensor map: {why}")),
        }
    }

    /// Reads a box, as the words that lie at `to` in shared memory. What is outside of the tensor is zero.
    fn gather(&mut self, lane: u32, map: &TensorMap, corner: &[i32], to: u64) -> Run<Vec<u32>> {
        let row_bytes = map.row_bytes();
        let mut words = vec![0u32; (map.rows() * u64::from(row_bytes) / 4) as usize];
        let mut row = vec![0u8; row_bytes as usize];
        for r in 0..map.rows() {
            let Some((at, first, bytes)) = map.part(corner, r) else { continue };
            row.fill(0);
            self.read_bytes(lane, at, &mut row[first as usize..][..bytes as usize], map.element)?;
            for (k, word) in row.chunks_exact(4).enumerate() {
                let offset = r * u64::from(row_bytes) + 4 * k as u64;
                let place = map.swizzle.place(to + offset).wrapping_sub(to) / 4;
                // A box that does not start where the pattern does would leave its memory.
                let Some(slot) = words.get_mut(place as usize) else { return self.off_pattern(lane, to) };
                *slot = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
            }
        }
        Ok(words)
    }

    /// Writes a box whose words lie at `from` in shared memory, but for what is outside of the tensor.
    fn scatter_box(
        &mut self,
        lane: u32,
        map: &TensorMap,
        corner: &[i32],
        from: u64,
        words: &[u32],
    ) -> Run<()> {
        let row_bytes = map.row_bytes();
        let mut row = vec![0u8; row_bytes as usize];
        for r in 0..map.rows() {
            let Some((at, first, bytes)) = map.part(corner, r) else { continue };
            for (k, bytes) in row.chunks_exact_mut(4).enumerate() {
                let offset = r * u64::from(row_bytes) + 4 * k as u64;
                let place = map.swizzle.place(from + offset).wrapping_sub(from) / 4;
                let Some(word) = words.get(place as usize) else { return self.off_pattern(lane, from) };
                bytes.copy_from_slice(&word.to_le_bytes());
            }
            self.write_bytes(lane, at, &row[first as usize..][..bytes as usize], map.element)?;
        }
        Ok(())
    }

    fn off_pattern<T>(&self, lane: u32, at: u64) -> Run<T> {
        let detail = "a swizzled box that does not start where its pattern does";
        stop(FaultKind::Misaligned, lane, Some(at), detail)
    }

    /// Reads bytes of global memory, element by element where they are not whole words.
    fn read_bytes(&mut self, lane: u32, at: u64, out: &mut [u8], element: u32) -> Run<()> {
        let whole = at.is_multiple_of(4) && out.len().is_multiple_of(4);
        let step = if whole { out.len() } else { element as usize };
        let mut all: Lanes<u64> = [0; 32];
        for (k, part) in out.chunks_exact_mut(step).enumerate() {
            let here = at + (k * step) as u64;
            all[lane as usize] = here;
            let bytes = part.len() as u32;
            let (view, _) = self.view(&all, 1 << lane, bytes, Effect::Load)?;
            if self.env.checks != Checks::NONE {
                self.check_load(view, &all, 1 << lane, bytes, false)?;
            }
            let offset = here - view.buffer.at;
            for (k, byte) in part.iter_mut().enumerate() {
                let at = offset + k as u64;
                *byte = view.buffer.word((at / 4) as usize).load(Relaxed).to_le_bytes()[at as usize % 4];
            }
        }
        self.count_bulk_global(lane, at, out.len() as u32);
        Ok(())
    }

    /// Writes bytes of global memory, element by element where they are not whole words.
    fn write_bytes(&mut self, lane: u32, at: u64, from: &[u8], element: u32) -> Run<()> {
        let whole = at.is_multiple_of(4) && from.len().is_multiple_of(4);
        let step = if whole { 4 } else { (element as usize).min(4) };
        let mut all: Lanes<u64> = [0; 32];
        for (k, part) in from.chunks_exact(step).enumerate() {
            let here = at + (k * step) as u64;
            all[lane as usize] = here;
            let bytes = part.len() as u32;
            let (view, _) = self.view(&all, 1 << lane, bytes, Effect::Store)?;
            let offset = here - view.buffer.at;
            let mut word = [0; 4];
            word[offset as usize % 4..][..part.len()].copy_from_slice(part);
            let (value, mask) = (u32::from_le_bytes(word), word_mask(offset, bytes));
            let index = (offset / 4) as usize;
            let same = || (view.buffer.word(index).load(Relaxed) ^ value) & byte_mask(mask) == 0;
            self.note_global_write(view, lane, here, bytes, false, same)?;
            view.buffer.put(index, value, mask);
        }
        self.count_bulk_global(lane, at, from.len() as u32);
        Ok(())
    }
}
