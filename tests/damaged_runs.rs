//! A run folder in which files are damaged, missing or exchanged is refused before anything in it is changed, in one line.
//! What was changed while a run read it ends the run, or is told.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use testkit::programs::{fails, program, succeeds, text, train, words};
use testkit::runs::{Task, records, same, small};

/// Longest time that a program may take: a named pipe would let it wait for ever.
const PATIENCE: Duration = Duration::from_secs(120);

fn args<'a>(task: &'a Task, data: &'a str, method: &'a str, out: &'a str, epochs: &'a str) -> Vec<&'a str> {
    let places = ["--data", data, "--backbone", &task.backbone, "--out", out, "--epochs", epochs];
    [&places[..], &words("--batch-size 8 --save-every 1 --seed 3"), &small(method)].concat()
}

fn spawn(name: &str, args: &[&str]) -> Child {
    program(name).args(args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Waits for the end of a program, or for a moment before it.
fn wait(child: &mut Child, due: impl Fn() -> bool) {
    let began = Instant::now();
    while !due() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(1));
        if began.elapsed() > PATIENCE {
            child.kill().unwrap();
            panic!("a program hangs");
        }
    }
}

fn ended(name: &str, args: &[&str]) -> Output {
    let mut child = spawn(name, args);
    wait(&mut child, || false);
    child.wait_with_output().unwrap()
}

/// A run that was stopped in the middle of its second epoch.
fn interrupted(task: &Task, name: &str) -> String {
    let out = task.place.at(name);
    let mut child = spawn("svp-train", &args(task, &task.data, "svp", &out, "40"));
    wait(&mut child, || records(&out) >= 9);
    let kill = format!("kill -TERM {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    assert_eq!(child.wait_with_output().unwrap().status.code(), Some(75));
    assert!(Path::new(&out).join("sound.safetensors").exists());
    out
}

/// Copies a run to the folder `copy` beside it.
fn copied(run: &str) -> String {
    let to = Path::new(run).with_file_name("copy");
    if to.exists() {
        fs::remove_dir_all(&to).unwrap();
    }
    fs::create_dir(&to).unwrap();
    for entry in fs::read_dir(run).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
    }
    to.to_str().unwrap().into()
}

/// What the regular files of a run hold, but for the lock.
fn contents(run: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(run).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.file_type().unwrap().is_file());
    let named = files.map(|entry| (entry.file_name().into_string().unwrap(), entry.path()));
    let held =
        named.filter(|(name, _)| name != "run.lock").map(|(name, path)| (name, fs::read(path).unwrap()));
    let mut all: Vec<_> = held.collect();
    all.sort();
    all
}

type Damage<'a> = &'a dyn Fn(&Path);

/// Damages a file of a copy of the run, and checks that it is refused before anything is changed.
#[track_caller]
fn refused(run: &str, name: &str, damage: Damage, parts: &[&str]) {
    let copy = copied(run);
    damage(&Path::new(&copy).join(name));
    let before = contents(&copy);
    fails(&ended("svp-train", &["--resume", &copy]), parts);
    assert!(contents(&copy) == before, "{name}: a refused run is changed");
}

/// Edits the JSON under a key of a trained file's metadata.
fn edit(file: &Path, key: &str, change: impl Fn(&mut Value)) {
    let bytes = fs::read(file).unwrap();
    let end = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: Value = serde_json::from_slice(&bytes[8..end]).unwrap();
    let mut value: Value = serde_json::from_str(header["__metadata__"][key].as_str().unwrap()).unwrap();
    change(&mut value);
    header["__metadata__"][key] = value.to_string().into();
    let header = header.to_string().into_bytes();
    fs::write(file, [&(header.len() as u64).to_le_bytes(), &header[..], &bytes[end..]].concat()).unwrap();
}

fn replace(file: &Path, by: &Path) {
    fs::copy(by, file).unwrap();
}

fn remove(file: &Path) {
    let _ = fs::remove_file(file);
}

fn halve(file: &Path) {
    let length = file.metadata().unwrap().len();
    File::options().write(true).open(file).unwrap().set_len(length / 2).unwrap();
}

fn folder(file: &Path) {
    remove(file);
    fs::create_dir(file).unwrap();
}

