//! The commands as a user runs them: what they print, and how they refuse bad input.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use svp::backbones::vim;
use svp::methods::METHODS;
use testkit::programs::{Scratch, succeeds, text, train, words};

/// Data of three classes, and a small Vim trained on it.
struct Trained {
    data: String,
    run: String,
    best: String,
}

static TRAINED: LazyLock<Trained> = LazyLock::new(|| {
    let place = Scratch::new("cli");
    let data = place.data("data", 3);
    let run = place.small_vim("full", &data);
    let best = format!("{run}/best.safetensors");
    Trained { data, run, best }
});

fn eval(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_svp-eval")).args(args).output().unwrap()
}

fn predict(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_svp-predict")).args(args).output().unwrap()
}

fn golden(name: &str) -> String {
    format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"))
}

/// Checks that the command failed with `code` and one line of error that has all `parts`.
#[track_caller]
fn fails_with(output: &Output, code: i32, parts: &[&str]) {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    let errors: Vec<&str> = stderr.lines().filter(|line| line.starts_with("error:")).collect();
    assert_eq!(errors.len(), 1, "{stderr}");
    assert_eq!(stderr.lines().last(), Some(errors[0]), "nothing follows: {stderr}");
    assert!(!stderr.contains("panicked"), "{stderr}");
    for part in parts {
        assert!(errors[0].contains(part), "`{part}` is not in: {stderr}");
    }
}

#[track_caller]
fn fails(output: &Output, parts: &[&str]) {
    fails_with(output, 1, parts);
}

/// Trains on the test data with more arguments.
fn train_on_data(out: &str, more: &[&str]) -> Output {
    let usual = ["--data", &TRAINED.data, "--backbone", &TRAINED.best, "--out", out, "--epochs", "1"];
    train(&[&usual, more].concat())
}

