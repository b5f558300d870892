//! What is made of what the runs found.

use std::path::PathBuf;

use super::*;
use crate::data::NoiseForm;
use crate::model::ParameterCount;
use crate::score::{Measure, Score};
use crate::train::{Evaluation, Noisy, Outcome};

/// A finished run: validation and test accuracy.
fn outcome(val: f64, test: f64) -> RunStatus {
    let found = Evaluation { images: 10, loss: 1.0, top1: test, top5: 1.0, per_class: vec![] };
    let score = |value| Some(Score { measure: Measure::Top1, value });
    let module = |name: &'static str, trained| ParameterCount { module: name.into(), trained, all: 100 };
    RunStatus::Done(Box::new(Outcome {
        folder: Default::default(),
        method: "svp".into(),
        preset: None,
        preset_overrides: vec![],
        data: "photos".into(),
        classes: 3,
        epochs: 10,
        out_of_patience: None,
        steps: 100,
        best_epoch: 4,
        selected_on: "val".into(),
        selected: score(val),
        last: score(1.0 - val),
        test: Some(found),
        noisy: vec![],
        parameters: vec![module("head", 30), module("inner prompts", 12)],
        trained_parameters: 42,
        images_per_s: 100.0,
        wait_share: 0.0,
        seconds: 60.0,
        peak_tensor_bytes: 1,
        backbone_hash: "abc".into(),
        broken_images: vec![],
    }))
}

fn failed(diverged: bool) -> RunStatus {
    RunStatus::Failed(Failure { diverged, message: "the loss is inf; try a lower --lr".into() })
}

/// Results of which nothing lies in a folder.
fn none(plan: &Plan) -> Results<'_> {
    Results::read(plan, &[PathBuf::from("there is no such folder")]).unwrap()
}

/// Makes the run that comes next.
#[track_caller]
fn make(results: &mut Results, folder: &str, status: RunStatus) {
    let run = results.next(|_| true).expect("a run to make");
    assert_eq!(folders([run]), [folder]);
    results.set(run, status);
}

#[test]
fn the_best_on_validation_is_chosen_and_its_seeds_are_made() {
    let plan = plan(TWO);
    let mut results = none(&plan);
    assert_eq!(results.left(|_| true), 10, "three of SVP: two to choose by, one more seed");
    make(&mut results, "runs/birds/linear/seed-0", outcome(0.5, 0.50));
    make(&mut results, "runs/birds/linear/seed-1", outcome(0.5, 0.54));
    make(&mut results, "runs/birds/SVP/lr=0.1/seed-0", outcome(0.6, 0.95));
    assert!(results.task(0, 1).is_none(), "there is no choice yet");
    make(&mut results, "runs/birds/SVP/lr=0.2/seed-0", outcome(0.7, 0.80));
    assert_eq!(results.left(|_| true), 6);
    make(&mut results, "runs/birds/SVP/lr=0.2/seed-1", outcome(0.1, 0.90));
    assert_eq!(results.chosen(plan.cell(0, 1)).unwrap().label, "lr=0.2", "the test has no say");
    // 50 and 54: mean 52, deviation 2 / sqrt(1/2).
    let Accuracy { mean, deviation } = results.task(0, 0).unwrap();
    assert!((mean - 52.0).abs() < 1e-9 && (deviation.unwrap() - 8f64.sqrt()).abs() < 1e-9);
    assert_eq!(results.task(0, 1).unwrap().mean, 85.0);
    assert!(results.mean(0).is_none(), "the other task is missing");
    assert!(results.group("natural", 0).is_some());
}

#[test]
fn what_diverges_is_not_chosen_and_what_fails_stops_the_choice() {
    let plan = plan(TWO);
    let mut results = none(&plan);
    for _ in 0..2 {
        let run = results.next(|_| true).unwrap();
        results.set(run, outcome(0.5, 0.5));
    }
    make(&mut results, "runs/birds/SVP/lr=0.1/seed-0", failed(true));
    make(&mut results, "runs/birds/SVP/lr=0.2/seed-0", outcome(0.2, 0.2));
    assert_eq!(results.chosen(plan.cell(0, 1)).unwrap().label, "lr=0.2");
    assert_eq!((results.failures().len(), results.problems()), (1, 0), "nothing is missing for it");
    let probe = plan.cell(0, 1).points[0].probe.as_ref().unwrap();
    results.set(probe, failed(false));
    assert!(results.chosen(plan.cell(0, 1)).is_none());
    assert_eq!(folders(results.next(|_| true)), ["runs/signs/linear/seed-0"], "others go on");
    assert_eq!((results.failures().len(), results.problems()), (1, 1));
    assert!(markdown(&plan, &results).contains("runs/birds/SVP/lr=0.1/seed-0 failed: the loss is inf"));
}

