//! `svp-eval`: accuracy of a trained model.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;
use svp::report::Table;
use svp::report::table::{count, percent};
use svp::train::{Evaluation, evaluate, load_trained};
use svp::{Error, Result};
use svp_cli::{Measure, Split, Using};

/// Measures a trained model: top-1, top-5 and every class.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    /// Folder of the run
    #[arg(value_name = "RUN_DIR")]
    run: PathBuf,
    #[command(flatten)]
    measure: Measure,
    #[command(flatten)]
    using: Using,
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
    let of = load_trained(&cli.run, cli.using.backbone.as_deref(), &device)?;
    let images = cli.measure.open(&cli.run, &of)?;
    let classes = &of.trained.classes;
    let Some(found) = evaluate(&of.model, &images.feed, classes.len(), &svp_cli::stopped)? else {
        return Err(Error::Interrupted { step: 0, hint: "run it again".into() });
    };
    let report = Report {
        data: images.config.data.display().to_string(),
        split: images.split,
        classes,
        found: &found,
        broken_images: images.feed.broken(),
    };
    svp_cli::print(&if cli.using.json { json(&report) } else { text(&report) })?;
    Ok(ExitCode::SUCCESS)
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