#[test]
fn a_missing_or_damaged_checkpoint_is_named() {
    let place = Scratch::new("checkpoints");
    let out = place.at("run");
    let refused = |checkpoint: &str, parts: &[&str]| {
        let args = ["--backbone", checkpoint, "--data", &TRAINED.data, "--out", &out];
        fails(&train(&args), parts);
        assert!(!Path::new(&out).exists(), "a refused run leaves nothing");
    };
    let half = |name: &str| {
        let bytes = fs::read(golden(name)).unwrap();
        place.write(name, &bytes[..bytes.len() / 2])
    };
    refused(&place.at("none.pth"), &["none.pth", "No such file"]);
    for name in ["vim_nano_release.pth", "vim_nano_release_legacy.pth", "vim_nano_release.safetensors"] {
        refused(&half(name), &[name, "get it again"]);
    }
    refused(&place.write("opcode.pth", &[0x80, 2, 0xF7, b'.']), &["opcode.pth", "opcode"]);
    refused(&place.write("text.pth", b"not weights"), &["text.pth", "neither"]);
    let mut nan = fs::read(&TRAINED.best).unwrap();
    let end = nan.len();
    nan[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    refused(&place.write("nan.safetensors", &nan), &["nan.safetensors", "pos_embed", "non-finite"]);
}

#[test]
fn bad_data_is_named() {
    let place = Scratch::new("data");
    let refused = |data: &str, parts: &[&str]| {
        fails(&train(&["--backbone", &TRAINED.best, "--data", data, "--out", &place.at("run")]), parts);
    };
    refused(&place.at("none"), &["none", "No such file"]);
    let empty = place.data("empty", 2);
    fs::create_dir(Path::new(&empty).join("train/nothing")).unwrap();
    refused(&empty, &["train/nothing", "has no image"]);
    refused("builtin:none", &["none", "count"]);
    let broken = place.data("broken", 2);
    for i in 0..4 {
        place.write(&format!("broken/train/class 0/{i}.ppm"), b"P6 32 32 255\nshort");
    }
    let more = ["--backbone", &TRAINED.best, "--batch-size", "8", "--data", &broken];
    let out = place.at("stopped");
    fails(&train(&[&more[..], &["--out", &out]].concat()), &["class 0", ".ppm"]);
}

#[test]
fn settings_that_cannot_work_are_named() {
    let place = Scratch::new("settings");
    let out = place.at("run");
    fails(&train_on_data(&out, &["--batch-size", "500"]), &["batch", "500", "48"]);
    fails(&train_on_data(&out, &["--device", "gpu"]), &["--device", "gpu", "auto, cpu, cuda"]);
    fails(&train_on_data(&out, &["--device", "cuda:x"]), &["--device", "cuda:x", "cuda:NUMBER"]);
    fails(&train_on_data(&out, &["--device", "emulated:gtx"]), &["--device", "\"gtx\"", "rtx4090, ", "b200"]);
    fails(&train_on_data(&out, &["--device", "emulated:sms=x"]), &["--device", "\"sms=x\"", "shared=99"]);
    fails(
        &train_on_data(&out, &["--batch-size", "8", "--accumulate", "7"]),
        &["--accumulate", "48", "at most 6"],
    );
    fails(&train_on_data(&out, &["--threads", "0"]), &["--threads"]);
    fails(&train_on_data(&out, &["--lr", "nan"]), &["--lr"]);
    fails(&train_on_data(&out, &["--val-fraction", "0"]), &["val-fraction"]);
    let config = place.write("bad.toml", b"seed = 1\n\nlearning-rate = 2\n");
    fails(&train_on_data(&out, &["--config", &config]), &["bad.toml, line 3", "learning-rate"]);
    assert!(!Path::new(&out).exists(), "a refused run leaves nothing");
    let unknown = train_on_data(&out, &["--leaning-rate", "1"]);
    let stderr = text(&unknown.stderr);
    assert_eq!(unknown.status.code(), Some(2), "{stderr}");
    assert!(stderr.starts_with("error:") && stderr.contains("--leaning-rate"), "{stderr}");
}

/// The batch size can come from a flag or a file, and may not exceed the training images.
#[test]
fn the_batch_size_that_fits_is_found() {
    let place = Scratch::new("auto");
    let config = place.write("auto.toml", b"batch-size = \"auto\"\naccumulate = 2\n");
    for (more, size) in [(&["--batch-size", "auto"][..], 48), (&["--config", &config], 24)] {
        let out = place.at(&format!("run-{size}"));
        let trained = train_on_data(&out, more);
        succeeds(&trained);
        assert!(text(&trained.stderr).contains(&format!("batch size: {size}")), "{}", text(&trained.stderr));
        let config = fs::read_to_string(Path::new(&out).join("config.toml")).unwrap();
        assert!(config.contains(&format!("batch-size = {size}\n")), "{config}");
    }
    let config = place.write("many.toml", b"batch-size = \"many\"\n");
    fails(&train_on_data(&place.at("none"), &["--config", &config]), &["many.toml, line 1", "or auto"]);
}

#[test]
fn run_folders_that_cannot_be_used_are_named() {
    let place = Scratch::new("folders");
    let file = place.write("taken", b"");
    fails(&train_on_data(&file, &[]), &["taken", "a file is in the way"]);
    fails(&train_on_data(&TRAINED.run, &[]), &["already holds a run", "--resume"]);
    fails(&train(&["--resume", &place.at("none")]), &["none", "is not a folder"]);
    fails(&train(&["--resume", &TRAINED.data]), &["data", "holds no run"]);
    fails(&train(&["--resume", &TRAINED.run, "--seed", "9"]), &["--seed", "keeps its settings"]);
    fails(&train(&["--resume", &TRAINED.run, "--epochs", "0"]), &["--epochs", "only be made longer"]);
    fails(&train(&["--requeue"]), &["--requeue", "--out"]);
    #[cfg(target_os = "linux")]
    fails(&train_on_data("/proc/run", &[]), &["/proc/run", "make the run folder"]);
}

/// A file-size limit stands for the full disk, which cannot be had without a file system of its own.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_named_and_leaves_no_part_of_a_file() {
    let place = Scratch::new("full-disk");
    let out = place.at("run");
    let script = format!(
        "trap '' XFSZ; ulimit -f 8; exec '{}' --data '{}' --backbone '{}' --batch-size 8 --hidden 64 --out '{out}'",
        env!("CARGO_BIN_EXE_svp-train"),
        TRAINED.data,
        TRAINED.best
    );
    let output = Command::new("sh").args(["-c", &script]).output().unwrap();
    fails(&output, &[&out, "cannot write", "File too large"]);
    let parts = fs::read_dir(&out)
        .unwrap()
        .filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().starts_with(".partial-"));
    assert_eq!(parts.count(), 0);
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let eval = Command::new(env!("CARGO_BIN_EXE_svp-eval"))
        .arg(&TRAINED.run)
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    fails(&eval, &["standard output", "No space left"]);
}

