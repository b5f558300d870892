//! `svp-eval`: measures the accuracy of a trained model.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;
use svp::data::text::shown;
use svp::report::Table;
use svp::report::table::{count, percent};
use svp::train::{Evaluation, evaluate};
use svp::{Error, Result};
use svp_cli::{Measure, Split, Using};

/// Measures the top-1 and top-5 accuracy of a trained model, and the accuracy of every class.
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
    evaluation: &'a Evaluation,
    broken_images: Vec<String>,
}

fn main() -> ExitCode {
    svp_cli::exit(run(svp_cli::parse(env!("CARGO_BIN_NAME"))))
}

fn run(cli: Cli) -> Result<ExitCode> {
    svp_cli::stop_on_signals()?;
    let loaded = cli.using.load(&cli.run)?;
    let images = cli.measure.open(&cli.run, &loaded)?;
    let classes = &loaded.trained.classes;
    let Some(evaluation) = evaluate(&loaded.model, &images.feed, classes.len(), &svp_cli::stopped)? else {
        return Err(Error::Interrupted { step: 0, hint: "run it again".into() });
    };
    let report = Report {
        data: images.config.data.display().to_string(),
        split: images.split,
        classes,
        evaluation: &evaluation,
        broken_images: images.feed.broken(),
    };
    svp_cli::show(&report, cli.using.json, text)?;
    Ok(ExitCode::SUCCESS)
}

fn text(report: &Report) -> String {
    let mut table = Table::new(["class", "top-1", "correct", "images"]);
    let share = |correct: usize, images: usize| percent(correct as f32 / images as f32);
    let mut row = |name: &str, correct: usize, images: usize| {
        table.row([name.into(), share(correct, images), count(correct as u64), count(images as u64)]);
    };
    let evaluation = report.evaluation;
    for (class, &(correct, images)) in report.classes.iter().zip(&evaluation.per_class) {
        row(class, correct, images);
    }
    const NAMED: usize = 20;
    let all = &report.broken_images;
    let named = all.iter().take(NAMED);
    let mut broken: String = named.map(|reason| format!("left out: {reason}\n")).collect();
    match all.len() {
        0 => {}
        1 => broken.push_str("1 image could not be read\n"),
        n => broken.push_str(&format!("{n} images could not be read; --json lists all of them\n")),
    }
    // Of five classes or fewer, every image is among the first five.
    let top5 = match report.classes.len() {
        ..=5 => String::new(),
        _ => format!(" top-5 {},", percent(evaluation.top5 as f32)),
    };
    format!(
        "{table}\n{broken}{:?} split of {}: top-1 {},{top5} loss {:.4}, {} images\n",
        report.split,
        shown(&report.data),
        percent(evaluation.top1 as f32),
        evaluation.loss,
        count(evaluation.images as u64),
    )
}
