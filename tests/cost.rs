//! `svp-cost` as a user runs it.

use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::Value;
use testkit::programs::{Scratch, fails, succeeds, text, words};

/// A Vim of two blocks, 16 wide.
static BACKBONE: LazyLock<String> = LazyLock::new(|| {
    let place = Scratch::new("cost");
    let data = place.data("data", 3);
    format!("{}/best.safetensors", place.small_vim("full", &data))
});

fn command(args: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_svp-cost"));
    command.args(["--backbone", &BACKBONE]).args(words(args));
    command
}

fn cost(args: &str) -> Output {
    command(args).output().unwrap()
}

const QUICK: &str = "--rounds 1 --times 1 --batch-size 2 --classes 3";

#[test]
fn costs_are_printed_as_a_table_as_csv_and_as_json() {
    let methods = "linear svp:hidden=8:group-size=1 vpt:tokens=2:deep=false";
    let json = cost(&format!("{methods} {QUICK} --json"));
    let report: Value = serde_json::from_str(&succeeds(&json)).unwrap();
    assert_eq!((&report["batch_size"], &report["classes"]), (&2.into(), &3.into()));
    let costs = report["methods"].as_array().unwrap();
    let names: Vec<&str> = costs.iter().map(|cost| cost["method"].as_str().unwrap()).collect();
    assert_eq!(names, words(methods));
    let head = 3 * 17;
    // Inner and cross generators of two layers; as published, the scales of 24 layers and those of two groups; prompts.
    let trained = [0, 2 * (2 * 16 * 8 + 8 + 16) + 2 * (16 * 16 + 16) + (24 + 2) * 16, 2 * 16];
    for (cost, trained) in costs.iter().zip(trained) {
        assert_eq!(cost["without_head"], trained, "{cost}");
        assert_eq!(cost["trained_parameters"], trained + head, "{cost}");
        for key in ["gflop", "train_gflop", "latency_ms", "train_ms", "train_images_per_s", "memory_mb"] {
            assert!(cost[key].as_f64().unwrap() > 0.0, "{key}: {cost}");
        }
    }
    assert!(text(&json.stderr).contains("round 1 of 1: linear"));

    let csv = succeeds(&cost(&format!("{methods} {QUICK} --csv")));
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 4);
    for (line, cost) in lines[1..].iter().zip(costs) {
        let fields: Vec<&str> = line.split(',').collect();
        let counted = [&fields[0], &fields[2], &fields[4]].map(|field| field.trim_matches('"').to_string());
        let want = format!("{:.6}", cost["gflop"].as_f64().unwrap());
        let name = cost["method"].as_str().unwrap();
        assert_eq!(counted, [name.into(), cost["trained_parameters"].to_string(), want]);
    }
    let table = succeeds(&cost(&format!("{methods} {QUICK}")));
    for part in
        ["vim, 2 layers, 16 wide", "GFLOP", "latency of 2, ms", "memory, MB", "vpt:tokens=2:deep=false"]
    {
        assert!(table.contains(part), "`{part}` is not in:\n{table}");
    }
}

/// What is counted does not depend on the device.
#[test]
fn kernels_do_what_the_cpu_does() {
    let of = |device: &str| -> Value {
        let output = cost(&format!("svp:hidden=8:group-size=1 {QUICK} --json --device {device}"));
        let report: Value = serde_json::from_str(&succeeds(&output)).unwrap();
        report["methods"][0].clone()
    };
    let (cpu, emulated, bf16) = (of("cpu"), of("emulated"), of("emulated --precision bf16"));
    for key in ["trained_parameters", "gflop", "train_gflop"] {
        assert_eq!((&cpu[key], &cpu[key]), (&emulated[key], &bf16[key]), "{key}");
    }
    assert!(bf16["memory_mb"].as_f64().unwrap() < emulated["memory_mb"].as_f64().unwrap());
}

#[test]
fn bad_input_is_refused() {
    for (args, parts) in [
        ("svq", &["--method", "\"svq\"", "use one of"][..]),
        ("linear:tokens=2", &["--tokens", "--method linear", "vpt"]),
        ("vpt:tokens", &["vpt:tokens", "\"tokens\"", "METHOD:SETTING=VALUE"]),
        ("vpt:tokens=many", &["--tokens", "many"]),
        ("linear --batch-size 0", &["--batch-size", "at least 1"]),
        ("linear --rounds 0", &["--rounds", "at least 1"]),
        ("linear --device gpu", &["--device", "gpu"]),
        ("linear --device cpu --precision tf32", &["--precision", "cpu"]),
        ("vp:pad=20", &["vp:pad=20", "--pad", "32 pixels"]),
    ] {
        let output = cost(args);
        fails(&output, parts);
        assert!(output.stdout.is_empty());
    }
    let plain = |args: &str| Command::new(env!("CARGO_BIN_EXE_svp-cost")).args(words(args)).output().unwrap();
    fails(&plain("--backbone none.pth"), &["none.pth", "No such file"]);
    fails(&plain("--model vim_huge"), &["vim_huge", "vim_small"]);
    for wrong in ["--csv --json", "--model vim_tiny --backbone a.pth", "--tokens 3"] {
        assert_eq!(plain(wrong).status.code(), Some(2), "{wrong}");
    }
}

#[cfg(unix)]
#[test]
fn a_signal_ends_it_without_half_a_table() {
    use std::io::{BufRead, BufReader, Read};
    let mut child = command("linear svp vpt --rounds 100000 --times 1 --batch-size 1");
    let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.starts_with("round 2") {
        line.clear();
        assert!(said.read_line(&mut line).unwrap() > 0, "it ended by itself");
    }
    Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let mut rest = String::new();
    said.read_to_string(&mut rest).unwrap();
    let ended = child.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(75), "{rest}");
    assert!(ended.stdout.is_empty(), "{}", text(&ended.stdout));
    let last = rest.lines().last().unwrap();
    assert!(last.starts_with("error: ") && last.contains("signal"), "{rest}");
}