#[test]
fn two_runs_do_not_share_a_folder() {
    let place = Scratch::new("shared");
    let out = place.at("run");
    let long = ["--data", &TRAINED.data, "--backbone", &TRAINED.best, "--out", &out, "--epochs", "100000"];
    let mut first =
        Command::new(env!("CARGO_BIN_EXE_svp-train")).args(long).stderr(Stdio::null()).spawn().unwrap();
    while !Path::new(&out).join("metrics.jsonl").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
        assert!(first.try_wait().unwrap().is_none(), "the first run goes on");
    }
    let second = train(&["--resume", &out]);
    first.kill().unwrap();
    first.wait().unwrap();
    fails(&second, &["run", "another process"]);
}

#[test]
fn a_run_that_diverges_says_where_and_keeps_its_state() {
    let place = Scratch::new("diverging");
    let out = place.at("run");
    let rates = "--lr 1e30 --lr-scaling false --warmup-epochs 0 --batch-size 8 --method svp";
    fails_with(
        &train_on_data(&out, &words(rates)),
        3,
        &["step 2", "non-finite", "begin again", "--lr", "diverged.safetensors"],
    );
    assert!(Path::new(&out).join("diverged.safetensors").is_file());
    assert!(!Path::new(&out).join("last.safetensors").exists(), "it would be spoilt");
}

#[test]
fn a_dry_run_counts_and_writes_nothing() {
    let place = Scratch::new("dry-run");
    let out = place.at("run");
    for method in METHODS.iter().filter(|entry| entry.backbones.contains(&vim::NAME)) {
        let (whole, frozen) = (method.whole_backbone, method.views.iter().any(|(view, _)| *view == "frozen"));
        let method = method.name;
        let args = ["--method", method, "--batch-size", "8", "--dry-run"];
        let shown = succeeds(&train_on_data(&out, &args));
        for part in ["backbone", "total", "6 steps an epoch, 6 in all", "nothing was written"] {
            assert!(shown.contains(part), "`{part}` is not in: {shown}");
        }
        let json = succeeds(&train_on_data(&out, &[&args[..], &["--json"]].concat()));
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["method"], method);
        assert!(json["peak_tensor_bytes"].as_u64().unwrap() > 0);
        let parameters = json["parameters"].as_array().unwrap();
        let trained = |module: &str| {
            let of = parameters.iter().find(|p| p["module"] == module);
            of.map_or(0, |p| p["trained"].as_u64().unwrap())
        };
        // AutoVP maps the 3 logits of the checkpoint's own head.
        assert_eq!(trained("head"), if method == "autovp" { 3 * 3 + 3 } else { 3 * 16 + 3 });
        let backbone = parameters.iter().find(|p| p["module"] == "backbone").unwrap();
        assert_eq!(backbone["trained"] == backbone["all"], whole, "{method}");
        assert_eq!(trained("backbone") == 0, frozen, "{method}");
        assert_eq!(trained("inner prompts") > 0, method == "svp");
        assert_eq!(trained("prompts") > 0, ["vpt", "spt", "ivpt"].contains(&method));
    }
    assert!(!Path::new(&out).exists());
}

