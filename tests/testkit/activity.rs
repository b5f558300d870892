//! When kernels ran on a GPU, also those of a replayed recording: the activity records of CUPTI, the library by which
//! NVIDIA's profilers learn it. It is part of the CUDA toolkit, and of pip's PyTorch.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_char, c_void};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use libloading::Library;

/// The variable that names a folder with the library, which is looked at before all others.
pub const FOLDER: &str = "SVP_CUPTI_DIR";
const NAMES: [&str; 2] = ["libcupti.so.13", "libcupti.so.12"];

/// `CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL`; records of `CUPTI_ACTIVITY_KIND_KERNEL` are alike.
const CONCURRENT: u32 = 10;
const KERNEL: u32 = 3;
/// `CUPTI_ACTIVITY_FLAG_FLUSH_FORCED`.
const FORCED: u32 = 1;
/// Places in `CUpti_ActivityKernel4` to `10`, CUDA 9 to 13: the start and the end in nanoseconds, and the name.
const START: usize = 16;
const END: usize = 24;
const NAME: usize = 104;
/// Bytes of the buffers that CUPTI fills with records.
const BUFFER: Layout = match Layout::from_size_align(1 << 20, 8) {
    Ok(layout) => layout,
    Err(_) => panic!("a size and an alignment"),
};

type Request = extern "C" fn(*mut *mut u8, *mut usize, *mut usize);
type Complete = extern "C" fn(*mut c_void, u32, *mut u8, usize, usize);

/// The functions that are called, which answer 0 when all is well.
struct Functions {
    register: unsafe extern "C" fn(Request, Complete) -> u32,
    enable: unsafe extern "C" fn(u32) -> u32,
    disable: unsafe extern "C" fn(u32) -> u32,
    flush: unsafe extern "C" fn(u32) -> u32,
    next: unsafe extern "C" fn(*mut u8, usize, *mut *mut u8) -> u32,
    dropped: unsafe extern "C" fn(*mut c_void, u32, *mut usize) -> u32,
}

impl Functions {
    /// Finds them in a library that stays loaded.
    fn of(library: &'static Library) -> Result<Self, libloading::Error> {
        // SAFETY: the types are those of `cupti_activity.h`.
        unsafe {
            Ok(Functions {
                register: *library.get(b"cuptiActivityRegisterCallbacks\0")?,
                enable: *library.get(b"cuptiActivityEnable\0")?,
                disable: *library.get(b"cuptiActivityDisable\0")?,
                flush: *library.get(b"cuptiActivityFlushAll\0")?,
                next: *library.get(b"cuptiActivityGetNextRecord\0")?,
                dropped: *library.get(b"cuptiActivityGetNumDroppedRecords\0")?,
            })
        }
    }
}

/// What a kernel's record tells.
#[derive(Debug, Clone, PartialEq)]
pub struct Ran {
    /// The name of the kernel; of one in C++, as the compiler writes it.
    pub name: String,
    /// Nanoseconds, since some time, at which it began and ended.
    pub times: [u64; 2],
}

static RECORDS: Mutex<Vec<Ran>> = Mutex::new(vec![]);

fn records() -> MutexGuard<'static, Vec<Ran>> {
    RECORDS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The library, loaded by the first call.
fn functions() -> Result<&'static Functions, String> {
    static LOADED: OnceLock<Result<Functions, String>> = OnceLock::new();
    LOADED.get_or_init(load).as_ref().map_err(Clone::clone)
}

fn load() -> Result<Functions, String> {
    let mut folders: Vec<PathBuf> = std::env::var_os(FOLDER).into_iter().map(PathBuf::from).collect();
    folders.push(PathBuf::new());
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(std::env::var_os).map(PathBuf::from);
    for home in homes.chain([PathBuf::from("/usr/local/cuda")]) {
        folders.extend([home.join("extras/CUPTI/lib64"), home.join("lib64")]);
    }
    for path in folders.iter().flat_map(|folder| NAMES.map(|name| folder.join(name))) {
        if let Some(library) = open(&path) {
            let functions = Functions::of(library).map_err(|why| format!("{}: {why}", path.display()))?;
            // SAFETY: the functions are of the types that the header asks for.
            answered("cuptiActivityRegisterCallbacks", unsafe { (functions.register)(request, complete) })?;
            return Ok(functions);
        }
    }
    Err(format!("{} is not on the machine; {FOLDER} can name its folder", NAMES.join(" or ")))
}

/// Loads a library for the rest of the process, if it is there.
fn open(path: &Path) -> Option<&'static Library> {
    // SAFETY: NVIDIA's libraries only set themselves up when they are loaded.
    let library = unsafe { Library::new(path) }.ok()?;
    Some(Box::leak(Box::new(library)))
}

fn answered(function: &str, code: u32) -> Result<(), String> {
    match code {
        0 => Ok(()),
        _ => Err(format!("{function} of CUPTI answers {code}")),
    }
}