/// All results of [`TWO`]: the same whatever is asked.
fn all(plan: &Plan) -> Results<'_> {
    let mut results = none(plan);
    while let Some(run) = results.next(|_| true) {
        let svp = run.cell.1 == 1;
        let signs = run.folder.starts_with("runs/signs");
        let test =
            if svp { 0.8 } else { 0.5 } + if signs { 0.1 } else { 0.0 } + 0.02 * run.config.seed as f64;
        let val = if run.config.lr.value() > 0.15 { 0.3 } else { 0.2 };
        results.set(run, outcome(val, test));
    }
    results
}

#[test]
fn means_are_of_groups_and_their_deviation_of_seeds() {
    let plan = plan(TWO);
    let results = all(&plan);
    assert_eq!(results.left(|_| true), 0);
    let near = |stat: Option<Accuracy>, mean: f64, deviation: f64| {
        let stat = stat.unwrap();
        assert!(
            (stat.mean - mean).abs() < 1e-9 && (stat.deviation.unwrap() - deviation).abs() < 1e-9,
            "{stat:?}"
        );
    };
    // Seeds 50 and 52 on birds, 60 and 62 on signs.
    near(results.group("structured", 0), 61.0, 2f64.sqrt());
    near(results.mean(0), 56.0, 2f64.sqrt());
    near(results.mean(1), 86.0, 2f64.sqrt());
}

#[test]
fn groups_count_alike_whatever_their_size() {
    let task = |name: &str, group: &str| format!("[[tasks]]\nname = '{name}'\ngroup = '{group}'\n");
    let tasks = task("a", "x") + &task("b", "x") + &task("c", "y");
    let plan = plan(&format!("methods = ['svp']\n{tasks}"));
    let mut results = none(&plan);
    for (name, test) in [("a", 0.1), ("b", 0.3), ("c", 0.8)] {
        make(&mut results, &format!("runs/{name}/svp/seed-7"), outcome(0.5, test));
    }
    let mean = results.mean(0).unwrap();
    assert!((mean.mean - 50.0).abs() < 1e-9, "of 20 and 80, not of 10, 30 and 80: {mean:?}");
    assert_eq!(mean.deviation, None, "one seed");
}

#[test]
fn the_table_has_all_numbers() {
    let text = format!(
        "{TWO}\n[published]\nsource = 'a paper'\nvalues = {{ SVP = {{ birds = 90.0, natural = 79.0, mean = 91.5 }} }}"
    );
    let plan = plan(&text);
    let table = markdown(&plan, &all(&plan));
    for line in [
        "| test accuracy, % | linear | SVP |",
        "| birds | 51.0 ± 1.4 (-, -) | 81.0 ± 1.4 (90.0, -9.0) |",
        "| **natural** | 51.0 ± 1.4 (-, -) | 81.0 ± 1.4 (79.0, +2.0) |",
        "| **structured** | 61.0 ± 1.4 (-, -) | 91.0 ± 1.4 (-, -) |",
        "| **mean of the groups** | 56.0 ± 1.4 (-, -) | 86.0 ± 1.4 (91.5, -5.5) |",
        "| parameters trained, mean | 42 | 42 |",
        "| without the head | 12 | 12 |",
        "| signs |  | lr=0.2 |",
        "In parentheses: what was published (a paper), and ours minus it; `-` where one is missing.",
        "10 runs, which took 10 m 00 s together (a resumed run counts from its last start).",
    ] {
        assert!(table.lines().any(|found| found == line), "`{line}` is not in:\n{table}");
    }
    let empty = markdown(&plan, &none(&plan));
    assert!(
        empty.contains("| birds | - (-, -) | - (90.0, -) |") && empty.contains("Not finished: 10 runs"),
        "{empty}"
    );
}

#[test]
fn a_cell_says_how_many_seeds_it_has() {
    let plan = plan(TWO);
    let mut results = none(&plan);
    make(&mut results, "runs/birds/linear/seed-0", outcome(0.5, 0.5));
    assert!(markdown(&plan, &results).contains("| birds | 50.0, 1 of 2 seeds | - |"));
}

#[test]
fn the_csv_has_a_line_for_each_run_and_says_what_was_reported() {
    let text = TWO.replace("'birds'", "'birds, \"all\"'");
    let plan = plan(&text);
    let csv = runs_csv(&plan, &all(&plan));
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 11);
    assert_eq!(
        lines[1],
        "\"birds, \"\"all\"\"\",linear,,0,yes,val,20.000,50.000,100.000,42,4,10,100.00,60.0,\
         runs/birds-all/linear/seed-0"
    );
    let of = |part: &str| lines.iter().find(|line| line.contains(part)).unwrap().split(',').nth(4).unwrap();
    assert_eq!(of("signs/SVP/lr=0.1/seed-0"), "no");
    assert_eq!(of("signs/SVP/lr=0.2/seed-0"), "yes");
}

