//! Compares with outputs of the published code, in tests/golden and in the folder that SVP_GOLDEN_DIR names, subfolders
//! included. Each file's `kind` chooses the comparison.
//!
//! Tolerances are relative by norm, in float32, and are those that the numbers were published with (`docs/goldens.md`,
//! "Kinds and tolerances").

mod clusters;
mod method_run;
mod method_training;
mod offered;
mod ops;
mod optimizer;
mod pruning;
mod self_prompts;
mod training;
mod vit_checkpoints;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use engine::emulated::Emulated;
use engine::{DType, Device};
use ptx_emulator::Meter;
use testkit::cuda;
use testkit::golden::{self, Golden};
use testkit::guarded::Guarded;
use testkit::root::root;

use method_run::{merge, run_method};
use method_training::MethodTraining;

/// Folder of the project's own files.
fn own() -> PathBuf {
    root().join("tests/golden")
}

fn files() -> Vec<PathBuf> {
    let given = std::env::var_os("SVP_GOLDEN_DIR").map(PathBuf::from);
    let mut files: Vec<_> =
        [Some(own()), given].into_iter().flatten().flat_map(|folder| golden::files(&folder)).collect();
    files.sort();
    files.dedup();
    files
}

/// The result of one file.
enum Verdict {
    /// The file was compared, with these differences.
    Compared(Vec<String>),
    /// Nothing here can run the file, for this reason.
    NotRun(String),
}

/// Compares one file with what a device computes.
fn compare(device: &Device, path: &Path, golden: Golden) -> Verdict {
    Verdict::Compared(match golden.kind() {
        Some("selective_scan") => ops::selective_scan(device, &golden),
        Some("causal_conv1d") => ops::causal_conv1d(device, &golden),
        Some("add_rms_norm") => ops::add_rms_norm(device, &golden),
        Some("layer_norm") => ops::layer_norm(device, &golden),
        Some("gelu") => ops::gelu(device, &golden),
        Some("attention") => ops::attention(device, &golden),
        // These are computed on the host for every device.
        Some("pos_embed_interpolation") => ops::pos_embed_interpolation(&golden),
        Some("vit_pos_embed") => ops::vit_pos_embed(&golden),
        Some("agglomerative") => clusters::agglomerative(&golden),
        Some("spt_init") if golden.metadata.get("backbone").is_some_and(|family| family == "vit") => {
            self_prompts::vit_spt_init(device, &golden)
        }
        Some("e2vpt_prune") => pruning::e2vpt_prune(&golden),
        Some("spt_init") => self_prompts::spt_init(device, &golden),
        Some("vit_checkpoint") => vit_checkpoints::compare(device, path, &golden),
        Some("vim_training") => training::vim_training(device, &golden),
        Some("method_training") => {
            let training = MethodTraining::new(golden);
            match run_method(device, &training, DType::F32) {
                Some(outputs) => {
                    let passed_over = training.passed_over(&outputs);
                    if !passed_over.is_empty() {
                        println!("not computed of {}: {}", path.display(), passed_over.join(", "));
                    }
                    training.compare(&outputs)
                }
                None => return Verdict::NotRun(format!("method side missing: {}", training.name())),
            }
        }
        Some("merge") => {
            let training = MethodTraining::merged(golden);
            match merge(device, &training) {
                Some(problems) => problems,
                None => return Verdict::NotRun(format!("method side missing: {}", training.name())),
            }
        }
        // Checkpoint samples have no kind; the checkpoint tests read them.
        None => return Verdict::NotRun("no kind".into()),
        Some(kind) if path.starts_with(own()) => vec![format!("unknown kind {kind:?}")],
        Some(kind) => return Verdict::NotRun(format!("kind {kind}")),
    })
}

/// Compares every file on a device.
fn reproduce(device: &Device) {
    let (mut ran, mut failed, mut not_run) = (0, vec![], BTreeMap::<String, Vec<String>>::new());
    for path in files() {
        let began = Instant::now();
        let problems = match compare(device, &path, Golden::open(&path)) {
            Verdict::Compared(problems) => problems,
            Verdict::NotRun(why) => {
                let name = path.file_name().expect("a file").to_string_lossy().into_owned();
                not_run.entry(why).or_default().push(name);
                continue;
            }
        };
        ran += 1;
        let verdict = if problems.is_empty() { "ok  " } else { "FAIL" };
        println!(
            "{verdict} {} ({:.1} s on {})",
            path.display(),
            began.elapsed().as_secs_f32(),
            device.name()
        );
        failed.extend(problems.into_iter().map(|p| format!("{}: {p}", path.display())));
    }
    not_run.iter().for_each(|(why, files)| println!("not run ({why}): {}", files.join(", ")));
    println!("{ran} golden files compared");
    assert!(ran >= 10, "only {ran} golden files found");
    assert!(failed.is_empty(), "{} differences:\n{}", failed.len(), failed.join("\n"));
}

#[test]
fn every_golden_file_is_reproduced_on_the_cpu() {
    if !cuda::wanted("cpu") {
        return;
    }
    let device = Device::cpu_checked();
    reproduce(&device);
    assert_eq!(device.red_zone_hits(), 0, "writes outside a buffer");
}

/// In bf16 the first step of every method is what its rounding explains.
#[test]
fn methods_in_bf16_are_near_the_golden_files() {
    if !cuda::wanted("cpu") {
        return;
    }
    let device = Device::cpu_checked();
    let (mut ran, mut failed) = (0, vec![]);
    for path in files() {
        let golden = Golden::open(&path);
        if golden.kind() != Some("method_training") {
            continue;
        }
        let training = MethodTraining::new(golden);
        let Some(outputs) = run_method(&device, &training, DType::Bf16) else { continue };
        ran += 1;
        let problems = training.compare_rounded(&outputs);
        failed.extend(problems.into_iter().map(|problem| format!("{}: {problem}", path.display())));
    }
    assert!(ran >= 10, "only {ran} golden files found");
    assert!(failed.is_empty(), "{} differences:\n{}", failed.len(), failed.join("\n"));
    assert_eq!(device.red_zone_hits(), 0, "writes outside a buffer");
}

/// Reproduces the files with the kernels, with every access checked.
#[test]
fn every_golden_file_is_reproduced_on_the_emulated_device() {
    if !cuda::wanted("emulated") {
        return;
    }
    let emulated = Arc::new(Emulated::new());
    reproduce(&Device::launched_checked(emulated.clone()));
    let mut sum = Meter::default();
    emulated.take_totals().values().for_each(|meter| sum += meter);
    assert!(sum.launches > 1000, "kernels did not run");
    let executed = sum.instructions().threads as f64;
    println!(
        "{} launches, {executed:.2e} thread-instructions, {:.2e} checks",
        sum.launches, sum.checks as f64
    );
}

/// Reproduces the files with the kernels on a GPU, in poisoned memory between red zones.
#[test]
fn every_golden_file_is_reproduced_on_cuda() {
    let Some(cuda) = cuda::launcher() else { return };
    let guarded = Arc::new(Guarded::new(cuda));
    reproduce(&Device::launched_checked(guarded.clone()));
    assert_eq!(guarded.take_hits(), 0, "writes outside a buffer");
    assert!(guarded.launches() > 1000, "kernels did not run");
    println!("{} launches of {} kernels", guarded.launches(), guarded.entries().len());
}
