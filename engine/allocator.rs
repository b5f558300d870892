//! The allocator of the programs: the system's, and a clear end where the system has no more memory.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::Write;

/// The most bytes of a request whose failure ends the program. Whoever asks for more can be told no: tensors and readers
/// make an error of it. A small request is made where no one expects a refusal, and the next one would fail as well.
const SMALL: usize = 64 << 20;
/// Exit code of a program that has failed.
const FAILED: i32 = 1;

/// The system's allocator. Where it refuses a small request, the program writes one line and ends, in place of the
/// abort of the standard library. What a run has saved stays.
pub struct Telling;

// SAFETY: every call goes to the system's allocator unchanged, and what it returns is returned unless the process ends.
unsafe impl GlobalAlloc for Telling {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        had(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        had(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise is passed on.
        had(unsafe { System.realloc(old, layout, size) }, size)
    }

    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(old, layout) }
    }
}

fn had(memory: *mut u8, size: usize) -> *mut u8 {
    if memory.is_null() && size <= SMALL {
        end(size);
    }
    memory
}

/// Ends the program with one line, for which nothing is allocated.
#[cold]
fn end(size: usize) {
    let mut line = [0; 200];
    let mut rest = &mut line[..];
    let _ = writeln!(
        rest,
        "error: memory: the system has no {size} bytes more; a smaller --batch-size, fewer --workers and smaller images \
         need less"
    );
    let unused = rest.len();
    let written = &line[..line.len() - unused];
    #[cfg(unix)]
    // SAFETY: the bytes are those of the line. Neither call allocates or runs anything of this program.
    unsafe {
        libc::write(libc::STDERR_FILENO, written.as_ptr().cast(), written.len());
        libc::_exit(FAILED);
    }
    // Elsewhere the standard library's abort, which says the size, has to do.
    #[cfg(not(unix))]
    let _ = (written, FAILED);
}