/// A config file may name the folder of the run; a flag wins.
#[test]
fn a_config_file_says_where_the_run_goes() {
    let place = Scratch::new("out-in-a-file");
    let [named, flagged] = ["named", "flagged"].map(|name| place.at(name));
    let config = place.write("run.toml", format!("epochs = 1\nout = \"{named}\"\n").as_bytes());
    let run = |more: &[&str]| {
        let usual = ["--data", &TRAINED.data, "--backbone", &TRAINED.best, "--method", "linear"];
        train(&[&usual, &["--config", &config][..], more].concat())
    };
    succeeds(&run(&["--dry-run"]));
    assert!(!Path::new(&named).exists());
    succeeds(&run(&["--out", &flagged]));
    assert!(Path::new(&flagged).join("report.json").is_file() && !Path::new(&named).exists());
    succeeds(&run(&[]));
    assert!(Path::new(&named).join("report.json").is_file());
    assert!(!fs::read_to_string(Path::new(&named).join("config.toml")).unwrap().contains("out ="));
    fails(&run(&[]), &["already holds a run"]);
    let wrong = place.write("wrong.toml", b"epochs = 1\nout = 3\n");
    fails(&train(&["--config", &wrong]), &["wrong.toml, line 2", "path string"]);
}

/// Flags win over a config file, and both over the preset. The terminal and the report say where they differ from it.
#[test]
fn a_preset_is_used_and_what_replaces_it_is_told() {
    let place = Scratch::new("presets");
    let out = place.at("run");
    let listed = succeeds(&train(&["--preset", "list"]));
    for part in ["hta/cub200", "vtab/smallnorb_ele", "published", "ours"] {
        assert!(listed.contains(part), "`{part}` is not in: {listed}");
    }
    fails(&train(&["--preset", "hta/cub200", "--out", &out]), &["--data", "hta/cub200"]);
    for entry in METHODS {
        let name = format!("\n{}: ", entry.name);
        assert!(listed.contains(&name), "`{name}` is not in: {listed}");
    }
    let dry = train_on_data(&out, &["--preset", "vpt", "--batch-size", "8", "--dry-run"]);
    assert!(succeeds(&dry).contains("VPT on "), "{}", text(&dry.stdout));
    for part in ["preset: vpt, but batch-size 8 (preset: 64)", "not published, but this project's:", "tokens"]
    {
        assert!(text(&dry.stderr).contains(part), "`{part}` is not in: {}", text(&dry.stderr));
    }
    fails(&train_on_data(&out, &["--preset", "vpt+hta"]), &["--preset", "\"hta\"", "--preset list"]);
    fails(&train_on_data(&out, &["--preset", "hta/cub"]), &["--preset", "hta/cub", "--preset list"]);
    let usage = train_on_data(&out, &["--auto-augment", "rand-m30"]);
    assert_eq!(usage.status.code(), Some(2));
    assert!(text(&usage.stderr).contains("\"m30\" is out of range (at most 10)"), "{}", text(&usage.stderr));
    fails(&train_on_data(&out, &words("--reprob 0.5 --augment false")), &["--augment", "--reprob"]);
    assert!(!Path::new(&out).exists(), "a refused run leaves nothing");

    let config = place.write("mine.toml", b"group-size = 1\nmixup-prob = 0.5\nlr = 0.5\n");
    let flags = [
        "--preset",
        "hta/flowers102",
        "--dataset",
        "folder",
        "--config",
        &config,
        "--batch-size",
        "8",
        "--lr",
        "0.1",
        "--mixup",
        "0.2",
    ];
    let trained = train_on_data(&out, &flags);
    succeeds(&trained);
    let stderr = text(&trained.stderr);
    let told = "preset: hta/flowers102, but batch-size 8 (preset: 96), dataset folder (preset: flowers102), epochs 1 (preset: 100), \
                group-size 1 (preset: 8), lr 0.1 (preset: 0.015), mixup 0.2 (preset: 0)";
    assert!(stderr.lines().any(|line| line == told), "{stderr}");
    let json = |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };
    let report = json(&fs::read_to_string(Path::new(&out).join("report.json")).unwrap());
    assert_eq!(report["preset"], "hta/flowers102");
    assert_eq!(report["preset_overrides"].as_array().unwrap().len(), 6);
    let lr = serde_json::json!({"setting": "lr", "preset": "0.015", "used": "0.1"});
    assert_eq!(report["preset_overrides"][4], lr);
    let config = fs::read_to_string(Path::new(&out).join("config.toml")).unwrap();
    for line in ["auto-augment = \"rand-m9-mstd0.5-inc1\"", "head = \"two-layer\"", "simam = true"] {
        assert!(config.lines().any(|other| other == line), "{config}");
    }
    // The averages are written as a trained file of their own.
    let found = |file: &str| json(&succeeds(&eval(&[&format!("{out}/{file}"), "--json"])))["loss"].clone();
    assert_eq!(found("best.safetensors"), report["test"]["loss"]);
    assert_ne!(found("ema.safetensors"), found("best.safetensors"));
}

