//! Outputs of the published code (tests/golden, and the folder in SVP_GOLDEN_DIR), chosen by each file's `kind`.
//!
//! Tolerances are those of the golden README: relative by norm, in float32.

mod golden {
    pub mod file;
    pub mod ops;
    pub mod training;
}

use std::path::{Path, PathBuf};

use golden::file::Golden;

fn files() -> Vec<PathBuf> {
    let own = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
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

#[test]
fn every_golden_file_is_reproduced() {
    let (mut ran, mut other, mut failed) = (0, vec![], vec![]);
    for path in files() {
        let golden = Golden::open(&path);
        let problems = match golden.kind() {
            Some("selective_scan") => golden::ops::selective_scan(&golden),
            Some("causal_conv1d") => golden::ops::causal_conv1d(&golden),
            Some("add_rms_norm") => golden::ops::add_rms_norm(&golden),
            Some("pos_embed_interpolation") => golden::ops::pos_embed_interpolation(&golden),
            Some("vim_training") => golden::training::vim_training(&golden),
            // Checkpoint samples have no kind; the checkpoint tests read them.
            None => {
                other.push(path.display().to_string());
                continue;
            }
            Some(kind) => vec![format!("unknown kind {kind:?}")],
        };
        ran += 1;
        println!("{} {}", if problems.is_empty() { "ok  " } else { "FAIL" }, path.display());
        failed.extend(problems.into_iter().map(|p| format!("{}: {p}", path.display())));
    }
    println!("{ran} golden files compared; without a kind: {other:?}");
    assert!(ran >= 10, "only {ran} golden files found");
    assert!(failed.is_empty(), "{} differences:\n{}", failed.len(), failed.join("\n"));
}
