//! Stopping on a signal.

use std::sync::atomic::{AtomicBool, Ordering};

use svp::{Error, Result};

static STOP: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C and SIGTERM do nothing from now on but make [`stopped`] true, so that a command can save and end.
///
/// # Errors
/// When the system takes no handler, or one is set already.
pub fn stop_on_signals() -> Result<()> {
    ctrlc::set_handler(|| STOP.store(true, Ordering::SeqCst))
        .map_err(|e| Error::input("signals", e.to_string(), "run in an ordinary process"))
}

/// Whether a signal has asked the command to stop.
pub fn stopped() -> bool {
    STOP.load(Ordering::SeqCst)
}
