//! What the four commands share: how they compute, stop, print and fail.

use std::io::{ErrorKind, Write, stderr, stdout};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use engine::Device;
use svp::{Error, Result};

/// Where and with how many threads a command computes.
#[derive(Args)]
pub struct Compute {
    /// auto or cpu
    #[arg(long, value_name = "DEVICE", default_value = "auto")]
    device: String,
    /// Threads that compute [default: the number of cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
}

impl Compute {
    /// Starts the threads and opens the device. Once per process.
    pub fn start(&self) -> Result<Device> {
        if !["auto", "cpu"].contains(&self.device.as_str()) {
            let what = format!("there is no device {:?}", self.device);
            return Err(Error::input("--device", what, "use auto or cpu"));
        }
        if self.threads == Some(0) {
            return Err(Error::input("--threads", "0 threads cannot compute", "use at least 1"));
        }
        let threads = rayon::ThreadPoolBuilder::new().num_threads(self.threads.unwrap_or(0)).build_global();
        threads.map_err(|e| Error::input("--threads", e.to_string(), "use fewer"))?;
        Ok(Device::cpu())
    }
}

static STOP: AtomicBool = AtomicBool::new(false);

/// From now on Ctrl-C and SIGTERM only make [`stopped`] true.
pub fn stop_on_signals() -> Result<()> {
    ctrlc::set_handler(|| STOP.store(true, Ordering::SeqCst))
        .map_err(|e| Error::input("signals", e.to_string(), "run in an ordinary process"))
}

/// Whether a signal asked to stop.
pub fn stopped() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error, a full disk is.
pub fn print(text: &str) -> Result<()> {
    let mut out = stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Error::io(Path::new("standard output"), "write", &e))
        }
        _ => Ok(()),
    }
}

/// A line on standard error.
pub fn tell(line: &str) {
    // Without a standard error there is nobody to tell.
    let _ = writeln!(stderr(), "{line}");
}

/// Says in one line what went wrong.
pub fn complain(error: &Error) {
    tell(&format!("error: {error}"));
}

/// Ends a command.
pub fn exit(result: Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|e| {
        complain(&e);
        ExitCode::from(e.exit_code() as u8)
    })
}
