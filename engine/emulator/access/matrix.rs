//! Loads and stores of matrices by whole warps: `ldmatrix`, `stmatrix`, `wmma.load` and `wmma.store`.

use crate::exec::Exec;
use crate::extended::{FragmentAccess, RowAccess};
use crate::fault::{FaultKind, Run, stop};
use crate::isa::{ALL_BYTES, MemoryAccess, MemoryOrder, NO_SLOT, Slot};
use crate::lanes::{ALL_LANES, Lanes, lanes, lanes_where, set_lanes};
use crate::memory::WHOLE_WORD;
use crate::program::{SHARED_WINDOW, WINDOW};
use crate::types::{RegisterFile, Space};

/// The bytes of a row of 8 elements of 16 bits.
const ROW: u32 = 16;
/// What the rows (or columns) of a matrix must be aligned to in bytes, if a lane holds so many of it; else to what it holds.
const MOST_ALIGN: u32 = 16;

impl Exec<'_, '_> {
    /// Executes `ldmatrix` or `stmatrix`. Lane `8 k + j` has the address of row `j` of matrix `k`, and counts as the one
    /// that accesses it.
    pub(crate) fn access_rows(&mut self, access: &RowAccess) -> Run<()> {
        let mut at = self.addresses(access.address);
        let active = ALL_LANES >> (32 - 8 * access.slots.len());
        if access.space == Space::Generic {
            self.shared_offsets(&mut at, active)?;
        }
        self.count_shared(&at, active, ROW);
        self.check_aligned(&at, active, ROW)?;
        if access.store { self.store_rows(access, &at, active) } else { self.load_rows(access, &at, active) }
    }

    /// Turns generic addresses into offsets of shared memory, in which they must lie.
    pub(super) fn shared_offsets(&self, at: &mut Lanes<u64>, active: u32) -> Run<()> {
        let outside = lanes_where(active, |l| at[l].wrapping_sub(SHARED_WINDOW) >= WINDOW);
        if outside != 0 {
            let lane = outside.trailing_zeros();
            let detail = "the address does not lie in shared memory";
            return stop(FaultKind::OutOfBounds, lane, Some(at[lane as usize]), detail);
        }
        at.iter_mut().for_each(|a| *a = a.wrapping_sub(SHARED_WINDOW));
        Ok(())
    }

    fn load_rows(&mut self, access: &RowAccess, at: &Lanes<u64>, active: u32) -> Run<()> {
        let mut rows = [[0u32; 4]; 32];
        for lane in set_lanes(active) {
            let here = at[lane as usize];
            self.check_shared(lane, here, ROW, true)?;
            self.note_shared_read(lane, here, ROW, 1 << lane, false)?;
            rows[lane as usize].copy_from_slice(&self.state.shared.words[(here / 4) as usize..][..4]);
        }
        for (&slot, rows) in access.slots.iter().zip(rows.chunks_exact(8)) {
            let tile = lanes(|l| rows[l / 4][l % 4]);
            let tile = if access.transpose { crate::matrix::transpose(&tile) } else { tile };
            self.warp.registers.words[slot as usize] = tile;
        }
        Ok(())
    }

    fn store_rows(&mut self, access: &RowAccess, at: &Lanes<u64>, active: u32) -> Run<()> {
        for lane in set_lanes(active) {
            let here = at[lane as usize];
            self.check_shared(lane, here, ROW, false)?;
            let tile = self.warp.registers.word(access.slots[lane as usize / 8]);
            let tile = if access.transpose { crate::matrix::transpose(tile) } else { *tile };
            let row = &tile[lane as usize % 8 * 4..][..4];
            let first = (here / 4) as usize;
            let same = self.state.shared.words[first..first + 4] == *row;
            self.note_shared_write(lane, here, ROW, false, same)?;
            self.state.shared.words[first..first + 4].copy_from_slice(row);
            self.state.shared.bytes[first..first + 4].iter_mut().for_each(|bytes| *bytes |= WHOLE_WORD);
        }
        Ok(())
    }

