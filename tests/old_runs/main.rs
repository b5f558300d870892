//! Run folders, a config file and presets as an earlier program wrote and read them (`README.md` beside this file says
//! how). Today's program must still evaluate, resume, report and train them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::Value;
use testkit::programs::{Scratch, program, succeeds};
use testkit::root::root;

/// Finished runs, each with the backbone that must be named where it was a file.
const FINISHED: [(&str, Option<&str>); 4] =
    [("svp", None), ("linear", None), ("full", None), ("svp-on-file", Some("full/best.safetensors"))];

/// Interrupted runs, each with its number of steps once it is finished.
const INTERRUPTED: [(&str, usize); 3] =
    [("svp-interrupted", 2 * 25), ("linear-interrupted", 100 * 25), ("full-interrupted", 5 * 25)];

fn here() -> PathBuf {
    root().join("tests/old_runs")
}

fn runs() -> PathBuf {
    here().join("runs")
}

/// Copies a run to a place that the program may write to.
fn copy(place: &Scratch, run: &str) -> String {
    for entry in fs::read_dir(runs().join(run)).unwrap() {
        let file = entry.unwrap();
        let name = file.file_name().into_string().unwrap();
        place.write(&format!("{run}/{name}"), &fs::read(file.path()).unwrap());
    }
    place.at(run)
}

/// Runs a program on the CPU, with the backbone of the run where it was a file.
fn start(name: &str, args: &[&str], backbone: Option<&str>) -> Output {
    let mut command = program(name);
    command.args(args).args(["--device", "cpu"]).current_dir(here());
    if let Some(file) = backbone {
        command.arg("--backbone").arg(runs().join(file));
    }
    command.output().unwrap()
}

fn report(run: &Path) -> Value {
    serde_json::from_slice(&fs::read(run.join("report.json")).unwrap()).unwrap()
}

/// Evaluation must give what was measured when the run ended, for each class.
#[test]
fn a_finished_run_is_as_good_as_its_report_says() {
    let place = Scratch::new("old-runs-finished");
    for (run, backbone) in FINISHED {
        let copy = copy(&place, run);
        let found = succeeds(&start("svp-eval", &[&copy, "--json"], backbone));
        let found: Value = serde_json::from_str(&found).unwrap();
        let was = report(&runs().join(run));
        assert_eq!(found["images"], 1000);
        for measured in ["images", "top1", "top5", "per_class"] {
            assert_eq!(found[measured], was["test"][measured], "{run}: {measured}");
        }
    }
}

#[test]
fn a_finished_run_is_shown() {
    let place = Scratch::new("old-runs-shown");
    for (run, backbone) in FINISHED {
        let copy = copy(&place, run);
        succeeds(&start("svp-report", &[&copy], backbone));
        let page = fs::read_to_string(format!("{copy}/report.html")).unwrap();
        let top1 = report(&runs().join(run))["test"]["top1"].as_f64().unwrap();
        let shown = format!("{:.1} %", 100.0 * top1);
        assert!(page.contains(&shown), "{run}: no {shown} in the page");
    }
}

/// Every step must be recorded once, and those before the interruption unchanged.
#[test]
fn an_interrupted_run_goes_on() {
    let place = Scratch::new("old-runs-interrupted");
    for (run, steps) in INTERRUPTED {
        let copy = copy(&place, run);
        let metrics = || fs::read_to_string(format!("{copy}/metrics.jsonl")).unwrap();
        let before = metrics();
        succeeds(&start("svp-train", &["--resume", &copy], None));
        let after = metrics();
        assert!(after.starts_with(&before), "{run}: what was recorded before has changed");
        let records = after.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let numbers = records.filter(|r| r["kind"] == "step").map(|r| r["step"].as_u64().unwrap() as usize);
        assert_eq!(numbers.collect::<Vec<_>>(), (1..=steps).collect::<Vec<_>>(), "{run}");
        let report = report(Path::new(&copy));
        assert_eq!((&report["steps"], &report["test"]["images"]), (&steps.into(), &1000.into()), "{run}");
    }
}

#[test]
fn a_config_file_trains() {
    let place = Scratch::new("old-runs-config");
    let out = place.at("run");
    succeeds(&start("svp-train", &["--config", "svp.toml", "--out", &out], None));
    let report = report(Path::new(&out));
    // There are 800 images in whole batches of 64.
    assert_eq!((&report["method"], &report["steps"]), (&"svp".into(), &12.into()));
    // The model has two blocks of 16 channels, generators of 4 hidden channels and of one group each, scales, and a
    // head of two layers.
    assert_eq!(report["trained_parameters"], 1536);
    for file in ["best.safetensors", "last.safetensors", "ema.safetensors"] {
        assert!(Path::new(&out).join(file).exists(), "no {file}");
    }
}

/// The settings of old presets must have the effect that they had.
#[test]
fn a_preset_is_known_by_its_name() {
    for (args, trained) in [("--preset vtab/cifar", 120_200), ("--preset hta/cub200 --augment", 127_944)] {
        let args = [args, "--data builtin:orientation --dry-run --json"].join(" ");
        let found = succeeds(&start("svp-train", &args.split(' ').collect::<Vec<_>>(), None));
        let found: Value = serde_json::from_str(&found).unwrap();
        let parts = found["parameters"].as_array().unwrap();
        let sum: u64 = parts.iter().map(|part| part["trained"].as_u64().unwrap()).sum();
        assert_eq!(sum, trained, "{args}: {parts:?}");
    }
}
