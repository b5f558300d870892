//! `svp-convert`: writes a checkpoint as `.safetensors`.

#![forbid(unsafe_code)]

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use engine::Tensor;
use svp::backbones::pos_embed::ClassRow;
use svp::backbones::{LoadOptions, load};
use svp::checkpoint::{Checkpoint, Dtype, Precision, save_safetensors_as};
use svp::report::table::{bytes, count};
use svp::{Error, Result};

/// Writes the floating-point tensors of a checkpoint as .safetensors, under their own names.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    /// Checkpoint to read, .pth or .safetensors
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// File to write
    #[arg(value_name = "OUT.safetensors")]
    output: PathBuf,
    /// Write half precision (float16) instead of float32
    #[arg(long)]
    half: bool,
    /// Replace the file to write if it exists
    #[arg(long)]
    force: bool,
}

fn main() -> ExitCode {
    svp_cli::exit(run(Cli::parse()))
}

fn run(cli: Cli) -> Result<ExitCode> {
    check_output(&cli.output, cli.force)?;
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
    let precision = if cli.half { Precision::F16 } else { Precision::F32 };
    let borrowed: Vec<_> = tensors.iter().map(|(name, tensor)| (name.clone(), tensor)).collect();
    save_safetensors_as(&cli.output, &borrowed, file.metadata(), precision)?;
    svp_cli::print(&left_out.concat())?;
    svp_cli::print(&summary(&cli.output)?)?;
    Ok(ExitCode::SUCCESS)
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
