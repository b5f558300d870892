//! `svp-report`: writes a run as one page for the browser.

#![forbid(unsafe_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;
use svp::checkpoint::write_atomically;
use svp::data::text::shown;
use svp::report::table::percent;
use svp::run_page::{Measured, run_page};
use svp::train::Evaluation;
use svp::{Error, Result};
use svp_cli::{Images, Measure, Noise, Run, Split, Using};

/// Writes a run as one HTML page: curves, confusion matrix, accuracy of the classes, mistakes, prompts and settings.
///
/// The page holds everything it shows, so it needs no network.
#[derive(Parser)]
#[command(version, max_term_width = 110, group(svp_cli::one_run(&[])))]
struct Cli {
    #[command(flatten)]
    run: Run,
    /// Page to write [default: report.html in the run folder]
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
    svp_cli::exit(|| run(svp_cli::parse(env!("CARGO_BIN_NAME"))))
}

fn run(cli: Cli) -> Result<ExitCode> {
    svp_cli::end_on_signals(|| "no page was written; run it again".into())?;
    let run = cli.run.path().expect("clap requires one");
    if !run.exists() {
        return Err(Error::path(run, "is not a folder", "give the folder of a run, or its best.safetensors"));
    }
    let folder = if run.is_dir() { run } else { run.parent().unwrap_or(Path::new("")) };
    let out = cli.out.unwrap_or_else(|| folder.join("report.html"));
    svp_cli::check_place(&out)?;
    let loaded = cli.using.load(run)?;
    let (config, images) = cli.measure.open(run, &loaded, &Noise::default())?;
    let Images { split, samples, feed, .. } = &images;
    let on = Measured { split: split.name(), title: split.title(), samples, feed };
    let (page, evaluation) = run_page(folder, &loaded, &config, on)?;
    let html = page.render();
    svp_cli::whole(|| write_atomically(&out, |file| file.write_all(html.as_bytes())))?;
    let written = Written { page: out.display().to_string(), split: *split, evaluation };
    svp_cli::show(&written, cli.using.json, text)?;
    Ok(ExitCode::SUCCESS)
}

fn text(Written { page, split, evaluation }: &Written) -> String {
    format!("{}: top-1 {} on {}\n", shown(page), percent(evaluation.top1 as f32), split.title())
}
