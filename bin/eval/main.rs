//! `svp-eval`: measures a trained model on labelled images.

#![forbid(unsafe_code)]

mod report;
mod untouched;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use svp::Result;
use svp::checkpoint::write_atomically;
use svp::examination::Examination;
use svp::model::Model;
use svp_cli::{Images, Measure, Noise, Run, Using};

use crate::report::Report;

/// Measures a trained model: top-1 and top-5 accuracy, precision, recall and F1 of every class, their means, balanced
/// accuracy, and expected calibration error.
///
/// Other labelled images (--data) need not have all classes of the run. With --method none it is no run that is measured,
/// but a backbone with the head that it was trained with, such as Vim on ImageNet.
#[derive(Parser)]
#[command(version, max_term_width = 110, group(svp_cli::one_run(&["method"])))]
struct Cli {
    #[command(flatten)]
    run: Run,
    /// Measure the backbone of --backbone alone, with its own head, on the class folders of --data: named by WordNet id
    /// (n01440764) for a head of ImageNet's 1,000 classes, by number from 0, or as many as the head has classes
    #[arg(long, requires = "data")]
    method: Option<Method>,
    /// Write the confusion matrix too: a row for each true class, a column for each predicted one
    #[arg(long, value_name = "FILE.csv")]
    confusion: Option<PathBuf>,
    #[command(flatten)]
    measure: Measure,
    #[command(flatten)]
    noise: Noise,
    #[command(flatten)]
    using: Using,
}

#[derive(Clone, Copy, ValueEnum)]
enum Method {
    None,
}

/// What is measured.
struct Measured {
    model: Model,
    /// Names of its classes.
    classes: Vec<String>,
    images: Images,
    data: String,
}

fn main() -> ExitCode {
    svp_cli::exit(|| run(svp_cli::parse(env!("CARGO_BIN_NAME"))))
}

fn run(cli: Cli) -> Result<ExitCode> {
    svp_cli::end_on_signals(|| "nothing was measured; run it again".into())?;
    cli.confusion.as_deref().map_or(Ok(()), svp_cli::check_place)?;
    let Measured { model, classes, images, data } = match cli.run.path() {
        Some(run) => {
            let loaded = cli.using.load(run)?;
            let (config, images) = cli.measure.open(run, &loaded, &cli.noise)?;
            let data = config.data.display().to_string();
            Measured { model: loaded.model, classes: loaded.trained.classes, images, data }
        }
        None => untouched::open(&cli.measure, &cli.noise, &cli.using)?,
    };
    let found = Examination::of(&model, &images.feed, &mut |_| {})?;
    let report = Report::new(data, &images, &classes, &found);
    svp_cli::show(&report, cli.using.json, Report::text)?;
    if let Some(path) = &cli.confusion {
        let csv = found.confusion.csv(&classes);
        svp_cli::whole(|| write_atomically(path, |file| file.write_all(csv.as_bytes())))?;
    }
    Ok(ExitCode::SUCCESS)
}
