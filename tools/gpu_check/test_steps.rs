//! The project's tests on the device, and under `compute-sanitizer`.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::child::{self, Ended};
use crate::plan::Call;
use crate::report::{Found, Status, Table};

/// A test program that runs on the GPU alone, and fails without one.
fn prepare(command: &mut Command, test: &str) {
    command.args([test, "--nocapture", "--test-threads", "1"]);
    command.env("DEVICES", "cuda").env("REQUIRE_CUDA", "1");
}

/// Runs tests of a program; what they printed, if they could be run.
fn run(call: &Call, step: &str, program: &str, test: &str) -> Result<Ended, Status> {
    let &Call { environment, limit, .. } = call;
    let mut command = environment.packed(program).map_err(Status::NotRun)?;
    prepare(&mut command, test);
    if environment.smoke {
        command.env("CASE", "small");
    }
    child::run(&mut command, &environment.log_of(step), limit).map_err(Status::Failed)
}

/// Tests that ended well, and of which there was one at least.
fn status(ended: &Ended) -> Status {
    let passed = ended.output.lines().filter_map(|line| line.strip_prefix("test result: ok. "));
    match ended.complaint() {
        Some(wrong) => Status::Failed(wrong),
        None if passed.clone().all(|counts| counts.starts_with("0 passed")) => {
            Status::Failed("no test ran".into())
        }
        None => Status::Passed,
    }
}

/// The lines of what was printed that tell of results, as they are.
fn lines(ended: &Ended, tells: impl Fn(&str) -> bool) -> Vec<String> {
    ended.output.lines().map(str::trim).filter(|line| tells(line)).map(String::from).collect()
}

/// The first that a failed test said.
fn first_words(ended: &Ended) -> Vec<String> {
    const LINES: usize = 12;
    let lines: Vec<&str> = ended.output.lines().skip_while(|line| !line.contains("panicked at")).collect();
    let said = lines[..lines.len().min(LINES)].join("\n");
    if said.is_empty() { vec![] } else { vec![format!("```text\n{said}\n```")] }
}

/// Products of ones, whose sums count exactly: a part that cuBLASLt's split of a long sum loses shows here, and would
/// spoil all that comes after.
pub fn products(call: &Call) -> Result<Found, Status> {
    let ended = run(call, "products", "conformance", "products_of_ones_count_exactly")?;
    Ok(told(&ended, |line| line.starts_with("products: ")))
}

/// Every op's kernels against the f64 reference: the worst error by op and type, in parts of its tolerance.
pub fn conformance(call: &Call) -> Result<Found, Status> {
    let ended = run(call, "conformance", "conformance", "every_op_on_every_device")?;
    let worst = worst(&ended.output);
    let ops: BTreeSet<&str> = worst.iter().map(|(_, op, _)| op.as_str()).collect();
    let cell = |op: &str, target: &str| {
        let found = worst.iter().find(|row| row.1 == op && row.0 == target);
        found.map_or("-".into(), |row| format!("{:.1} %", row.2))
    };
    let rows = ops.iter().map(|op| vec![op.to_string(), cell(op, "cuda f32"), cell(op, "cuda bf16")]);
    let table = Table::new(&["largest error, of its tolerance", "f32", "bf16"], rows.collect());
    let tells = |line: &str| line.starts_with("conformance:") || line.starts_with("cuda");
    let mut notes = lines(&ended, |line| tells(line) && !line.contains("largest error"));
    notes.extend(first_words(&ended));
    let error = |(target, op, percent): &(String, String, f64)| json!({ "target": target, "op": op, "percent_of_tolerance": percent });
    let data: Vec<_> = worst.iter().map(error).collect();
    Ok(Found { status: status(&ended), notes, tables: vec![table], data: data.into() })
}

/// Target, op and percent of lines such as `cuda f32: simam: largest error 6.4% of its tolerance`.
fn worst(output: &str) -> Vec<(String, String, f64)> {
    let row = |line: &str| {
        let (target, rest) = line.split_once(": ")?;
        let (op, rest) = rest.split_once(": largest error ")?;
        let percent = rest.strip_suffix("% of its tolerance")?.parse().ok()?;
        Some((target.to_string(), op.to_string(), percent))
    };
    output.lines().filter_map(row).collect()
}

/// The published program's outputs.
pub fn goldens(call: &Call) -> Result<Found, Status> {
    let ended = run(call, "goldens", "golden", "every_golden_file_is_reproduced_on_cuda")?;
    let name = |line: &str| line.rsplit('/').next().unwrap_or(line).to_string();
    let verdicts = lines(&ended, |line| line.starts_with("ok  ") || line.starts_with("FAIL"));
    let rows = verdicts.iter().map(|line| vec![line[..4].trim().to_string(), name(line)]).collect();
    let table = Table::new(&["result", "file"], rows);
    let tells = |line: &str| line.contains("golden files compared") || line.contains(" launches of ");
    let notes = [lines(&ended, tells), first_words(&ended)].concat();
    Ok(Found { status: status(&ended), notes, tables: vec![table], data: verdicts.into() })
}

/// Three steps of SVP: losses and gradients against the CPU's.
pub fn steps(call: &Call) -> Result<Found, Status> {
    let test = "three_steps_on_cuda_give_the_losses_of_the_cpu";
    let ended = run(call, "training-steps", "emulated_training", test)?;
    Ok(told(&ended, |line| line.starts_with("losses") || line.contains(" launches of ")))
}

