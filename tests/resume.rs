//! A run depends only on its config, seed and data. However often it is stopped, and with any number of threads, it
//! must end with the bytes of the unbroken run.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use testkit::programs::{succeeds, text, train, words};
use testkit::runs::{Task, records, same, small};

/// Kinds of runs: a method, or one with other settings ([`of_kind`]).
const KINDS: [&str; 7] = ["svp", "full", "linear", "recipe", "vpt-sgd", "bitfit-adam", "dam-vp-kept"];
/// Every random change of images and batches there is, and a moving average.
const RECIPE: &str =
    "--augment --auto-augment rand-m9-mstd0.5-inc1 --reprob 0.25 --mixup 0.8 --cutmix 1 --ema-decay 0.9";

/// The moment at which a process is killed.
#[derive(Clone, Copy)]
enum After {
    Millis(u64),
    /// After so many new records in the metrics file.
    Records(usize),
}

fn args<'a>(task: &'a Task, method: &'a str, out: &'a str) -> Vec<&'a str> {
    // Steps on cached features are so short that more of them are needed for the same time.
    let epochs = if method == "linear" { "40" } else { "8" };
    // Both have the same images in a step and as many steps in an epoch.
    let batches = if method == "accumulated" { "--batch-size 4 --accumulate 2" } else { "--batch-size 8" };
    let (method, more) = of_kind(method);
    let fixed = words("--drop-path 0.3 --lr 0.1 --seed 3");
    let task = ["--data", &task.data, "--backbone", &task.backbone];
    let method = small(method);
    [&task[..], &["--epochs", epochs, "--out", out], &words(batches), &words(more), &fixed, &method].concat()
}

/// The method of a kind, and its further settings.
fn of_kind(kind: &str) -> (&str, &str) {
    match kind {
        "accumulated" => ("svp", ""),
        "recipe" => ("svp", RECIPE),
        "on-val" => ("svp", "--train-on-val"),
        "vpt-sgd" => ("vpt", "--position middle --prompt-dropout 0.2 --optimizer sgd"),
        "bitfit-adam" => ("bitfit", "--optimizer adam"),
        // Images that do not change keep the frame that they get before the first step.
        "dam-vp-kept" => {
            ("dam-vp", "--augment false --optimizer sgd --head-lr-scale 2 --head-weight-decay 0")
        }
        // Its logits are counted out to the classes before every epoch.
        "autovp-iter" => ("autovp", "--augment false --resize trainable --mapping iter --mapped-logits 1"),
        method => (method, ""),
    }
}

/// Trains to the end and returns the run folder.
fn train_to_end(task: &Task, method: &str, name: &str, more: &[&str]) -> String {
    let out = task.place.at(name);
    succeeds(&train(&[&args(task, method, &out)[..], more].concat()));
    out
}

fn spawn(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_svp-train"))
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for the moment, or for the end of the process.
fn wait(child: &mut Child, run: &str, before: usize, after: After) {
    let began = Instant::now();
    let due = || match after {
        After::Millis(millis) => began.elapsed() >= Duration::from_millis(millis),
        After::Records(more) => records(run) >= before + more,
    };
    while !due() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_micros(500));
        assert!(began.elapsed() < Duration::from_secs(120), "{run} hangs");
    }
}

/// The metrics, without the values that depend on the clock.
fn numbers(run: &str) -> Vec<String> {
    let file = fs::read_to_string(Path::new(run).join("metrics.jsonl")).unwrap();
    let timeless = |line: &str| {
        let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
        let fields = record.as_object_mut().unwrap();
        ["images_per_s", "wait_share", "seconds"].iter().for_each(|name| drop(fields.remove(*name)));
        record.to_string()
    };
    file.lines().map(timeless).collect()
}

/// Starts a run, kills and resumes it `kills` times, then lets it end. Returns how many processes were killed before
/// they had ended.
fn broken(task: &Task, method: &str, out: &str, save_every: &str, after: After, kills: usize) -> usize {
    let start = [&args(task, method, out)[..], &["--save-every", save_every]].concat();
    let mut killed = 0;
    for attempt in 0..=kills {
        // A run that was killed before it had written its config is started again.
        let resumable = Path::new(out).join("config.toml").exists();
        let mut child = if resumable { spawn(&["--resume", out]) } else { spawn(&start) };
        if attempt < kills {
            wait(&mut child, out, records(out), after);
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            None => killed += 1,
            code => assert_eq!(code, Some(0), "{}", text(&output.stderr)),
        }
    }
    killed
}