fn pipe(file: &Path) {
    remove(file);
    assert!(Command::new("mkfifo").arg(file).status().unwrap().success());
}

fn dangling(file: &Path) {
    remove(file);
    std::os::unix::fs::symlink("nowhere", file).unwrap();
}

#[test]
fn damaged_folders_are_refused_before_anything_is_changed() {
    let task = Task::new("damaged", 3);
    let [finished, linear] = ["finished", "linear"].map(|name| task.place.at(name));
    succeeds(&train(&args(&task, &task.data, "svp", &finished, "2")));
    succeeds(&train(&args(&task, &task.data, "linear", &linear, "2")));
    let stopped = interrupted(&task, "stopped");
    let other = |file: &Path| replace(file, &Path::new(&linear).join(file.file_name().unwrap()));
    for run in [&finished, &stopped] {
        for name in ["last.safetensors", "best.safetensors", "metrics.jsonl", "curves.png", "run.lock"] {
            refused(run, name, &folder, &[name, "is a folder, not a regular file"]);
            refused(run, name, &pipe, &[name, "is a named pipe"]);
            if name != "run.lock" {
                refused(run, name, &dangling, &[name, "cannot open"]);
            }
        }
        for name in ["last.safetensors", "best.safetensors"] {
            refused(run, name, &halve, &[name, "damaged or incomplete"]);
        }
        refused(run, "config.toml", &halve, &["config.toml", "is not a run's config"]);
        refused(run, "best.safetensors", &remove, &["best.safetensors", "cannot open"]);
        refused(run, "best.safetensors", &other, &["best.safetensors", "is not of this run"]);
        refused(run, "last.safetensors", &other, &["last.safetensors", "not those the run began with"]);
        let best = |change: fn(&mut Value)| move |file: &Path| edit(file, "svp.position", change);
        let score: fn(&mut Value) = |position| position["best"]["top1"] = json!(0.123);
        refused(run, "best.safetensors", &best(score), &["is not of this run"]);
        let changes: [fn(&mut Value); 7] = [
            |position| position["best"] = Value::Null,
            |position| position["best"]["epoch"] = 99.into(),
            |position| position["step"] = 0.into(),
            |position| position["step"] = u64::MAX.into(),
            |position| position["epoch"] = u32::MAX.into(),
            |position| position["batch"] = u64::MAX.into(),
            |position| position["loss_sum_bits"] = f64::NAN.to_bits().into(),
        ];
        for change in changes {
            refused(run, "last.safetensors", &best(change), &["last.safetensors", "is none of this run"]);
        }
        for line in ["{\"a\":1}\n", "hello\n", "\0\n"] {
            let foreign =
                |file: &Path| fs::write(file, [line.as_bytes(), &fs::read(file).unwrap()].concat()).unwrap();
            refused(run, "metrics.jsonl", &foreign, &["metrics.jsonl", "line 1 is no record"]);
        }
    }
    refused(&stopped, "sound.safetensors", &halve, &["sound.safetensors", "remove it"]);
    refused(
        &stopped,
        "sound.safetensors",
        &|file| replace(file, &Path::new(&linear).join("last.safetensors")),
        &["sound.safetensors", "is not of this run"],
    );
    refused(&finished, "last.safetensors", &remove, &["last.safetensors", "had saved its state"]);
    refused(&finished, "report.json", &folder, &["report.json", "is a folder"]);

    // Without its records the run goes on, and says what is lost.
    let copy = copied(&finished);
    remove(&Path::new(&copy).join("metrics.jsonl"));
    let output = ended("svp-train", &["--resume", &copy]);
    succeeds(&output);
    assert!(text(&output.stderr).contains("metrics.jsonl ends at step 0"), "{}", text(&output.stderr));
    same(&finished, &copy);
}