#[test]
fn the_other_csv_has_the_table() {
    let plan = plan(TWO);
    let csv = csv(&plan, &all(&plan));
    for line in [
        "birds,task,linear,,2,51.000,1.414,,,42,12,here",
        "signs,task,SVP,lr=0.2,2,91.000,1.414,,,42,12,here",
        "natural,group,SVP,,,81.000,1.414,,,,,here",
        "mean,mean,SVP,,,86.000,1.414,,,,,here",
    ] {
        assert!(csv.lines().any(|found| found == line), "`{line}` is not in:\n{csv}");
    }
    assert_eq!(csv.lines().count(), 1 + 4 + 4 + 2);
}

/// A table of the paper beside results: numbers of the rows that are run, and the others as published only.
#[test]
fn published_rows_that_are_not_run_are_marked() {
    let text = "
        methods = ['linear', 'svp']
        tasks = [{ name = 'hta/dtd' }, { name = 'hta/svhn' }]
        published = { source = 'Table 1', table = 'table1', values = { svp = { mean = 12.5 } } }
    ";
    let plan = plan(text);
    assert_eq!((plan.columns.len(), plan.not_run.len()), (2, 16));
    let results = all(&plan);
    let markdown = markdown(&plan, &results);
    for line in [
        "| hta/dtd | 64.0 (64.5, -0.5) | 94.0 (74.0, +20.0) |",
        // The published means are those of ten tasks.
        "| **mean** | 64.0 (-, -) | 94.0 (12.5, +81.5) |",
        "| published only, not run here, % | publication | params | pretrain | hta/dtd | hta/svhn |",
        "| DAM-VP, ViT-B | CVPR 2023 | 85M | 21K | 73.1 | 87.5 |",
        "| Full, Vim-S | - | 25M | 1K | 72.3 | 98.0 |",
    ] {
        assert!(markdown.lines().any(|found| found == line), "`{line}` is not in:\n{markdown}");
    }
    let csv = csv(&plan, &results);
    for line in [
        "hta/dtd,task,svp,,1,94.000,,74.000,20.000,42,12,here",
        "hta/dtd,task,\"DAM-VP, ViT-B\",,,,,73.100,,,,published only",
    ] {
        assert!(csv.lines().any(|found| found == line), "`{line}` is not in:\n{csv}");
    }
    let json: serde_json::Value = serde_json::from_str(&json(&plan, &results)).unwrap();
    assert_eq!((&json["source"], json["published_only"].as_array().unwrap().len()), (&"Table 1".into(), 16));
    assert_eq!(json["results"][0]["difference"], -0.5);
    assert_eq!(json["published_only"][4]["values"]["hta/svhn"], 87.5);
}

/// As of the last epoch, where nothing chooses another one.
#[test]
fn what_is_compared_is_what_will_be_reported() {
    let text = "
        methods = ['svp']
        choose = { lr = [0.1, 0.2] }
        tasks = [{ name = 'a' }]
    ";
    let chosen = |text: &str| {
        let plan = plan(text);
        let mut results = none(&plan);
        for (point, val) in plan.cells[0].points.iter().zip([0.9, 0.6]) {
            // After the last epoch 0.1 and 0.4.
            results.set(point.probe.as_ref().unwrap(), outcome(val, 0.5));
        }
        results.chosen(&plan.cells[0]).unwrap().label.clone()
    };
    assert_eq!(chosen(text), "lr=0.1");
    assert_eq!(chosen(&format!("retrain = {{ train-on-val = true }}\n{text}")), "lr=0.2");
    let on_test = "retrain = { train-on-val = true, select-on-test = true }";
    assert_eq!(chosen(&format!("{on_test}\n{text}")), "lr=0.1");
}

#[test]
fn every_shard_gets_runs_of_every_method() {
    let tasks: String = (0..19).map(|i| format!("[[tasks]]\nname = 't{i}'\n")).collect();
    let methods =
        ["a", "b", "c"].map(|name| format!("{{ name = '{name}', choose = {{ lr = [0.1, 0.2] }} }}"));
    let plan = plan(&format!("methods = [{}]\n{tasks}", methods.join(", ")));
    for of in 2..=10 {
        for column in 0..3 {
            let runs =
                |shard| plan.runs().filter(move |run| run.cell.1 == column && run.unit % of == shard).count();
            let counts: Vec<usize> = (0..of).map(runs).collect();
            let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
            assert!(most - least <= 2, "{of} shards: {counts:?}");
        }
    }
}

