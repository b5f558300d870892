//! What the fuzz targets share: the limits under which they run, and what every message must be.

#![warn(missing_docs)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::fmt::Display;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use svp::checkpoint::Checkpoint;
use svp::data::{mapped, text};
use tempfile::TempDir;

pub mod datasets;
pub mod form;

/// The budget of readers, in bytes.
pub const BUDGET: u64 = 256 << 20;
/// The most bytes of one allocation, which is more than the budget, as not everything is claimed to the byte.
const MOST: usize = 600 << 20;
/// The most characters of a message, which has up to five parts, each of which is cut (such as by [`text::brief`]).
const LONGEST: usize = 3000;

/// Ends the process where more is asked for than any small input is worth.
struct Bounded;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        check(layout.size());
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        check(size);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

fn check(bytes: usize) {
    if bytes > MOST {
        eprintln!("an allocation of {} MiB\n{}", bytes >> 20, Backtrace::force_capture());
        std::process::abort();
    }
}

#[global_allocator]
static ALLOCATOR: Bounded = Bounded;

/// Sets the budget. Every target begins with it.
pub fn start() {
    engine::budget::limit_to(BUDGET);
}

/// Checks that a message is one line of bounded length in which nothing steers a terminal.
pub fn one_line(message: impl Display) {
    let message = message.to_string();
    assert!(!message.contains(text::steers), "steers the terminal: {message:?}");
    let length = message.chars().count();
    assert!(length < LONGEST, "{length} characters: {message}");
}

/// What `result` holds; its error must be a fit message.
pub fn checked<T, E: Display>(result: Result<T, E>) -> Option<T> {
    result.map_err(one_line).ok()
}

/// Opens the bytes as a checkpoint, and reads each tensor.
pub fn checkpoint(bytes: &[u8]) {
    let path = Path::new("fuzzed");
    let map = Arc::new(mapped::copy(bytes, path).expect("memory for a small copy"));
    let Some(file) = checked(Checkpoint::from_map(map, path)) else { return };
    file.notes().iter().for_each(one_line);
    for name in file.entries().keys() {
        checked(file.tensor(name));
    }
}

/// A file in memory that has no name, and gets its content anew for each input.
pub struct Unnamed {
    file: File,
    path: PathBuf,
}

impl Unnamed {
    /// Makes an empty file.
    #[expect(clippy::new_without_default, reason = "it is no value but a file")]
    pub fn new() -> Self {
        let file = tempfile::tempfile_in(memory()).expect("a file in memory");
        let path = format!("/proc/self/fd/{}", file.as_raw_fd()).into();
        Unnamed { file, path }
    }

    /// The path of the file, which now holds these bytes.
    pub fn holding(&self, bytes: &[u8]) -> &Path {
        let write = || self.file.set_len(0).and_then(|()| self.file.write_all_at(bytes, 0));
        write().expect("room in memory");
        &self.path
    }
}

/// A folder in memory.
pub struct Folder(TempDir);

impl Folder {
    /// Makes a folder with these files.
    pub fn with<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let folder = Folder(TempDir::new_in(memory()).expect("a folder in memory"));
        files.into_iter().for_each(|(name, bytes)| folder.put(name, bytes));
        folder
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Writes a file in it.
    pub fn put(&self, name: &str, bytes: &[u8]) {
        let path = self.path().join(name);
        if fs::write(&path, bytes).is_err() {
            fs::create_dir_all(path.parent().expect("it is in the folder")).expect("a folder in memory");
            fs::write(&path, bytes).expect("room in memory");
        }
    }

    /// Writes the parts of an input to files in it. A file without a part is removed.
    pub fn put_parts(&self, names: &[&str], input: &[u8]) {
        let mut parts = form::parts(input);
        for name in names {
            match parts.next() {
                Some(bytes) => self.put(name, bytes),
                None => drop(fs::remove_file(self.path().join(name))),
            }
        }
    }
}

/// Where files are kept that need not last.
fn memory() -> PathBuf {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { memory.into() } else { std::env::temp_dir() }
}
