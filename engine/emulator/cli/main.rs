//! `ptx-emulator`: runs a kernel of a PTX file on arrays in files, and says what is wrong with it.
//!
//! The exit status is 0 where all was well, 1 where the kernel has a fault, and 2 for a request that makes no sense or a
//! file that cannot be used.

#![forbid(unsafe_code)]

mod counts;
mod element;
mod files;
mod given;
mod list;
mod npy;
mod run;

use std::io::{ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Why the program ends without success.
#[derive(Debug)]
enum Failure {
    /// The kernel has a fault.
    Kernel(String),
    /// The request or a file is wrong.
    Use(String),
}

/// Makes the failure of a wrong request.
fn wrong<T>(message: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Use(message.into()))
}

/// Runs, checks and meters NVIDIA PTX kernels on the CPU.
#[derive(Debug, Parser)]
#[command(name = "ptx-emulator", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs a kernel on arrays in files.
    Run(Box<run::Request>),
    /// Lists the kernels of a PTX file, and its variables.
    List {
        /// The PTX file.
        file: PathBuf,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Run(request) => run::run(&request),
        Command::List { file } => list::list(&file),
    };
    let result = result.and_then(|text| print(&text));
    let (message, status) = match result {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Kernel(message)) => (message, 1),
        Err(Failure::Use(message)) => (format!("error: {message}"), 2),
    };
    let mut stderr = std::io::stderr().lock();
    let red = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let line = shown(&message);
    // Where nobody listens, the status still tells.
    let _ = if red { writeln!(stderr, "\x1b[1;31m{line}\x1b[0m") } else { writeln!(stderr, "{line}") };
    ExitCode::from(status)
}

/// Writes what the program has to say. A reader that has read enough may go.
fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => wrong(format!("stdout: {error}")),
        _ => Ok(()),
    }
}

/// A text in one line that steers no terminal.
fn shown(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}