#[test]
fn shards_make_all_runs_once() {
    let plan = plan(TWO);
    let mut seen: Vec<String> = vec![];
    for shard in 0..3 {
        let mut results = none(&plan);
        let before = results.left(|unit| unit % 3 == shard);
        let mut made = 0;
        while let Some(run) = results.next(|unit| unit % 3 == shard) {
            results.set(run, outcome(run.config.lr.value(), 0.5));
            seen.extend(folders([run]));
            made += 1;
        }
        assert_eq!(before, made);
    }
    seen.sort();
    let results = all(&plan);
    let mut want: Vec<String> =
        folders(plan.runs().filter(|run| matches!(results.status(run), RunStatus::Done(_))));
    want.sort();
    assert_eq!(seen, want);
}

/// The picture decodes, and is one of lines where one number varies.
#[test]
fn the_chart_fits_the_sweep() {
    let decode = |png: &[u8]| image::load_from_memory(png).unwrap().to_rgb8();
    let two = plan(TWO);
    let bars = decode(&chart(&two, &all(&two)));
    let varied = plan("methods = ['svp']\nvary = { hidden = [16, 32] }\ntasks = [{ name = 'a' }]");
    let lines = decode(&chart(&varied, &all(&varied)));
    assert_ne!(bars.dimensions(), lines.dimensions());
    assert_ne!(bars, decode(&chart(&two, &none(&two))), "results are drawn");
}

#[test]
fn the_json_has_cells_and_means() {
    let plan = plan(TWO);
    let json: serde_json::Value = serde_json::from_str(&json(&plan, &all(&plan))).unwrap();
    assert_eq!(json["left"], 0);
    assert_eq!(json["failed"].as_array().unwrap().len(), 0);
    let rows = json["results"].as_array().unwrap();
    let row = |name: &str| rows.iter().find(|row| row["name"] == name && row["method"] == "SVP").unwrap();
    assert_eq!((rows.len(), &row("birds")["chosen"]), (10, &"lr=0.2".into()));
    for (name, mean) in [("birds", 81.0), ("structured", 91.0), ("mean", 86.0)] {
        assert!((row(name)["mean"].as_f64().unwrap() - mean).abs() < 1e-9, "{name}");
    }
}

#[test]
fn a_task_without_a_group_makes_the_mean_one_over_tasks() {
    let text = TWO.replace("group = 'structured'", "");
    let plan = plan(&text);
    let table = markdown(&plan, &all(&plan));
    assert!(table.contains("| **mean** | 56.0 ± 1.4 | 86.0 ± 1.4 |"), "{table}");
}

#[test]
fn what_diverged_everywhere_is_said_so() {
    let plan = plan(TWO);
    let mut results = none(&plan);
    for point in &plan.cell(0, 1).points {
        results.set(point.probe.as_ref().unwrap(), failed(true));
    }
    assert!(markdown(&plan, &results).contains("| birds | - | diverged |"));
    assert_eq!(results.problems(), 2);
}

/// The plain test is that at rate 0; seeds that were not tested with noise are left out.
#[test]
fn tests_with_noise_have_a_table_of_their_own() {
    let plan = plan("methods = ['linear']\nseeds = [0, 1]\ntasks = [{ name = 'birds' }]");
    let mut results = none(&plan);
    assert!(noise_csv(&plan, &results).is_none() && noise_chart(&plan, &results).is_none());
    for (test, noisy) in [(0.9, 0.7), (0.8, 0.5)] {
        let RunStatus::Done(mut outcome) = outcome(0.5, test) else { unreachable!("it is done") };
        let (form, loss, top5) = (NoiseForm::Mix, 1.0, 1.0);
        outcome.noisy = vec![Noisy { rate: 0.25, form, loss, top1: noisy, top5 }];
        let run = results.next(|_| true).expect("a run to make");
        results.set(run, RunStatus::Done(outcome));
    }
    let csv = noise_csv(&plan, &results).unwrap();
    assert_eq!(
        csv.lines().collect::<Vec<_>>(),
        [
            "task,method,rate,seeds,mean,deviation",
            "birds,linear,0,2,85.000,7.071",
            "birds,linear,0.25,2,60.000,14.142"
        ]
    );
    let text = markdown(&plan, &results);
    assert!(text.contains("| birds, rate 0.25 | 60.0 ± 14.1 |"), "{text}");
    let json: serde_json::Value = serde_json::from_str(&json(&plan, &results)).unwrap();
    assert_eq!((&json["noise"][1]["rate"], &json["noise"][1]["seeds"]), (&0.25.into(), &2.into()));
    assert!(noise_chart(&plan, &results).unwrap().starts_with(b"\x89PNG"));
}
