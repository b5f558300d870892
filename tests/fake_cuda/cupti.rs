//! The functions of CUPTI by which a profiler learns when kernels ran, with records of the length that CUDA 12.4 has.
//!
//! Work is traced when it runs, so what a stream keeps until somebody waits for it has no record yet. These calls do
//! not hold the lock of the process: the callbacks call back.

use std::collections::BTreeSet;
use std::ffi::{CString, c_void};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use crate::process::process;
use crate::status::Status;

/// `CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL`.
const KERNELS: u32 = 10;
const INVALID_PARAMETER: u32 = 1;
const INVALID_KIND: u32 = 21;
const MAX_LIMIT_REACHED: u32 = 12;
const NOT_INITIALIZED: u32 = 15;
/// Bytes of a record.
const RECORD: usize = 208;

type Request = unsafe extern "C" fn(*mut *mut u8, *mut usize, *mut usize);
type Complete = unsafe extern "C" fn(*mut c_void, u32, *mut u8, usize, usize);

#[derive(Default)]
struct Tracer {
    callbacks: Option<(Request, Complete)>,
    on: bool,
    /// Name, start and end of what ran.
    ran: Vec<(&'static CString, u64, u64)>,
    names: BTreeSet<&'static CString>,
    begun: Option<Instant>,
}

fn tracer() -> MutexGuard<'static, Tracer> {
    static TRACER: OnceLock<Mutex<Tracer>> = OnceLock::new();
    TRACER.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs work of the device, and keeps its times while kernels are traced.
pub fn traced<T>(name: &str, work: impl FnOnce() -> T) -> T {
    let now = || {
        let mut tracer = tracer();
        tracer.on.then(|| tracer.begun.get_or_insert_with(Instant::now).elapsed().as_nanos() as u64 + 1)
    };
    let start = now();
    let done = work();
    if let (Some(start), Some(end)) = (start, now()) {
        let mut tracer = tracer();
        let name = CString::new(name).expect("a name of a kernel");
        let known = tracer.names.get(&name).copied();
        let name = known.unwrap_or_else(|| Box::leak(Box::new(name)));
        tracer.names.insert(name);
        tracer.ran.push((name, start, end));
    }
    done
}

/// What a call answers that the environment asks to fail; 0 else.
fn asked_to_fail(name: &'static str) -> u32 {
    process().admit(name).err().map_or(0, |Status(code)| code)
}

/// # Safety
/// The functions are as NVIDIA documents them.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "C" fn cuptiActivityRegisterCallbacks(request: Request, complete: Complete) -> u32 {
    tracer().callbacks = Some((request, complete));
    asked_to_fail("cuptiActivityRegisterCallbacks")
}

/// # Safety
/// Takes no pointers.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "C" fn cuptiActivityEnable(kind: u32) -> u32 {
    if kind != KERNELS {
        return INVALID_KIND;
    }
    tracer().on = true;
    asked_to_fail("cuptiActivityEnable")
}

/// # Safety
/// Takes no pointers.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "C" fn cuptiActivityDisable(kind: u32) -> u32 {
    if kind != KERNELS {
        return INVALID_KIND;
    }
    tracer().on = false;
    0
}

/// # Safety
/// The registered functions are as NVIDIA documents them.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "C" fn cuptiActivityFlushAll(_flag: u32) -> u32 {
    let failed = asked_to_fail("cuptiActivityFlushAll");
    let (callbacks, ran) = {
        let mut tracer = tracer();
        (tracer.callbacks, std::mem::take(&mut tracer.ran))
    };
    let Some((request, complete)) = callbacks else { return NOT_INITIALIZED };
    let mut left = &ran[..];
    while failed == 0 && !left.is_empty() {
        let (mut buffer, mut size, mut most) = (std::ptr::null_mut::<u8>(), 0, 0);
        // SAFETY: the function writes its three results.
        unsafe { request(&mut buffer, &mut size, &mut most) };
        let fits = if most == 0 { size / RECORD } else { most.min(size / RECORD) };
        if buffer.is_null() || !(buffer as usize).is_multiple_of(8) || fits == 0 {
            return INVALID_PARAMETER;
        }
        let (now, later) = left.split_at(fits.min(left.len()));
        for (i, (name, start, end)) in now.iter().enumerate() {
            let mut record = [0_u8; RECORD];
            record[..4].copy_from_slice(&KERNELS.to_ne_bytes());
            record[16..24].copy_from_slice(&start.to_ne_bytes());
            record[24..32].copy_from_slice(&end.to_ne_bytes());
            record[104..112].copy_from_slice(&(name.as_ptr() as usize).to_ne_bytes());
            // SAFETY: the buffer has room for `fits` records.
            unsafe { buffer.add(i * RECORD).copy_from_nonoverlapping(record.as_ptr(), RECORD) };
        }
        // SAFETY: the buffer is one that the client gave, and as many bytes of it are written.
        unsafe { complete(std::ptr::null_mut(), 0, buffer, size, now.len() * RECORD) };
        left = later;
    }
    failed
}

/// # Safety
/// `record` is null inside or a record of this buffer, and can be written.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "C" fn cuptiActivityGetNextRecord(
    buffer: *mut u8,
    valid: usize,
    record: *mut *mut u8,
) -> u32 {
    // SAFETY: it can be read.
    let last = unsafe { *record };
    let next = if last.is_null() { 0 } else { last as usize - buffer as usize + RECORD };
    if next + RECORD > valid {
        return MAX_LIMIT_REACHED;
    }
    // SAFETY: the record lies in the buffer.
    unsafe { *record = buffer.add(next) };
    0
}

/// # Safety
/// `dropped` can be written.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "C" fn cuptiActivityGetNumDroppedRecords(
    _context: *mut c_void,
    _stream: u32,
    dropped: *mut usize,
) -> u32 {
    // SAFETY: it can be written.
    unsafe { *dropped = 0 };
    0
}
