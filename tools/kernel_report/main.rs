//! Reports what the committed kernels cost, without a GPU: registers, shared memory and spills from `ptxas`; work and
//! memory traffic at the shapes of Vim-S training from the emulator's counts; the least time that an H100 needs; and the
//! memory of a step.
//!
//! ```text
//! kernel_report [--out FILE] [OP...]      writes Markdown to the terminal and to FILE, about all ops or only these
//! ```
//! It fails if a check of the scan does not hold. Without `ptxas`, which `.ci/cuda` fetches, that part says `skipped`.

mod checks;
mod h100;
mod launcher;
mod markdown;
mod measure;
mod memory;
mod ptxas;
mod sass;
mod slots;
mod work;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use engine::DType;
use measure::Pass;
use ptx::registry;
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
    if std::env::var_os("SLOTS").is_some() {
        println!("{}", slots::report(&ops, code.as_ref())?);
        return Ok(true);
    }
    let usages = Ptxas::find(&root).map(|ptxas| assemble(&ptxas, &root)).transpose()?;
    let passes = passes(&ops, code.as_ref())?;
    let checks = checks::all(&passes, usages.as_ref());
    let memory = if ops.is_empty() { memory::measure()? } else { vec![] };
    let report = markdown::report(&passes, usages.as_ref(), &checks, &memory);
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

/// Both passes of the ops' bench cases.
fn passes(ops: &[String], code: Option<&Arc<MachineCode>>) -> Result<Vec<Pass>, String> {
    let mut passes = vec![];
    for op in registry::all() {
        if !ops.is_empty() && !ops.iter().any(|wanted| wanted == op.name()) {
            continue;
        }
        let axes = op.training();
        for case in op.cases().iter().filter(|case| case.bench) {
            let typed = op.inputs(case).iter().any(|input| input.typed);
            for &dtype in if typed { &[DType::F32, DType::Bf16][..] } else { &[DType::F32] } {
                passes.extend(measure::measure(&*op, case, &axes, dtype, code)?);
            }
        }
    }
    Ok(passes)
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
