//! `svp-train`: trains prompts, a head or a whole Vim.

#![forbid(unsafe_code)]

mod demo;
mod origins;
mod show;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use engine::{Device, or_out_of_memory};
use svp::data::archive;
use svp::report::{LrRange, Place, Show};
use svp::train::{
    BUILTIN, Moved, Outcome, Precision, Rate, Session, Surroundings, TrainConfig, check_same, dataset,
    dry_run, explain_memory, find_precision, fitting_batch_size, read_config,
};
use svp::{Error, Result};

use svp_cli::method_flags::of_named_method;
use svp_cli::options::Options;
use svp_cli::values::{BatchSize, PrecisionChoice};
use svp_cli::{Signals, when_signalled};

use origins::Origins;

/// Adapts a frozen, pre-trained Vision Mamba or ViT to a new image task by selective visual prompts or another method.
///
/// Without settings it runs a demonstration: a linear probe against SVP, on a drawn task with a built-in backbone.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    #[command(flatten)]
    options: Options,
    /// TOML file with settings, whose keys are the long flags without --, and with out; flags win over it
    #[arg(long, value_name = "FILE.toml")]
    config: Option<PathBuf>,
    /// Folder of the run; for the demonstration, the folder in which its runs get theirs [default: runs/METHOD-DATA-N]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Continue the run in this folder; --data and --backbone say where these are now if they were moved, --lr gives the
    /// rest of the run another rate, --epochs makes it longer
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "out", "dry_run"])]
    resume: Option<PathBuf>,
    /// Continue the run in the folder of --out if there is one with these settings, so that the same command goes on where
    /// it stopped; a run that is finished says its result
    #[arg(long, conflicts_with_all = ["resume", "dry_run"])]
    requeue: bool,
    /// Check backbone and data, make one step, say what would be trained, and write nothing
    #[arg(long)]
    dry_run: bool,
    /// Print the report as JSON, one object a run
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let command = of_named_method(Cli::command(), std::env::args());
    svp_cli::exit(|| run(svp_cli::parse_as(env!("CARGO_BIN_NAME"), command)))
}

