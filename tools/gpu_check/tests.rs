//! The report on made-up results.

use serde_json::{Value, json};

use crate::bench_steps::judge;
use crate::report::{Files, Found, Report, Section, Status, Table};
use crate::targets::Comparison;

fn scan(pass: &str, dtype: &str, ms: f64, share: f64) -> Value {
    json!({ "op": "selective_scan", "case": "b=96", "pass": pass, "dtype": dtype, "ms": ms, "share": share,
            "bound_ms": ms * share, "bound_by": "exp" })
}

fn step(precision: &str, images_per_s: f64, peak: f64, outside: f64) -> Value {
    json!({ "precision": precision, "ms": 96e3 / images_per_s, "images_per_s": images_per_s,
            "peak_tensor_bytes": peak, "outside": outside })
}

/// A record as gpu_compare.py writes it.
fn published(pass: &str, dtype: &str, variant: &str, batch: u64, ms: f64, wrong: bool) -> Value {
    json!({ "section": "a", "pass": pass, "dtype": dtype, "variant": variant, "shape": { "batch": batch },
            "ms_median": ms, "wrong": wrong })
}

fn torch_step(dtype: &str, variant: &str, images_per_s: f64, peak: f64) -> Value {
    json!({ "section": "d", "dtype": dtype, "variant": variant, "ms_median": 96e3 / images_per_s,
            "images_per_s": images_per_s, "peak_bytes": peak, "wrong": false })
}

fn comparison() -> Comparison {
    let kernels = json!({ "kernels": [
        scan("forward", "f32", 1.0, 0.7),
        scan("backward", "f32", 2.0, 0.5),
        scan("forward", "bf16", 0.5, 0.6),
        json!({ "op": "simam", "case": "b=2", "pass": "forward", "dtype": "f32", "error": "lost" }),
    ] });
    let steps = json!({ "steps": [step("f32", 500.0, 4e9, 0.01), step("bf16", 900.0, 2e9, 0.04)] });
    let reference = json!({ "records": [
        published("forward", "float32", "as Vim calls it", 96, 3.0, false),
        // Another size, the kernels alone, and a wrong result do not count.
        published("forward", "float32", "as Vim calls it", 8, 0.1, false),
        published("forward", "float32", "kernels only", 96, 0.2, false),
        published("forward", "bfloat16", "as Vim calls it", 96, 9.0, true),
        published("backward", "float32", "as Vim calls it", 96, 3.0, false),
        torch_step("bfloat16 autocast", "eager", 250.0, 9e9),
        torch_step("bfloat16 autocast", "compiled", 300.0, 5e9),
        torch_step("float32", "eager", 100.0, 9e9),
    ] });
    Comparison::of(&kernels, &steps, &reference)
}

#[test]
fn targets_are_judged_by_what_was_measured() {
    let targets = comparison().targets(false);
    let of = |what: &str| {
        let found: Vec<_> = targets.iter().filter(|target| target.what.starts_with(what)).collect();
        assert_eq!(found.len(), 1, "{what}");
        (found[0].got.as_str(), found[0].status.clone())
    };
    let missed = Status::Failed("missed".into());
    let not_run = |why: &str| Status::NotRun(why.into());
    assert_eq!(of("scan forward, f32: as fast"), ("3.00 times", Status::Passed));
    assert_eq!(of("scan forward, f32: share"), ("70.0 %", Status::Passed));
    assert_eq!(of("scan backward, f32: as fast"), ("1.50 times", missed.clone()));
    assert_eq!(of("scan backward, f32: share"), ("50.0 %", missed.clone()));
    assert_eq!(of("scan forward, bf16: as fast"), ("-", not_run("not measured on both sides")));
    assert_eq!(of("scan backward, bf16: share"), ("-", not_run("not measured")));
    assert_eq!(of("step, bf16: images/s"), ("3.00 times", Status::Passed));
    assert_eq!(of("step, bf16: peak memory"), ("40.0 %", missed.clone()));
    assert_eq!(of("step, bf16: outside"), ("4.0 %", missed));
    assert!(comparison().targets(true).iter().all(|target| target.status == not_run("a try of the tool")));
}

fn section(name: &'static str, status: Status) -> Section {
    Section { name, seconds: 1.0, expected: 2, found: Found { status, ..Found::default() } }
}

fn report(sections: Vec<Section>) -> Report {
    let facts = vec![("date".to_string(), "2026-11-21".to_string())];
    Report { facts, device: "NVIDIA H100 80GB HBM3".into(), smoke: false, sections, targets: vec![] }
}

