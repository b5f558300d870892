//! `svp-gates`: draws over images what the scans of a trained model take in and keep.

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use engine::Tensor;
use serde::Serialize;
use svp::gates::{Gate, Gates};
use svp::model::Model;
use svp::report::chart::heat_map::{Group, Map};
use svp::{Error, Result};
use svp_cli::{Drawing, Drawn};

/// Shares of the sequence after which the gates are shown.
const SHARES: [f64; 4] = [0.25, 0.5, 0.75, 1.0];

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
    #[command(flatten)]
    drawing: Drawing,
}

/// The gates of a model for an image.
#[derive(Serialize)]
struct Found {
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
    cli.drawing.draw(&Drawn { what: "gates", check: &check, groups: &groups, maps: &maps })
}

/// Refuses a run on a backbone without scans.
fn check(run: &Path, model: &Model) -> Result<()> {
    if model.backbone.has_gates() {
        return Ok(());
    }
    let what = format!("its {} backbone has no scans, so there are no gates", model.spec().family);
    Err(Error::path(run, what, "give a run on a Vim, or draw its attention with svp-attention"))
}

fn groups(_: &Model) -> Result<Vec<Group>> {
    let columns = || SHARES.map(|share| format!("after {} %", 100.0 * share)).to_vec();
    let group = |name: &str| Group { name: name.into(), columns: columns() };
    Ok(vec![group("update gate |delta u B|"), group("forget gate exp(delta A)")])
}

fn maps(model: &Model, input: Tensor, adapted: bool) -> Result<(Vec<Vec<Map>>, Found)> {
    let Gates { update, forget } = Gates::of(model, input, adapted)?;
    let maps = [&update, &forget].map(|gate| SHARES.map(|share| gate.walked(share)).to_vec());
    let mean = |gate: &Gate, share| {
        let passed: Vec<f64> = gate.walked(share).into_iter().flatten().collect();
        passed.iter().sum::<f64>() / passed.len().max(1) as f64
    };
    let walked =
        SHARES.map(|share| Walked { share, update: mean(&update, share), forget: mean(&forget, share) });
    Ok((maps.to_vec(), Found { walked: walked.into(), update, forget }))
}
