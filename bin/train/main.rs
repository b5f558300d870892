//! `svp-train`: trains prompts, a head or a whole Vim.

mod options;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Parser;
use engine::Device;
use svp::report::{Show, default_name};
use svp::train::{Outcome, Session, Surroundings};
use svp::{Error, Result};

use options::Options;

/// Adapts a frozen, pre-trained Vision Mamba to a new image task with selective visual prompts.
///
/// Without arguments: a demonstration on a drawn task with a built-in backbone.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    options: Options,
    /// Settings as TOML; flags win
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Run folder [default: runs/METHOD-DATA-N]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Continue the run in this folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "out"])]
    resume: Option<PathBuf>,
    /// Threads that compute [default: the number of cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// Print the report as JSON on standard output
    #[arg(long)]
    json: bool,
}

static STOP: AtomicBool = AtomicBool::new(false);

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("error: {e}");
            ExitCode::from(e.exit_code() as u8)
        }
    }
}

fn run(cli: Cli) -> Result<()> {
    let threads = rayon::ThreadPoolBuilder::new().num_threads(cli.threads.unwrap_or(0)).build_global();
    threads.map_err(|e| Error::input("--threads", e.to_string(), "use at least 1"))?;
    ctrlc::set_handler(|| STOP.store(true, Ordering::SeqCst))
        .map_err(|e| Error::input("signals", e.to_string(), "run in an ordinary process"))?;
    let stop = || STOP.load(Ordering::SeqCst);
    let around = Surroundings { device: Device::cpu(), show: Show::fitting(), stop: &stop };
    let outcome = match &cli.resume {
        Some(folder) => resume(folder, &cli.options, around)?,
        None => start(&cli, around)?,
    };
    print(&outcome, cli.json);
    Ok(())
}

fn resume(folder: &Path, options: &Options, around: Surroundings) -> Result<Outcome> {
    if let Some(name) = options.given().first() {
        let flag = format!("--{}", name.replace('_', "-"));
        return Err(Error::input(flag, "a resumed run keeps its settings", "leave the flag out"));
    }
    Session::resume(folder, around)?.run()
}

fn start(cli: &Cli, around: Surroundings) -> Result<Outcome> {
    let file = match &cli.config {
        Some(path) => Options::read(path)?,
        None => Options::default(),
    };
    let config = cli.options.clone().over(file).resolve();
    let data = config.data.file_name().map(|name| name.to_string_lossy().replace("builtin:", ""));
    let out = cli.out.clone().unwrap_or_else(|| {
        default_name(Path::new("runs"), config.method.name(), data.as_deref().unwrap_or("data"))
    });
    eprintln!("run folder: {}", out.display());
    Session::start(config, &out, around)?.run()
}

fn print(outcome: &Outcome, json: bool) {
    if json {
        println!("{}", serde_json::to_string(outcome).expect("plain data"));
        return;
    }
    let on = if outcome.test.is_some() { "test" } else { outcome.selected_on };
    println!(
        "{on} top-1 {:.2}%  (epoch {} of {}, chosen on {})",
        100.0 * outcome.top1(),
        outcome.best_epoch,
        outcome.epochs,
        outcome.selected_on
    );
}
