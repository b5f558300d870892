//! `svp-gates`: draws over images what the scans of a trained model take in and keep.

#![forbid(unsafe_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use engine::{Device, Tensor};
use image::RgbImage;
use serde::Serialize;
use svp::checkpoint::write_atomically;
use svp::data::text::shown_path;
use svp::gates::{Gate, Gates};
use svp::report::chart::heat_map::{Group, Line, Row, heat_maps};
use svp::train::{TrainedModel, load_trained};
use svp::{Error, Result};
use svp_cli::{Preparation, Using, images_at, json_line};

/// Shares of the sequence after which the gates are shown.
const SHARES: [f64; 4] = [0.25, 0.5, 0.75, 1.0];
/// Most images in one picture.
const MOST_IMAGES: usize = 50;

/// Draws the update and forget gates of the scans over images, for the frozen backbone and with the method.
///
/// The update gate of a token is what it writes into the state, |delta u B|. Its forget gate is what it leaves of the
/// state before it, exp(delta A). Both are means over channels, states and layers. They are shown after 25, 50, 75 and
/// 100 % of the sequence, which the forward scan walks from the first patch and the backward scan from the last; a
/// patch shows the mean over the scans that have passed it. The class token and rows of prompts are left out.
///
/// Several --run on one backbone are drawn side by side, with one scale of colours for each gate. An image that cannot be
/// read is named on standard error and left out, and the exit code is then 1.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    /// Run folder whose model is shown, or its best.safetensors; again for each further run
    #[arg(long = "run", value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Picture to write
    #[arg(long, value_name = "FILE.png")]
    out: PathBuf,
    #[command(flatten)]
    using: Using,
    /// Images, or folders that are searched for images; at most 50 in all
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
    model: String,
    /// Folder of the run, where several are drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<String>,
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
    svp_cli::exit(|| run(svp_cli::parse(env!("CARGO_BIN_NAME"))))
}

fn run(cli: Cli) -> Result<ExitCode> {
    if cli.out.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("png")) {
        return Err(Error::path(
            &cli.out,
            "is not the name of a PNG file",
            "give --out a name that ends in .png",
        ));
    }
    svp_cli::check_place(&cli.out)?;
    svp_cli::end_on_signals(|| "no picture was written; run it again".into())?;
    let (images, mut whole) = images(&cli.images);
    if images.len() > MOST_IMAGES {
        let what = format!("{} images are too many for one picture", images.len());
        return Err(Error::input("IMAGE", what, format!("give at most {MOST_IMAGES}")));
    }
    let device = cli.using.compute.start()?;
    let loaded = cli.runs.iter().map(|run| Ok((run.as_path(), load(run, &cli.using, &device)?)));
    let loaded = loaded.collect::<Result<Vec<_>>>()?;
    check_together(&loaded)?;
    let panels = panels(&loaded);
    let (mut rows, mut lines) = (vec![], String::new());
    let preparation = Preparation::of(panels[0].loaded, false);
    for path in &images {
        let image = match preparation.read(path) {
            Ok(image) => image,
            Err(error) => {
                svp_cli::complain(&error);
                whole = false;
                continue;
            }
        };
        let (row, report) = examine(&panels, path, &image)?;
        rows.push(row);
        lines += &json_line(&report);
    }
    if rows.is_empty() {
        return Ok(ExitCode::FAILURE);
    }
    let columns = || SHARES.map(|share| format!("after {} %", 100.0 * share)).to_vec();
    let group = |name: &str| Group { name: name.into(), columns: columns() };
    let groups = [group("update gate |delta u B|"), group("forget gate exp(delta A)")];
    let png = heat_maps(&groups, &rows);
    svp_cli::whole(|| write_atomically(&cli.out, |file| file.write_all(&png)))?;
    svp_cli::print(&if cli.using.json { lines } else { format!("{}\n", shown_path(&cli.out)) })?;
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All images of the arguments, and whether each argument has some; those that have none are told.
fn images(arguments: &[PathBuf]) -> (Vec<PathBuf>, bool) {
    let (mut images, mut whole) = (vec![], true);
    for argument in arguments {
        match images_at(argument) {
            Ok(found) => images.extend(found),
            Err(error) => {
                svp_cli::complain(&error);
                whole = false;
            }
        }
    }
    (images, whole)
}

/// Loads a run, which must have gates.
fn load(run: &Path, using: &Using, device: &Device) -> Result<TrainedModel> {
    let loaded = load_trained(run, using.backbone.as_deref(), device)?;
    if !loaded.model.backbone.has_gates() {
        let what = format!("its {} backbone has no scans, so there are no gates", loaded.model.spec().family);
        return Err(Error::path(run, what, "give a run on a Vim"));
    }
    Ok(loaded)
}