    /// Executes `wmma.load` or `wmma.store`. Every lane accesses the elements that its registers hold, register by register:
    /// in one request where they lie side by side, else in one for each.
    pub(crate) fn access_fragment(&mut self, access: &FragmentAccess) -> Run<()> {
        let fragment = &access.fragment;
        let (each, element) = (fragment.element.in_register(), fragment.element);
        let bytes = element.bits() / 8;
        let (base, stride) = self.base_and_stride(access)?;
        let together = access.together();
        let step = if together { each } else { 1 };
        for register in 0..fragment.registers() {
            let slot = fragment.slots[register as usize];
            // Elements of 64 bits have registers of their own.
            let old = if together { [0; 32] } else { *self.warp.registers.word(slot) };
            let mut gathered = [0u32; 32];
            for e in (0..each).step_by(step as usize) {
                let at = lanes(|l| {
                    let (row, column) = fragment.place(register, l as u32, e);
                    let (row, column) = (u64::from(row), u64::from(column));
                    let index = if access.column_major {
                        column.wrapping_mul(stride).wrapping_add(row)
                    } else {
                        row.wrapping_mul(stride).wrapping_add(column)
                    };
                    base.wrapping_add(index.wrapping_mul(u64::from(bytes)))
                });
                let part = if together { slot } else { access.scratch };
                let request = request(access, part);
                if access.store {
                    if !together {
                        self.warp.registers.words[part as usize] = lanes(|l| old[l] >> (8 * bytes * e));
                    }
                    self.store_at(&request, &at, ALL_LANES)?;
                } else {
                    self.load_at(&request, &at, ALL_LANES)?;
                    if !together {
                        let got = self.warp.registers.word(part);
                        gathered = lanes(|l| gathered[l] | got[l] << (8 * bytes * e));
                    }
                }
            }
            if !access.store && !together {
                self.warp.registers.words[slot as usize] = gathered;
            }
        }
        if !access.store {
            let count = fragment.registers() as usize;
            for k in count..fragment.slots.len() {
                let again = *self.warp.registers.word(fragment.slots[k % count]);
                self.warp.registers.words[fragment.slots[k] as usize] = again;
            }
        }
        Ok(())
    }

    /// The address of the matrix and the elements between its rows (or columns), which all lanes must agree on.
    fn base_and_stride(&self, access: &FragmentAccess) -> Run<(u64, u64)> {
        let at = self.addresses(access.address);
        let (rows, columns) = access.fragment.size();
        let packed = if access.column_major { rows } else { columns };
        let strides = access.stride.map_or([packed; 32], |s| *self.warp.registers.word(s));
        let differ = lanes_where(ALL_LANES, |l| at[l] != at[0] || strides[l] != strides[0]);
        if differ != 0 {
            let lane = differ.trailing_zeros();
            let detail = "the lanes of the warp give different addresses or strides";
            return stop(FaultKind::Mask, lane, Some(at[lane as usize]), detail);
        }
        let stride = u64::from(strides[0]);
        let row = stride * u64::from(access.fragment.element.bits() / 8);
        let fragment = &access.fragment;
        let held = fragment.registers() * fragment.element.bits() / 8 * fragment.element.in_register();
        let align = u64::from(held.min(MOST_ALIGN));
        if !at[0].is_multiple_of(align) || !row.is_multiple_of(align) {
            let detail = format!(
                "a matrix whose rows or columns are {row} bytes apart: each must start at a multiple of {align}"
            );
            return stop(FaultKind::Misaligned, 0, Some(at[0]), detail);
        }
        Ok((at[0], stride))
    }
}

/// The access of each lane to one register of a fragment, or to a part of it.
fn request(access: &FragmentAccess, slot: Slot) -> MemoryAccess {
    let double = access.fragment.element.file() == RegisterFile::Double;
    MemoryAccess {
        space: access.space,
        address: access.address,
        width: access.request_bytes(),
        count: 1,
        double,
        signed: false,
        register_bits: if double { 64 } else { 32 },
        order: MemoryOrder::WEAK,
        used: ALL_BYTES,
        non_coherent: false,
        registers: [slot, NO_SLOT, NO_SLOT, NO_SLOT],
    }
}