/// On the emulated device, chosen by a flag or a config file, the commands report what they report on the CPU, which
/// has no TF32.
#[test]
fn the_emulated_device_trains_measures_and_predicts() {
    let place = Scratch::new("emulated");
    let out = place.at("run");
    let config = place.write("bf16.toml", b"device = \"emulated\"\nthreads = 2\nprecision = \"bf16\"\n");
    let bf16 = ["--config", &config, "--method", "linear", "--batch-size", "8"];
    let refused = train_on_data(&out, &[&bf16[..], &["--device", "cpu", "--precision", "tf32"]].concat());
    fails(&refused, &["--precision", "cpu", "f32 or bf16", "--device cuda or emulated"]);
    assert!(!Path::new(&out).exists(), "a refused run leaves nothing");
    succeeds(&train_on_data(&out, &bf16));
    let json = |text: &str| -> serde_json::Value { serde_json::from_str(text).unwrap() };
    let report = json(&fs::read_to_string(Path::new(&out).join("report.json")).unwrap());
    let loss = |device| json(&succeeds(&eval(&[&out, "--json", "--device", device])))["loss"].clone();
    assert_eq!(loss("emulated"), report["test"]["loss"], "in bf16 again");
    let off = (loss("cpu").as_f64().unwrap() - report["test"]["loss"].as_f64().unwrap()).abs();
    // Where the processor has no products of bf16, the CPU computes in f32.
    assert!(off <= 1e-2, "the CPU and the emulated device are {off} apart");
    for card in ["emulated:h100", "emulated:rtx4090", "emulated:sms=58,shared=99,per-sm=100"] {
        assert_eq!(loss(card), report["test"]["loss"], "{card}: a small model is cut the same on every card");
    }

    let images = format!("{}/test", TRAINED.data);
    let probabilities = |device| -> Vec<f64> {
        let shown = succeeds(&predict(&["--run", &TRAINED.run, "--json", "--device", device, &images]));
        shown.lines().map(|line| json(line)["predictions"][0]["probability"].as_f64().unwrap()).collect()
    };
    let (cpu, emulated) = (probabilities("cpu"), probabilities("emulated"));
    assert_eq!((cpu.len(), emulated.len()), (18, 18));
    let off = cpu.iter().zip(&emulated).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(off > 0.0 && off <= 1e-5, "the devices are {off} apart");
    fails(&predict(&["--run", &TRAINED.run, "--device", "gpu", &images]), &["--device", "gpu"]);
    fails(&eval(&[&TRAINED.run, "--device", "gpu"]), &["--device", "gpu"]);
}