fn killed_and_resumed(method: &str) {
    let task = Task::new(&format!("killed-{method}"), 3);
    let unbroken = train_to_end(&task, method, "unbroken", &[]);
    let mut killed = 0;
    let moments = [1, 4, 10, 20, 35, 60, 100].map(After::Millis);
    let counts = [1, 2, 5, 9, 16].map(After::Records);
    for (i, after) in moments.into_iter().chain(counts).enumerate() {
        let out = task.place.at(&format!("broken-{i}"));
        killed += broken(&task, method, &out, ["1", "2"][i % 2], after, 4);
        same(&unbroken, &out);
        assert!(numbers(&unbroken) == numbers(&out), "{out}/metrics.jsonl differs from the unbroken run's");
        let left = fs::read_dir(&out)
            .unwrap()
            .any(|e| e.unwrap().file_name().to_string_lossy().starts_with(".partial-"));
        assert!(!left, "{out} holds parts of files");
    }
    assert!(killed >= 12, "only {killed} processes were killed before they had ended");
}

#[test]
fn svp_killed_and_resumed() {
    killed_and_resumed("svp");
}

#[test]
fn full_killed_and_resumed() {
    killed_and_resumed("full");
}

#[test]
fn linear_killed_and_resumed() {
    killed_and_resumed("linear");
}

/// With dropped prompts and the momentum of SGD.
#[test]
fn vpt_killed_and_resumed() {
    killed_and_resumed("vpt-sgd");
}

#[test]
fn bitfit_killed_and_resumed() {
    killed_and_resumed("bitfit-adam");
}

/// With frames that are found anew for each changed image.
#[test]
fn dam_vp_killed_and_resumed() {
    killed_and_resumed("dam-vp");
}

#[test]
fn dam_vp_with_kept_frames_killed_and_resumed() {
    killed_and_resumed("dam-vp-kept");
}

#[test]
fn autovp_with_counted_logits_killed_and_resumed() {
    killed_and_resumed("autovp-iter");
}

#[test]
fn the_whole_recipe_killed_and_resumed() {
    killed_and_resumed("recipe");
}

#[test]
fn accumulated_killed_and_resumed() {
    killed_and_resumed("accumulated");
}

/// Where no split chooses, the epoch that was finished last is kept.
#[test]
fn trained_on_val_killed_and_resumed() {
    let task = Task::new("killed-on-val", 3);
    let unbroken = train_to_end(&task, "on-val", "unbroken", &[]);
    let mut killed = 0;
    for (i, after) in [1, 7, 8, 9].map(After::Records).into_iter().enumerate() {
        let out = task.place.at(&format!("broken-{i}"));
        killed += broken(&task, "on-val", &out, ["1", "2"][i % 2], after, 3);
        same(&unbroken, &out);
        assert_eq!(numbers(&unbroken), numbers(&out));
    }
    assert!(killed >= 4, "only {killed} processes were killed before they had ended");
}

#[test]
fn a_signal_saves_and_says_how_to_resume() {
    let task = Task::new("signals", 3);
    for method in KINDS {
        let unbroken = train_to_end(&task, method, &format!("{method}-unbroken"), &[]);
        for signal in ["TERM", "INT"] {
            let out = task.place.at(&format!("{method}-{signal}"));
            let mut child = spawn(&[&args(&task, method, &out)[..], &["--save-every", "1"]].concat());
            wait(&mut child, &out, 0, After::Records(3));
            let kill = format!("kill -{signal} {}", child.id());
            assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
            let output = child.wait_with_output().unwrap();
            let stderr = text(&output.stderr);
            assert_eq!(output.status.code(), Some(75), "{stderr}");
            let last = stderr.lines().last().unwrap();
            assert!(last.starts_with("error: stopped by a signal after step"), "{stderr}");
            assert!(last.contains(&format!("svp-train --resume {out}")), "{stderr}");
            succeeds(&train(&["--resume", &out]));
            same(&unbroken, &out);
        }
    }
}

#[test]
fn threads_and_workers_change_nothing() {
    let task = Task::new("threads", 3);
    for method in KINDS {
        let run = |threads: &str, workers: &str| {
            let more = ["--threads", threads, "--workers", workers];
            train_to_end(&task, method, &format!("{method}-{threads}-{workers}"), &more)
        };
        let one = run("1", "1");
        same(&one, &run("2", "3"));
        same(&one, &run("5", "1"));
    }
}

/// Resuming a finished run tests it again and changes nothing.
#[test]
fn a_finished_run_stays_as_it_is() {
    let task = Task::new("finished", 3);
    let (once, twice) = (train_to_end(&task, "svp", "once", &[]), train_to_end(&task, "svp", "twice", &[]));
    assert!(train(&["--resume", &twice]).status.success());
    same(&once, &twice);
    assert_eq!(numbers(&once), numbers(&twice));
}
