//! Reports what the committed kernels cost, without a GPU: registers, shared memory and spills from `ptxas`; issue slots
//! from its machine code; work and memory traffic at the shapes of Vim-S training from the emulator's counts; the least
//! time that an H100 needs; the predicted time of a step; and its memory.
//!
//! ```text
//! kernel_report [--out FILE] [OP...]      writes Markdown to the terminal and to FILE, about all ops or only these
//! ```
//! It fails if a check does not hold. Without `ptxas` and `nvdisasm`, which `.ci/cuda` fetches, what needs them says
//! `skipped`, and issue slots are those of PTX.

mod checks;
mod h100;
mod launcher;
mod markdown;
mod measure;
mod memory;
mod ptxas;
mod sass;
mod step;
mod work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use engine::DType;
use measure::Pass;
use ptx::registry;
use ptx::spec::TRAINING_IMAGES;
use ptxas::{ARCHITECTURES, MachineCode, Ptxas, Usage};

/// What each entry needs on each architecture.
pub type Usages = BTreeMap<(String, &'static str), Usage>;

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(wrong) => {
            eprintln!("kernel_report: {wrong}");
            ExitCode::FAILURE
        }
    }
}

/// Writes the report. The result says whether all checks hold.
fn run() -> Result<bool, String> {
    let (out, ops) = arguments()?;
    let root = root();
    let code = MachineCode::find(&root);
    let usages = Ptxas::find(&root).map(|ptxas| assemble(&ptxas, &root)).transpose()?;
    let passes = passes(&ops, TRAINING_IMAGES, &[DType::F32, DType::Bf16], code.as_ref())?;
    let checks = checks::all(&passes, usages.as_ref(), code.is_some());
    let mut report = markdown::report(&passes, usages.as_ref(), &checks);
    if ops.is_empty() {
        report += &steps(&passes, usages.as_ref(), code.as_ref())?;
        report += &markdown::memory_table(&memory::measure()?);
    }
    if let Some(usages) = &usages {
        report += &markdown::usage_table(usages);
    }
    println!("{report}");
    if let Some(out) = out {
        std::fs::write(&out, &report).map_err(|err| format!("{}: {err}", out.display()))?;
    }
    Ok(checks.iter().all(|check| check.holds))
}

/// The file to write, and the ops to report on; none stands for all.
fn arguments() -> Result<(Option<PathBuf>, Vec<String>), String> {
    let mut arguments = std::env::args().skip(1);
    let (mut out, mut ops) = (None, vec![]);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--out" => out = Some(arguments.next().ok_or("--out: name the file")?.into()),
            op if registry::all().iter().any(|known| known.name() == op) => ops.push(argument),
            _ => return Err(format!("{argument} is no op. Usage: kernel_report [--out FILE] [OP...]")),
        }
    }
    Ok((out, ops))
}

/// Both passes of the ops' bench cases at a number of images, for activations of these types.
fn passes(
    ops: &[String],
    images: usize,
    types: &[DType],
    code: Option<&Arc<MachineCode>>,
) -> Result<Vec<Pass>, String> {
    let mut passes = vec![];
    for op in registry::all() {
        if !ops.is_empty() && !ops.iter().any(|wanted| wanted == op.name()) {
            continue;
        }
        let axes = measure::axes_for(op.training(), images);
        for case in op.cases().iter().filter(|case| case.bench) {
            let typed = op.inputs(case).iter().any(|input| input.typed);
            for &dtype in if typed { types } else { &[DType::F32] } {
                passes.extend(measure::measure(&*op, case, &axes, dtype, code)?);
            }
        }
    }
    Ok(passes)
}

/// The predicted steps at each number of images.
fn steps(
    passes: &[Pass],
    usages: Option<&Usages>,
    code: Option<&Arc<MachineCode>>,
) -> Result<String, String> {
    let (Some(usages), Some(_)) = (usages, code) else {
        return Ok(format!("{}skipped: {}", step::TITLE, ptxas::MISSING));
    };
    let mut predictions = vec![step::predict(TRAINING_IMAGES, passes, usages)?];
    for images in step::FEW {
        // What a step runs; its loss is small, and in f32.
        let used =
            ["causal_conv1d", "patch_embed", "prompt_add_norm", "linear", "selective_scan", "token_rows"];
        let mut few = self::passes(&used.map(String::from), images, &[DType::Bf16], code)?;
        few.extend(passes.iter().filter(|pass| !used.contains(&pass.op)).cloned());
        predictions.push(step::predict(images, &few, usages)?);
    }
    Ok(step::table(&predictions))
}

/// Registers, shared memory and spills of every committed kernel.
fn assemble(ptxas: &Ptxas, root: &Path) -> Result<Usages, String> {
    let mut usages = Usages::new();
    for layer in ["engine", "ptx"] {
        let folders = std::fs::read_dir(root.join(layer)).map_err(|err| format!("{layer}: {err}"))?;
        for folder in folders.flatten() {
            let file = folder.path().join("kernel.ptx");
            let Ok(text) = std::fs::read_to_string(&file) else { continue };
            for architecture in ARCHITECTURES {
                let usage = ptxas.usage(&text, architecture);
                let usage = usage.map_err(|err| format!("{}: {err}", file.display()))?;
                usages.extend(usage.into_iter().map(|(entry, usage)| ((entry, architecture), usage)));
            }
        }
    }
    Ok(usages)
}

fn root() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR"));
    tools.parent().expect("a member of the workspace").to_path_buf()
}
