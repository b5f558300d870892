//! `svp-convert`: writes a checkpoint as `.safetensors`.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use engine::{Device, Tensor};
use svp::backbones::pos_embed::ClassRow;
use svp::backbones::{LoadOptions, load};
use svp::checkpoint::{Checkpoint, Dtype, Metadata, Precision, save_safetensors_as};
use svp::model::Model;
use svp::params::{BACKBONE, HEAD};
use svp::report::table::{bytes, count};
use svp::train::{TrainedModel, load_trained};
use svp::{Error, Result};

/// Writes the floating-point tensors of a checkpoint as .safetensors, under their own names. With --merge, writes a
/// trained run as a plain checkpoint: the backbone with what the method trained folded into it, and the head.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    /// Checkpoint to read, .pth or .safetensors; with --merge, the folder of a run
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// File to write
    #[arg(value_name = "OUT.safetensors")]
    output: PathBuf,
    /// Fold what the run's method trained into the backbone, where the method allows it
    #[arg(long)]
    merge: bool,
    /// The backbone that the run was trained on, if the file was moved since
    #[arg(long, value_name = "FILE", requires = "merge")]
    backbone: Option<PathBuf>,
    /// Write half precision (float16) instead of float32
    #[arg(long)]
    half: bool,
    /// Replace the file to write if it exists
    #[arg(long)]
    force: bool,
}

fn main() -> ExitCode {
    svp_cli::exit(run(svp_cli::parse(env!("CARGO_BIN_NAME"))))
}

fn run(cli: Cli) -> Result<ExitCode> {
    svp_cli::end_on_signals(|| "nothing was written; run it again".into())?;
    check_output(&cli.output, cli.force)?;
    let precision = if cli.half { Precision::F16 } else { Precision::F32 };
    let left_out = match cli.merge {
        true => merge(&cli, precision)?,
        false => convert(&cli, precision)?,
    };
    svp_cli::print(&left_out)?;
    svp_cli::print(&summary(&cli.output)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the checkpoint, and returns a line for each tensor that is left out.
fn convert(cli: &Cli, precision: Precision) -> Result<String> {
    let file = Checkpoint::open(&cli.input)?;
    let mut tensors: Vec<(String, Tensor)> = vec![];
    let mut left_out = vec![];
    for (name, entry) in file.entries() {
        if matches!(entry.dtype(), Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            tensors.push((name.clone(), file.tensor(name)?));
        } else {
            left_out.push(format!("left out: {name}, whose type is {}\n", entry.dtype()));
        }
    }
    if tensors.is_empty() {
        return Err(Error::path(
            &cli.input,
            "has no floating-point tensors",
            "give the checkpoint of a model",
        ));
    }
    let borrowed: Vec<_> = tensors.iter().map(|(name, tensor)| (name.clone(), tensor)).collect();
    save_safetensors_as(&cli.output, &borrowed, file.metadata(), precision)?;
    Ok(left_out.concat())
}

/// Writes the run as a plain checkpoint. What the method added is in the backbone then, so nothing is left out.
fn merge(cli: &Cli, precision: Precision) -> Result<String> {
    let TrainedModel { model, trained, .. } =
        load_trained(&cli.input, cli.backbone.as_deref(), &Device::cpu())?;
    let Model { mut params, method, simam, .. } = model;
    if simam {
        let what = "its images are reweighted by SimAM, which a plain checkpoint cannot say";
        return Err(Error::path(&cli.input, what, "leave out --merge, or train without --simam"));
    }
    method.merge(&mut params)?;
    let kept = params.iter().filter(|param| [BACKBONE, HEAD].contains(&param.part));
    let tensors: Vec<_> = kept.map(|param| (param.name.clone(), &param.value)).collect();
    let metadata = Metadata::from([("classes".to_string(), trained.classes.join("\n"))]);
    save_safetensors_as(&cli.output, &tensors, &metadata, precision)?;
    Ok(String::new())
}

fn check_output(output: &Path, force: bool) -> Result<()> {
    if output.extension().is_none_or(|ending| ending != "safetensors") {
        return Err(Error::path(output, "does not end in .safetensors", "give the output a name that does"));
    }
    if output.exists() && !force {
        return Err(Error::path(output, "exists already", "choose another name, or replace it with --force"));
    }
    Ok(())
}

/// Reads the new file again and says what it holds.
fn summary(output: &Path) -> Result<String> {
    let file = Checkpoint::open(output)?;
    let size = std::fs::metadata(output).map_err(|e| Error::io(output, "read", &e))?.len();
    let values: usize = file.entries().values().map(|entry| entry.shape().iter().product::<usize>()).sum();
    let options = LoadOptions {
        img_size: None,
        stride: None,
        class_row: ClassRow::Middle,
        allow_mismatch: false,
        seed: 0,
    };
    let backbone = match load(&file, options) {
        Ok(loaded) => format!("backbone {}", loaded.hash),
        Err(_) => "no complete backbone in it".into(),
    };
    let (tensors, values, size) = (count(file.entries().len() as u64), count(values as u64), bytes(size));
    Ok(format!("{}: {tensors} tensors, {values} values, {size}, {backbone}\n", output.display()))
}
