//! Stopping on a signal.

use std::sync::atomic::{AtomicBool, Ordering};

use svp::{Error, Result};

static STOP: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C, SIGTERM and SIGUSR1 do nothing from now on but make [`stopped`] true, so that a command can save and
/// end.
///
/// # Errors
/// When the system takes no handler, or one is set already.
pub fn stop_on_signals() -> Result<()> {
    let refused = |e: String| Error::input("signals", e, "run in an ordinary process");
    ctrlc::set_handler(|| STOP.store(true, Ordering::SeqCst)).map_err(|e| refused(e.to_string()))?;
    #[cfg(unix)]
    pass_on_usr1().map_err(|e| refused(e.to_string()))?;
    Ok(())
}

/// Makes SIGUSR1, which Slurm sends some time before a job is over, act as SIGTERM does.
#[cfg(unix)]
fn pass_on_usr1() -> std::io::Result<()> {
    use signal_hook::consts::{SIGTERM, SIGUSR1};
    let mut signals = signal_hook::iterator::Signals::new([SIGUSR1])?;
    let pass_on = move || signals.forever().for_each(|_| drop(signal_hook::low_level::raise(SIGTERM)));
    std::thread::spawn(pass_on);
    Ok(())
}

/// Whether a signal has asked the command to stop.
pub fn stopped() -> bool {
    STOP.load(Ordering::SeqCst)
}
