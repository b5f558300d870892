//! The device and the threads of a command.

use clap::Args;
use engine::cuda::{self, Status};
use engine::{Device, cards};
use svp::{Error, Result};

use crate::output::tell;

const AUTO: &str = "auto";

/// The flags for where a command computes, and with how many threads.
#[derive(Args)]
pub struct Compute {
    /// Device: cuda, cuda:NUMBER, cpu, emulated (runs and checks the GPU's kernels on the CPU, slowly), emulated:CARD
    /// (the same as rtx4090, l4, a100 and others would run them), or auto, which takes the GPU if there is one that can be
    /// used and the CPU otherwise [default: auto]
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<String>,
    /// Number of threads that compute [default: the number of cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,
}

impl Compute {
    /// Starts the threads and opens the device. A process can do this once.
    ///
    /// # Errors
    /// A device that does not exist or cannot be used, 0 threads, or more threads than the system allows.
    pub fn start(&self) -> Result<Device> {
        if self.threads == Some(0) {
            return Err(Error::input("--threads", "0 threads cannot compute", "use at least 1"));
        }
        let device = open(self.device.as_deref().unwrap_or(AUTO))?;
        start_threads(self.threads)?;
        Ok(device)
    }

    /// The flag that chooses the same device again, with a space before it; empty for the default.
    pub fn device_flag(&self) -> String {
        let device = self.device.as_deref().filter(|&device| device != AUTO);
        device.map_or(String::new(), |device| format!(" --device {device}"))
    }
}

/// Starts the threads that compute, as many as there are cores where no number is given. A process can do this once.
///
/// # Errors
/// More threads than are of use here, or than the system allows.
pub fn start_threads(number: Option<usize>) -> Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let most = (8 * cores).max(64);
    if number.is_some_and(|number| number > most) {
        let what = format!("so many threads only wait for each other on {cores} cores");
        return Err(Error::input(
            "--threads",
            what,
            format!("use at most {most}; as many as cores are fastest"),
        ));
    }
    // This thread is one of them: a step makes hundreds of parallel calls, and handing each to another thread costs a
    // wake-up. Threads of the loader must not compute through the pool: this one may be waiting for them.
    let threads = rayon::ThreadPoolBuilder::new().num_threads(number.unwrap_or(0)).use_current_thread();
    threads.build_global().map_err(|e| {
        let hint =
            "use fewer (RAYON_NUM_THREADS where there is no flag), or raise the limit on threads (ulimit -u)";
        Error::input("--threads", format!("cannot be started: {e}"), hint)
    })
}

/// Opens the device that `--device` names.
fn open(name: &str) -> Result<Device> {
    if let Some(card) = name.strip_prefix("emulated:") {
        let hint = "name a card, give numbers as in emulated:sms=58,shared=99,per-sm=100 (multiprocessors; KiB of \
                    shared memory a block and a multiprocessor), or use emulated alone, which is an h100";
        let limits = cards::parse(card).map_err(|what| Error::input("--device", what, hint))?;
        return Ok(Device::emulated_card(limits));
    }
    let number = |number: &str| number.parse().ok();
    match (name, name.strip_prefix("cuda:").map_or(Some(0), number)) {
        (AUTO, _) => Ok(best()),
        ("cpu", _) => Ok(Device::cpu()),
        ("emulated", _) => Ok(Device::emulated()),
        ("cuda", _) => gpu(0),
        (name, Some(number)) if name.starts_with("cuda:") => gpu(number),
        _ => {
            let what = format!("there is no device {name:?}");
            Err(Error::input("--device", what, "use auto, cpu, cuda, cuda:NUMBER, emulated or emulated:CARD"))
        }
    }
}

/// Opens a GPU and logs its name; results differ from the CPU's.
fn gpu(number: usize) -> Result<Device> {
    let device = Device::cuda(number)
        .map_err(|e| Error::input("--device", e.to_string(), "--device cpu computes without a GPU"))?;
    if let Some(info) = device.info() {
        tell(&format!("GPU {number}: {info}"));
    }
    Ok(device)
}

/// Opens the first GPU if there is one, else the CPU. If a GPU cannot be used, logs why.
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
