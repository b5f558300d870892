//! What a command prints, and how it ends.

use std::io::{ErrorKind, Write, stderr, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use engine::or_out_of_memory;
use serde::Serialize;
use svp::data::regular;
use svp::data::text::{shown, shown_json, shown_lines};
use svp::{Error, Result};

/// Held while something is written that must not be cut off.
static WRITING: Mutex<()> = Mutex::new(());

/// Writes something that a signal must not cut off (see [`end_on_signals`](crate::end_on_signals)).
pub fn whole<T>(write: impl FnOnce() -> T) -> T {
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    write()
}

/// Waits until nothing is being written and lets nothing be written any more. A reader that takes nothing is not waited
/// for longer than a moment.
pub(crate) fn close() {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(500) {
        if let Ok(writing) = WRITING.try_lock() {
            std::mem::forget(writing);
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Checks that a file can be put where it is to be written later, before the work for it begins.
///
/// # Errors
/// A path in a folder that is not there, and a folder, a device or a pipe in the file's place.
pub fn check_place(file: &Path) -> Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        return Err(Error::path(file, format!("cannot write: {} is no folder", folder.display()), "make it"));
    }
    regular::check_place(file)
}

/// A value as one line of JSON, with its line break.
pub fn json_line<T: Serialize>(value: &T) -> String {
    shown_json(&serde_json::to_string(value).expect("plain data makes valid JSON")) + "\n"
}

/// Prints a result: as one line of JSON, or as `text` says it.
///
/// # Errors
/// Those of [`print`].
pub fn show<T: Serialize>(result: &T, json: bool, text: impl FnOnce(&T) -> String) -> Result<()> {
    print(&if json { json_line(result) } else { text(result) })
}

/// Writes to standard output, with nothing in it that steers a terminal. A reader that has seen enough (`| head`) is no
/// error.
///
/// # Errors
/// When the output cannot be written, for instance because the disk is full.
pub fn print(text: &str) -> Result<()> {
    print_as_is(&shown_lines(text))
}

/// [`print`] of a text of the program itself, such as a script for a shell, in which every character counts.
pub(crate) fn print_as_is(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    match whole(|| out.write_all(text.as_bytes()).and_then(|()| out.flush())) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Error::io(Path::new("standard output"), "write", &e))
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error, with nothing in it that steers a terminal. A standard error that is closed is no
/// error: nobody listens.
pub fn tell(line: &str) {
    let _ = writeln!(stderr(), "{}", shown(line));
}

/// Writes what went wrong to standard error, as one line.
pub fn complain(error: &Error) {
    tell(&format!("error: {error}"));
}

/// Runs a command, and returns its exit code after its error was written if it has failed.
pub fn exit(run: impl FnOnce() -> Result<ExitCode>) -> ExitCode {
    or_out_of_memory(run).map_err(advised).unwrap_or_else(|e| {
        complain(&e);
        ExitCode::from(e.exit_code() as u8)
    })
}

/// Adds what to do where the memory of the machine is short.
fn advised(error: Error) -> Error {
    match error {
        Error::Engine(short @ engine::Error::Memory { device: "cpu", .. }) => {
            let hint = "a smaller --batch-size, fewer --workers and smaller images need less; --max-memory is the limit";
            Error::input("memory", short.to_string(), hint)
        }
        other => other,
    }
}
