//! Training from end to end on the device: the same bytes twice, and after a kill; the accuracy of the CPU.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use crate::child;
use crate::environment::Environment;
use crate::plan::Call;
use crate::report::{Found, Status, Table};

/// SVP of the demonstration: the built-in backbone, a drawn task.
const DEMO: &str =
    "--data builtin:orientation --method svp --epochs 20 --lr 6e-2 --batch-size 32 --drop-path 0 --seed 0";
/// The same program on a model of next to no size.
const SMOKE: &str = "--data builtin:orientation --method full --model vim_nano --embed-dim 16 --depth 1 --patch-size 16 \
                     --epochs 1 --batch-size 100 --seed 0";
/// Test accuracy of the demonstration on a CPU (benches/results/2026-11-21-cpu.md), and how far another order of sums
/// may lead from it: three standard errors of 1,000 test images.
const CPU_TOP1: f64 = 0.821;
const NEAR: f64 = 0.036;
/// Records in the metrics after which a run is killed.
const KILLED_AFTER: [usize; 2] = [150, 2];

/// Runs it three times.
pub fn end_to_end(call: &Call) -> Result<Found, Status> {
    let &Call { environment, limit, .. } = call;
    let deadline = Instant::now() + limit;
    let left = || deadline.saturating_duration_since(Instant::now());
    let settings: Vec<&str> = (if environment.smoke { SMOKE } else { DEMO }).split_whitespace().collect();
    let folder = |name: &str| environment.work.join(name);
    let command = |arguments: &[&str], flag: &str, out: &Path| {
        let mut command = environment.packed("svp-train").map_err(Status::NotRun)?;
        command.args(["--device", "cuda"]).args(arguments).arg(flag).arg(out);
        Ok(command)
    };
    let train = |name: &str, arguments: &[&str], flag: &str, out: &Path| {
        let log = environment.log_of(&format!("train {name}"));
        let ended = child::run(&mut command(arguments, flag, out)?, &log, left()).map_err(Status::Failed)?;
        ended.complaint().map_or(Ok(()), |wrong| Err(Status::Failed(format!("{name}: {wrong}"))))
    };
    let [first, second, killed] = ["first", "second", "killed"].map(folder);
    train("first", &settings, "--out", &first)?;
    train("second", &settings, "--out", &second)?;

    let after = KILLED_AFTER[usize::from(environment.smoke)];
    let metrics = killed.join("metrics.jsonl");
    let far = || fs::read(&metrics).map_or(0, |text| text.iter().filter(|&&b| b == b'\n').count()) >= after;
    let often = [&settings[..], &["--save-every", "1"]].concat();
    let running = child::start(&mut command(&often, "--out", &killed)?, &environment.log_of("train killed"));
    if !running.map_err(Status::Failed)?.kill_when(left(), far) {
        return Err(Status::Failed("the run that was to be killed ended by itself".into()));
    }
    train("resumed", &[], "--resume", &killed)?;
    Ok(compare(environment, &[first, second, killed], after))
}

fn compare(environment: &Environment, runs: &[PathBuf; 3], after: usize) -> Found {
    let bytes = |run: &PathBuf, name: &str| fs::read(run.join(name)).unwrap_or_default();
    let report: Value = serde_json::from_slice(&bytes(&runs[0], "report.json")).unwrap_or_default();
    let top1 = report["test"]["top1"].as_f64();
    let mut rows = vec![];
    let mut check = |what: String, holds: bool, got: String| {
        rows.push(vec![what, got, if holds { "PASS" } else { "FAIL" }.into()]);
        holds
    };
    let mut holds = true;
    for (run, what) in [(&runs[1], "again with the same seed"), (&runs[2], "killed and resumed")] {
        let same = |name: &str| !bytes(run, name).is_empty() && bytes(run, name) == bytes(&runs[0], name);
        let same = same("last.safetensors") && same("best.safetensors");
        let got = if same { "the same bytes" } else { "other bytes" };
        holds &= check(format!("trained files of a run {what}"), same, got.into());
    }
    let near = top1.is_some_and(|top1| (top1 - CPU_TOP1).abs() <= NEAR);
    let got = top1.map_or("none".into(), |top1| format!("{:.1} %", 100.0 * top1));
    if !environment.smoke {
        let wanted = format!("test accuracy near the CPU's, {:.1} ± {:.1} %", 100.0 * CPU_TOP1, 100.0 * NEAR);
        holds &= check(wanted, near, got);
    }
    let status = if holds { Status::Passed } else { Status::Failed("see its table".into()) };
    let notes = vec![format!(
        "`svp-train` on a drawn task: {} steps, {} images/s, data waited for {} of the time; one run was killed after {after} records.",
        report["steps"],
        report["images_per_s"].as_f64().map_or("?".into(), |n| format!("{n:.0}")),
        report["wait_share"].as_f64().map_or("?".into(), |share| format!("{:.0} %", 100.0 * share)),
    )];
    let table = Table::new(&["check", "found", "result"], rows);
    Found { status, notes, tables: vec![table], data: json!({ "report": report, "cpu_top1": CPU_TOP1 }) }
}
