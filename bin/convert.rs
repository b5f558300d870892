//! `svp-convert`: writes a checkpoint or a run as `.safetensors` or `.pth`, or a run as an ONNX model.

#![forbid(unsafe_code)]

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use engine::{Device, Tensor};
use svp::backbones::{LoadOptions, load, unwrapped};
use svp::checkpoint::{
    Checkpoint, Dtype, Metadata, Precision, Weights, remove_abandoned_beside, save_safetensors_as,
    save_torch, write_atomically,
};
use svp::data::text::shown;
use svp::export;
use svp::model::Model;
use svp::params::{BACKBONE, HEAD};
use svp::report::table::{bytes, count};
use svp::train::{TrainedModel, load_trained};
use svp::{Error, Result};
use svp_cli::values::word;

/// Writes the floating-point tensors of a checkpoint as .safetensors or .pth, under the names of their model. Of a run,
/// writes the whole model, backbone, method and head, under the published names; with --merge as a plain checkpoint: the
/// backbone with what the method trained folded into it, and the head. Of a run and a name that ends in .onnx, writes the
/// whole classifier as an ONNX model.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    /// Checkpoint to read, .pth, .safetensors or .npz, or the folder of a run
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// File to write: .onnx, .safetensors, or .pth (as torch.save writes it, with the state dict under `model`)
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// Fold what the run's method trained into the backbone, where the method allows it
    #[arg(long)]
    merge: bool,
    /// The backbone that the run was trained on, if the file was moved since
    #[arg(long, value_name = "FILE")]
    backbone: Option<PathBuf>,
    /// Which weights of a .pth that holds both: model, or ema (their moving average) [default: model]
    #[arg(long, value_name = "WEIGHTS", value_parser = word::<Weights>)]
    weights: Option<Weights>,
    /// Write half precision (float16) instead of float32
    #[arg(long)]
    half: bool,
    /// Replace the file to write if it exists
    #[arg(long)]
    force: bool,
}

fn main() -> ExitCode {
    svp_cli::exit(|| run(svp_cli::parse(env!("CARGO_BIN_NAME"))))
}

fn run(cli: Cli) -> Result<ExitCode> {
    svp_cli::end_on_signals(|| "nothing was written; run it again".into())?;
    svp_cli::start_threads(None)?;
    check_output(&cli.output, cli.force)?;
    remove_abandoned_beside(&cli.output);
    if ending(&cli.output) == Some("onnx") {
        return onnx(&cli);
    }
    let of_run = cli.merge || cli.input.join("config.toml").is_file();
    for (flag, given, belongs_to) in [
        ("--backbone", cli.backbone.is_some() && !of_run, "a run"),
        ("--weights", cli.weights.is_some() && of_run, "a checkpoint; a run has chosen already"),
    ] {
        if given {
            return Err(Error::input(flag, format!("belongs to {belongs_to}"), "leave it out"));
        }
    }
    let told = match of_run {
        true => convert_run(&cli)?,
        false => convert(&cli)?,
    };
    svp_cli::print(&told.concat())?;
    svp_cli::print(&summary(&cli.output)?)?;
    Ok(ExitCode::SUCCESS)
}

/// Writes the checkpoint, and returns a line for each tensor that is left out.
fn convert(cli: &Cli) -> Result<Vec<String>> {
    let file = Checkpoint::open_weights(&cli.input, cli.weights)?;
    let file = unwrapped(&file)?;
    let mut tensors: Vec<(String, Tensor)> = vec![];
    let mut told: Vec<String> = file.notes().iter().map(|note| format!("{note}\n")).collect();
    for (name, entry) in file.entries() {
        if matches!(entry.dtype(), Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) {
            tensors.push((name.clone(), file.tensor(name)?));
        } else {
            told.push(format!("left out: {}, whose type is {}\n", shown(name), entry.dtype()));
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
    write(cli, &borrowed, file.metadata())?;
    Ok(told)
}

/// Writes the model of a run: all of it, or with --merge as a plain checkpoint. Returns what a program has to know that
/// loads it.
fn convert_run(cli: &Cli) -> Result<Vec<String>> {
    let TrainedModel { mut model, trained, .. } =
        load_trained(&cli.input, cli.backbone.as_deref(), &Device::cpu())?;
    let told = match cli.merge {
        true => merge(&cli.input, &mut model)?,
        false => model.published(),
    };
    let kept = model.params.iter().filter(|param| !cli.merge || [BACKBONE, HEAD].contains(&param.part));
    let tensors: Vec<_> = kept.map(|param| (param.name.clone(), &param.value)).collect();
    // What the tensors do not tell of the backbone goes with them.
    let mut metadata = model.backbone.facts();
    metadata.insert("classes".into(), trained.classes.join("\n"));
    write(cli, &tensors, &metadata)?;
    Ok(told.iter().map(|line| format!("{line}\n")).collect())
}

/// Folds what the method trained into the backbone, after which nothing of it is left out.
fn merge(run: &Path, model: &mut Model) -> Result<Vec<String>> {
    if model.simam {
        let what = "its images are reweighted by SimAM, which a plain checkpoint cannot say";
        return Err(Error::path(run, what, "leave out --merge, or train without --simam"));
    }
    model.method.merge(&mut model.params)?;
    Ok(vec![])
}

/// Writes the file in the format that its name asks for.
fn write(cli: &Cli, tensors: &[(String, &Tensor)], metadata: &Metadata) -> Result<()> {
    let precision = if cli.half { Precision::F16 } else { Precision::F32 };
    match ending(&cli.output) {
        Some("pth") => save_torch(&cli.output, tensors, metadata, precision),
        _ => save_safetensors_as(&cli.output, tensors, metadata, precision),
    }
}

fn ending(path: &Path) -> Option<&str> {
    path.extension()?.to_str()
}

/// Writes the run as an ONNX model.
fn onnx(cli: &Cli) -> Result<ExitCode> {
    for (flag, given) in [("--merge", cli.merge), ("--half", cli.half)] {
        if given {
            let what = "has no effect on .onnx: what can be merged is, and values are float32";
            return Err(Error::input(flag, what, "leave it out"));
        }
    }
    let TrainedModel { model, trained, .. } =
        load_trained(&cli.input, cli.backbone.as_deref(), &Device::cpu())?;
    let (s, classes) = (model.transform().size, trained.classes.len());
    let file = export::onnx(model, &trained)?;
    write_atomically(&cli.output, |to| to.write_all(&file))?;
    let (name, size) = (cli.output.display().to_string(), bytes(file.len() as u64));
    svp_cli::print(&format!(
        "{}: {size}, {} [N, 3, {s}, {s}] of values from 0 to 1, {} [N, {classes}]\n",
        shown(&name),
        export::INPUT,
        export::OUTPUT
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn check_output(output: &Path, force: bool) -> Result<()> {
    if !matches!(ending(output), Some("safetensors" | "pth" | "onnx")) {
        let what = "ends in none of .safetensors, .pth and .onnx";
        return Err(Error::path(output, what, "give the output a name that does"));
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
    let backbone = match load(&file, LoadOptions::default()) {
        Ok(loaded) => format!("backbone {}", loaded.hash),
        Err(_) => "no complete backbone in it".into(),
    };
    let (tensors, values, size) = (count(file.entries().len() as u64), count(values as u64), bytes(size));
    Ok(format!("{}: {tensors} tensors, {values} values, {size}, {backbone}\n", output.display()))
}
