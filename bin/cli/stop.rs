//! Stopping on a signal.

use std::io::{IsTerminal, stderr};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::sleep;
use std::time::{Duration, Instant};

use svp::checkpoint::remove_unfinished;
use svp::{Error, Result};

use crate::output::{close, tell};

/// Exit code of a command that a signal has ended.
const INTERRUPTED: i32 = 75;
/// Time in which a command may end by itself before it is ended, so that Ctrl-C takes less than a second.
const GRACE: Duration = Duration::from_millis(600);
/// Time after which another signal means that the user will not wait. Sooner it may be the same request once more: from
/// the terminal, and from a program that passes it on.
const AGAIN: Duration = Duration::from_secs(2);

static STOP: AtomicBool = AtomicBool::new(false);
static SIGNALS: Mutex<Signals> = Mutex::new(Signals::End);

/// What a signal does to a command that looks at [`stopped`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signals {
    /// It ends: by itself if it looks soon, and is ended otherwise. There is nothing to save.
    End,
    /// It saves and ends when it looks, however long its step takes. Another signal ends it at once.
    Save,
    /// It ends when the processes that it has started have.
    Wait,
}

/// Makes Ctrl-C, SIGTERM and SIGUSR1 do what [`when_signalled`] says from now on, at first [`Signals::End`]. [`stopped`] is true
/// then.
///
/// # Errors
/// When the system takes no handler, or one is set already.
pub fn stop_on_signals() -> Result<()> {
    let mut first = None;
    handle(move || stop(*first.get_or_insert_with(Instant::now)))
}

/// Makes Ctrl-C and SIGTERM end the command at once, whatever it computes: what is being written is finished first, and
/// `last_words` say how to go on.
///
/// # Errors
/// Those of [`stop_on_signals`].
pub fn end_on_signals(last_words: impl Fn() -> String + Send + 'static) -> Result<()> {
    handle(move || {
        close();
        end(&last_words())
    })
}

fn handle(on_signal: impl FnMut() + Send + 'static) -> Result<()> {
    let hint = "raise the limit on threads (ulimit -u), or run in an ordinary process";
    let refused = |e: String| Error::input("signals", format!("cannot be handled: {e}"), hint);
    ctrlc::set_handler(on_signal).map_err(|e| refused(e.to_string()))?;
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
    std::thread::Builder::new().name("usr1".into()).spawn(pass_on)?;
    Ok(())
}

/// Makes a file that reaches the limit of its size (`ulimit -f`) an error of the write; it would end the process by
/// SIGXFSZ in the middle of it.
#[cfg(unix)]
pub(crate) fn survive_file_limit() {
    // A handler that does nothing will do. Where none can be set, the system ends the process as before.
    let nothing = Arc::new(AtomicBool::new(false));
    let _ = signal_hook::flag::register(signal_hook::consts::SIGXFSZ, nothing);
}

/// Does `work`, during which signals act in this way.
pub fn when_signalled<T>(signals: Signals, work: impl FnOnce() -> T) -> T {
    let set =
        |signals| std::mem::replace(&mut *SIGNALS.lock().unwrap_or_else(PoisonError::into_inner), signals);
    let before = set(signals);
    let done = work();
    set(before);
    done
}

/// Whether a signal has asked the command to stop.
pub fn stopped() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// Answers a signal. The first one came at `first`.
fn stop(first: Instant) {
    let again = STOP.swap(true, Ordering::SeqCst);
    let signals = || *SIGNALS.lock().unwrap_or_else(PoisonError::into_inner);
    match signals() {
        Signals::Save if !again => tell("stopping after this step, to save; Ctrl-C again ends at once"),
        Signals::Save if first.elapsed() >= AGAIN => {
            end("svp-train --resume goes on from what was saved last")
        }
        Signals::Save | Signals::Wait => {}
        Signals::End => {
            sleep(GRACE);
            // Training may have begun meanwhile, and then it saves.
            if signals() == Signals::End {
                end("run it again");
            }
        }
    }
}

/// Ends the process, which leaves nothing half-written.
fn end(last_words: &str) -> ! {
    remove_unfinished();
    if stderr().is_terminal() {
        // The line of a bar, or the ^C that the terminal shows, is not written on.
        tell("");
    }
    tell(&format!("error: stopped by a signal; {last_words}"));
    process::exit(INTERRUPTED)
}
