//! `svp-cost`: measures what methods cost on a backbone.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use engine::Device;
use serde::Serialize;
use svp::checkpoint::Weights;
use svp::cost::table8::{self, Row8};
use svp::cost::{Asked, Cost, Repeats, csv, measure, text};
use svp::methods::{Chosen, METHODS};
use svp::train::{Precision, TrainConfig, backbone};
use svp::{Error, Result};
use svp_cli::values::{BatchSize, word};
use svp_cli::{Compute, Options};

/// Measures what methods cost on a backbone and a device: trained parameters, FLOP, latency, training speed, memory.
///
/// FLOP are additions and multiplications, counted by what each op of a forward pass, and of the backward pass of a
/// step, is called with; a product of m x k and k x n counts 2 m k n. Papers that count multiply-adds print about half.
/// GFLOP and GFLOP to train are those of one image. Latency is the time of the evaluation of a batch; memory is the
/// most that tensors and weights take in a training step. Images are random, and the methods take turns on the clock.
/// Steps of linear see features that were computed before.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    /// Methods, with settings behind colons as in vpt:tokens=50:deep=false [default: all that run on the backbone]
    #[arg(value_name = "METHOD[:SETTING=VALUE]...")]
    methods: Vec<String>,
    /// Checkpoint of a backbone, .pth or .safetensors [default: a small built-in one]
    #[arg(long, value_name = "FILE")]
    backbone: Option<PathBuf>,
    /// Which weights of a .pth that holds both: model, or ema (their moving average) [default: model]
    #[arg(long, value_name = "WEIGHTS", value_parser = word::<Weights>, requires = "backbone")]
    weights: Option<Weights>,
    /// A size with initial values instead, which costs the same: vim_tiny, vim_small, vim_base, vim_nano
    #[arg(long, value_name = "NAME", conflicts_with = "backbone")]
    model: Option<String>,
    /// Input size [default: the backbone's]
    #[arg(long, value_name = "PIXELS")]
    img_size: Option<usize>,
    /// Images of a batch
    #[arg(long, value_name = "N", default_value_t = 8)]
    batch_size: usize,
    /// Classes of the head [default: 100; with --ivpt-table8 49]
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    /// Print Table 8 of iVPT, with its numbers below ours: parameters, multiply-adds, latency, minutes of training on a
    /// task of VTAB-1k, memory [default methods: vpt:tokens=10 dam-vp:frames=36 ivpt:tokens=10:salient=10]
    #[arg(long)]
    ivpt_table8: bool,
    /// f32; tf32, whose matrix products round their operands; or bf16. Only f32 on the CPU
    #[arg(long, value_name = "TYPE", value_parser = word::<Precision>, default_value = "f32")]
    precision: Precision,
    /// Rounds in which every method has a turn; medians are over all of them
    #[arg(long, value_name = "N", default_value_t = 5)]
    rounds: usize,
    /// Evaluations and steps that are timed in a turn
    #[arg(long, value_name = "N", default_value_t = 3)]
    times: usize,
    /// Print the costs as CSV
    #[arg(long, conflicts_with = "json")]
    csv: bool,
    /// Print the costs as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

#[derive(Serialize)]
struct Report {
    device: String,
    threads: usize,
    backbone: String,
    precision: Precision,
    batch_size: usize,
    classes: usize,
    rounds: usize,
    methods: Vec<Cost>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ivpt_table8: Option<Table8>,
}

/// Table 8 of iVPT.
#[derive(Serialize)]
struct Table8 {
    here: Vec<Row8>,
    published: Vec<Row8>,
}

fn main() -> ExitCode {
    svp_cli::exit(|| run(svp_cli::parse(env!("CARGO_BIN_NAME"))))
}

