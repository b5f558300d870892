//! Makes the runs of a sweep, each in a process of its own.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use svp::report::RunDir;
use svp::report::table::{duration, percent};
use svp::sweep::{Failure, Plan, Results, Run, State, mark_diverged};
use svp::{Error, Result};
use toml::Value;

use crate::options::RunArgs;
use crate::{write, write_results};

/// How often a child, and a run of another process, is looked at.
const LOOK: Duration = Duration::from_millis(100);

pub struct Runner<'a> {
    plan: &'a Plan,
    args: &'a RunArgs,
    out: &'a Path,
    /// The program that trains.
    train: PathBuf,
    shared: Mutex<Shared<'a>>,
    /// Something changed in `shared`.
    changed: Condvar,
}

/// What the jobs share.
struct Shared<'a> {
    results: Results<'a>,
    /// Runs under way here.
    running: usize,
    /// Runs under way in other processes.
    elsewhere: Vec<&'a Run>,
    /// Number and seconds of the runs made here, by column.
    times: BTreeMap<usize, (f64, f64)>,
    /// What stops the sweep.
    error: Option<Error>,
}

impl<'a> Runner<'a> {
    pub fn new(plan: &'a Plan, results: Results<'a>, args: &'a RunArgs, out: &'a Path) -> Result<Self> {
        let here =
            std::env::current_exe().map_err(|e| Error::io(Path::new("svp-sweep"), "find itself", &e))?;
        let train = here.with_file_name(format!("svp-train{}", std::env::consts::EXE_SUFFIX));
        if !train.is_file() {
            let what = "is missing: svp-sweep runs the svp-train beside it";
            return Err(Error::path(&train, what, "build or install both"));
        }
        let shared = Shared { results, running: 0, elsewhere: vec![], times: BTreeMap::new(), error: None };
        Ok(Runner { plan, args, out, train, shared: Mutex::new(shared), changed: Condvar::new() })
    }

