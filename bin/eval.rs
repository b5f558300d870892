//! `svp-eval`: accuracy of a trained model.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use clap::{Parser, ValueEnum};
use serde::Serialize;
use svp::data::{Dataset, Layout, LoaderOptions, Transform};
use svp::report::Table;
use svp::report::table::{count, percent};
use svp::train::{Evaluation, Feed, TrainConfig, TrainedModel, dataset, evaluate, load_trained};
use svp::{Error, Result};
use svp_cli::Using;

/// Measures a trained model: top-1, top-5 and every class.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    /// Folder of the run
    #[arg(value_name = "RUN_DIR")]
    run: PathBuf,
    /// Images to measure on [default: test where there is one, else val]
    #[arg(long, value_name = "SPLIT")]
    split: Option<Split>,
    /// Other data of the same classes than the run's
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    #[command(flatten)]
    using: Using,
}

#[derive(Debug, Clone, Copy, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Split {
    Test,
    Val,
    Train,
}

#[derive(Serialize)]
struct Report<'a> {
    data: String,
    split: Split,
    classes: &'a [String],
    #[serde(flatten)]
    found: &'a Evaluation,
    broken_images: Vec<String>,
}

fn main() -> ExitCode {
    svp_cli::exit(run(Cli::parse()))
}

fn run(cli: Cli) -> Result<ExitCode> {
    let device = cli.using.compute.start()?;
    svp_cli::stop_on_signals()?;
    let TrainedModel { model, trained, config } =
        load_trained(&cli.run, cli.using.backbone.as_deref(), &device)?;
    let config = config
        .ok_or_else(|| Error::path(&cli.run, "has no config.toml beside it", "give the folder of a run"))?;
    let config = match cli.data {
        Some(data) => TrainConfig { data, dataset: Layout::Auto, ..config },
        None => config,
    };
    let data = dataset(&config)?;
    check_classes(&config, &data, &trained.classes)?;
    let (split, samples) = match (cli.split, data.test) {
        (None | Some(Split::Test), Some(test)) => (Split::Test, test),
        (Some(Split::Test), None) => {
            return Err(Error::path(&config.data, "has no test split", "use --split val"));
        }
        (Some(Split::Train), _) => (Split::Train, data.train),
        (None | Some(Split::Val), _) => (Split::Val, data.val),
    };
    let transform = Transform::eval(model.vim.config.img_size as u32);
    let options = LoaderOptions::eval(config.batch_size, config.workers);
    let feed = Feed::images(&Arc::new(samples), transform, options)?;
    let Some(found) = evaluate(&model, &feed, trained.classes.len(), &svp_cli::stopped)? else {
        return Err(Error::Interrupted { step: 0, hint: "run it again".into() });
    };
    let report = Report {
        data: config.data.display().to_string(),
        split,
        classes: &trained.classes,
        found: &found,
        broken_images: feed.broken(),
    };
    svp_cli::print(&if cli.using.json { json(&report) } else { text(&report) })?;
    Ok(ExitCode::SUCCESS)
}

fn check_classes(config: &TrainConfig, data: &Dataset, trained: &[String]) -> Result<()> {
    let what = if data.classes.len() != trained.len() {
        format!("has {} classes, the model {}", data.classes.len(), trained.len())
    } else if let Some((found, want)) = data.classes.iter().zip(trained).find(|(found, want)| found != want) {
        format!("has the class {found:?} where the model has {want:?}")
    } else {
        return Ok(());
    };
    Err(Error::path(&config.data, what, "give data of the classes that the run was trained on"))
}

fn json(report: &Report) -> String {
    serde_json::to_string(report).expect("plain data") + "\n"
}

fn text(report: &Report) -> String {
    let mut table = Table::new(["class", "top-1", "correct", "images"]);
    let share = |correct: usize, images: usize| percent(correct as f32 / images as f32);
    let mut row = |name: &str, correct: usize, images: usize| {
        table.row([name.into(), share(correct, images), count(correct as u64), count(images as u64)]);
    };
    let found = report.found;
    for (class, &(correct, images)) in report.classes.iter().zip(&found.per_class) {
        row(class, correct, images);
    }
    let broken: String = report.broken_images.iter().map(|reason| format!("left out: {reason}\n")).collect();
    format!(
        "{table}\n{broken}{:?} split of {}: top-1 {}, top-5 {}, loss {:.4}, {} images\n",
        report.split,
        report.data,
        percent(found.top1 as f32),
        percent(found.top5 as f32),
        found.loss,
        count(found.images as u64),
    )
}
