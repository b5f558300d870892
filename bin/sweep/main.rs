//! `svp-sweep`: tables of runs.

#![forbid(unsafe_code)]

mod dry_run;
mod options;
mod runner;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use svp::checkpoint::write_atomically;
use svp::sweep::{Plan, Results, Run, SHIPPED, State, Sweep, chart, csv, markdown, runs_csv};
use svp::train::backbone;
use svp::{Error, Result};

use options::{Cli, Command, RunArgs, resolve};
use runner::Runner;

/// The sweep as it is kept beside its runs.
const SWEEP: &str = "sweep.toml";

fn main() -> ExitCode {
    svp_cli::exit(run(Cli::parse()))
}

fn run(cli: Cli) -> Result<ExitCode> {
    match (cli.command, cli.run) {
        (Some(Command::List), _) => svp_cli::print(&list()?)?,
        (Some(Command::Show { name }), _) => {
            let shipped = SHIPPED.iter().find(|shipped| shipped.name == name);
            let unknown = || Error::input(&name, "is no sweep of the program", "see `svp-sweep list`");
            svp_cli::print(shipped.ok_or_else(unknown)?.text)?;
        }
        (Some(Command::Report { folders, out, json }), _) => report(&folders, out, json)?,
        (None, Some(args)) => return sweep(&args),
        (None, None) => unreachable!("a sweep is required"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The sweeps that come with the program.
fn list() -> Result<String> {
    let titles = SHIPPED.iter().map(|shipped| {
        let sweep = Sweep::parse(Path::new(shipped.name), shipped.text)?;
        Ok(format!("{:<8}  {}\n", shipped.name, sweep.title))
    });
    titles.collect()
}

/// Makes the runs that are not done yet.
fn sweep(args: &RunArgs) -> Result<ExitCode> {
    let sweep = args.open()?;
    let out = args.folder();
    check_folder(&out, &sweep)?;
    let plan = Plan::new(sweep, &resolve)?;
    let folders = [out.clone()];
    let results = Results::read(&plan, &folders)?;
    results.check_backbones(Some(&|run: &Run| Ok(backbone(&run.config)?.hash)))?;
    let mine = |unit| args.is_mine(unit);
    if args.dry_run {
        return dry_run::tell(&plan, &results, &out, mine);
    }
    let runner = Runner::new(&plan, results, args, &out)?;
    svp_cli::stop_on_signals()?;
    std::fs::create_dir_all(&out).map_err(|e| Error::io(&out, "make the sweep's folder", &e))?;
    write(&out.join(SWEEP), plan.sweep.text().as_bytes())?;
    let (failures, resumable) = runner.run()?;
    // Other machines may have written into the folder meanwhile.
    let mut results = Results::read(&plan, &folders)?;
    failures.into_iter().for_each(|(run, failure)| results.set(run, State::Failed(failure)));
    write_results(&plan, &results, &out)?;
    svp_cli::print(&shown(&plan, &results, args.json))?;
    if svp_cli::stopped() || resumable {
        let why = if svp_cli::stopped() { "stopped by a signal" } else { "a device was lost" };
        let left = results.left(mine);
        svp_cli::tell(&format!("error: {why}, {left} runs are left; the same command goes on with them"));
        return Ok(ExitCode::from(75));
    }
    match results.problems() {
        0 => Ok(ExitCode::SUCCESS),
        failed => {
            let hint = format!("see the .log files beside their folders below {}", out.display());
            Err(Error::input(&plan.sweep.title, format!("{failed} runs failed"), hint))
        }
    }
}

/// Refuses the folder of another sweep.
fn check_folder(out: &Path, sweep: &Sweep) -> Result<()> {
    let path = out.join(SWEEP);
    if !path.is_file() {
        return Ok(());
    }
    let title = Sweep::open(&path)?.title;
    if title != sweep.title {
        let what = format!("holds another sweep ({title})");
        return Err(Error::path(out, what, "choose another --out"));
    }
    Ok(())
}

/// Merges what lies in folders, parts of one sweep.
fn report(folders: &[PathBuf], out: Option<PathBuf>, json: bool) -> Result<()> {
    let mut sweeps = folders.iter().map(|folder| {
        let path = folder.join(SWEEP);
        if !path.is_file() {
            return Err(Error::path(folder, "holds no sweep (no sweep.toml)", "give the --out of a sweep"));
        }
        Sweep::open(&path).map(|sweep| (sweep, folder))
    });
    let (first, folder) = sweeps.next().expect("clap asks for one")?;
    for sweep in sweeps {
        let (sweep, other) = sweep?;
        if sweep.without_places() != first.without_places() {
            let what = format!("is of another sweep than {}", folder.display());
            return Err(Error::path(&other.join(SWEEP), what, "report on parts of one sweep"));
        }
    }
    let plan = Plan::new(first, &resolve)?;
    let results = Results::read(&plan, folders)?;
    let out = out.unwrap_or_else(|| folder.clone());
    std::fs::create_dir_all(&out).map_err(|e| Error::io(&out, "make the folder", &e))?;
    write_results(&plan, &results, &out)?;
    svp_cli::print(&shown(&plan, &results, json))
}

fn shown(plan: &Plan, results: &Results, json: bool) -> String {
    if json { results.json() + "\n" } else { markdown(plan, results) }
}

/// Writes `results.csv`, `runs.csv`, `results.md` and `results.png`.
fn write_results(plan: &Plan, results: &Results, out: &Path) -> Result<()> {
    write(&out.join("runs.csv"), runs_csv(plan, results).as_bytes())?;
    write(&out.join("results.csv"), csv(plan, results).as_bytes())?;
    write(&out.join("results.md"), markdown(plan, results).as_bytes())?;
    write(&out.join("results.png"), &chart(plan, results))
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_atomically(path, |file| file.write_all(bytes))
}
