//! What the learning rate and the other settings of a run are where nobody gives them, and that this is told.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use testkit::programs::{Scratch, fails, program, succeeds, text, train, words};
use testkit::root::root;
use testkit::runs::{Task, same};

/// The line of standard error that tells the settings.
fn settings(stderr: &[u8]) -> String {
    let stderr = text(stderr);
    let line = stderr.lines().find(|line| line.starts_with("backbone: "));
    line.unwrap_or_else(|| panic!("{stderr}")).to_string()
}

#[test]
fn every_setting_is_told_with_its_origin() {
    let place = Scratch::new("origins");
    let data = place.data("data", 3);
    let file = place.write("mine.toml", b"batch-size = 8\nlr = 0.02\n");
    let given = train(
        &[&["--data", &data, "--config", &file], &words("--lr 0.04 --img-size 40 --dry-run")[..]].concat(),
    );
    succeeds(&given);
    let line = settings(&given.stderr);
    for part in [
        "backbone: built-in (default), Vim of 6 layers, 128 wide, 40 px (--img-size), stride 4; method",
        "method: svp (default)",
        &format!("batch: 8 ({file})"),
        "rate: 0.04 at 512 images, 6.25e-4 at this batch (--lr)",
        "epochs: 20 (default)",
    ] {
        assert!(line.contains(part), "`{part}` is not in: {line}");
    }
    let scratch =
        "--model vim_tiny --embed-dim 16 --depth 1 --method full --preset full --batch-size 8 --dry-run";
    let preset = train(&[&["--data", &data], &words(scratch)[..]].concat());
    succeeds(&preset);
    let line = settings(&preset.stderr);
    assert!(line.contains("vim_tiny from scratch (--model)") && line.contains("(preset full)"), "{line}");
}

/// What auto becomes is told with its reason, stands in the config, and is kept when the same command goes on.
#[test]
fn a_precision_of_auto_is_found() {
    let place = Scratch::new("precision");
    let (data, out) = (place.data("data", 3), place.at("run"));
    let more = "--precision auto --method linear --epochs 1 --batch-size 8";
    let run = |last: &[&str]| train(&[&["--data", &data, "--out", &out], &words(more)[..], last].concat());
    let begun = run(&[]);
    succeeds(&begun);
    let told = text(&begun.stderr);
    let line = told.lines().find(|line| line.starts_with("precision: ")).expect("a line");
    let config = fs::read_to_string(Path::new(&out).join("config.toml")).unwrap();
    let (found, reason) = match engine::simd::bf16_products() {
        true => ("bf16", "on one batch its features are "),
        false => ("f32", "the cpu device has no instructions for products of bf16"),
    };
    assert!(line.starts_with(&format!("precision: {found}, because {reason}")), "{line}");
    assert!(config.contains(&format!("precision = \"{found}\"")), "{config}");
    succeeds(&run(&["--requeue"]));
}

/// Without --method the method is one that runs on the backbone; a named one is taken or refused.
#[test]
fn the_default_method_follows_the_backbone() {
    let place = Scratch::new("default-method");
    let data = place.data("data", 3);
    let vit = root().join("tests/golden/vit/ckpt_google.npz").display().to_string();
    let run =
        |more: &str| train(&[&["--data", &data, "--backbone", &vit, "--dry-run"], &words(more)[..]].concat());
    // The backbone has 9 patches, fewer than the method chooses by default.
    let default = run("--salient 4");
    succeeds(&default);
    let line = settings(&default.stderr);
    assert!(line.contains("method: ivpt (default for a ViT)"), "{line}");
    succeeds(&run("--method vpt"));
    fails(&run("--method svp"), &["--method", "svp does not run on a vit backbone", "ivpt"]);
}

/// A run that is killed while its rate is looked for looks for it again, and ends with the bytes of the unbroken one.
#[test]
fn a_rate_is_found_once() {
    let task = Task::new("lr-auto", 3);
    let args = |out: &str| {
        let task = ["--data", &task.data, "--backbone", &task.backbone, "--out", out].map(String::from);
        let more = words("--method bitfit --lr auto --epochs 2 --batch-size 8 --drop-path 0.3");
        task.into_iter().chain(more.into_iter().map(String::from)).collect::<Vec<_>>()
    };
    let [unbroken, broken] = ["unbroken", "broken"].map(|name| task.place.at(name));
    let run = |args: &[String]| train(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let whole = run(&args(&unbroken));
    succeeds(&whole);
    assert!(settings(&whole.stderr).contains("rate: to be found (--lr)"), "{}", text(&whole.stderr));

    let range = fs::read_to_string(Path::new(&unbroken).join("lr_range.json")).unwrap();
    let range: serde_json::Value = serde_json::from_str(&range).unwrap();
    let config = fs::read_to_string(Path::new(&unbroken).join("config.toml")).unwrap();
    let config: toml::Table = config.parse().unwrap();
    assert_eq!(config["lr"].as_float(), range["lr"].as_f64(), "the config says what was found");
    assert!(range["rates"].as_array().unwrap().len() >= 10, "{range}");

    let mut child =
        program("svp-train").args(args(&broken)).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    let written = Path::new(&broken).join("config.toml");
    while !written.exists() && began.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_micros(200));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!Path::new(&broken).join("best.safetensors").exists(), "it was killed before its first epoch");
    fails(&train(&["--resume", &broken, "--lr", "auto"]), &["--lr", "has its rate"]);
    succeeds(&train(&["--resume", &broken]));
    same(&unbroken, &broken);

    let page = task.place.at("page.html");
    succeeds(&program("svp-report").args([&unbroken, "--out", &page]).output().unwrap());
    assert!(fs::read_to_string(&page).unwrap().contains("Range test of the learning rate"));
}
