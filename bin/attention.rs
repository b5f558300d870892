//! `svp-attention`: draws over images what the class token of a trained ViT attends to.

#![forbid(unsafe_code)]

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;
use engine::Tensor;
use serde::Serialize;
use svp::attention::{LayerAttention, class_attention};
use svp::model::Model;
use svp::report::chart::heat_map::{Group, Map};
use svp::{Error, Result};
use svp_cli::{Drawing, Drawn};

/// Draws the attention of the class token to the patches of images, layer by layer, for the frozen backbone and with the
/// method.
///
/// A patch shows the weight that the class token's row gives it in the softmax of a layer, as the mean over the heads.
/// What the class token gives to itself and to rows of prompts is left out of the picture; --json has these shares too.
///
/// Several --run on one backbone are drawn side by side, with one scale of colours for each layer. An image that cannot be
/// read is named on standard error and left out, and the exit code is then 1.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    /// Layers to draw, counted from 1, such as 1,6,12 [default: all]
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    layers: Vec<usize>,
    #[command(flatten)]
    drawing: Drawing,
}

/// The attention of a model for an image.
#[derive(Serialize)]
struct Found {
    layers: Vec<Layer>,
}

#[derive(Serialize)]
struct Layer {
    /// Number of the layer, counted from 1.
    layer: usize,
    #[serde(flatten)]
    attention: LayerAttention,
}

fn main() -> ExitCode {
    svp_cli::exit(|| run(svp_cli::parse(env!("CARGO_BIN_NAME"))))
}

fn run(cli: Cli) -> Result<ExitCode> {
    let wanted: BTreeSet<usize> = cli.layers.iter().copied().collect();
    let drawn = |layer: &usize| wanted.is_empty() || wanted.contains(layer);
    let layers = |model: &Model| -> Vec<usize> { (1..=model.spec().depth).filter(drawn).collect() };
    let groups = |model: &Model| {
        let depth = model.spec().depth;
        if let Some(layer) = wanted.iter().find(|layer| !(1..=depth).contains(*layer)) {
            let what = format!("there is no layer {layer}");
            return Err(Error::input("--layers", what, format!("the backbone has layers 1 to {depth}")));
        }
        let group = |layer| Group { name: format!("layer {layer}"), columns: vec![String::new()] };
        Ok(layers(model).into_iter().map(group).collect())
    };
    let maps = |model: &Model, input: Tensor, adapted: bool| {
        let all = class_attention(model, input, adapted)?;
        let all = (1..).zip(all).map(|(layer, attention)| Layer { layer, attention });
        let layers: Vec<Layer> = all.filter(|layer| drawn(&layer.layer)).collect();
        let map =
            |layer: &Layer| -> Vec<Map> { vec![layer.attention.patches.iter().copied().map(Some).collect()] };
        Ok((layers.iter().map(map).collect(), Found { layers }))
    };
    cli.drawing.draw(&Drawn { what: "attention", check: &check, groups: &groups, maps: &maps })
}

/// Refuses a run on a backbone without attention.
fn check(run: &Path, model: &Model) -> Result<()> {
    if model.spec().heads.is_some() {
        return Ok(());
    }
    let what = format!("its {} backbone has no attention", model.spec().family);
    Err(Error::path(run, what, "give a run on a ViT, or draw the gates of a Vim with svp-gates"))
}
