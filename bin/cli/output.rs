//! What a command prints, and how it ends.

use std::io::{ErrorKind, Write, stderr, stdout};
use std::path::Path;
use std::process::ExitCode;

use serde::Serialize;
use svp::data::text::shown;
use svp::{Error, Result};

/// A value as one line of JSON, with its line break.
pub fn json_line<T: Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("plain data makes valid JSON") + "\n"
}

/// Prints a result: as one line of JSON, or as `text` says it.
///
/// # Errors
/// Those of [`print`].
pub fn show<T: Serialize>(result: &T, json: bool, text: impl FnOnce(&T) -> String) -> Result<()> {
    print(&if json { json_line(result) } else { text(result) })
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
///
/// # Errors
/// When the output cannot be written, for instance because the disk is full.
pub fn print(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
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

/// The exit code of a command, after its error was written if it has failed.
pub fn exit(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|e| {
        complain(&e);
        ExitCode::from(e.exit_code() as u8)
    })
}
