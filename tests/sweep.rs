//! `svp-sweep` as a user runs it: what it makes, what is left after a kill, and how it refuses bad input.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use testkit::programs::{Scratch, succeeds, text, words};
use testkit::runs::{Task, same};

fn sweep(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_svp-sweep")).args(args).output().unwrap()
}

fn spawn(args: &[&str]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_svp-sweep"));
    command.args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits until a run has begun.
fn wait_for(begun: impl Fn() -> bool) {
    let began = Instant::now();
    while !begun() {
        assert!(began.elapsed() < Duration::from_secs(60), "no run begins");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn signal(child: &Child, name: &str) {
    Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status().unwrap();
}

/// Checks that the command failed with `code` and that its last line has all `parts`.
#[track_caller]
fn fails(output: &Output, code: i32, parts: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    let last = stderr.lines().rfind(|line| line.starts_with("error:")).expect(&stderr);
    for part in parts {
        assert!(last.contains(part), "`{part}` is not in: {stderr}");
    }
}

/// A small Vim, data of three classes, and a sweep of 8 runs: a linear probe, and SVP with a choice of two rates.
fn small(name: &str) -> (Task, String) {
    let task = Task::new(name, 3);
    let text = format!(
        "title = 'Stripes'
        seeds = [0, 1]
        [settings]
        backbone = '{}'
        epochs = 3
        batch-size = 8
        hidden = 8
        group-size = 1
        [[methods]]
        name = 'linear'
        method = 'linear'
        [[methods]]
        name = 'SVP'
        choose = {{ lr = [0.01, 0.2] }}
        [[tasks]]
        name = 'stripes'
        data = 'data'
        [[tasks]]
        name = 'drawn'
        data = 'builtin:count'
        epochs = 1
        batch-size = 100
        [published]
        source = 'a paper'
        values = {{ SVP = {{ stripes = 99.5 }} }}
        ",
        task.backbone
    );
    let file = task.place.write("stripes.toml", text.as_bytes());
    (task, file)
}

fn args<'a>(task: &'a Task, file: &'a str, out: &'a str, more: &'a str) -> Vec<&'a str> {
    let folder = task.data.strip_suffix("/data").expect("below the test's folder");
    [&[file, "--data", folder, "--out", out][..], &words(more)].concat()
}

/// The finished runs, without the values that depend on the clock.
fn results(out: &str) -> Vec<String> {
    let csv = fs::read_to_string(Path::new(out).join("runs.csv")).unwrap();
    let columns = |line: &str| {
        let fields: Vec<&str> = line.split(',').collect();
        [&fields[..12], &fields[14..]].concat().join(",")
    };
    csv.lines().map(columns).collect()
}

/// Folders of the reported runs and of those that chose settings.
fn run_folders(out: &str) -> Vec<String> {
    results(out)[1..].iter().map(|line| line.rsplit(',').next().unwrap().to_string()).collect()
}

#[test]
fn a_sweep_makes_its_table_once() {
    let (task, file) = small("sweep");
    let out = task.place.at("out");
    let made = sweep(&args(&task, &file, &out, ""));
    let table = succeeds(&made);
    assert!(text(&made.stderr).starts_with("10 runs to make"), "{}", text(&made.stderr));
    assert_eq!(table, fs::read_to_string(Path::new(&out).join("results.md")).unwrap());
    for part in [
        "# Stripes",
        "| stripes | ",
        "(99.5, ",
        "(-, -)",
        " ± ",
        "**mean**",
        "lr=0.",
        "what was published (a paper)",
    ] {
        assert!(table.contains(part), "`{part}` is not in:\n{table}");
    }
    assert_eq!(results(&out).len(), 1 + 10);
    image::open(Path::new(&out).join("results.png")).unwrap();
    let csv = fs::read_to_string(Path::new(&out).join("results.csv")).unwrap();
    assert!(csv.contains("\nmean,mean,SVP,"), "{csv}");
    for run in run_folders(&out) {
        let run = Path::new(&out).join(run);
        assert!(run.join("best.safetensors").is_file() && run.with_extension("log").is_file(), "{run:?}");
    }
    // Nothing is made twice, and two jobs find the same results as one.
    let again = sweep(&args(&task, &file, &out, "--json"));
    assert!(text(&again.stderr).starts_with("0 runs to make"));
    let json: serde_json::Value = serde_json::from_str(&succeeds(&again)).unwrap();
    assert_eq!((&json["left"], json["results"].as_array().unwrap().len()), (&0.into(), 4 + 2));
    let parallel = task.place.at("parallel");
    succeeds(&sweep(&args(&task, &file, &parallel, "--jobs 3")));
    assert_eq!(results(&out), results(&parallel));
    // A setting that differs from that of the finished runs must be refused.
    fails(&sweep(&args(&task, &file, &out, "--set epochs=2")), 1, &["seed-0", "epochs", "now 2", "--out"]);
    // Another backbone, other data and another sweep must be refused too.
    let changed = |from: &str, to: &str| {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(from));
        task.place.write("changed.toml", text.replace(from, to).as_bytes())
    };
    let backbone = changed(&format!("backbone = '{}'", task.backbone), "");
    fails(&sweep(&args(&task, &backbone, &out, "")), 1, &["seed-0", "another backbone", "--out"]);
    let data = changed("builtin:count", "builtin:position");
    fails(&sweep(&args(&task, &data, &out, "")), 1, &["drawn", "builtin:count", "builtin:position"]);
    let title = changed("'Stripes'", "'Dots'");
    fails(&sweep(&args(&task, &title, &out, "")), 1, &["another sweep", "Stripes", "--out"]);
}

/// Runs that a killed sweep leaves behind go on by themselves, and the next sweep waits for them.
#[test]
fn a_killed_sweep_goes_on() {
    let (task, file) = small("killed");
    let unbroken = task.place.at("unbroken");
    succeeds(&sweep(&args(&task, &file, &unbroken, "--jobs 2")));
    let out = task.place.at("out");
    let mut stopped = 0;
    for millis in [300, 900, 100, 1500, 700] {
        let mut child = spawn(&args(&task, &file, &out, "--jobs 2"));
        std::thread::sleep(Duration::from_millis(millis));
        child.kill().unwrap();
        stopped += usize::from(!child.wait().unwrap().success());
    }
    assert!(stopped >= 3, "too quick to be killed: {stopped}");
    succeeds(&sweep(&args(&task, &file, &out, "")));
    assert_eq!(results(&unbroken), results(&out));
    for run in run_folders(&out) {
        same(&format!("{unbroken}/{run}"), &format!("{out}/{run}"));
    }
}

#[cfg(unix)]
#[test]
fn a_signal_stops_the_runs_and_the_same_command_goes_on() {
    let (task, file) = small("stopped");
    let out = task.place.at("out");
    let args = args(&task, &file, &out, "--set epochs=200");
    let child = spawn(&args);
    let run = Path::new(&out).join("runs/stripes/linear/seed-0");
    wait_for(|| run.join("last.safetensors").exists());
    // Only the sweep gets the signal, as from a job scheduler.
    signal(&child, "TERM");
    let stopped = child.wait_with_output().unwrap();
    fails(&stopped, 75, &["stopped by a signal", "runs are left", "same command"]);
    let log = fs::read_to_string(run.with_extension("log")).unwrap();
    let ended = run.join("report.json").exists();
    assert!(ended || log.contains("stopped by a signal"), "the run was asked to save: {log}");
    assert!(!svp::report::RunDir::is_busy(&run), "no run is left behind");
}

#[test]
fn shards_on_several_machines_are_merged() {
    let (task, file) = small("shards");
    let whole = task.place.at("whole");
    succeeds(&sweep(&args(&task, &file, &whole, "--jobs 2")));
    let parts = [task.place.at("part-1"), task.place.at("part-2")];
    for (part, shard) in parts.iter().zip(["1/2", "2/2"]) {
        succeeds(&sweep(&args(&task, &file, part, &format!("--jobs 2 --shard {shard}"))));
        assert!(results(part).len() < results(&whole).len(), "a part");
    }
    let merged = task.place.at("merged");
    let table = succeeds(&sweep(&["report", &parts[0], &parts[1], "--out", &merged]));
    assert_eq!(results(&merged), results(&whole));
    assert!(!table.contains("Not finished"), "{table}");
    let half = succeeds(&sweep(&["report", &parts[0]]));
    assert!(half.contains("Not finished"), "{half}");
    // Parts of another sweep must be refused.
    let other = task.place.write("other.toml", &[&fs::read(&file).unwrap()[..], b"\n# 2\n"].concat());
    let other_out = task.place.at("other");
    succeeds(&sweep(&args(&task, &other, &other_out, "--jobs 2 --set epochs=1")));
    fails(&sweep(&["report", &parts[0], &other_out]), 1, &["other", "another sweep"]);
    fails(&sweep(&["report", &task.place.at("none")]), 1, &["none", "holds no sweep"]);
}

/// Runs the example for Slurm as one task of an array would, and stops it as Slurm does when its time is over or it is
/// cancelled.
#[cfg(unix)]
#[test]
fn the_slurm_script_makes_a_shard_and_passes_on_the_signal() {
    let (task, file) = small("slurm");
    // The stand-in records the arguments it gets.
    let programs = Path::new(env!("CARGO_BIN_EXE_svp-sweep")).parent().unwrap();
    let asked = task.place.at("asked");
    let scontrol =
        task.place.write("bin/scontrol", format!("#!/bin/sh\necho \"$*\" >> '{asked}'\n").as_bytes());
    Command::new("chmod").args(["+x", &scontrol]).status().unwrap();
    let path = format!("{}:{}:{}", task.place.at("bin"), programs.display(), std::env::var("PATH").unwrap());
    let script = |out: &str, more: &str| {
        let mut command = Command::new("bash");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tools/slurm/sweep.sh"));
        command.args(args(&task, &file, out, more)).env("PATH", &path);
        let array =
            [("SLURM_ARRAY_JOB_ID", "7"), ("SLURM_ARRAY_TASK_ID", "2"), ("SLURM_ARRAY_TASK_MAX", "2")];
        command.envs(array).stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    let out = task.place.at("out");
    assert!(script(&out, "").status().unwrap().success());
    let made = results(&out).len();
    assert!(made > 1 && made < 1 + 10, "a part: {made}");
    for (name, want) in [("TERM", ""), ("USR1", "requeue 7_2\n")] {
        let out = task.place.at(name);
        let mut child = script(&out, "--set epochs=200").spawn().unwrap();
        let runs = || fs::read_dir(Path::new(&out).join("runs/stripes/linear")).into_iter().flatten();
        wait_for(|| runs().any(|run| run.unwrap().path().join("last.safetensors").exists()));
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(75), "{name}");
        assert_eq!(fs::read_to_string(&asked).unwrap_or_default(), want);
    }
}

#[test]
fn a_run_that_fails_does_not_stop_the_others() {
    let (task, file) = small("failing");
    let out = task.place.at("out");
    fs::rename(&task.data, task.place.at("away")).unwrap();
    let failed = sweep(&args(&task, &file, &out, "--jobs 2"));
    fails(&failed, 1, &["Stripes", "runs failed", ".log files"]);
    let table = text(&failed.stdout);
    assert!(table.contains("stripes/linear/seed-0 failed: ") && table.contains("No such file"), "{table}");
    assert!(table.contains("| stripes | - (-, -) | - (99.5, -) |"), "{table}");
    let drawn = results(&out).iter().filter(|line| line.starts_with("drawn")).count();
    assert_eq!(drawn, 5, "{table}");
    // Once the data are back, the same command makes the missing runs.
    fs::rename(task.place.at("away"), &task.data).unwrap();
    let mended = sweep(&args(&task, &file, &out, ""));
    assert!(!succeeds(&mended).contains("failed"));
    assert!(text(&mended.stderr).starts_with("5 runs to make"), "{}", text(&mended.stderr));
}

#[test]
fn settings_that_diverge_are_not_chosen() {
    let (task, file) = small("diverging");
    let wild = fs::read_to_string(&file).unwrap().replace("[0.01, 0.2]", "[1e30, 0.2]");
    let (file, out) = (task.place.write("wild.toml", wild.as_bytes()), task.place.at("out"));
    let table = succeeds(&sweep(&args(&task, &file, &out, "--jobs 2")));
    assert!(table.contains("| stripes |  | lr=0.2 |"), "{table}");
    assert!(table.contains("seed-0 diverged") && !table.contains("Not finished"), "{table}");
    let again = sweep(&args(&task, &file, &out, ""));
    assert!(text(&again.stderr).starts_with("0 runs to make"), "they would diverge again");
    // Where no other choice succeeded, a result is missing.
    let worse = wild.replace("[1e30, 0.2]", "[1e30, 1e31]");
    let (file, out) = (task.place.write("worse.toml", worse.as_bytes()), task.place.at("worse"));
    let ended = sweep(&args(&task, &file, &out, "--jobs 2"));
    fails(&ended, 1, &["4 runs failed"]);
    assert!(text(&ended.stdout).contains("| diverged (99.5, -) |"), "{}", text(&ended.stdout));
}

/// As in the paper's Table 2, settings are chosen on a part of the training images and the reported run trains on all
/// of them.
#[test]
fn after_the_choice_it_is_trained_on_all() {
    let (task, file) = small("retrained");
    let text = fs::read_to_string(&file)
        .unwrap()
        .replace("[settings]", "retrain = { train-on-val = true, test-noise = [0.5, 1.0] }\n[settings]");
    let (file, out) = (task.place.write("all.toml", text.as_bytes()), task.place.at("out"));
    fails(&sweep(&args(&task, &file, &out, "--dry-run --jobs 0")), 1, &["--jobs"]);
    succeeds(&sweep(&args(&task, &file, &out, "--jobs 2")));
    let svp: Vec<String> = results(&out).into_iter().filter(|line| line.starts_with("stripes,SVP")).collect();
    let reported: Vec<&String> = svp.iter().filter(|line| line.contains(",yes,last epoch,")).collect();
    assert_eq!((svp.len(), reported.len()), (4, 2), "{svp:?}");
    let choices = svp.iter().filter(|line| line.contains(",no,val,") && line.contains("/choose-seed-0"));
    assert_eq!(choices.count(), 2, "{svp:?}");
    // What is reported was tested with noise too: two tasks with two methods at two rates, and without.
    let noise = fs::read_to_string(Path::new(&out).join("noise.csv")).unwrap();
    assert_eq!(noise.lines().count(), 1 + 2 * 2 * 3, "{noise}");
    assert!(noise.contains("stripes,SVP,0,2,") && noise.contains("stripes,SVP,0.5,2,"), "{noise}");
    assert!(fs::read(Path::new(&out).join("noise.png")).unwrap().starts_with(b"\x89PNG"));
}

/// Runs a preset with its data where the published program looks for them, and reports the means of VTAB-1k's groups.
#[test]
fn presets_find_their_data_below_one_folder() {
    let (task, _) = small("presets");
    for (name, classes) in [("svhn", 10), ("eurosat", 10)] {
        let folder = format!("all/VTAB/vtab-1k/{name}");
        for (list, images) in [("train800", 30), ("val200", 10), ("test", 10)] {
            let mut lines = String::new();
            for i in 0..images {
                let mut image = b"P6 32 32 255\n".to_vec();
                image.extend((0..32 * 32 * 3).map(|at| (at * (i % classes + 1)) as u8));
                task.place.write(&format!("{folder}/images/{list}/{i}.ppm"), &image);
                lines += &format!("images/{list}/{i}.ppm {}\n", i % classes);
            }
            task.place.write(&format!("{folder}/{list}.txt"), lines.as_bytes());
        }
    }
    let text = format!(
        "title = 'Two of VTAB-1k'
        presets = ['vtab/svhn', 'vtab/eurosat']
        methods = ['svp']
        settings = {{ backbone = '{}', epochs = 2, warmup-epochs = 0, batch-size = 8, hidden = 8, group-size = 1 }}
        [published]
        source = 'a paper'
        values = {{ svp = {{ specialized = 95.25 }} }}",
        task.backbone
    );
    let (file, all, out) =
        (task.place.write("vtab.toml", text.as_bytes()), task.place.at("all"), task.place.at("out"));
    let table = succeeds(&sweep(&[&file, "--data", &all, "--out", &out]));
    for part in [
        "| vtab/svhn | ",
        "| **natural** | ",
        "| **specialized** | ",
        "(95.2, ",
        "| **mean of the groups** | ",
    ] {
        assert!(table.contains(part), "`{part}` is not in:\n{table}");
    }
    let report = fs::read_to_string(Path::new(&out).join("runs/vtab-svhn/svp/seed-0/report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["preset"], "vtab/svhn");
}

/// An unfinished run goes on with the data at their new place.
#[cfg(unix)]
#[test]
fn data_may_move_while_a_sweep_is_stopped() {
    let (task, file) = small("moved");
    let out = task.place.at("out");
    let mut child = spawn(&args(&task, &file, &out, "--set epochs=40"));
    let begun = Path::new(&out).join("runs/stripes/SVP/lr=0.01/seed-0/last.safetensors");
    wait_for(|| begun.exists());
    signal(&child, "TERM");
    assert_eq!(child.wait().unwrap().code(), Some(75));
    let new = task.place.at("new");
    fs::create_dir(&new).unwrap();
    fs::rename(&task.data, format!("{new}/data")).unwrap();
    succeeds(&sweep(&[&file, "--data", &new, "--out", &out, "--jobs", "2", "--set", "epochs=40"]));
}

#[test]
fn a_dry_run_tells_and_writes_nothing() {
    let (task, file) = small("dry");
    let out = task.place.at("out");
    let told = succeeds(&sweep(&args(&task, &file, &out, "--dry-run")));
    for part in ["stripes", "drawn", "runs/stripes/SVP/lr=0.01/seed-0", "to do", "10 runs to make"] {
        assert!(told.contains(part), "`{part}` is not in:\n{told}");
    }
    assert!(!Path::new(&out).exists());
    fs::remove_dir_all(&task.data).unwrap();
    let told = sweep(&args(&task, &file, &out, "--dry-run"));
    fails(&told, 1, &["Stripes", "1 tasks cannot be opened"]);
    assert!(text(&told.stdout).contains("stripes: "), "{}", text(&told.stdout));
}

#[test]
fn bad_input_is_one_line() {
    let place = Scratch::new("sweep-input");
    let out = place.at("out");
    let refused = |text: &str, parts: &[&str]| {
        let file = place.write("bad.toml", text.as_bytes());
        let output = sweep(&[&file, "--out", &out]);
        fails(&output, 1, parts);
        assert_eq!(text_lines(&output), 1, "{}", text_of(&output));
        assert!(!Path::new(&out).exists(), "a refused sweep leaves nothing");
    };
    let task = "title = 't'\nmethods = ['svp']\ntasks = [{ name = 'a', data = 'builtin:count' }]\n";
    refused("title = ", &["bad.toml, line 1"]);
    refused(&format!("{task}unknown = 1"), &["bad.toml, line 4", "unknown"]);
    refused(&format!("{task}settings = {{ epoch = 1 }}"), &["a, svp", "epoch", "long flags"]);
    refused(&format!("{task}settings = {{ backbone = 'none.pth' }}"), &["none.pth", "No such file"]);
    refused("title = 't'\nmethods = ['svp']\npresets = ['hta/dtd']", &["hta/dtd", "--data"]);
    fails(&sweep(&["tabel1"]), 1, &["tabel1", "svp-sweep list"]);
    fails(&sweep(&["show", "tabel1"]), 1, &["tabel1", "svp-sweep list"]);
    fails(&sweep(&["small", "--jobs", "0"]), 1, &["--jobs"]);
    for wrong in
        [&["small", "--shard", "3/2"][..], &["small", "--job", "2"], &["small", "--set", "epochs"], &[]]
    {
        assert_eq!(sweep(wrong).status.code(), Some(2), "{wrong:?}");
    }
    let hinted = sweep(&["small", "--normalise", "half"]);
    assert!(hinted.status.code() == Some(2) && text_of(&hinted).contains("--set normalise=VALUE"));
    let shown = succeeds(&sweep(&["show", "table4"]));
    let file = place.write("mine.toml", shown.as_bytes());
    fails(&sweep(&[&file, "--out", &out, "--backbone", "none.pth", "--data", "x"]), 1, &["none.pth"]);
    assert!(succeeds(&sweep(&["list"])).contains("Table 2"));
}

fn text_of(output: &Output) -> String {
    text(&output.stderr)
}

fn text_lines(output: &Output) -> usize {
    text_of(output).lines().count()
}