    /// Makes all runs that can be made, until a signal asks to stop.
    pub fn run(self) -> Result<Results<'a>> {
        let left = self.lock().results.left(|unit| self.args.is_mine(unit));
        svp_cli::tell(&format!("{left} runs to make in {}", self.out.display()));
        std::thread::scope(|scope| {
            for job in 0..self.args.jobs.min(left) {
                let this = &self;
                scope.spawn(move || this.job(job));
            }
        });
        let shared = self.shared.into_inner().unwrap_or_else(PoisonError::into_inner);
        shared.error.map_or(Ok(shared.results), Err)
    }

    fn lock(&self) -> MutexGuard<'_, Shared<'a>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One run after another.
    fn job(&self, job: usize) {
        while let Some(run) = self.take() {
            let began = Instant::now();
            let ended = self.make(run, job);
            let mut shared = self.lock();
            shared.running -= 1;
            let kept = ended.and_then(|end| self.keep(&mut shared, run, end, began.elapsed()));
            if let Err(error) = kept {
                shared.error.get_or_insert(error);
            }
            self.changed.notify_all();
        }
    }

    /// A run that is to be made, once there is one; `None` at the end.
    fn take(&self) -> Option<&'a Run> {
        let mut shared = self.lock();
        loop {
            if svp_cli::stopped() || shared.error.is_some() {
                return None;
            }
            if let Err(error) = self.look_elsewhere(&mut shared) {
                shared.error = Some(error);
                return None;
            }
            match shared.results.next(|unit| self.args.is_mine(unit)) {
                Some(run) if RunDir::is_busy(&self.out.join(&run.folder)) => {
                    svp_cli::tell(&format!("{}: another process is at it", run.folder.display()));
                    shared.results.set(run, State::Running);
                    shared.elsewhere.push(run);
                }
                Some(run) => {
                    shared.results.set(run, State::Running);
                    shared.running += 1;
                    return Some(run);
                }
                None if shared.running == 0 && shared.elsewhere.is_empty() => return None,
                None => {
                    let waited = self.changed.wait_timeout(shared, LOOK);
                    shared = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// Reads the runs that other processes have ended.
    fn look_elsewhere(&self, shared: &mut Shared<'a>) -> Result<()> {
        let busy = |run: &&Run| RunDir::is_busy(&self.out.join(&run.folder));
        let (still, ended) = std::mem::take(&mut shared.elsewhere).into_iter().partition(busy);
        shared.elsewhere = still;
        let mut ended: std::vec::IntoIter<&Run> = Vec::into_iter(ended);
        ended.try_for_each(|run| shared.results.update(run, self.out))
    }

    /// Trains, or goes on with a run that was begun.
    fn make(&self, run: &Run, job: usize) -> Result<End> {
        let folder = self.out.join(&run.folder);
        fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "make the run's folder", &e))?;
        let threads = self.args.threads();
        let mut command = Command::new(&self.train);
        if folder.join("config.toml").is_file() {
            command.arg("--resume").arg(&folder);
        } else {
            let mut settings = run.settings.clone();
            settings.entry("workers").or_insert(Value::Integer(threads as i64));
            let path = folder.join("settings.toml");
            let text = toml::to_string(&settings).expect("plain values make valid TOML");
            write(&path, text.as_bytes())?;
            command.arg("--config").arg(path).arg("--out").arg(&folder);
        }
        command.args(["--threads", &threads.to_string()]);
        if !self.args.device.is_empty() {
            command.args(["--device", &self.args.device[job % self.args.device.len()]]);
        }
        let log = folder.join("train.log");
        let open = |e| Error::io(&log, "write the log", &e);
        let file = OpenOptions::new().create(true).append(true).open(&log).map_err(open)?;
        let copy: File = file.try_clone().map_err(open)?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(copy).spawn();
        let child = child.map_err(|e| Error::io(&self.train, "start", &e))?;
        let status = wait(child).map_err(|e| Error::io(&self.train, "wait for", &e))?;
        self.ended(run, &folder, &log, status)
    }

    /// What became of a run.
    fn ended(&self, run: &Run, folder: &Path, log: &Path, status: ExitStatus) -> Result<End> {
        if status.success() {
            return Ok(End::Done);
        }
        if svp_cli::stopped() {
            return Ok(End::Stopped);
        }
        let text = fs::read_to_string(log).unwrap_or_default();
        let said = text.lines().rev().find_map(|line| line.strip_prefix("error: "));
        let message = said.map_or_else(|| format!("{status}, see {}", log.display()), String::from);
        let diverged = status.code() == Some(3);
        if diverged {
            mark_diverged(folder, &message)?;
        }
        svp_cli::tell(&format!("{} failed: {message}", run.folder.display()));
        Ok(End::Failed(Failure { diverged, message }))
    }

    /// Notes how a run ended, and writes the results.
    fn keep(&self, shared: &mut Shared<'a>, run: &Run, end: End, time: Duration) -> Result<()> {
        match end {
            End::Stopped => shared.results.set(run, State::Todo),
            End::Failed(failure) => shared.results.set(run, State::Failed(failure)),
            End::Done => {
                shared.results.update(run, self.out)?;
                if matches!(shared.results.state(run), State::Todo) {
                    let message = "ended without a report".into();
                    shared.results.set(run, State::Failed(Failure { diverged: false, message }));
                }
                let (runs, seconds) = shared.times.entry(run.column).or_default();
                (*runs, *seconds) = (*runs + 1.0, *seconds + time.as_secs_f64());
                self.tell_progress(shared, run, time);
            }
        }
        write_results(self.plan, &shared.results, self.out)
    }

    fn tell_progress(&self, shared: &Shared, run: &Run, time: Duration) {
        let State::Done(outcome) = shared.results.state(run) else { return };
        let (top1, took) = (percent(outcome.top1().unwrap_or(f64::NAN) as f32), duration(time));
        let open = shared.results.open(|unit| self.args.is_mine(unit));
        let mean = |run: &Run| shared.times.get(&run.column).map(|(runs, seconds)| seconds / runs);
        let known: f64 = open.iter().filter_map(|run| mean(run)).sum();
        let unknown = if open.iter().all(|run| mean(run).is_some()) { "about" } else { "more than" };
        let rest = duration(Duration::from_secs_f64(known / self.args.jobs as f64));
        let left = open.len();
        let name = run.folder.strip_prefix("runs").unwrap_or(&run.folder).display();
        svp_cli::tell(&format!("{name}: {top1} in {took}; {left} left, {unknown} {rest}"));
    }
}

/// How a run ended.
enum End {
    Done,
    Stopped,
    Failed(Failure),
}

/// Waits for a run, and passes on that it is asked to stop.
fn wait(mut child: Child) -> std::io::Result<ExitStatus> {
    let mut asked = false;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if svp_cli::stopped() && !asked {
            asked = true;
            stop(&mut child);
        }
        std::thread::sleep(LOOK);
    }
}

/// Asks a run to save and end.
#[cfg(unix)]
fn stop(child: &mut Child) {
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;
    // It may have ended already.
    let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
}

/// Ends a run. What it saved last goes on to the same bytes.
#[cfg(not(unix))]
fn stop(child: &mut Child) {
    let _ = child.kill();
}