#[test]
fn a_report_has_what_was_found() {
    let comparison = comparison();
    let mut kernels = section("kernels", Status::Passed);
    kernels.found.tables.extend(comparison.kernel_table());
    kernels.found.notes.push("copies 3000 GB/s".into());
    kernels.found.data = json!([1]);
    let mut steps = section("step", Status::Failed("a | bar".into()));
    steps.found.tables.extend(comparison.step_table());
    let mut report = report(vec![kernels, steps, section("memcheck", Status::NotRun("not here".into()))]);
    report.targets = comparison.targets(false);
    let text = report.markdown();
    for line in [
        "# GPU check: NVIDIA H100 80GB HBM3",
        "- date: 2026-11-21",
        "| step | 1 | 2 | FAIL: a \\| bar |",
        "| memcheck | 1 | 2 | not run: not here |",
        "| selective_scan: b=96 | forward | f32 | 1.0000 | 0.7000 | exp | 70 % | 3.00 (as Vim calls it: 3.000 ms) |",
        "| simam: b=2 | forward | f32 | lost | - | - | - | - |",
        "| svp-train, bf16 | 106.67 | 900.0 | 1.86 | - | - | - | 4.0 % | 3.00 | 0.40 |",
        "| PyTorch, bfloat16 autocast: compiled | 320.00 | 300.0 | 4.66 | - | - | - | - | - | - |",
        "| step, bf16: images/s over PyTorch's best | at least 3 times | 3.00 times | PASS |",
        "copies 3000 GB/s",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
    let json = report.json();
    assert_eq!((&json["sections"][0]["status"], &json["sections"][0]["data"]), (&json!("pass"), &json!([1])));
    assert_eq!(json["sections"][2]["why"], "not here");
    assert_eq!(json["targets"].as_array().unwrap().len(), report.targets.len());
}

#[test]
fn what_failed_fails_and_what_did_not_run_may() {
    let holds = |statuses: [Status; 2], require| {
        report(statuses.map(|status| section("step", status)).into()).holds(require)
    };
    let not_run = || Status::NotRun("no CUDA device".into());
    assert!(holds([Status::Passed, Status::Passed], true));
    assert!(holds([Status::Passed, not_run()], false) && !holds([Status::Passed, not_run()], true));
    assert!(!holds([Status::Failed("x".into()), Status::Passed], false));
}

/// An empty folder of its own.
fn scratch(name: &str) -> std::path::PathBuf {
    let folder = std::env::temp_dir().join(format!("gpu-check-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn reports_are_files_with_the_date_and_the_device() {
    let folder = scratch("files");
    let work = folder.join("work");
    std::fs::create_dir_all(&work).unwrap();
    std::fs::write(work.join("b.log"), "second\n").unwrap();
    std::fs::write(work.join("a.log"), "first\n").unwrap();
    let files = || Files::new(&folder, "2026-11-21", "NVIDIA H100 80GB HBM3", false);
    let first = files();
    // Written after every step under the same names.
    report(vec![]).write(&first, &work).unwrap();
    report(vec![section("step", Status::Passed)]).write(&first, &work).unwrap();
    let name = |end: &str| folder.join(format!("2026-11-21-gpu-nvidia-h100-80gb-hbm3{end}"));
    assert_eq!(first.all(), [".md", ".json", ".log"].map(name));
    assert_eq!(std::fs::read_to_string(&first.all()[2]).unwrap(), "==== a\nfirst\n==== b\nsecond\n");
    assert!(std::fs::read_to_string(&first.all()[0]).unwrap().contains("| step | 1 | 2 | PASS |"));
    // Another call leaves it.
    assert_eq!(files().all(), ["-2.md", "-2.json", "-2.log"].map(name));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn what_an_earlier_report_found_is_taken_over() {
    let folder = scratch("earlier");
    let mut goldens = section("goldens", Status::Failed("one differs".into()));
    goldens
        .found
        .tables
        .push(Table::new(&["result", "file"], vec![vec!["FAIL".into(), "a.safetensors".into()]]));
    goldens.found.notes.push("12 golden files compared".into());
    let mut reference = section("reference", Status::NoTime("a part of it".into()));
    reference.found.data = json!({ "records": [published("forward", "float32", "eager", 96, 3.0, false)] });
    let late = section("memcheck", Status::out_of_time(std::time::Duration::from_secs(3), 60));
    let report = report(vec![goldens, reference, late]);
    let files = Files::new(&folder, "2026-11-21", &report.device, false);
    report.write(&files, &folder).unwrap();
    let json = &files.all()[1];
    let hint = report.left_out(&files).unwrap();
    assert_eq!(hint, format!("go on with: gpu_check --only reference,memcheck --with {}", json.display()));
    let markdown = report.markdown();
    assert!(markdown.contains("Not run for want of time: reference,memcheck."), "{markdown}");
    assert!(markdown.contains("3 s of the time are left for it, and it takes about 60 s"), "{markdown}");

    let found = Section::read_all(json, &report.device).unwrap();
    // What has not run is left to the new call; what ran in part is kept.
    assert_eq!(found.iter().map(|section| section.name).collect::<Vec<_>>(), ["goldens", "reference"]);
    assert_eq!(found[0].found.status, Status::Failed("one differs".into()));
    assert_eq!(found[0].found.tables[0].rows, report.sections[0].found.tables[0].rows);
    assert_eq!(found[0].found.notes[1], "12 golden files compared");
    assert!(
        found[0].found.notes[0].starts_with("From an earlier call: 2026-11-21"),
        "{:?}",
        found[0].found.notes
    );
    assert_eq!(found[1].found.data, report.sections[1].found.data);
    let wrong = |device: &str| Section::read_all(json, device).err().unwrap();
    assert!(
        wrong("NVIDIA A100")
            .contains("it is of another device, NVIDIA H100 80GB HBM3, and this is NVIDIA A100")
    );
    std::fs::write(json, "[1, 2").unwrap();
    assert!(wrong("NVIDIA A100").ends_with("it is no report of gpu_check"));
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_share_outside_of_kernels_that_cannot_be_right_fails() {
    let target = |step: Value| {
        let comparison = Comparison::of(&Value::Null, &json!({ "steps": [step] }), &Value::Null);
        let all = comparison.targets(false);
        let target = all.into_iter().find(|target| target.what.contains("outside")).unwrap();
        target.status
    };
    let share = |outside: f64| target(step("bf16", 900.0, 2e9, outside));
    assert_eq!(share(0.02), Status::Passed);
    assert_eq!(share(0.04), Status::Failed("missed".into()));
    for wrong in [-0.01, 0.0] {
        let Status::Failed(why) = share(wrong) else { panic!("{wrong} passes") };
        assert!(why.contains("took longer than the steps themselves"), "{why}");
    }
    let Status::Failed(why) = share(1.0) else { panic!("nothing traced passes") };
    assert!(why.contains("no kernel was traced"), "{why}");
    let other = |key: &str, why: Value| target(json!({ "precision": "bf16", "ms": 100.0, key: why }));
    let absent = "libcupti.so.13 is not on the machine";
    assert_eq!(other("outside_not_run", absent.into()), Status::NotRun(absent.into()));
    let Status::Failed(why) = other("outside_error", "CUPTI lost 3 records".into()) else { panic!("passes") };
    assert_eq!(why, "the measurement is wrong: CUPTI lost 3 records");
    let Status::Failed(why) = other("outside", Value::Null) else { panic!("a step without a share passes") };
    assert_eq!(why, "the measurement is wrong: the step was timed and has no share");
    assert_eq!(target(json!({ "precision": "f32" })), Status::NotRun("not measured".into()));
}

#[test]
fn a_comparison_that_measured_nothing_failed() {
    let found = judge(false, vec![], Value::Null, vec![json!({ "section": "a", "error": "no nvcc" })]);
    assert_eq!(found.status, Status::Failed("nothing was measured".into()));
    assert!(found.notes[1].contains("no nvcc"), "{:?}", found.notes);
    let records = vec![published("forward", "float32", "eager", 96, 1.0, true)];
    let found = judge(false, vec!["section d: wrong".into()], Value::Null, records);
    assert_eq!(found.status, Status::Passed);
    assert_eq!(found.notes.len(), 3, "{:?}", found.notes);
    // Variants that had no time are no pass.
    let records = || vec![published("forward", "float32", "eager", 96, 1.0, false)];
    let skipped = [records(), vec![json!({ "section": "d", "skipped": "the budget is used up" })]].concat();
    for found in [judge(true, vec![], Value::Null, records()), judge(false, vec![], Value::Null, skipped)] {
        assert_eq!(found.status, Status::NoTime("a part of it: the time was up; see its notes".into()));
    }
}

#[test]
fn a_table_without_rows_is_none() {
    let nothing = Comparison::of(&Value::Null, &Value::Null, &Value::Null);
    assert!(nothing.kernel_table().is_none() && nothing.step_table().is_none());
    assert_eq!(Table::new(&["a", "b"], vec![]).to_string(), "| a | b |\n| --- | --- |\n");
}