/// Gives CUPTI a buffer.
extern "C" fn request(buffer: *mut *mut u8, bytes: *mut usize, most: *mut usize) {
    // SAFETY: CUPTI asks for these three results; the layout has a size. Without memory the buffer is null, as it may be.
    unsafe {
        *buffer = alloc_zeroed(BUFFER);
        *bytes = if (*buffer).is_null() { 0 } else { BUFFER.size() };
        *most = 0;
    }
}

/// Takes a buffer back.
extern "C" fn complete(_: *mut c_void, _: u32, buffer: *mut u8, _: usize, valid: usize) {
    if buffer.is_null() {
        return;
    }
    let mut found = vec![];
    if let Ok(functions) = functions() {
        let mut record = null_mut();
        // SAFETY: the buffer holds `valid` bytes of records; the function moves to the next one of them.
        while unsafe { (functions.next)(buffer, valid, &mut record) } == 0 && !record.is_null() {
            // SAFETY: every record begins with its kind.
            let kind = unsafe { record.cast::<u32>().read_unaligned() };
            if kind == KERNEL || kind == CONCURRENT {
                // SAFETY: a record of this kind has these parts, and its name is null or a text.
                found.push(unsafe { ran(record) });
            }
        }
    }
    records().append(&mut found);
    // SAFETY: `request` made the buffer, and CUPTI is done with it.
    unsafe { dealloc(buffer, BUFFER) };
}

/// # Safety
/// It is the record of a kernel.
unsafe fn ran(record: *const u8) -> Ran {
    // SAFETY: as the caller vouches.
    let name = unsafe { record.add(NAME).cast::<*const c_char>().read_unaligned() };
    let text = match name.is_null() {
        true => String::new(),
        // SAFETY: as the caller vouches.
        false => unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned(),
    };
    // SAFETY: as the caller vouches.
    let times = [START, END].map(|at| unsafe { record.add(at).cast::<u64>().read_unaligned() });
    Ran { name: text, times }
}

/// Traces kernels while it lives. One at a time.
#[derive(Debug)]
pub struct Trace(());

/// Whether CUPTI is there.
///
/// # Errors
/// Says where it was looked for.
pub fn available() -> Result<(), String> {
    functions().map(drop)
}

impl Trace {
    /// Begins. A recording must be made while kernels are traced, for its kernels to be traced.
    ///
    /// # Errors
    /// Says that CUPTI is not there, or what it answers.
    pub fn begin() -> Result<Self, String> {
        // SAFETY: takes a number.
        answered("cuptiActivityEnable", unsafe { (functions()?.enable)(CONCURRENT) })?;
        records().clear();
        Ok(Trace(()))
    }

    /// The kernels that ended since the last call. The device must have been waited for.
    ///
    /// # Errors
    /// Says what CUPTI answers, or that it lost records.
    pub fn take(&self) -> Result<Vec<Ran>, String> {
        let functions = functions()?;
        // SAFETY: takes a number.
        answered("cuptiActivityFlushAll", unsafe { (functions.flush)(FORCED) })?;
        let mut lost = 0;
        // SAFETY: null and 0 ask for records that belong to no stream; the function writes one number.
        let code = unsafe { (functions.dropped)(null_mut(), 0, &mut lost) };
        answered("cuptiActivityGetNumDroppedRecords", code)?;
        match lost {
            0 => Ok(std::mem::take(&mut *records())),
            _ => Err(format!("CUPTI lost {lost} records")),
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if let Ok(functions) = functions() {
            // SAFETY: takes a number.
            let _ = unsafe { (functions.disable)(CONCURRENT) };
        }
    }
}

/// Seconds in which at least one kernel ran: those that overlap count once.
pub fn busy(ran: &[Ran]) -> f64 {
    let mut times: Vec<[u64; 2]> = ran.iter().map(|ran| ran.times).collect();
    times.sort_unstable();
    let (mut nanoseconds, mut until) = (0, 0);
    for [start, end] in times {
        nanoseconds += end.saturating_sub(start.max(until));
        until = until.max(end);
    }
    nanoseconds as f64 / 1e9
}

/// How often each kernel ran and its seconds, by name.
pub fn by_name(ran: &[Ran]) -> BTreeMap<&str, (usize, f64)> {
    let mut sums = BTreeMap::<_, (usize, f64)>::new();
    for Ran { name, times: [start, end] } in ran {
        let sum = sums.entry(name.as_str()).or_default();
        sum.0 += 1;
        sum.1 += end.saturating_sub(*start) as f64 / 1e9;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ran(name: &str, start: u64, end: u64) -> Ran {
        Ran { name: name.into(), times: [start, end] }
    }

    #[test]
    fn time_that_kernels_share_counts_once() {
        assert_eq!(busy(&[]), 0.0);
        // Alone, beside another, inside another, and out of order.
        let all = [ran("b", 100, 200), ran("a", 0, 10), ran("a", 150, 260), ran("c", 160, 170)];
        assert_eq!(busy(&all), 170e-9);
        let sums = by_name(&all);
        assert_eq!(sums["a"].0, 2);
        assert!((sums["a"].1 - 120e-9).abs() < 1e-15 && sums.len() == 3, "{sums:?}");
    }
}
