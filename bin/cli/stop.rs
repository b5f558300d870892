//! Stopping on a signal.

use std::io::{IsTerminal, stderr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use svp::checkpoint::remove_unfinished;
use svp::{Error, Result};

use crate::output::tell;

static STOP: AtomicBool = AtomicBool::new(false);
static SIGNALS: Mutex<Signals> = Mutex::new(Signals::End);

/// Time in which a command may end by itself before it is ended, so that Ctrl-C takes less than a second.
const GRACE: Duration = Duration::from_millis(600);
/// Time after which another signal means that the user will not wait. Less may be one request that comes twice: by the
/// terminal, and by a program that passes it on.
const AGAIN: Duration = Duration::from_secs(2);

/// The exit code of a command that a signal has ended.
const INTERRUPTED: i32 = 75;

/// What a signal does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    /// The command ends, by itself if it looks at [`stopped`] soon, and else at once: nothing would be lost.
    End,
    /// The command saves and ends when it next looks at [`stopped`], however long its step takes; another signal ends
    /// it at once.
    Save,
    /// The command ends when those that it has started have.
    Wait,
}

/// Makes Ctrl-C, SIGTERM and SIGHUP do from now on what [`when_signalled`] says, at first [`Signals::End`]. [`stopped`]
/// is then true, and no file is left half-written.
///
/// # Errors
/// When the system takes no handler, or one is set already.
pub fn stop_on_signals() -> Result<()> {
    let mut first = None;
    ctrlc::set_handler(move || signalled(*first.get_or_insert_with(Instant::now)))
        .map_err(|e| Error::input("signals", e.to_string(), "run in an ordinary process"))
}

/// Does `work` during which signals act in another way.
pub fn when_signalled<T>(signals: Signals, work: impl FnOnce() -> T) -> T {
    let set = |signals| std::mem::replace(&mut *SIGNALS.lock().unwrap_or_else(PoisonError::into_inner), signals);
    let before = set(signals);
    let done = work();
    set(before);
    done
}

/// Whether a signal has asked the command to stop.
pub fn stopped() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// Answers a signal; the `first` one came then.
fn signalled(first: Instant) {
    let again = STOP.swap(true, Ordering::SeqCst);
    let now = || *SIGNALS.lock().unwrap_or_else(PoisonError::into_inner);
    match now() {
        Signals::Save if !again => tell("stopping: the state is saved after this step; Ctrl-C again ends at once"),
        Signals::Save if first.elapsed() >= AGAIN => end("svp-train --resume goes on from what was saved last"),
        Signals::Save | Signals::Wait => {}
        Signals::End => {
            std::thread::sleep(GRACE);
            if now() == Signals::End {
                end("run it again");
            }
        }
    }
}

/// Ends the process. What it has saved stays, and nothing half-written.
fn end(hint: &str) -> ! {
    remove_unfinished();
    if stderr().is_terminal() {
        // Behind the bar, and behind the ^C that the terminal shows.
        tell("");
    }
    tell(&format!("error: stopped by a signal; {hint}"));
    std::process::exit(INTERRUPTED)
}
