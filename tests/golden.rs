//! Outputs of the published code (tests/golden, and the folder in SVP_GOLDEN_DIR), chosen by each file's `kind`.
//!
//! Kinds, keys and tolerances are those of docs/goldens.md, "Kinds and tolerances": relative by norm, in float32.

mod golden {
    pub mod file;
    pub mod ops;
    pub mod training;
}

#[path = "harness/cuda.rs"]
mod cuda;
#[path = "harness/guarded.rs"]
mod guarded;
#[path = "harness/root.rs"]
mod root;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use engine::Device;
use engine::emulated::Emulated;
use ptx_emulator::Meter;

use golden::file::Golden;
use guarded::Guarded;

fn files() -> Vec<PathBuf> {
    let own = root::root().join("tests/golden");
    let given = std::env::var_os("SVP_GOLDEN_DIR").map(PathBuf::from);
    let mut files = vec![];
    for folder in [Some(own), given].into_iter().flatten() {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let paths = entries.map(|e| e.unwrap().path());
        files.extend(paths.filter(|p| p.extension().is_some_and(|e| e == "safetensors")));
    }
    files.sort();
    files
}

/// Compares every file on a device.
fn reproduce(device: &Device) {
    let (mut ran, mut other, mut failed) = (0, vec![], vec![]);
    for path in files() {
        let golden = Golden::open(&path);
        let began = Instant::now();
        let problems = match golden.kind() {
            Some("selective_scan") => golden::ops::selective_scan(device, &golden),
            Some("causal_conv1d") => golden::ops::causal_conv1d(device, &golden),
            Some("add_rms_norm") => golden::ops::add_rms_norm(device, &golden),
            // Computed on the host for every device.
            Some("pos_embed_interpolation") => golden::ops::pos_embed_interpolation(&golden),
            Some("vim_training") => golden::training::vim_training(device, &golden),
            // Checkpoint samples have no kind; the checkpoint tests read them.
            None => {
                other.push(path.display().to_string());
                continue;
            }
            Some(kind) => vec![format!("unknown kind {kind:?}")],
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
    println!("{ran} golden files compared; without a kind: {other:?}");
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

/// By the kernels, every access checked.
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

/// By the kernels on a GPU, in poisoned memory between red zones.
#[test]
fn every_golden_file_is_reproduced_on_cuda() {
    let Some(cuda) = cuda::launcher() else { return };
    let guarded = Arc::new(Guarded::new(cuda));
    reproduce(&Device::launched_checked(guarded.clone()));
    assert_eq!(guarded.take_hits(), 0, "writes outside a buffer");
    assert!(guarded.launches() > 1000, "kernels did not run");
    println!("{} launches of {} kernels", guarded.launches(), guarded.entries().len());
}
