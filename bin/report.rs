//! `svp-report`: a run as one page for the browser.

#![forbid(unsafe_code)]

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use serde::Serialize;
use svp::checkpoint::write_atomically;
use svp::report::table::percent;
use svp::run_page::{Measured, run_page};
use svp::train::{Evaluation, load_trained};
use svp::{Error, Result};
use svp_cli::{Measure, Split, Using};

/// Writes a run as one HTML page that needs no network: curves, confusion matrix, classes, mistakes, prompts.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    /// Folder of the run
    #[arg(value_name = "RUN_DIR")]
    run: PathBuf,
    /// The page [default: RUN_DIR/report.html]
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
    found: Evaluation,
}

fn main() -> ExitCode {
    svp_cli::exit(run(Cli::parse()))
}

fn run(cli: Cli) -> Result<ExitCode> {
    if !cli.run.is_dir() {
        return Err(Error::path(&cli.run, "is not a folder", "give the folder of a run"));
    }
    let device = cli.using.compute.start()?;
    svp_cli::stop_on_signals()?;
    let of = load_trained(&cli.run, cli.using.backbone.as_deref(), &device)?;
    let images = cli.measure.open(&cli.run, &of)?;
    let on = Measured { split: images.split.name(), samples: &images.samples, feed: &images.feed };
    let Some((page, found)) = run_page(&cli.run, &of, &images.config, on, &svp_cli::stopped)? else {
        return Err(Error::Interrupted { step: 0, hint: "run it again".into() });
    };
    let out = cli.out.unwrap_or_else(|| cli.run.join("report.html"));
    let html = page.render();
    write_atomically(&out, |file| file.write_all(html.as_bytes()))?;
    let written = Written { page: out.display().to_string(), split: images.split, found };
    svp_cli::print(&if cli.using.json { json(&written) } else { text(&written) })?;
    Ok(ExitCode::SUCCESS)
}

fn json(written: &Written) -> String {
    serde_json::to_string(written).expect("plain data") + "\n"
}

fn text(Written { page, split, found }: &Written) -> String {
    format!("{page}: top-1 {} on the {} split\n", percent(found.top1 as f32), split.name())
}
