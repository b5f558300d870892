//! The GPU path of the program without a GPU: the real launcher on the driver of crate `fake-cuda`, which runs work as
//! late or as early as CUDA allows and refuses what CUDA does not promise. It must train the same bytes as
//! `--device emulated`, and no call of the driver may fail.

use std::fs;
use std::process::Command;

use testkit::fake_cuda;
use testkit::programs::{text, words};
use testkit::runs::{Task, same, small};

#[test]
fn a_run_on_the_fake_gpu_has_the_bytes_of_the_emulated_one() {
    let Task { place, data, backbone } = Task::new("fake-gpu", 2);
    let log = place.at("calls");
    for (method, more, schedule) in [
        ("svp", "", "late"),
        ("full", "", "early"),
        ("vpt", "--prompt-dropout 0.2 --optimizer sgd", "late"),
        ("bitfit", "", "1"),
        ("svp", "--at scan", "2"),
        ("svp", "--precision bf16", "late"),
        ("svp", "--precision bf16", "early"),
        ("linear", "--precision tf32", "late"),
    ] {
        let name = format!("{method} {more} {schedule}");
        let run = |device: &str| {
            let out = place.at(&format!("{device} {name}"));
            let task = ["--data", &data, "--backbone", &backbone, "--device", device, "--out", &out];
            let fixed = "--epochs 2 --batch-size 8 --lr 0.1 --drop-path 0.3";
            let mut program = Command::new(env!("CARGO_BIN_EXE_svp-train"));
            program.args([&task[..], &words(fixed), &small(method), &words(more)].concat());
            program.env("LD_LIBRARY_PATH", fake_cuda::folder()).env("FAKE_CUDA_LOG", &log);
            program.env("FAKE_CUDA_SCHEDULE", schedule);
            let output = program.output().unwrap();
            let calls = fs::read_to_string(&log).unwrap_or_default();
            assert!(output.status.success(), "{name}: {}", text(&output.stderr));
            let driver = |line: &str| line.starts_with("cu") && !line.starts_with("cublas");
            let failed = calls
                .lines()
                .find(|line| line.starts_with("fault: ") || driver(line) && !line.ends_with(" -> 0"));
            assert!(failed.is_none(), "{name}: {failed:?}: {}", last_lines(&calls));
            out
        };
        let (emulated, cuda) = (run("emulated"), run("cuda"));
        same(&emulated, &cuda);
        let calls = fs::read_to_string(&log).unwrap();
        for call in ["cuGraphLaunch ", "cuLaunchKernel selective_scan_forward", "cublasLtMatmul "] {
            assert!(calls.lines().any(|line| line.starts_with(call)), "{name}: no {call}");
        }
        fs::remove_file(&log).unwrap();
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
