//! `svp-sweep`: makes tables of runs.

#![forbid(unsafe_code)]

mod dry_run;
mod files;
mod options;
mod runner;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use svp::sweep::{Plan, Results, Run, RunStatus, SHIPPED, Shipped, Sweep, json, markdown};
use svp::train::backbone;
use svp::{Error, Result};

use svp_cli::Options;

use files::{SWEEP, write, write_results};
use options::{Cli, Command, Resolver, RunArgs};
use runner::Runner;

fn main() -> ExitCode {
    svp_cli::exit(|| run(svp_cli::parse_with_hint(env!("CARGO_BIN_NAME"), as_setting)))
}

/// How a flag of `svp-train` is given to a sweep.
fn as_setting(flag: &str) -> Option<String> {
    Options::has(flag).then(|| format!("a setting of svp-train goes as --set {flag}=VALUE"))
}

fn run(cli: Cli) -> Result<ExitCode> {
    match (cli.command, cli.run) {
        (Some(Command::List), _) => svp_cli::print(&list()?)?,
        (Some(Command::Show { name }), _) => {
            let shipped = Shipped::named(&name);
            let unknown = || Error::input(&name, "is no sweep of the program", "see `svp-sweep list`");
            svp_cli::print(shipped.ok_or_else(unknown)?.text)?;
        }
        (Some(Command::Report { folders, out, json }), _) => report(&folders, out, json)?,
        (None, Some(args)) => return sweep(&args),
        (None, None) => unreachable!("the command line must name a sweep"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The names and titles of the sweeps that come with the program.
fn list() -> Result<String> {
    let titles = SHIPPED.iter().map(|shipped| {
        let sweep = Sweep::parse(Path::new(shipped.name), shipped.text)?;
        let also = shipped.also.map_or(String::new(), |also| format!("; also {also}"));
        Ok(format!("{:<14}  {}{also}\n", shipped.name, sweep.title))
    });
    titles.collect()
}

/// Makes the runs of a sweep that are not done yet, and its table.
fn sweep(args: &RunArgs) -> Result<ExitCode> {
    svp_cli::start_threads(None)?;
    let sweep = args.open()?;
    let out = args.folder();
    check_folder(&out, &sweep)?;
    let resolver = Resolver::default();
    let plan = Plan::new(sweep, &|settings| resolver.resolve(settings))?;
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
    let ended = svp_cli::when_signalled(svp_cli::Signals::Wait, || runner.run())?;
    // Other machines may have written into the folder meanwhile.
    let mut results = Results::read(&plan, &folders)?;
    ended.failures.into_iter().for_each(|(run, failure)| results.set(run, RunStatus::Failed(failure)));
    write_results(&plan, &results, &out)?;
    svp_cli::print(&shown(&plan, &results, args.json))?;
    if svp_cli::stopped() || ended.resumable {
        let why = if svp_cli::stopped() { "stopped by a signal" } else { "a device was lost" };
        let left = results.left(mine);
        svp_cli::tell(&format!("error: {why} and {left} runs are left; the same command goes on with them"));
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

/// Refuses a folder that holds another sweep.
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

/// Merges the results in folders that hold parts of one sweep.
fn report(folders: &[PathBuf], out: Option<PathBuf>, json: bool) -> Result<()> {
    let mut sweeps = folders.iter().map(|folder| {
        let path = folder.join(SWEEP);
        if !path.is_file() {
            let what = format!("holds no sweep (no {SWEEP})");
            return Err(Error::path(folder, what, "give the --out of a sweep"));
        }
        Sweep::open(&path).map(|sweep| (sweep, folder))
    });
    let (first, folder) = sweeps.next().expect("clap asks for one")?;
    for sweep in sweeps {
        let (sweep, other) = sweep?;
        if sweep.without_paths() != first.without_paths() {
            let what = format!("belongs to another sweep than {}", folder.display());
            return Err(Error::path(&other.join(SWEEP), what, "report on parts of one sweep"));
        }
    }
    let resolver = Resolver::default();
    let plan = Plan::new(first, &|settings| resolver.resolve(settings))?;
    let results = Results::read(&plan, folders)?;
    let out = out.unwrap_or_else(|| folder.clone());
    std::fs::create_dir_all(&out).map_err(|e| Error::io(&out, "make the folder", &e))?;
    write_results(&plan, &results, &out)?;
    svp_cli::print(&shown(&plan, &results, json))
}

/// The results as they are printed.
fn shown(plan: &Plan, results: &Results, as_json: bool) -> String {
    if as_json { json(plan, results) + "\n" } else { markdown(plan, results) }
}