/// The report of the run, `svp-eval` and `svp-predict` must agree, with the backbone that the run remembers or with one
/// that is given.
#[test]
fn what_was_trained_is_measured_and_predicts() {
    let place = Scratch::new("use");
    let out = place.at("run");
    let backbone = place.at("moved.safetensors");
    fs::copy(&TRAINED.best, &backbone).unwrap();
    let args = "--batch-size 8 --lr 0.05 --hidden 8 --group-size 1 --json";
    let report = succeeds(&train_on_data(&out, &words(args)));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    let json = |output: &Output| -> serde_json::Value { serde_json::from_str(&succeeds(output)).unwrap() };
    let found = json(&eval(&[&out, "--json"]));
    assert_eq!(found["split"], "test");
    for key in ["top1", "top5", "loss", "per_class", "images"] {
        assert_eq!(found[key], report["test"][key], "{key}");
    }
    assert_eq!(json(&eval(&[&out, "--json", "--backbone", &backbone])), found);
    let shown = succeeds(&eval(&[&out, "--split", "val"]));
    assert!(shown.contains("class 2") && shown.contains("Val split"), "{shown}");

    let images = format!("{}/test", TRAINED.data);
    let lines = succeeds(&predict(&["--run", &format!("{out}/best.safetensors"), "--json", &images]));
    let mut correct = 0;
    for line in lines.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let guesses = line["predictions"].as_array().unwrap();
        let total: f64 = guesses.iter().map(|guess| guess["probability"].as_f64().unwrap()).sum();
        assert!((total - 1.0).abs() < 1e-6 && guesses.len() == 3, "{line}");
        correct +=
            usize::from(line["image"].as_str().unwrap().contains(guesses[0]["class"].as_str().unwrap()));
    }
    assert_eq!(lines.lines().count(), 18);
    assert_eq!(correct as f64 / 18.0, report["test"]["top1"].as_f64().unwrap());
}

#[test]
fn a_model_refuses_other_classes_and_another_backbone() {
    let place = Scratch::new("refusals");
    let out = place.at("run");
    succeeds(&train_on_data(&out, &words("--method linear --batch-size 8")));
    let other = place.write("other/test/cat/0.ppm", b"P6 2 1 255\nabcdef").replace("/test/cat/0.ppm", "");
    fails(&eval(&[&out, "--data", &other]), &["other", "\"cat\"", "\"class 0\"", "no class that the model"]);
    let other = golden("vim_nano_release.pth");
    fails(&eval(&[&out, "--backbone", &other]), &["vim_nano_release.pth", "--backbone"]);
    fails(&eval(&[&TRAINED.data]), &["data", "best.safetensors"]);
    fails(&predict(&["--run", &other, &out]), &["vim_nano_release.pth", "best.safetensors"]);
}

