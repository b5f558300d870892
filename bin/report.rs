//! `svp-report`: writes a run as one page for the browser.

#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;
use svp::checkpoint::write_atomically;
use svp::report::table::percent;
use svp::run_page::{Measured, run_page};
use svp::train::Evaluation;
use svp::{Error, Result};
use svp_cli::{Measure, Split, Using};

/// Writes a run as one HTML page: curves, confusion matrix, accuracy of the classes, mistakes, prompts and settings.
///
/// The page holds everything it shows, so it needs no network.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    /// Folder of the run
    #[arg(value_name = "RUN_DIR")]
    run: PathBuf,
    /// Page to write [default: RUN_DIR/report.html]
    #[arg(long, value_name = "FILE.html")]
    out: Option<PathBuf>,
    #[command(flatten)]
    measure: Measure,
    #[command(flatten)]
    using: Using,
}

#[derive(Serialize)]
struct Written {
    page: String,
    split: Split,
    #[serde(flatten)]
    evaluation: Evaluation,
}

fn main() -> ExitCode {
    svp_cli::exit(run(svp_cli::parse(env!("CARGO_BIN_NAME"))))
}

fn run(cli: Cli) -> Result<ExitCode> {
    if !cli.run.is_dir() {
        return Err(Error::path(&cli.run, "is not a folder", "give the folder of a run"));
    }
    svp_cli::stop_on_signals()?;
    let loaded = cli.using.load(&cli.run)?;
    let images = cli.measure.open(&cli.run, &loaded)?;
    let on = Measured { split: images.split.name(), samples: &images.samples, feed: &images.feed };
    let Some((page, evaluation)) = run_page(&cli.run, &loaded, &images.config, on, &svp_cli::stopped)? else {
        return Err(Error::Interrupted { step: 0, hint: "run it again".into() });
    };
    let out = cli.out.unwrap_or_else(|| cli.run.join("report.html"));
    let html = page.render();
    write_atomically(&out, |file| file.write_all(html.as_bytes()))?;
    let written = Written { page: out.display().to_string(), split: images.split, evaluation };
    svp_cli::show(&written, cli.using.json, text)?;
    Ok(ExitCode::SUCCESS)
}

fn text(Written { page, split, evaluation }: &Written) -> String {
    format!("{page}: top-1 {} on the {} split\n", percent(evaluation.top1 as f32), split.name())
}