/// A model in the picture.
struct Panel<'a> {
    name: String,
    /// The run that it is from, where several are drawn.
    run: Option<&'a Path>,
    loaded: &'a TrainedModel,
    /// Whether the method adapts the backbone.
    adapted: bool,
}

/// Refuses runs whose maps do not show the same: those on another backbone, or with other patches.
fn check_together(runs: &[(&Path, TrainedModel)]) -> Result<()> {
    let [(first, one), others @ ..] = runs else { return Ok(()) };
    let tell = |run: &Path, what: &str| {
        let (first, run) = (first.display(), run.display());
        svp_cli::tell(&format!("{run} and {first} differ in {what}; the frozen backbone is drawn once"));
    };
    for (run, other) in others {
        let (own, other) = (&one.trained, &other.trained);
        let refuse = |what: String| {
            let what = format!("{what} than {}, so they cannot be drawn side by side", first.display());
            Err(Error::path(run, what, "draw it by itself"))
        };
        if (&own.family, &own.backbone_hash) != (&other.family, &other.backbone_hash) {
            return refuse("was trained on another backbone".into());
        }
        if (own.img_size, own.stride) != (other.img_size, other.stride) {
            let (size, stride) = (other.img_size, other.stride);
            return refuse(format!("has other patches ({size} px, {stride} apart)"));
        }
        if own.simam != other.simam {
            tell(run, "--simam");
        }
        if own.class_row != other.class_row {
            tell(run, "--class-row");
        }
    }
    Ok(())
}

/// The views of one run; of several the frozen backbone, where one of them has it, and then what each trained.
fn panels<'a>(runs: &'a [(&'a Path, TrainedModel)]) -> Vec<Panel<'a>> {
    const FROZEN: &str = "frozen";
    let views = |loaded: &TrainedModel| loaded.trained.method.entry.views;
    if let [(_, loaded)] = runs {
        if let [(name, _)] = views(loaded) {
            let what = format!("this run has no prompts: only the gates of its {name} backbone are drawn");
            svp_cli::tell(&what);
        }
        let panel = |&(name, adapted): &(&str, bool)| Panel { name: name.into(), run: None, loaded, adapted };
        return views(loaded).iter().map(panel).collect();
    }
    let frozen = runs.iter().find(|(_, loaded)| views(loaded)[0].0 == FROZEN);
    let frozen = frozen.map(|(_, loaded)| Panel { name: FROZEN.into(), run: None, loaded, adapted: false });
    let method = |loaded: &TrainedModel| loaded.trained.method.entry.name;
    let trained = runs.iter().filter_map(|(run, loaded)| {
        let &(view, adapted) = views(loaded).last().expect("a test wants one of every method");
        if view == FROZEN {
            svp_cli::tell(&format!("{}: its gates are those of the frozen backbone", run.display()));
            return None;
        }
        let alone = runs.iter().filter(|(_, other)| method(other) == method(loaded)).count() == 1;
        let folder = run.file_name().unwrap_or(run.as_os_str()).to_string_lossy();
        let name = if alone { method(loaded).to_string() } else { folder.into_owned() };
        Some(Panel { name, run: Some(run), loaded, adapted })
    });
    frozen.into_iter().chain(trained).collect()
}

/// An image's row in the picture, and its numbers.
fn examine(panels: &[Panel], path: &Path, image: &RgbImage) -> Result<(Row, Report)> {
    let any = panels[0].loaded;
    let grid = any.model.spec().grid;
    let picture = Preparation::of(any, false).picture(image);

    let (mut lines, mut reports) = (vec![], vec![]);
    for &Panel { ref name, run, loaded, adapted } in panels {
        let preparation = Preparation::of(loaded, adapted);
        let side = preparation.side();
        let input = Tensor::from_vec(preparation.values(image), &[1, 3, side, side]);
        let Gates { update, forget } = Gates::of(&loaded.model, input, adapted)?;
        let maps = [&update, &forget].map(|gate| SHARES.map(|share| gate.walked(share)).to_vec());
        lines.push(Line { name: name.clone(), maps: maps.to_vec() });
        let mean = |gate: &Gate, share| {
            let passed: Vec<f64> = gate.walked(share).into_iter().flatten().collect();
            passed.iter().sum::<f64>() / passed.len().max(1) as f64
        };
        let walked =
            SHARES.map(|share| Walked { share, update: mean(&update, share), forget: mean(&forget, share) });
        let run = run.map(|run| run.display().to_string());
        reports.push(OfModel { model: name.clone(), run, walked: walked.into(), update, forget });
    }
    let name = shown_path(Path::new(path.file_name().unwrap_or(path.as_os_str())));
    let report = Report { image: path.display().to_string(), grid, models: reports };
    Ok((Row { name, picture, lines }, report))
}