fn run(cli: Cli) -> Result<ExitCode> {
    let classes = cli.classes.unwrap_or(if cli.ivpt_table8 { table8::CLASSES } else { 100 });
    for (flag, value) in
        [("batch-size", cli.batch_size), ("classes", classes), ("rounds", cli.rounds), ("times", cli.times)]
    {
        if value == 0 {
            return Err(Error::input(
                format!("--{flag}"),
                "must be at least 1",
                "leave it out for the default",
            ));
        }
    }
    let names: Vec<String> = match cli.methods.is_empty() {
        false => cli.methods.clone(),
        true if cli.ivpt_table8 => table8::METHODS.map(String::from).into(),
        true => METHODS.iter().map(|entry| entry.name.to_string()).collect(),
    };
    let asked = names.into_iter().map(|name| ask(&cli, name)).collect::<Result<Vec<_>>>()?;
    let device = cli.compute.start()?;
    svp_cli::stop_on_signals()?;
    let loaded = backbone(&asked[0].config)?;
    loaded.notes.iter().for_each(|note| svp_cli::tell(note));
    let spec = *loaded.backbone.spec();
    drop(loaded);
    let repeats = Repeats { rounds: cli.rounds, times: cli.times };
    let methods = measure(&asked, classes, &device, repeats, &svp_cli::tell, &svp_cli::stopped)?;
    let report = Report {
        device: described(&device),
        threads: rayon::current_num_threads(),
        backbone: format!("{}, {spec}", spec.family),
        precision: cli.precision,
        batch_size: cli.batch_size,
        classes,
        rounds: cli.rounds,
        ivpt_table8: cli
            .ivpt_table8
            .then(|| Table8 { here: methods.iter().map(Row8::of).collect(), published: Row8::published() }),
        methods,
    };
    match cli.csv {
        true if cli.ivpt_table8 => svp_cli::print(&table8::csv(&report.methods))?,
        true => svp_cli::print(&csv(&report.methods))?,
        false => svp_cli::show(&report, cli.json, shown)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The config of a method as it was named.
fn ask(cli: &Cli, name: String) -> Result<Asked> {
    let mut parts = name.split(':');
    let mut method = Chosen::named(parts.next().expect("there is a first part"))?;
    for part in parts {
        let Some((setting, value)) = part.split_once('=') else {
            let what = format!("{part:?} is no setting with a value");
            return Err(Error::input(&name, what, "write METHOD:SETTING=VALUE, as in vpt:tokens=50"));
        };
        method = method.with_flag(setting, value)?;
    }
    let options = Options {
        backbone: cli.backbone.clone(),
        weights: cli.weights,
        model: cli.model.clone(),
        img_size: cli.img_size,
        batch_size: Some(BatchSize::Images(cli.batch_size)),
        precision: Some(cli.precision.into()),
        method: Some(method.entry.name.into()),
        ..Options::default()
    };
    let config = TrainConfig { method, ..options.resolve()? };
    Ok(Asked { name, config, needed: cli.ivpt_table8 || !cli.methods.is_empty() })
}

/// The device in a few words.
fn described(device: &Device) -> String {
    device.info().unwrap_or_else(|| match device.launcher() {
        None => format!("cpu, {:?}", engine::simd::level()),
        Some(_) => device.name().into(),
    })
}

fn shown(report: &Report) -> String {
    let Report { device, threads, backbone, precision, batch_size, classes, rounds, methods, .. } = report;
    let what = format!(
        "{backbone}, batch {batch_size}, {classes} classes, {precision:?}, on {device}, {threads} threads"
    );
    if report.ivpt_table8.is_some() {
        return format!(
            "{what}\n\n{}\n\
             Medians; turns of each method: {rounds}. Multiply-adds are those of one image, latency is that of a batch of \
             {batch_size}, training is of 1,000 images for the published epochs, without evaluations. Published: iVPT, \
             arXiv 2404.05207, Table 8, on another machine; its parameters are means over VTAB-1k.\n",
            table8::text(methods)
        );
    }
    format!(
        "{what}\n\n{}\n\
         Medians; turns of each method: {rounds}. GFLOP are those of one image; latency is the evaluation of a \
         batch of {batch_size}.\n",
        text(methods, *batch_size)
    )
}
