//! Programs that are run, with a time limit; what they print is kept.

use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How a program ended.
pub struct Ended {
    /// `None` when the time was up.
    pub status: Option<ExitStatus>,
    /// What it printed, errors included.
    pub output: String,
}

impl Ended {
    /// What is wrong with a program that should have ended well, and the last that it said.
    pub fn complaint(&self) -> Option<String> {
        match self.status {
            Some(status) if status.success() => None,
            Some(status) => Some(format!("{status}; {}", self.last_words())),
            None => Some(format!("stopped: its time was up; {}", self.last_words())),
        }
    }

    fn last_words(&self) -> String {
        let lines: Vec<&str> = self.output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let from = lines.len().saturating_sub(3);
        format!("it last said: {}", lines[from..].join(" | "))
    }
}

/// A program that runs beside this one. It and all it started end with this value.
pub struct Running {
    child: Child,
    log: PathBuf,
}

/// Starts a program in a process group of its own, its output going to a file.
pub fn start(command: &mut Command, log: &Path) -> Result<Running, String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let wrong = |error: std::io::Error| format!("{name}: {error}");
    let file = File::create(log).map_err(wrong)?;
    let errors = file.try_clone().map_err(wrong)?;
    let child = command.stdin(Stdio::null()).stdout(file).stderr(errors).process_group(0).spawn();
    Ok(Running { child: child.map_err(wrong)?, log: log.into() })
}

impl Running {
    /// Waits, so long at most, until the program ends or `done` holds.
    fn wait_until(&mut self, limit: Duration, done: impl Fn() -> bool) -> Option<ExitStatus> {
        let deadline = Instant::now() + limit;
        loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < deadline && !done() => {}
                Ok(status) => return status,
                Err(_) => return None,
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends it once `done` holds, as a crash would; whether it came so far.
    pub fn kill_when(mut self, limit: Duration, done: impl Fn() -> bool) -> bool {
        self.wait_until(limit, &done).is_none() && done()
    }

    /// Waits for it; when the time is up it is ended.
    pub fn wait(mut self, limit: Duration) -> Ended {
        let status = self.wait_until(limit, || false);
        self.stop();
        let output = fs::read(&self.log).unwrap_or_default();
        Ended { status, output: String::from_utf8_lossy(&output).into_owned() }
    }

    /// Ends it and what it started.
    fn stop(&mut self) {
        let group = format!("-{}", self.child.id());
        if matches!(self.child.try_wait(), Ok(None)) {
            // Without `kill` the program itself is ended all the same.
            let _ = Command::new("kill").args(["-9", "--", &group]).stderr(Stdio::null()).status();
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command, log: &Path, limit: Duration) -> Result<Ended, String> {
    Ok(start(command, log)?.wait(limit))
}