#[test]
fn broken_images_are_named_and_the_others_predicted() {
    let place = Scratch::new("images");
    // A PNG header that promises 20,000x20,000 pixels, with no pixels behind it.
    let mut huge = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR\0\0\x4e\x20\0\0\x4e\x20\x08\x02\0\0\0".to_vec();
    huge.extend(0x6c12_d16e_u32.to_be_bytes());
    huge.extend(b"\0\0\0\x10IDAT");
    let huge = place.write("huge.png", &huge);
    let dot = place.write("one-pixel.ppm", b"P6 1 1 255\nabc");
    let good = place.write("two-pixels.ppm", b"P6 2 1 255\nabcdef");
    let more = place.write("folder/deep/grey.pgm", b"P5 2 2 255\nabcd");
    let (none, folder) = (place.at("none.jpg"), place.at("folder"));
    place.write("empty/readme.txt", b"");
    let empty = place.at("empty");
    let output = predict(&["--run", &TRAINED.run, &huge, &dot, &good, &none, &empty, &folder]);
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let (errors, told): (Vec<&str>, Vec<&str>) = stderr.lines().partition(|line| line.starts_with("error:"));
    assert_eq!(errors.len(), 4, "{stderr}");
    assert_eq!(told[0], "left out because their names are not those of images: 1 file (1 .txt)");
    assert!(
        told.len() == 2 && told[1].starts_with("2 images in ") && told[1].ends_with(" images/s"),
        "{told:?}"
    );
    for part in
        ["huge.png: is 20000x20000", "one-pixel.ppm: is 1x1", "none.jpg: cannot open", "empty: has no images"]
    {
        assert!(stderr.contains(part), "`{part}` is not in: {stderr}");
    }
    assert!(stdout.contains(&good) && stdout.contains(&more), "{stdout}");
    assert_eq!(stdout.lines().count(), 2 * (1 + 3), "{stdout}");
}

/// A method's settings are flags of its own: refused for others, listed by its help, and a table in files.
#[test]
fn settings_belong_to_methods() {
    let place = Scratch::new("method-settings");
    let out = place.at("run");
    fails(
        &train_on_data(&out, &words("--method linear --hidden 8")),
        &["--hidden", "--method linear", "--method svp"],
    );
    fails(&train_on_data(&out, &words("--method vpt --tokens 0")), &["--tokens", "whole number from 1"]);
    fails(&train_on_data(&out, &words("--method vpt --position above")), &["--position", "pre, post, both"]);
    let usage = train_on_data(&out, &words("--method magic"));
    assert_eq!(usage.status.code(), Some(2));
    assert!(text(&usage.stderr).contains("bitfit"), "{}", text(&usage.stderr));
    let usage = train_on_data(&out, &words("--optimizer lion"));
    assert_eq!(usage.status.code(), Some(2));
    assert!(text(&usage.stderr).contains("sgd"), "{}", text(&usage.stderr));
    assert!(!Path::new(&out).exists(), "a refused run leaves nothing");

    let help = |args: &[&str]| text(&train(args).stdout);
    let (all, vpt) = (help(&["--help"]), help(&["--method", "vpt", "--help"]));
    for setting in METHODS.iter().flat_map(|entry| entry.settings) {
        assert!(all.contains(&format!("--{}", setting.name)), "--{} is not in the help", setting.name);
    }
    assert!(vpt.contains("--tokens") && !vpt.contains("--group-size"), "{vpt}");

    let config = place.write(
        "vpt.toml",
        b"method = 'vpt'\nhidden = 3\n[vpt]\ntokens = 2\ndeep = false\n[svp]\ninner = false\n",
    );
    let trained = train_on_data(&out, &["--config", &config, "--batch-size", "8", "--position", "middle"]);
    succeeds(&trained);
    for part in ["hidden in the file has no effect", "[svp] in the file has no effect"] {
        assert!(text(&trained.stderr).contains(part), "`{part}` is not in: {}", text(&trained.stderr));
    }
    let config = fs::read_to_string(Path::new(&out).join("config.toml")).unwrap();
    let table = config.split_once("[vpt]").expect("a table of the method").1;
    for line in ["tokens = 2", "deep = false", "position = \"middle\""] {
        assert!(table.contains(line), "{config}");
    }
    for (text, part) in [
        ("method = 'vpt'\n\n[vpt]\ncolour = 1", "--colour"),
        ("epochs = 1\ncolour = 1", "line 2: unknown field `colour`"),
        ("method = 'vpt'\ntokens = 'many'", "--tokens"),
    ] {
        let config = place.write("bad.toml", text.as_bytes());
        fails(&train_on_data(&place.at("bad"), &["--config", &config]), &[part]);
    }
}
