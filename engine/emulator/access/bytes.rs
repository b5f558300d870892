//! Single bytes at generic addresses, as the functions of a driver read them, and the pages of the device's heap.

use std::sync::atomic::Ordering::Relaxed;

use super::global::Effect;
use crate::checks::Checks;
use crate::env::View;
use crate::exec::Exec;
use crate::fault::{FaultKind, Run, stop};
use crate::heap::{Misuse, PAGE};
use crate::lanes::{Lanes, lanes_where, set_lanes};
use crate::program::{LOCAL_WINDOW, SHARED_WINDOW, WINDOW};

impl<'e> Exec<'e, '_> {
    /// The byte that a lane finds at a generic address, checked as a load is.
    #[cold]
    pub(crate) fn byte_at(&self, lane: u32, at: u64) -> Run<u8> {
        let of = |word: u32, at: u64| word.to_le_bytes()[(at % 4) as usize];
        let in_window = |base: u64| Some(at.wrapping_sub(base)).filter(|&offset| offset < WINDOW);
        if let Some(offset) = in_window(SHARED_WINDOW) {
            self.check_shared(lane, offset, 1, true)?;
            return Ok(of(self.state.shared.words[(offset / 4) as usize], offset));
        }
        if let Some(offset) = in_window(LOCAL_WINDOW) {
            self.check_local(lane, offset, 1)?;
            let index = (offset / 4) as usize;
            let written = self.warp.local_written[index][(offset % 4) as usize] >> lane & 1 == 1;
            if !written {
                self.unwritten(lane, offset, "local memory that the thread has not written".into())?;
            }
            return Ok(of(self.warp.local[index][lane as usize], offset));
        }
        let all = [at; 32];
        let (view, _) = self.view(&all, 1 << lane, 1, Effect::Load)?;
        if self.env.checks != Checks::NONE {
            self.check_load(view, &all, 1 << lane, 1, false)?;
        }
        let offset = at - view.buffer.at;
        Ok(of(view.buffer.word((offset / 4) as usize).load(Relaxed), offset))
    }

    /// The page of the heap that the first lane of `active` may use, and all lanes whose accesses lie in it too; `None`
    /// where the first lane's address is no address of the heap. Accesses lie within one page but for bulk copies, which
    /// are refused where they do not.
    #[cold]
    #[inline(never)]
    pub(super) fn heap_view(&self, at: &Lanes<u64>, active: u32, bytes: u64) -> Run<Option<(&'e View, u32)>> {
        let env = self.env;
        let heap = &env.machine.heap;
        let number = |l: usize| heap.page_at(at[l]);
        let first = active.trailing_zeros() as usize;
        let (Some(page), Some(views)) = (number(first), &env.heap) else { return Ok(None) };
        let lanes = lanes_where(active, |l| number(l) == Some(page));
        for lane in set_lanes(lanes) {
            let here = at[lane as usize];
            let fault = |kind, detail: String| stop(kind, lane, Some(here), detail);
            match heap.check(here, bytes) {
                Ok(()) if heap.page_at(here + bytes - 1) == Some(page) => {}
                Ok(()) => {
                    let detail =
                        format!("a bulk copy of {bytes} bytes beyond {PAGE} of the heap is not supported");
                    return fault(FaultKind::Unsupported, detail);
                }
                Err(Misuse::Freed) => return fault(FaultKind::Heap, "memory that was freed".into()),
                Err(Misuse::PastEnd(len)) => {
                    let detail = format!("past the end of {len} bytes that malloc gave");
                    return fault(FaultKind::OutOfBounds, detail);
                }
                Err(Misuse::NoBlock) => {
                    return fault(FaultKind::OutOfBounds, "memory that malloc has not given".into());
                }
            }
        }
        let view = views[page].get_or_init(|| env.page_view(page));
        Ok(Some((view, lanes)))
    }
}
