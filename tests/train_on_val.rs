//! `--train-on-val` as a user runs it: every image is trained on, and either the last epoch is kept or the test split
//! chooses.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use safetensors::SafeTensors;
use serde_json::Value;
use svp::backbones::vim;
use svp::methods::METHODS;
use testkit::programs::{Scratch, fails, succeeds, text, train, words};
use testkit::runs::{Task, small};

/// Trains on 60 images for 3 epochs; returns the run folder and what was printed.
fn train_task(task: &Task, name: &str, more: &str) -> (String, String) {
    let out = task.place.at(name);
    let fixed = "--train-on-val --epochs 3 --batch-size 8 --lr 0.1";
    let of_task = ["--data", &task.data, "--backbone", &task.backbone, "--out", &out];
    let shown = succeeds(&train(&[&of_task[..], &words(fixed), &words(more)].concat()));
    (out, shown)
}

fn eval(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_svp-eval")).args(args).output().unwrap()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn read(run: &str, name: &str) -> String {
    fs::read_to_string(Path::new(run).join(name)).unwrap()
}

/// Records of one kind.
fn records(run: &str, kind: &str) -> Vec<Value> {
    read(run, "metrics.jsonl").lines().map(json).filter(|record| record["kind"] == kind).collect()
}

#[test]
fn the_last_epoch_is_kept_and_nothing_of_a_validation_is_said() {
    let task = Task::new("train-on-val", 3);
    for method in METHODS.iter().filter(|entry| entry.backbones.contains(&vim::NAME)).map(|entry| entry.name)
    {
        let (run, shown) = train_task(&task, method, &small(method).join(" "));
        assert!(shown.contains(": epoch 3 of 3, the last (trained on val too)"), "{shown}");
        let report = json(&read(&run, "report.json"));
        assert_eq!((&report["selected_on"], &report["best_epoch"]), (&"last epoch".into(), &3.into()));
        assert_eq!((report.get("selected_top1"), &report["test"]["images"]), (None, &18.into()));

        // There are 7 batches of 8 in 60 images, and 6 where a fifth is held out.
        assert_eq!(records(&run, "step").len(), 3 * 7);
        let epochs = records(&run, "epoch");
        assert_eq!(epochs.len(), 3);
        for epoch in epochs {
            let names: Vec<&str> = epoch.as_object().unwrap().keys().map(String::as_str).collect();
            assert!(!names.iter().any(|name| name.starts_with("val")), "{names:?}");
        }
        let events = fs::read_dir(&run).unwrap().map(|entry| entry.unwrap().path());
        let events = events.filter(|path| path.to_string_lossy().contains("tfevents"));
        let events = events.flat_map(|path| fs::read(path).unwrap()).collect::<Vec<u8>>();
        let tagged = |tag: &str| events.windows(tag.len()).any(|at| at == tag.as_bytes());
        assert!(tagged("test/top1") && !tagged("val/"));

        let [best, last] =
            ["best", "last"].map(|name| fs::read(format!("{run}/{name}.safetensors")).unwrap());
        let [best, last] = [&best, &last].map(|file| SafeTensors::deserialize(file).unwrap());
        assert!(!best.is_empty());
        for (name, tensor) in best.iter() {
            assert!(
                tensor.data() == last.tensor(name).unwrap().data(),
                "{name} is not that of the last epoch"
            );
        }
        let found = json(&succeeds(&eval(&[&run, "--json"])));
        assert_eq!((&found["split"], &found["loss"]), (&"test".into(), &report["test"]["loss"]));
    }
}

/// The setting must change which images are trained on.
#[test]
fn a_resumed_run_keeps_it() {
    let task = Task::new("train-on-val-resumed", 3);
    let (run, _) = train_task(&task, "run", "--method linear");
    let config = read(&run, "config.toml");
    task.place.write("run/config.toml", config.replace("train-on-val = true\n", "").as_bytes());
    let resumed = train(&["--resume", &run]);
    let stderr = text(&resumed.stderr);
    assert!(stderr.contains("the data set is not the one the run began with"), "{stderr}");
    task.place.write("run/config.toml", config.as_bytes());
    succeeds(&train(&["--resume", &run]));
}

#[test]
fn what_is_left_is_measured_and_shown() {
    let task = Task::new("train-on-val-shown", 3);
    let (run, _) = train_task(&task, "run", "--method linear");
    fails(&eval(&[&run, "--split", "val"]), &["no val split", "--train-on-val", "--split"]);
    assert_eq!(json(&succeeds(&eval(&[&run, "--split", "train", "--json"])))["images"], 60);
    let page = Command::new(env!("CARGO_BIN_EXE_svp-report")).arg(&run).output().unwrap();
    succeeds(&page);
    let page = read(&run, "report.html");
    for (part, shown) in [
        ("last epoch", true),
        ("best epoch", false),
        ("Top-1 accuracy", false),
        ("validation", false),
        ("NaN", false),
    ] {
        assert_eq!(page.contains(part), shown, "{part}");
    }
}

#[test]
fn the_test_split_chooses_where_that_is_asked_for() {
    let task = Task::new("train-on-val-select", 3);
    let (run, shown) = train_task(&task, "run", "--method linear --select-on-test");
    let top1: Vec<f64> =
        records(&run, "epoch").iter().map(|epoch| epoch["val_top1"].as_f64().unwrap()).collect();
    let most = top1.iter().copied().fold(0.0, f64::max);
    let first = 1 + top1.iter().position(|&top1| top1 == most).unwrap();
    let report = json(&read(&run, "report.json"));
    assert_eq!((&report["selected_on"], &report["test"]), (&"test".into(), &Value::Null));
    assert_eq!(report["best_epoch"], first);
    assert!((report["selected_top1"].as_f64().unwrap() - most).abs() < 1e-6, "{report}");
    assert!(shown.contains(&format!("epoch {first} of 3, chosen on test")), "{shown}");
    assert_eq!(records(&run, "step").len(), 3 * 7);
}

#[test]
fn a_dry_run_counts_them_and_data_without_a_test_split_is_refused() {
    let place = Scratch::new("train-on-val-dry");
    let counts = |data: &str| succeeds(&train(&words(&format!("--data {data} --train-on-val --dry-run"))));
    let drawn = counts("builtin:count");
    assert!(drawn.contains("1,000 images to train, 0 to validate, 1,000 to test"), "{drawn}");
    let data = place.data("data", 3);
    fs::rename(format!("{data}/test"), format!("{data}/val")).unwrap();
    let out = place.at("run");
    let refused = train(&["--data", &data, "--train-on-val", "--out", &out]);
    let stderr = text(&refused.stderr);
    let error = stderr.lines().last().unwrap();
    assert!(error.starts_with("error: --train-on-val: there is no test split"), "{stderr}");
    assert_eq!(refused.status.code(), Some(1));
    assert!(!Path::new(&out).exists(), "a refused run leaves nothing");
    fs::rename(format!("{data}/val"), format!("{data}/test")).unwrap();
    for i in 0..5 {
        let from = format!("{data}/train/class 0/{i}.ppm");
        place.write(&format!("data/val/class 0/{i}.ppm"), &fs::read(&from).unwrap());
        fs::remove_file(from).unwrap();
    }
    let folder = counts(&data);
    assert!(folder.contains("60 images to train, 0 to validate, 18 to test"), "{folder}");
    assert!(folder.contains("trained on the 5 images of the val split too, 60 in all"), "{folder}");
}
