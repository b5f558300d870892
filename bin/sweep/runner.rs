//! Makes the runs of a sweep, each in a process of its own.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use engine::budget;
use svp::data::regular::check_place;
use svp::report::RunDir;
use svp::report::table::{duration, percent};
use svp::sweep::{Failure, Plan, Results, Run, RunStatus, mark_diverged};
use svp::{Error, Result};
use toml::Value;

use crate::files::{write, write_results};
use crate::options::RunArgs;

/// Time between two looks at a child, and at the runs of other processes.
const LOOK: Duration = Duration::from_millis(100);

/// Makes the runs of a plan, several at a time.
pub struct Runner<'a> {
    plan: &'a Plan,
    args: &'a RunArgs,
    out: &'a Path,
    /// Number of runs at a time.
    jobs: usize,
    /// Number of threads of each run.
    threads: usize,
    /// The program that trains.
    train: PathBuf,
    ledger: Mutex<Ledger<'a>>,
    /// Is notified when the ledger changes.
    changed: Condvar,
}

/// What is known of all runs. The jobs read and write it in turns.
struct Ledger<'a> {
    results: Results<'a>,
    /// Number of runs under way here.
    running: usize,
    /// Runs under way in other processes.
    elsewhere: Vec<&'a Run>,
    /// Number and seconds of the runs made here, by task and column.
    times: BTreeMap<(usize, usize), (f64, f64)>,
    /// Whether a run saved and ended early because its device was lost.
    resumable: bool,
    /// What stops the sweep.
    error: Option<Error>,
}

/// How the runs of a sweep ended.
pub struct Ended<'a> {
    /// The runs that failed.
    pub failures: Vec<(&'a Run, Failure)>,
    /// Whether one of them can be resumed.
    pub resumable: bool,
}

impl<'a> Runner<'a> {
    /// A runner for the runs that `results` says are left.
    ///
    /// # Errors
    /// When there is no `svp-train` beside this program.
    pub fn new(plan: &'a Plan, results: Results<'a>, args: &'a RunArgs, out: &'a Path) -> Result<Self> {
        let here =
            std::env::current_exe().map_err(|e| Error::io(Path::new("svp-sweep"), "find itself", &e))?;
        let train = here.with_file_name(format!("svp-train{}", std::env::consts::EXE_SUFFIX));
        if !train.is_file() {
            let what = "is missing: svp-sweep runs the svp-train beside it";
            return Err(Error::path(&train, what, "build or install both"));
        }
        let jobs = args.jobs().min(results.left(|unit| args.is_mine(unit)));
        let threads = args.threads(jobs);
        let (times, elsewhere) = (BTreeMap::new(), vec![]);
        let ledger = Ledger { results, running: 0, elsewhere, times, resumable: false, error: None };
        let ledger = Mutex::new(ledger);
        Ok(Runner { plan, args, out, jobs, threads, train, ledger, changed: Condvar::new() })
    }

