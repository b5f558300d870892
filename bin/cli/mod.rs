//! What the commands share: how they compute, stop, print and fail, and what a trained model is measured on.

#![forbid(unsafe_code)]

mod measure;
pub mod method_flags;
pub mod options;
pub mod values;

use std::io::{ErrorKind, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use engine::Device;
use engine::cuda::{self, Status};
use svp::{Error, Result};

pub use measure::{Measure, Split};
pub use options::Options;

/// Where and with how many threads a command computes.
#[derive(Args)]
pub struct Compute {
    /// cuda (or cuda:NUMBER), cpu, emulated (the GPU's kernels run and checked on the CPU, slowly), or auto: cuda
    /// where it can be used, else cpu [default: auto]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Threads that compute [default: the number of cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

/// What the commands that use a trained model share.
#[derive(Args)]
pub struct Using {
    /// The run's backbone, where it is no longer where it was
    #[arg(long, value_name = "FILE")]
    pub backbone: Option<PathBuf>,
    /// Print the result as JSON: one object, or one an image
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub compute: Compute,
}

impl Compute {
    /// Starts the threads and opens the device. Once per process.
    pub fn start(&self) -> Result<Device> {
        if self.threads == Some(0) {
            return Err(Error::input("--threads", "0 threads cannot compute", "use at least 1"));
        }
        let device = open(self.device.as_deref().unwrap_or(AUTO))?;
        // This thread is one of them: a step makes hundreds of parallel calls, and handing each to another thread
        // costs a wake-up. Threads of the loader must not compute through the pool: this one may be waiting for them.
        let threads =
            rayon::ThreadPoolBuilder::new().num_threads(self.threads.unwrap_or(0)).use_current_thread();
        threads.build_global().map_err(|e| Error::input("--threads", e.to_string(), "use fewer"))?;
        Ok(device)
    }

    /// The flag that chooses the same device again.
    pub fn device_flag(&self) -> String {
        let device = self.device.as_deref().filter(|&device| device != AUTO);
        device.map_or(String::new(), |device| format!(" --device {device}"))
    }
}

const AUTO: &str = "auto";

/// The device that `--device` names.
fn open(name: &str) -> Result<Device> {
    let number = |number: &str| number.parse().ok();
    match (name, name.strip_prefix("cuda:").map_or(Some(0), number)) {
        (AUTO, _) => Ok(best()),
        ("cpu", _) => Ok(Device::cpu()),
        ("emulated", _) => Ok(Device::emulated()),
        ("cuda", _) => gpu(0),
        (name, Some(number)) if name.starts_with("cuda:") => gpu(number),
        _ => {
            let what = format!("there is no device {name:?}");
            Err(Error::input("--device", what, "use auto, cpu, cuda, cuda:NUMBER or emulated"))
        }
    }
}

/// A GPU, which is told: its numbers are not the CPU's.
fn gpu(number: usize) -> Result<Device> {
    let device = Device::cuda(number)
        .map_err(|e| Error::input("--device", e.to_string(), "--device cpu computes without a GPU"))?;
    if let Some(info) = device.info() {
        tell(&format!("GPU {number}: {info}"));
    }
    Ok(device)
}

/// The GPU when there is one, else the CPU. A GPU that cannot be used is told.
fn best() -> Device {
    let opened = match cuda::status() {
        Status::Absent => return Device::cpu(),
        Status::Ready(_) => gpu(0),
        Status::Unusable(error) => Err(error.into()),
    };
    opened.unwrap_or_else(|error| {
        tell(&format!("computing on the CPU: {error}"));
        Device::cpu()
    })
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
