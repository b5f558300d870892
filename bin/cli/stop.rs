//! Stopping on a signal.

use std::sync::atomic::{AtomicBool, Ordering};

use svp::{Error, Result};

static STOP: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C, SIGTERM and SIGUSR1 do nothing from now on but make [`stopped`] true, so that a command can save and
/// end. SIGUSR1 is what Slurm can send some time before a job is over.
///
/// # Errors
/// When the system takes no handler, or one is set already.
pub fn stop_on_signals() -> Result<()> {
    let refused = |e: String| Error::input("signals", e, "run in an ordinary process");
    ctrlc::set_handler(|| STOP.store(true, Ordering::SeqCst)).map_err(|e| refused(e.to_string()))?;
    #[cfg(unix)]
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, &STOP).map_err(|e| refused(e.to_string()))?;
    Ok(())
}

/// Whether a signal has asked the command to stop.
pub fn stopped() -> bool {
    STOP.load(Ordering::SeqCst)
}
