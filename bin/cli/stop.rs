//! Stopping on a signal.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use svp::{Error, Result};

use crate::output::{close, tell};

/// Exit code of a command that a signal has ended.
const INTERRUPTED: i32 = 75;

static STOP: AtomicBool = AtomicBool::new(false);

/// Makes Ctrl-C and SIGTERM do nothing from now on but make [`stopped`] true, so that a command can save and end.
///
/// # Errors
/// When the system takes no handler, or one is set already.
pub fn stop_on_signals() -> Result<()> {
    handle(|| STOP.store(true, Ordering::SeqCst))
}

/// Makes Ctrl-C and SIGTERM end the command at once, whatever it computes: what is being written is finished first, and
/// `last_words` say how to go on.
///
/// # Errors
/// Those of [`stop_on_signals`].
pub fn end_on_signals(last_words: impl Fn() -> String + Send + 'static) -> Result<()> {
    handle(move || {
        close();
        tell(&format!("error: stopped by a signal; {}", last_words()));
        process::exit(INTERRUPTED);
    })
}

fn handle(on_signal: impl FnMut() + Send + 'static) -> Result<()> {
    ctrlc::set_handler(on_signal)
        .map_err(|e| Error::input("signals", e.to_string(), "run in an ordinary process"))
}

/// Whether a signal has asked the command to stop.
pub fn stopped() -> bool {
    STOP.load(Ordering::SeqCst)
}
