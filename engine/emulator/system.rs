//! What a driver provides to kernels: `printf`, assertions, and memory from a heap.

use crate::exec::Exec;
use crate::fault::{FaultKind, Run, stop};
use crate::format::{Arguments, MOST_TEXT, format};
use crate::heap::Misuse;
use crate::lanes::set_lanes;
use crate::program::{LOCAL_WINDOW, Place, SystemCall, SystemFunction};

/// The arguments of a call of `vprintf`: a block of memory in which each lies at its alignment.
struct PrintArguments<'x, 'e, 'l> {
    exec: &'x Exec<'e, 'l>,
    lane: u32,
    next: u64,
}

impl Arguments for PrintArguments<'_, '_, '_> {
    fn value(&mut self, bytes: u32) -> Run<u64> {
        let at = self.next.checked_next_multiple_of(u64::from(bytes)).unwrap_or(0);
        self.next = at.wrapping_add(u64::from(bytes));
        self.exec.number_at(self.lane, at, bytes)
    }

    fn text(&mut self, at: u64) -> Run<Vec<u8>> {
        self.exec.text_at(self.lane, at)
    }
}

impl Exec<'_, '_> {
    /// Calls a function of the driver, lane by lane.
    #[cold]
    #[inline(never)]
    pub(crate) fn system(&mut self, call: u32, active: u32) -> Run<()> {
        let program = self.env.program.clone();
        let call = &program.system_calls[call as usize];
        for lane in set_lanes(active) {
            let args =
                call.args.iter().map(|place| self.place_value(place, lane)).collect::<Run<Vec<u64>>>()?;
            let result = match (call.function, args.as_slice()) {
                (SystemFunction::Print, &[text, block]) => self.print(lane, text, block)?,
                (SystemFunction::AssertFail, &[message, file, line, function, _]) => {
                    self.assertion(lane, [message, file, function], line)?
                }
                (SystemFunction::Malloc, &[bytes]) => self.malloc(bytes),
                (SystemFunction::Free, &[at]) => self.free(lane, at)?,
                _ => return stop(FaultKind::Unsupported, lane, None, "a call with other parameters"),
            };
            self.give_result(call, lane, result);
        }
        Ok(())
    }

    /// The first byte of a place in local memory.
    fn place_at(&self, place: &Place, lane: u32) -> u64 {
        match self.env.program.frame_pointer.filter(|_| place.in_frame) {
            Some(pointer) => self.warp.registers.double(pointer)[lane as usize] + u64::from(place.at),
            None => u64::from(place.at),
        }
    }

    /// The number that a lane has in a place.
    fn place_value(&self, place: &Place, lane: u32) -> Run<u64> {
        self.number_at(lane, LOCAL_WINDOW + self.place_at(place, lane), place.bytes)
    }

    /// Writes the result of a call.
    fn give_result(&mut self, call: &SystemCall, lane: u32, result: u64) {
        let Some(place) = call.returns.first() else { return };
        let first = (self.place_at(place, lane) / 4) as usize;
        for k in 0..place.bytes as usize / 4 {
            self.warp.local[first + k][lane as usize] = (result >> (32 * k)) as u32;
            self.warp.local_written[first + k].iter_mut().for_each(|written| *written |= 1 << lane);
        }
    }

    /// A number in memory at a generic address.
    fn number_at(&self, lane: u32, at: u64, bytes: u32) -> Run<u64> {
        let mut number = [0; 8];
        for (k, byte) in number[..bytes as usize].iter_mut().enumerate() {
            *byte = self.byte_at(lane, at.wrapping_add(k as u64))?;
        }
        Ok(u64::from_le_bytes(number))
    }

    /// A text in memory at a generic address, up to its zero.
    fn text_at(&self, lane: u32, at: u64) -> Run<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            match self.byte_at(lane, at.wrapping_add(text.len() as u64))? {
                0 => return Ok(text),
                byte if text.len() < MOST_TEXT => text.push(byte),
                _ => return Ok(text),
            }
        }
    }

    /// Prints, and gives the number of arguments, or -1 without a text.
    fn print(&mut self, lane: u32, text: u64, block: u64) -> Run<u64> {
        if text == 0 {
            return Ok(u64::from(u32::MAX));
        }
        let text = self.text_at(lane, text)?;
        let mut out = Vec::new();
        let mut arguments = PrintArguments { exec: self, lane, next: block };
        let count = format(&text, &mut arguments, &mut out)?;
        let printed = &mut self.state.printed;
        // One byte more than is kept shows that something was dropped.
        out.truncate((MOST_TEXT + 1).saturating_sub(printed.len()));
        printed.extend(out);
        Ok(u64::from(count))
    }

    /// Stops the kernel with the message of an assertion.
    fn assertion(&self, lane: u32, texts: [u64; 3], line: u64) -> Run<u64> {
        let text = |at: u64| -> Run<String> {
            if at == 0 {
                return Ok(String::new());
            }
            Ok(String::from_utf8_lossy(&self.text_at(lane, at)?).into_owned())
        };
        let [message, file, function] = [text(texts[0])?, text(texts[1])?, text(texts[2])?];
        let detail = format!("{file}:{line}: {function}: Assertion `{message}` failed");
        stop(FaultKind::Assertion, lane, None, detail)
    }

    /// Gives the address of new memory, or 0 where there is no room.
    fn malloc(&mut self, bytes: u64) -> u64 {
        let heap = &self.env.machine.heap;
        let Some(at) = heap.alloc(bytes) else { return 0 };
        for (page, part) in heap.parts(at, bytes) {
            self.env.machine.heap_page(page).forget(part.clone());
            self.env.forget_accesses(page, part);
        }
        at
    }

    /// Takes memory back.
    fn free(&mut self, lane: u32, at: u64) -> Run<u64> {
        if at == 0 {
            return Ok(0);
        }
        match self.env.machine.heap.free(at) {
            Ok(()) => Ok(0),
            Err(Misuse::Freed) => stop(FaultKind::Heap, lane, Some(at), "memory is freed twice"),
            Err(_) => stop(FaultKind::Heap, lane, Some(at), "memory is freed that malloc did not give"),
        }
    }
}