fn run(cli: Cli) -> Result<ExitCode> {
    let file = cli.config.as_deref().map(Options::read).transpose()?;
    let origins = Origins::new(&cli.options, cli.config.as_deref().zip(file.as_ref().map(|(file, _)| file)));
    let (file, out) = file.unwrap_or_default();
    let out = cli.out.or(out);
    let mut options = cli.options.over(file);
    if options.preset.as_deref() == Some("list") {
        svp_cli::print(&show::presets())?;
        return Ok(ExitCode::SUCCESS);
    }
    let origins = origins.with_preset(options.preset.as_deref())?;
    options = options.with_preset()?;
    let compute = options.take_compute();
    let device = compute.start()?;
    svp_cli::stop_on_signals()?;
    let device_flag = compute.device_flag();
    let around = Surroundings { device, device_flag, show: Show::fitting(), stop: &svp_cli::stopped };
    let parent = Path::new("runs");
    if cli.requeue && out.is_none() {
        return Err(Error::input("--requeue", "no folder is named to go on in", "add --out DIR"));
    }
    let begun = out.as_deref().filter(|out| cli.requeue && out.join("config.toml").is_file());
    let outcomes = if let Some(folder) = &cli.resume {
        vec![resume(folder, &options, around)?]
    } else if let Some(folder) = begun {
        vec![requeue(folder, options, around)?]
    } else if let (None, Some(configs)) = (&cli.config, demo::runs(&options))
        && !cli.dry_run
        && !cli.requeue
    {
        let parent = out.as_deref().unwrap_or(parent);
        let origins = Origins::all("demonstration");
        let run = |mut config: TrainConfig| {
            if options.precision == Some(PrecisionChoice::Auto) {
                config.precision = fitting_precision(&config, &around.device)?;
            }
            let place = numbered(parent, &config);
            start(config, &origins, &place, around.clone())
        };
        configs.into_iter().map(run).collect::<Result<_>>()?
    } else {
        let (config, origins) = sized(options, origins, &around.device)?;
        if cli.dry_run {
            let found = or_out_of_memory(|| dry_run(&config, &around.device, around.stop));
            let found = found.map_err(|e| explain_memory(e, &config, &around.device))?;
            svp_cli::tell(&origins.line(&config)?);
            svp_cli::show(&found, cli.json, show::dry_run)?;
            return Ok(ExitCode::SUCCESS);
        }
        let place = out.map_or_else(|| numbered(parent, &config), Place::Given);
        vec![start(config, &origins, &place, around)?]
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
    if let Some(name) =
        options.given().iter().find(|name| !["data", "backbone", "lr", "epochs"].contains(name))
    {
        let flag = format!("--{}", name.replace('_', "-"));
        return Err(Error::input(
            flag,
            "a resumed run keeps its settings but --lr and --epochs",
            "leave the flag out",
        ));
    }
    let lr = match options.lr {
        Some(Rate::Auto) => {
            return Err(Error::input(
                "--lr",
                "a run that goes on has its rate",
                "give a number, or leave it out",
            ));
        }
        other => other.map(Rate::value),
    };
    let (data, backbone) = (options.data.clone(), options.backbone.clone());
    let moved = Moved { data, backbone, lr, epochs: options.epochs };
    let session = Session::resume(folder, moved, around)?;
    svp_cli::tell(&Origins::all("the run's").line(session.config())?);
    train(session)
}

/// Goes on with the run in a folder, which must have these settings; of a finished one, reads the report.
fn requeue(folder: &Path, options: Options, around: Surroundings) -> Result<Outcome> {
    let begun = read_config(&folder.join("config.toml"))?;
    let (batch_size, precision) = (options.batch_size, options.precision);
    let mut config = options.resolve()?;
    // The program chose it when the run began: the most that fit into memory, or as many as a small data set has.
    config.batch_size = match batch_size {
        Some(BatchSize::Images(n)) => n,
        Some(BatchSize::Auto) => begun.batch_size,
        None => begun.batch_size.min(config.batch_size),
    };
    if precision == Some(PrecisionChoice::Auto) {
        config.precision = begun.precision;
    }
    if config.lr == Rate::Auto && folder.join(LrRange::FILE).exists() {
        config.lr = begun.lr;
    }
    check_same(folder, &begun, &config)?;
    if let Some(outcome) = Outcome::read(folder)? {
        svp_cli::tell(&format!("{}: this run is finished", folder.display()));
        return Ok(outcome);
    }
    let session = Session::resume(folder, Moved::default(), around)?;
    svp_cli::tell(&Origins::all("the run's").line(session.config())?);
    train(session)
}

/// The config of the settings. A precision of auto is found, a batch size of auto becomes the largest that fits into memory,
/// and one that nobody gave is made no larger than the data.
fn sized(options: Options, mut origins: Origins, device: &Device) -> Result<(TrainConfig, Origins)> {
    let (auto, given) = (options.batch_size == Some(BatchSize::Auto), options.batch_size.is_some());
    let precision = options.precision;
    let spec = options.backbone_spec()?;
    options.unused(&spec).iter().for_each(|line| svp_cli::tell(line));
    let mut config = options.resolve_on(&spec)?;
    Options::check_effect(origins.flags(), &config)?;
    if let Some(preset) = &config.preset {
        svp_cli::tell(&show::preset(preset, &config.preset_overrides()));
    }
    if !given {
        config.check()?;
        let images = dataset(&config)?.train.len();
        let most = (images / config.accumulate.max(1)).max(1);
        if config.batch_size > most {
            config.batch_size = most;
            origins.fitted("batch_size");
            svp_cli::tell(&format!("batch size: {most}, because there are only {images} training images"));
        }
    }
    if precision == Some(PrecisionChoice::Auto) {
        config.precision = fitting_precision(&config, device)?;
    }
    if auto {
        config.batch_size = fitting_batch_size(&config, device)?;
        svp_cli::tell(&format!("batch size: {}", config.batch_size));
        origins.fitted("batch_size");
    }
    Ok((config, origins))
}

/// The precision that auto becomes, which is told.
fn fitting_precision(config: &TrainConfig, device: &Device) -> Result<Precision> {
    let found = or_out_of_memory(|| find_precision(config, device))?;
    svp_cli::tell(&format!("precision: {}, because {}", found.precision, found.why));
    Ok(found.precision)
}

fn start(config: TrainConfig, origins: &Origins, place: &Place, around: Surroundings) -> Result<Outcome> {
    let (device, settings) = (around.device.clone(), origins.line(&config)?);
    // What is refused is refused in one line, so the settings are told when the run has its folder.
    let tell = |line: &str| [&*settings, line].into_iter().for_each(svp_cli::tell);
    let done = or_out_of_memory(|| Session::start(config.clone(), place, &tell, around).and_then(train));
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