/// One-instruction programs.
pub fn instructions(call: &Call) -> Result<Found, Status> {
    let family = if call.environment.smoke { "bf16_arithmetic" } else { "" };
    let ended = run(call, "instructions", "isa", family)?;
    Ok(told(&ended, |line| line.starts_with("cuda: ") && line.ends_with(" results")))
}

/// What tests tell in lines.
fn told(ended: &Ended, tells: impl Fn(&str) -> bool) -> Found {
    let notes = [lines(ended, tells), first_words(ended)].concat();
    Found { status: status(ended), data: notes.clone().into(), notes, tables: vec![] }
}

/// A small case of each op under a tool of `compute-sanitizer`.
pub fn sanitizer(call: &Call, tool: &str) -> Result<Found, Status> {
    let &Call { environment, limit, .. } = call;
    let not_run = |why: &str| Err(Status::NotRun(why.into()));
    let Some(program) = &environment.sanitizer else {
        return not_run("compute-sanitizer is not on the machine");
    };
    let tests = environment.packed("conformance").map_err(Status::NotRun)?;
    let mut command = environment.command(program);
    command.args(["--tool", tool, "--error-exitcode", "99"]).arg(tests.get_program());
    prepare(command.env("CASE", "small"), "every_op_on_every_device");
    let ended = child::run(&mut command, &environment.log_of(tool), limit).map_err(Status::Failed)?;
    if ended.output.contains("Device not supported") {
        return not_run("compute-sanitizer does not support this device");
    }
    Ok(sanitized(&ended, limit))
}

/// What the sanitizer says: its first finding comes before all else.
fn sanitized(ended: &Ended, limit: Duration) -> Found {
    let mut found = told(ended, |line| line.contains("SUMMARY") || line.starts_with("conformance:"));
    let finding = first_finding(&ended.output);
    if let Some(first) = finding.first() {
        found.status = Status::Failed(first.clone());
        found.notes.insert(0, format!("```text\n{}\n```", finding.join("\n")));
    } else if ended.status.is_none() {
        found.status =
            Status::NoTime(format!("its {} s were up; until then it found nothing", limit.as_secs()));
    } else if found.status == Status::Passed && !found.notes.iter().any(|line| line.contains("SUMMARY")) {
        // Ended well without a summary, it has not watched.
        found.status = Status::Failed("no summary of the sanitizer".into());
    }
    found
}

/// The lines of the first finding, without the mark that each begins with.
fn first_finding(output: &str) -> Vec<String> {
    const LINES: usize = 10;
    let said =
        output.lines().filter_map(|line| line.strip_prefix("========= ").or(line.strip_prefix("=========")));
    let of_itself = |line: &&str| {
        let line = line.trim();
        line.is_empty() || line.contains("COMPUTE-SANITIZER") || line.contains("SUMMARY")
    };
    let finding = said.skip_while(of_itself).take_while(|line| !of_itself(line)).take(LINES);
    finding.map(|line| line.trim_end().to_string()).collect()
}

#[test]
fn errors_are_read_from_what_conformance_prints() {
    let output = "cuda f32: 12 cases, [Avx512]\ncuda f32: simam: largest error 6.4% of its tolerance\n\
                  cuda bf16: token_rows: largest error 0.0% of its tolerance\nsimam: largest error";
    let row = |target: &str, op: &str, percent| (target.to_string(), op.to_string(), percent);
    assert_eq!(worst(output), [row("cuda f32", "simam", 6.4), row("cuda bf16", "token_rows", 0.0)]);
}

#[test]
fn a_finding_of_the_sanitizer_is_told_by_its_first_lines() {
    use std::os::unix::process::ExitStatusExt;
    let ended = |code: Option<i32>, output: &str| Ended {
        status: code.map(|code| std::process::ExitStatus::from_raw(code << 8)),
        output: output.into(),
    };
    let output = "========= COMPUTE-SANITIZER\nrunning 1 test\n\
                  ========= Program hit CUDA_ERROR_INVALID_VALUE (error 1) on CUDA API call to cuFuncGetParamInfo.\n\
                  =========     Saved host backtrace up to driver entry point at error\n\
                  =========\n========= Invalid __global__ write of size 4 bytes\n\
                  ========= ERROR SUMMARY: 2 errors\n";
    let limit = Duration::from_secs(60);
    let found = sanitized(&ended(Some(99), output), limit);
    let first = "Program hit CUDA_ERROR_INVALID_VALUE (error 1) on CUDA API call to cuFuncGetParamInfo.";
    assert_eq!(found.status, Status::Failed(first.into()));
    let lines = format!("```text\n{first}\n    Saved host backtrace up to driver entry point at error\n```");
    assert_eq!(found.notes[0], lines);
    assert!(found.notes.iter().any(|note| note.contains("2 errors")), "{:?}", found.notes);
    // A finding counts also when the time is up, and no finding is then no pass.
    assert_eq!(sanitized(&ended(None, output), limit).status, Status::Failed(first.into()));
    let late = sanitized(&ended(None, "========= COMPUTE-SANITIZER\n"), limit).status;
    assert_eq!(late, Status::NoTime("its 60 s were up; until then it found nothing".into()));
    let passed = "test result: ok. 1 passed; 0 failed\n";
    let clean = format!("========= COMPUTE-SANITIZER\n{passed}========= ERROR SUMMARY: 0 errors\n");
    assert_eq!(sanitized(&ended(Some(0), &clean), limit).status, Status::Passed);
    let unwatched = sanitized(&ended(Some(0), passed), limit).status;
    assert_eq!(unwatched, Status::Failed("no summary of the sanitizer".into()));
}
