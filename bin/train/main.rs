//! `svp-train`: trains prompts, a head or a whole Vim.

#![forbid(unsafe_code)]

mod demo;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use engine::Device;
use svp::data::archive;
use svp::report::{Place, Show};
use svp::train::{
    BUILTIN, Moved, Outcome, Session, Surroundings, TrainConfig, dataset, dry_run, explain_memory,
    fitting_batch_size,
};
use svp::{Error, Result};

use svp_cli::method_flags::of_named_method;
use svp_cli::options::Options;
use svp_cli::values::BatchSize;
use svp_cli::{Signals, when_signalled};

/// Adapts a frozen, pre-trained Vision Mamba to a new image task by selective visual prompts or another method.
///
/// Without settings it runs a demonstration: a linear probe against SVP, on a drawn task with a built-in backbone.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    options: Options,
    /// TOML file with settings, whose keys are the long flags without --; flags win over it
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Folder of the run; for the demonstration, the folder in which its runs get theirs [default: runs/METHOD-DATA-N]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Continue the run in this folder; --data and --backbone say where these are now if they were moved, --lr gives the
    /// rest of the run another rate
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "out", "dry_run"])]
    resume: Option<PathBuf>,
    /// Check backbone and data, make one step, say what would be trained, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the report as JSON, one object a run
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let command = of_named_method(Cli::command(), std::env::args());
    svp_cli::exit(run(svp_cli::parse_as(env!("CARGO_BIN_NAME"), command)))
}

fn run(cli: Cli) -> Result<ExitCode> {
    let file = cli.config.as_deref().map(Options::read).transpose()?.unwrap_or_default();
    let flags: Vec<String> = cli.options.given().into_iter().map(String::from).collect();
    let mut options = cli.options.over(file);
    if options.preset.as_deref() == Some("list") {
        svp_cli::print(&show::presets())?;
        return Ok(ExitCode::SUCCESS);
    }
    options = options.with_preset()?;
    let compute = options.take_compute();
    let device = compute.start()?;
    svp_cli::stop_on_signals()?;
    let device_flag = compute.device_flag();
    let around = Surroundings { device, device_flag, show: Show::fitting(), stop: &svp_cli::stopped };
    let parent = Path::new("runs");
    let outcomes = if let Some(folder) = &cli.resume {
        vec![resume(folder, &options, around)?]
    } else if let (None, Some(configs)) = (&cli.config, demo::runs(&options))
        && !cli.dry_run
    {
        let parent = cli.out.as_deref().unwrap_or(parent);
        let run = |config| {
            let place = numbered(parent, &config);
            start(config, &place, around.clone())
        };
        configs.into_iter().map(run).collect::<Result<_>>()?
    } else {
        let config = sized(options, &flags, &around.device)?;
        if cli.dry_run {
            let found = dry_run(&config, &around.device, around.stop);
            let found = found.map_err(|e| explain_memory(e, &config, &around.device))?;
            svp_cli::show(&found, cli.json, show::dry_run)?;
            return Ok(ExitCode::SUCCESS);
        }
        let place = cli.out.map_or_else(|| numbered(parent, &config), Place::Given);
        vec![start(config, &place, around)?]
    };
    let lines = || outcomes.iter().map(svp_cli::json_line).collect();
    svp_cli::print(&if cli.json { lines() } else { show::outcomes(&outcomes) })?;
    // For whoever sits before it, and not for logs. Of the demonstration's runs the last is the better one.
    if let Some(last) = outcomes.last().filter(|_| !cli.json && Show::fitting() == Show::Bar) {
        show::next(&last.folder).lines().for_each(svp_cli::tell);
    }
    Ok(ExitCode::SUCCESS)
}

fn resume(folder: &Path, options: &Options, around: Surroundings) -> Result<Outcome> {
    if let Some(name) = options.given().iter().find(|name| !["data", "backbone", "lr"].contains(name)) {
        let flag = format!("--{}", name.replace('_', "-"));
        return Err(Error::input(flag, "a resumed run keeps its settings but --lr", "leave the flag out"));
    }
    let moved = Moved { data: options.data.clone(), backbone: options.backbone.clone(), lr: options.lr };
    train(Session::resume(folder, moved, around)?)
}

/// The config of the settings. A batch size of auto becomes the largest that fits into memory, and one that nobody gave
/// is made no larger than the data.
fn sized(options: Options, flags: &[String], device: &Device) -> Result<TrainConfig> {
    let (auto, given) = (options.batch_size == Some(BatchSize::Auto), options.batch_size.is_some());
    options.unused().iter().for_each(|line| svp_cli::tell(line));
    let mut config = options.resolve()?;
    Options::check_effect(flags, &config)?;
    if let Some(preset) = &config.preset {
        svp_cli::tell(&show::preset(preset, &config.preset_overrides()));
    }
    if !given {
        config.check()?;
        let images = dataset(&config)?.train.len();
        let most = (images / config.accumulate.max(1)).max(1);
        if config.batch_size > most {
            config.batch_size = most;
            svp_cli::tell(&format!("batch size: {most}, because there are only {images} training images"));
        }
    }
    if auto {
        config.batch_size = fitting_batch_size(&config, device)?;
        svp_cli::tell(&format!("batch size: {}", config.batch_size));
    }
    Ok(config)
}

fn start(config: TrainConfig, place: &Place, around: Surroundings) -> Result<Outcome> {
    let device = around.device.clone();
    let done = Session::start(config.clone(), place, &svp_cli::tell, around).and_then(train);
    done.map_err(|e| explain_memory(e, &config, &device))
}

/// Trains to the end, or until a signal asks to save and stop.
fn train(session: Session) -> Result<Outcome> {
    when_signalled(Signals::Save, || session.run())
}

/// A folder below `parent` that does not exist yet, named after method and data.
fn numbered(parent: &Path, config: &TrainConfig) -> Place {
    let data = config.data.file_name().map(|name| name.to_string_lossy().replace(BUILTIN, ""));
    Place::numbered(parent, config.method.entry.name, data.as_deref().map_or("data", archive::stem))
}
