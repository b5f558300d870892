//! `svp-gates`: what the scans of a trained model take in and keep, over the pictures.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use engine::{Rng, Tensor};
use serde::Serialize;
use svp::checkpoint::write_atomically;
use svp::data::{Normalisation, Transform, decode};
use svp::model::{Gate, Gates};
use svp::report::heat_map::{Group, Line, Row};
use svp::report::heat_maps;
use svp::train::{Method, TrainedModel, load_trained};
use svp::{Error, Result};
use svp_cli::Using;

/// Shares of the sequence after which the gates are shown.
const SHARES: [f64; 4] = [0.25, 0.5, 0.75, 1.0];
/// Most pictures in one file.
const MOST: usize = 50;

/// Draws the update and forget gates of the scans over images, of the frozen backbone and with the prompts.
///
/// The update gate of a token is what it writes into the state, |delta u B|; its forget gate what it leaves of the
/// state before it, exp(delta A): means over channels, states and layers. Each is shown after 25, 50, 75 and 100 % of
/// the sequence, which the forward scan walks from the first patch and the backward scan from the last: of each
/// patch the mean over the scans that have passed it. The class token is left out.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    /// Folder of a run, or its best.safetensors
    #[arg(long, value_name = "RUN")]
    run: PathBuf,
    /// The picture that is written
    #[arg(long, value_name = "FILE.png")]
    out: PathBuf,
    #[command(flatten)]
    using: Using,
    /// Images
    #[arg(value_name = "IMAGE", required = true)]
    images: Vec<PathBuf>,
}

/// The gates of an image, patches row by row.
#[derive(Serialize)]
struct Report {
    image: String,
    /// Patches a side.
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

/// Means over the patches that a scan has passed after a share of the sequence.
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
        return Err(Error::path(&cli.out, "is not the name of a PNG file", "give --out a name in .png"));
    }
    if cli.images.len() > MOST {
        let what = format!("{} images are too many for one picture", cli.images.len());
        return Err(Error::input("IMAGE", what, format!("give at most {MOST}")));
    }
    let device = cli.using.compute.start()?;
    let of = load_trained(&cli.run, cli.using.backbone.as_deref(), &device)?;
    let models: &[(&str, bool)] = match of.trained.method {
        Method::Svp => &[("frozen", false), ("prompted", true)],
        Method::Linear => &[("frozen", false)],
        Method::Full => &[("trained", false)],
    };
    if of.trained.method != Method::Svp {
        svp_cli::tell(&format!("this run has no prompts: only the gates of its {} backbone", models[0].0));
    }
    let (mut rows, mut lines) = (vec![], String::new());
    for path in &cli.images {
        let (row, report) = examine(&of, path, models)?;
        rows.push(row);
        lines += &(serde_json::to_string(&report).expect("plain data") + "\n");
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
fn examine(of: &TrainedModel, path: &Path, models: &[(&'static str, bool)]) -> Result<(Row, Report)> {
    let side = of.model.vim.config.img_size;
    let (transform, image) = (Transform::eval(side as u32, Normalisation::IMAGENET), decode::read(path)?);
    // The transform of an evaluation leaves nothing to chance.
    let chance = || Rng::keyed(0, 0, 0, 0);
    let mut values = vec![0.0; transform.values()];
    transform.apply(&image, &mut chance(), &mut values);
    let picture = transform.pixels(&image, &mut chance());

    let (mut lines, mut reports) = (vec![], vec![]);
    for &(model, prompted) in models {
        let input = Tensor::from_vec(values.clone(), &[1, 3, side, side]);
        let Gates { update, forget } = Gates::of(&of.model, input, prompted)?;
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
    let report =
        Report { image: path.display().to_string(), grid: of.model.vim.config.grid(), models: reports };
    Ok((Row { name, picture, lines }, report))
}
