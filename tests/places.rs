//! Where runs lie, where their inputs are, and which flags fit together.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use testkit::programs::{Scratch, fails, program, succeeds, text, train};

const TRAIN: &str = "svp-train";
const EVAL: &str = "svp-eval";

/// A command in a folder.
fn command(name: &str, folder: &str, args: &[&str]) -> Command {
    let mut command = program(name);
    command.current_dir(folder).args(args).stdin(Stdio::null());
    command
}

fn run(name: &str, folder: &str, args: &[&str]) -> Output {
    command(name, folder, args).output().unwrap()
}

/// A linear probe of the small data set `data`, as typed in its folder.
const PROBE: [&str; 8] = ["--data", "data", "--method", "linear", "--epochs", "1", "--batch-size", "8"];

/// A run is measured and resumed from any folder, and says how to find what was moved.
#[test]
fn a_run_is_used_from_anywhere() {
    let place = Scratch::new("anywhere");
    let data = place.data("data", 3);
    let home = place.at("");
    succeeds(&run(TRAIN, &home, &[&PROBE[..], &["--out", "out"]].concat()));
    let out = place.at("out");
    succeeds(&run(EVAL, "/", &[&out]));
    succeeds(&run(TRAIN, "/", &["--resume", &out]));
    let moved = place.at("moved");
    fs::rename(&data, &moved).unwrap();
    for output in [run(EVAL, "/", &[&out]), run(TRAIN, "/", &["--resume", &out])] {
        fails(&output, &[&data, "is not there", "--data"]);
    }
    succeeds(&run(EVAL, &home, &["out", "--data", "moved"]));
    succeeds(&run(TRAIN, &home, &["--resume", "out", "--data", "moved"]));
    succeeds(&run(EVAL, "/", &[&out]));
}

#[test]
fn runs_that_begin_together_get_a_folder_each() {
    let place = Scratch::new("together");
    place.data("data", 3);
    let begun: Vec<_> = (0..3)
        .map(|seed: u32| {
            let seed = seed.to_string();
            let args = [&PROBE[..], &["--seed", &seed]].concat();
            let piped = || Stdio::piped();
            command(TRAIN, &place.at(""), &args).stdout(piped()).stderr(piped()).spawn().unwrap()
        })
        .collect();
    let mut told: Vec<String> = begun
        .into_iter()
        .map(|run| {
            let output = run.wait_with_output().unwrap();
            succeeds(&output);
            let stderr = text(&output.stderr);
            let line = stderr.lines().find_map(|line| line.strip_prefix("run folder: "));
            line.expect("the folder is told").to_string()
        })
        .collect();
    told.sort();
    assert_eq!(told, [1, 2, 3].map(|n| format!("runs/linear-data-{n}")));
}

/// A run folder in the data would be read as data.
#[test]
fn a_run_does_not_lie_in_its_data() {
    let place = Scratch::new("inside");
    let data = place.data("data", 3);
    let inside = [&["--data", "."], &PROBE[2..], &["--out", "out"]].concat();
    fails(&run(TRAIN, &data, &inside), &["data set", "--out"]);
    assert!(!Path::new(&data).join("out").exists());
}

#[test]
fn small_sets_get_a_small_batch_and_idle_flags_are_refused() {
    let place = Scratch::new("small");
    let data = place.data("data", 3);
    let out = place.at("out");
    let usual = ["--data", &data, "--method", "linear", "--epochs", "1", "--out", &out, "--accumulate", "3"];
    let told = train(&usual);
    succeeds(&told);
    assert!(text(&told.stderr).contains("batch size: 16, because"), "{}", text(&told.stderr));
    for (flags, parts) in [
        (&["--patch-size", "8"][..], ["--patch-size", "without --model"]),
        (&["--momentum", "0.5"], ["--momentum", "--optimizer sgd"]),
        (&["--min-lr", "0", "--lr-decay", "steps"], ["--min-lr", "--lr-decay cosine"]),
        (&["--flip", "false"], ["--flip", "a method that changes images"]),
        (&["--mixup", "0.8"], ["--mixup", "a method that changes images"]),
        (&["--mixup-prob", "0.5"], ["--mixup-prob", "--mixup or --cutmix"]),
    ] {
        let other = ["--data", &data, "--method", "linear", "--out", "never"];
        fails(&train(&[&other[..], flags].concat()), &parts);
    }
}

/// What is left of a run may get another rate, which its config then has; nothing else may change.
#[test]
fn a_run_goes_on_at_another_rate() {
    let place = Scratch::new("lower");
    let (data, out) = (place.data("data", 3), place.at("out"));
    succeeds(&train(&[&["--data", &data, "--out", &out], &PROBE[2..]].concat()));
    fails(&train(&["--resume", &out, "--seed", "3"]), &["--seed", "keeps its settings but --lr"]);
    succeeds(&train(&["--resume", &out, "--lr", "1e-6"]));
    let config = fs::read_to_string(Path::new(&out).join("config.toml")).unwrap();
    assert!(config.contains("\nlr = 1e-6\n") || config.contains("\nlr = 0.000001\n"), "{config}");
}