/// The programs that read a run folder.
#[test]
fn readers_of_damaged_folders_say_what_is_wrong() {
    let task = Task::new("damaged-read", 3);
    let run = task.place.at("run");
    succeeds(&train(&args(&task, &task.data, "svp", &run, "1")));
    let image = format!("{}/test/class 0/0.ppm", task.data);
    let [copy, out] = ["copy", "out.safetensors"].map(|name| task.place.at(name));
    let readers: [(&str, &[&str]); 4] = [
        ("svp-eval", &[&copy]),
        ("svp-predict", &["--run", &copy, &image]),
        ("svp-report", &[&copy]),
        ("svp-convert", &[&copy, &out]),
    ];
    let refused = |name: &str, damage: Damage, readers: &[(&str, &[&str])], parts: &[&str]| {
        for (program, args) in readers {
            copied(&run);
            damage(&Path::new(&copy).join(name));
            fails(&ended(program, &[args, &["--max-memory", "256MiB"][..]].concat()), parts);
            assert!(!Path::new(&out).exists(), "{program}");
        }
    };
    let description = |change: fn(&mut Value)| move |file: &Path| edit(file, "svp.model", change);
    let wide = description(|model| model["svp"]["hidden"] = 65536.into());
    refused(
        "best.safetensors",
        &wide,
        &readers,
        &["best.safetensors", "has shape [8, 16], the model [65536, 16]"],
    );
    let large = description(|model| model["img_size"] = 8192.into());
    refused("best.safetensors", &large, &readers, &["MiB of memory", "--max-memory"]);
    refused("best.safetensors", &pipe, &readers, &["best.safetensors", "is a named pipe"]);
    refused("best.safetensors", &halve, &readers, &["best.safetensors", "damaged or incomplete"]);
    refused("config.toml", &pipe, &readers[..3], &["config.toml", "is a named pipe"]);
    refused("metrics.jsonl", &pipe, &readers[2..3], &["metrics.jsonl", "is a named pipe"]);
    refused("report.json", &folder, &readers[2..3], &["report.json", "is a folder"]);
}

/// An older state of the same run is no damage: the run goes on from it, to the same bytes.
#[test]
fn an_older_state_goes_on_to_the_same_end() {
    let task = Task::new("older-state", 3);
    let [run, old] = ["run", "old"].map(|name| task.place.at(name));
    let mut child = spawn("svp-train", &args(&task, &task.data, "svp", &run, "6"));
    let last = Path::new(&run).join("last.safetensors");
    wait(&mut child, || records(&run) >= 9 && fs::copy(&last, &old).is_ok());
    succeeds(&child.wait_with_output().unwrap());
    let copy = copied(&run);
    fs::copy(&old, Path::new(&copy).join("last.safetensors")).unwrap();
    succeeds(&ended("svp-train", &["--resume", &copy]));
    same(&run, &copy);
}

/// Sets the time of a file's last change.
fn touch(path: &str, time: std::time::SystemTime) {
    File::options().append(true).open(path).unwrap().set_modified(time).unwrap();
}

#[test]
fn data_that_change_end_the_run_and_another_backbone_is_told() {
    let task = Task::new("changed-inputs", 3);
    let [unbroken, out, tar] = ["unbroken", "run", "data.tar"].map(|name| task.place.at(name));
    assert!(Command::new("tar").args(["cf", &tar, "-C", &task.data, "."]).status().unwrap().success());
    succeeds(&train(&args(&task, &tar, "svp", &unbroken, "30")));
    let then = fs::metadata(&tar).unwrap().modified().unwrap();
    let mut child = spawn("svp-train", &args(&task, &tar, "svp", &out, "30"));
    wait(&mut child, || records(&out) >= 3);
    touch(&tar, then + Duration::from_secs(60));
    wait(&mut child, || false);
    let output = child.wait_with_output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let last = stderr.lines().last().unwrap();
    for part in [&*tar, "was changed by another program", "was saved before: continue with", &out] {
        assert!(last.contains(part), "`{part}` is not in: {stderr}");
    }
    touch(&tar, then);

    let mut child = spawn("svp-train", &["--resume", &out]);
    let before = records(&out);
    wait(&mut child, || records(&out) >= before + 3);
    let backbone = fs::metadata(&task.backbone).unwrap().modified().unwrap();
    touch(&task.backbone, backbone + Duration::from_secs(60));
    let output = child.wait_with_output().unwrap();
    succeeds(&output);
    let told = text(&output.stderr);
    assert_eq!(told.matches("goes on with the weights that it has read").count(), 1, "{told}");
    same(&unbroken, &out);
}
