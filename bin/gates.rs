//! `svp-gates`: draws over images what the scans of a trained model take in and keep.

#![forbid(unsafe_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use engine::Tensor;
use serde::Serialize;
use svp::checkpoint::write_atomically;
use svp::data::decode;
use svp::gates::{Gate, Gates};
use svp::report::chart::heat_map::{Group, Line, Row, heat_maps};
use svp::train::TrainedModel;
use svp::{Error, Result};
use svp_cli::{Preparation, Using, json_line};

/// Shares of the sequence after which the gates are shown.
const SHARES: [f64; 4] = [0.25, 0.5, 0.75, 1.0];
/// Most images in one picture.
const MOST_IMAGES: usize = 50;

/// Draws the update and forget gates of the scans over images, for the frozen backbone and with the prompts.
///
/// The update gate of a token is what it writes into the state, |delta u B|. Its forget gate is what it leaves of the
/// state before it, exp(delta A). Both are means over channels, states and layers. They are shown after 25, 50, 75 and
/// 100 % of the sequence, which the forward scan walks from the first patch and the backward scan from the last; a
/// patch shows the mean over the scans that have passed it. The class token is left out.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    /// Folder of the run whose model is shown, or its best.safetensors
    #[arg(long, value_name = "RUN")]
    run: PathBuf,
    /// Picture to write
    #[arg(long, value_name = "FILE.png")]
    out: PathBuf,
    #[command(flatten)]
    using: Using,
    /// Images, at most 50
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
}

/// The gates of an image; patches are listed row by row.
#[derive(Serialize)]
struct Report {
    image: String,
    /// Number of patches along a side.
    grid: usize,
    models: Vec<OfModel>,
}

#[derive(Serialize)]
struct OfModel {
    model: &'static str,
    update: Gate,
    forget: Gate,
    walked: Vec<Walked>,
}

/// Mean gates over the patches that a scan has passed after a share of the sequence.
#[derive(Serialize)]
struct Walked {
    share: f64,
    update: f64,
    forget: f64,
}

fn main() -> ExitCode {
    svp_cli::exit(run(Cli::parse()))
}

fn run(cli: Cli) -> Result<ExitCode> {
    if cli.out.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("png")) {
        return Err(Error::path(
            &cli.out,
            "is not the name of a PNG file",
            "give --out a name that ends in .png",
        ));
    }
    if cli.images.len() > MOST_IMAGES {
        let what = format!("{} images are too many for one picture", cli.images.len());
        return Err(Error::input("IMAGE", what, format!("give at most {MOST_IMAGES}")));
    }
    let loaded = cli.using.load(&cli.run)?;
    if !loaded.model.backbone.has_gates() {
        let what = format!("its {} backbone has no scans, so there are no gates", loaded.model.spec().family);
        return Err(Error::path(&cli.run, what, "give a run on a Vim"));
    }
    let models = loaded.trained.method.entry.views;
    if models.len() == 1 {
        svp_cli::tell(&format!(
            "this run has no prompts: only the gates of its {} backbone are drawn",
            models[0].0
        ));
    }
    let (mut rows, mut lines) = (vec![], String::new());
    for path in &cli.images {
        let (row, report) = examine(&loaded, path, models)?;
        rows.push(row);
        lines += &json_line(&report);
    }
    let columns = || SHARES.map(|share| format!("after {} %", 100.0 * share)).to_vec();
    let group = |name: &str| Group { name: name.into(), columns: columns() };
    let groups = [group("update gate |delta u B|"), group("forget gate exp(delta A)")];
    let png = heat_maps(&groups, &rows);
    write_atomically(&cli.out, |file| file.write_all(&png))?;
    svp_cli::print(&if cli.using.json { lines } else { format!("{}\n", cli.out.display()) })?;
    Ok(ExitCode::SUCCESS)
}

/// An image's row in the picture, and its numbers.
fn examine(loaded: &TrainedModel, path: &Path, models: &[(&'static str, bool)]) -> Result<(Row, Report)> {
    let (side, grid) = (loaded.model.spec().img_size, loaded.model.spec().grid);
    let (preparation, image) = (Preparation::of(loaded), decode::read(path)?);
    let (values, picture) = (preparation.values(&image), preparation.picture(&image));

    let (mut lines, mut reports) = (vec![], vec![]);
    for &(model, prompted) in models {
        let input = Tensor::from_vec(values.clone(), &[1, 3, side, side]);
        let Gates { update, forget } = Gates::of(&loaded.model, input, prompted)?;
        let maps = [&update, &forget].map(|gate| SHARES.map(|share| gate.walked(share)).to_vec());
        lines.push(Line { name: model.into(), maps: maps.to_vec() });
        let mean = |gate: &Gate, share| {
            let passed: Vec<f64> = gate.walked(share).into_iter().flatten().collect();
            passed.iter().sum::<f64>() / passed.len().max(1) as f64
        };
        let walked =
            SHARES.map(|share| Walked { share, update: mean(&update, share), forget: mean(&forget, share) });
        reports.push(OfModel { model, walked: walked.into(), update, forget });
    }
    let name = path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let report = Report { image: path.display().to_string(), grid, models: reports };
    Ok((Row { name, picture, lines }, report))
}