    /// Makes all runs that can be made, until a signal asks to stop.
    ///
    /// # Errors
    /// When a folder or a log cannot be written or `svp-train` not be started. A run that fails is no error.
    pub fn run(self) -> Result<Ended<'a>> {
        let left = self.lock().results.left(|unit| self.args.is_mine(unit));
        svp_cli::tell(&format!("{left} runs to make in {}", self.out.display()));
        std::thread::scope(|scope| {
            // This thread makes runs too, so that the sweep goes on where the system starts no others.
            for job in 1..self.jobs {
                let this = &self;
                let started = std::thread::Builder::new().spawn_scoped(scope, move || this.job(job));
                if let Err(e) = started {
                    svp_cli::tell(&format!(
                        "{job} runs at a time instead of {}: no more threads: {e}",
                        self.jobs
                    ));
                    break;
                }
            }
            self.job(0);
        });
        let ledger = self.ledger.into_inner().unwrap_or_else(PoisonError::into_inner);
        let failures = ledger.results.failures().into_iter();
        let failures = failures.map(|(run, failure)| (run, failure.clone())).collect();
        ledger.error.map_or(Ok(Ended { failures, resumable: ledger.resumable }), Err)
    }

    fn lock(&self) -> MutexGuard<'_, Ledger<'a>> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes one run after another.
    fn job(&self, job: usize) {
        while let Some(run) = self.take() {
            let began = Instant::now();
            let ended = self.make(run, job);
            let mut ledger = self.lock();
            ledger.running -= 1;
            let noted = ended.and_then(|end| self.note(&mut ledger, run, end, began.elapsed()));
            if let Err(error) = noted {
                ledger.error.get_or_insert(error);
            }
            self.changed.notify_all();
        }
    }

    /// Waits for a run that can be made, and takes it; `None` when all are made.
    fn take(&self) -> Option<&'a Run> {
        let mut ledger = self.lock();
        loop {
            if svp_cli::stopped() || ledger.error.is_some() {
                return None;
            }
            if let Err(error) = self.look_elsewhere(&mut ledger) {
                ledger.error = Some(error);
                return None;
            }
            match ledger.results.next(|unit| self.args.is_mine(unit)) {
                Some(run) if RunDir::is_busy(&self.out.join(&run.folder)) => {
                    svp_cli::tell(&format!("{}: another process is running it", run.name()));
                    ledger.results.set(run, RunStatus::Running);
                    ledger.elsewhere.push(run);
                }
                Some(run) => {
                    ledger.results.set(run, RunStatus::Running);
                    ledger.running += 1;
                    return Some(run);
                }
                None if ledger.running == 0 && ledger.elsewhere.is_empty() => return None,
                None => {
                    let waited = self.changed.wait_timeout(ledger, LOOK);
                    ledger = waited.unwrap_or_else(PoisonError::into_inner).0;
                }
            }
        }
    }

    /// Reads the results of runs that other processes have ended.
    fn look_elsewhere(&self, ledger: &mut Ledger<'a>) -> Result<()> {
        let busy = |run: &&Run| RunDir::is_busy(&self.out.join(&run.folder));
        let (still, ended) = std::mem::take(&mut ledger.elsewhere).into_iter().partition(busy);
        ledger.elsewhere = still;
        let mut ended: std::vec::IntoIter<&Run> = Vec::into_iter(ended);
        ended.try_for_each(|run| ledger.results.update(run, self.out))
    }

    /// Trains a run, or goes on with one that was begun.
    fn make(&self, run: &Run, job: usize) -> Result<End> {
        let folder = self.out.join(&run.folder);
        let begun = folder.join("config.toml").is_file();
        let parent = folder.parent().expect("below the sweep's folder");
        fs::create_dir_all(parent).map_err(|e| Error::io(parent, "make the folder", &e))?;
        let mut command = Command::new(&self.train);
        if begun {
            command.arg("--resume").arg(&folder).arg("--data").arg(&run.config.data);
            if let Some(backbone) = &run.config.backbone {
                command.arg("--backbone").arg(backbone);
            }
        } else {
            let mut settings = run.settings.clone();
            settings.entry("workers").or_insert(Value::Integer(self.threads as i64));
            let path = folder.with_extension("toml");
            let text = toml::to_string(&settings).expect("plain values make valid TOML");
            write(&path, text.as_bytes())?;
            command.arg("--config").arg(path).arg("--out").arg(&folder);
        }
        command.args(["--threads", &self.threads.to_string()]);
        // Of several runs at a time each would find the same memory free and take it for its own.
        if budget::set().is_some() || self.jobs > 1 {
            command.args(["--max-memory", &(budget::most() / self.jobs.max(1) as u64).max(1).to_string()]);
        }
        if !self.args.device.is_empty() {
            command.args(["--device", &self.args.device[job % self.args.device.len()]]);
        }
        let log = folder.with_extension("log");
        let open = |e| Error::io(&log, "write the log", &e);
        check_place(&log)?;
        let file = OpenOptions::new().create(true).append(true).open(&log).map_err(open)?;
        let before = file.metadata().map_err(open)?.len();
        let copy: File = file.try_clone().map_err(open)?;
        let child = command.stdin(Stdio::null()).stdout(file).stderr(copy).spawn();
        let child = child.map_err(|e| Error::io(&self.train, "start", &e))?;
        let status = wait(child).map_err(|e| Error::io(&self.train, "wait for", &e))?;
        let said = end_of(&log, before).unwrap_or_default();
        self.ended(&folder, begun, status, &said)
    }

    /// What became of a run, judged by its exit status and what it said.
    fn ended(&self, folder: &Path, begun: bool, status: ExitStatus, said: &str) -> Result<End> {
        if status.success() {
            return Ok(End::Done);
        }
        // Another process may have begun the run after this one looked and before the run locked its folder.
        let contended = RunDir::is_busy(folder) || !begun && folder.join("config.toml").is_file();
        if svp_cli::stopped() || contended && status.code() == Some(1) {
            return Ok(End::Open);
        }
        let error = said.lines().rev().find_map(|line| line.strip_prefix("error: "));
        let message = error.map_or_else(|| status.to_string(), String::from);
        let diverged = status.code() == Some(3);
        if diverged {
            mark_diverged(folder, &message)?;
        }
        let resumable = status.code() == Some(75);
        Ok(End::Failed(Failure { diverged, message }, resumable))
    }

    /// Notes how a run ended, and writes the results.
    fn note(&self, ledger: &mut Ledger<'a>, run: &Run, end: End, time: Duration) -> Result<()> {
        match end {
            End::Open => ledger.results.set(run, RunStatus::Todo),
            End::Failed(failure, resumable) => {
                svp_cli::tell(&format!("{} failed: {}", run.name(), failure.message));
                ledger.resumable |= resumable;
                ledger.results.set(run, RunStatus::Failed(failure));
            }
            End::Done => {
                ledger.results.update(run, self.out)?;
                if matches!(ledger.results.status(run), RunStatus::Todo) {
                    let message = "ended without a report".into();
                    ledger.results.set(run, RunStatus::Failed(Failure { diverged: false, message }));
                }
                let (runs, seconds) = ledger.times.entry(run.cell).or_default();
                (*runs, *seconds) = (*runs + 1.0, *seconds + time.as_secs_f64());
                self.tell_progress(ledger, run, time);
            }
        }
        write_results(self.plan, &ledger.results, self.out)
    }

    fn tell_progress(&self, ledger: &Ledger, run: &Run, time: Duration) {
        let RunStatus::Done(outcome) = ledger.results.status(run) else { return };
        let (top1, took) =
            (percent(outcome.score().map_or(f64::NAN, |score| score.value) as f32), duration(time));
        let open = ledger.results.open(|unit| self.args.is_mine(unit));
        // Runs of the same task and method take as long. Failing these, runs of the same method give an idea, and else all.
        let mean = |times: &mut dyn Iterator<Item = &(f64, f64)>| {
            let (runs, seconds) = times.fold((0.0, 0.0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
            (runs > 0.0).then(|| seconds / runs)
        };
        let expected = |run: &Run| {
            let of_method = ledger.times.iter().filter(|((_, column), _)| *column == run.cell.1);
            mean(&mut ledger.times.get(&run.cell).into_iter())
                .or(mean(&mut of_method.map(|(_, times)| times)))
                .or(mean(&mut ledger.times.values()))
        };
        let known: f64 = open.iter().filter_map(|run| expected(run)).sum();
        let sure = open.iter().all(|run| ledger.times.contains_key(&run.cell));
        let about = if sure { "about" } else { "very roughly" };
        let rest = duration(Duration::from_secs_f64(known / self.jobs as f64));
        let left = open.len();
        let name = run.name();
        let time = if left > 0 { format!(", {about} {rest}") } else { String::new() };
        svp_cli::tell(&format!("{name}: {top1} in {took}; {left} left{time}"));
    }
}

/// How a run ended.
enum End {
    Done,
    /// It goes on later, or another process is running it.
    Open,
    /// The flag says whether it can be resumed.
    Failed(Failure, bool),
}

/// Waits for a run to end, and passes a signal to stop on to it.
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
    // If it has ended already, there is nothing to stop.
    let _ = kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM);
}

/// Kills a run; resumed from what it saved last, it ends with the same bytes.
#[cfg(not(unix))]
fn stop(child: &mut Child) {
    let _ = child.kill();
}

/// The last lines that a run wrote behind the first `before` bytes of its log.
fn end_of(log: &Path, before: u64) -> io::Result<String> {
    const MOST: u64 = 64 << 10;
    let mut file = File::open(log)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(before.max(length.saturating_sub(MOST))))?;
    let mut said = vec![];
    file.take(MOST).read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}
