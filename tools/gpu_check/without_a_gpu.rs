//! The whole program where there is no GPU.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

fn check(arguments: &[&str]) -> Output {
    let program = Command::new(env!("CARGO_BIN_EXE_gpu_check"))
        .args(arguments)
        .env("CUDA_VISIBLE_DEVICES", "")
        .output();
    program.expect("the program starts")
}

/// The one report of this ending in a folder.
fn report(folder: &Path, ending: &str) -> String {
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files = files.filter(|path| path.extension().is_some_and(|end| end == ending));
    let file = files.next().expect("a report");
    assert!(files.next().is_none(), "one report");
    assert!(file.file_name().unwrap().to_string_lossy().contains("-gpu-none."), "{}", file.display());
    fs::read_to_string(file).unwrap()
}

#[test]
fn everything_is_not_run_and_that_is_told() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("gpu-check");
    let _ = fs::remove_dir_all(&folder);
    let out = folder.to_str().unwrap();
    let run = check(&["--out", out]);
    assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
    let found: Value = serde_json::from_str(&report(&folder, "json")).unwrap();
    for part in ["sections", "targets"] {
        let all = found[part].as_array().unwrap();
        assert!(all.len() >= 9 && all.iter().all(|one| one["status"] == "not run"), "{part}: {all:?}");
    }
    let markdown = report(&folder, "md");
    assert!(markdown.starts_with("# GPU check: none"), "{markdown}");
    assert!(!markdown.contains("PASS") && !markdown.contains("FAIL"), "{markdown}");
    assert!(markdown.matches("not run: no CUDA device").count() >= 10, "{markdown}");
    assert!(!check(&["--out", out, "--require"]).status.success(), "what did not run counts with --require");
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_wrong_command_line_is_told() {
    let wrong = check(&["--minutes", "soon"]);
    assert_eq!(wrong.status.code(), Some(2));
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(said.starts_with("gpu_check: --minutes: give a number of minutes"), "{said}");
    assert!(said.contains("Steps in their order") && said.contains("conformance 60, goldens 20"), "{said}");
}
