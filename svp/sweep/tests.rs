use std::path::{Path, PathBuf};

use toml::Table;

use super::*;
use crate::train::{Evaluation, Outcome, ParameterCount, TrainConfig};
use crate::{Error, Result};

/// What the command's flags would make of settings; the test needs no presets.
fn resolve(settings: &Table) -> Result<TrainConfig> {
    let base = r#"
        allow-mismatch = false
        data = "photos"
        dataset = "auto"
        val-fraction = 0.2
        method = "svp"
        variant = "paper"
        hidden = 64
        group-size = 8
        inner = true
        cross = true
        head = "linear"
        simam = false
        epochs = 10
        batch-size = 32
        lr = 0.1
        lr-scaling = true
        warmup-epochs = 0
        warmup-lr = 0.0
        min-lr = 0.0
        weight-decay = 0.0
        smoothing = 0.1
        drop-path = 0.0
        augment = true
        crop-scale-min = 0.08
        flip = true
        seed = 7
        select-on-test = false
        workers = 1
        save-every = 0
    "#;
    let mut table: Table = base.parse().unwrap();
    table.extend(settings.clone());
    table.try_into().map_err(|e: toml::de::Error| Error::input("settings", e.message(), "see --help"))
}

fn sweep(text: &str) -> Sweep {
    Sweep::parse(Path::new("a.toml"), &format!("title = 'A'\n{text}")).unwrap()
}

fn plan(text: &str) -> Plan {
    Plan::new(sweep(text), &resolve).unwrap()
}

#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    let made = Sweep::parse(Path::new("a.toml"), &format!("title = 'A'\n{text}"));
    let error = made.and_then(|sweep| Plan::new(sweep, &resolve)).expect_err("refused").to_string();
    assert!(!error.contains('\n'), "{error}");
    for part in parts {
        assert!(error.contains(part), "`{part}` is not in: {error}");
    }
}

fn folders<'a>(runs: impl IntoIterator<Item = &'a Run>) -> Vec<String> {
    runs.into_iter().map(|run| run.folder.to_str().unwrap().replace('\\', "/")).collect()
}

/// Two tasks, two methods, a choice for one of them, two seeds.
const TWO: &str = "
    methods = ['linear', { name = 'SVP', method = 'svp', choose = { lr = [0.1, 0.2] } }]
    seeds = [0, 1]
    [[tasks]]
    name = 'birds'
    group = 'natural'
    [[tasks]]
    name = 'signs'
    group = 'structured'
";

#[test]
fn the_runs_are_tasks_by_methods_by_seeds() {
    let plan = plan(TWO);
    assert_eq!(plan.columns, ["linear", "SVP"]);
    assert_eq!(plan.groups(), ["natural", "structured"]);
    let birds = [
        "runs/birds/linear/seed-0",
        "runs/birds/linear/seed-1",
        "runs/birds/SVP/lr=0.1/seed-0",
        "runs/birds/SVP/lr=0.1/seed-1",
        "runs/birds/SVP/lr=0.2/seed-0",
        "runs/birds/SVP/lr=0.2/seed-1",
    ];
    let signs = birds.map(|folder| folder.replace("birds", "signs"));
    assert_eq!(folders(plan.runs()), [&birds.map(String::from)[..], &signs].concat());
    // A choice stays on one machine; other runs are units of their own.
    let units: Vec<usize> = plan.runs().map(|run| run.unit).collect();
    assert_eq!(units, [0, 1, 2, 2, 2, 2, 3, 4, 5, 5, 5, 5]);
}

#[test]
fn later_settings_win() {
    let text = "
        seeds = [5]
        settings = { epochs = 1, smoothing = 0.2, hidden = 1, group-size = 1, weight-decay = 0.1 }
        vary = { group-size = [4] }
        overrides = { weight-decay = 0.5 }
        tasks = [{ name = 'birds', epochs = 2, hidden = 2, data = 'birds' }]
        methods = [{ name = 'a', hidden = 3, weight-decay = 0.2 }]
    ";
    let plan = plan(text);
    let run = &plan.cells[0].points[0].runs[0];
    let config = &run.config;
    let found = (config.epochs, config.hidden, config.group_size, config.weight_decay, config.seed);
    assert_eq!(found, (2, 3, 4, 0.5, 5));
    assert_eq!(folders([run]), ["runs/birds/a-group-size-4/seed-5"]);
    assert_eq!(plan.columns, ["a, group-size 4"]);
}

#[test]
fn data_lie_below_the_sweeps_folder() {
    let text = "
        methods = ['svp']
        settings = { data = 'all' }
        tasks = [{ name = 'a' }, { name = 'b', data = 'b.tar' }, { name = 'c', data = 'builtin:count' }]
    ";
    let plan = plan(text);
    let data: Vec<_> = plan.runs().map(|run| run.config.data.clone()).collect();
    assert_eq!(data, [PathBuf::from("all"), Path::new("all").join("b.tar"), "builtin:count".into()]);
    assert_eq!(plan.runs().next().unwrap().config.seed, 7, "without seeds, that of the settings");
}

#[test]
fn runs_after_the_choice_have_settings_of_their_own() {
    let text = "
        methods = ['svp']
        seeds = [0, 1]
        choose = { lr = [0.1, 0.2] }
        retrain = { train-on-val = true }
        tasks = [{ name = 'a' }]
    ";
    let plan = plan(text);
    let Point { label, probe, runs } = &plan.cells[0].points[1];
    let probe = probe.as_ref().unwrap();
    assert_eq!(label, "lr=0.2");
    assert_eq!(folders([probe]), ["runs/a/svp/lr=0.2/choose-seed-0"]);
    assert_eq!(folders(runs), ["runs/a/svp/lr=0.2/seed-0", "runs/a/svp/lr=0.2/seed-1"]);
    assert_eq!((probe.config.train_on_val, runs[0].config.train_on_val), (false, true));
}

#[test]
fn sweeps_that_cannot_work_are_refused() {
    let task = "tasks = [{ name = 'a' }]\n";
    let with = |more: &str| format!("{task}{more}");
    refused("methods = ['svp']", &["A", "no task"]);
    refused(&with("methods = []"), &["no task or no method"]);
    refused(&with("methods = ['svp', 'svp']"), &["methods", "\"svp\"", "twice"]);
    refused("methods = ['svp']\ntasks = [{ name = 'a b' }, { name = 'A-b' }]", &["tasks", "A-b", "twice"]);
    refused("methods = ['svp']\npresets = ['hta/none']", &["hta/none", "--preset list"]);
    refused(&with("methods = ['svp']\nbatches = 3"), &["a.toml, line 4", "batches"]);
    refused(&with("methods = ['prompts']"), &["a, prompts", "unknown variant"]);
    refused(&with("methods = ['svp']\nsettings = { epoch = 3 }"), &["a, svp", "epoch"]);
    refused(&with("methods = ['svp']\nsettings = { epochs = 0 }"), &["a, svp", "--epochs"]);
    refused(&with("methods = ['svp']\nvary = { lr = 3 }"), &["vary", "lr", "list"]);
    refused(&with("methods = ['svp']\nchoose = { lr = [] }"), &["choose", "lr", "list"]);
    refused(&with("methods = ['svp']\nretrain = { epochs = 3 }"), &["retrain", "nothing is chosen"]);
    for peeking in ["select-on-test = true", "train-on-val = true"] {
        let text = format!("methods = ['svp']\nchoose = {{ lr = [0.1] }}\nsettings = {{ {peeking} }}");
        refused(&with(&text), &["on validation only", "retrain"]);
    }
    let clash = "methods = ['svp']\nvary = { lr = [0.1] }\noverrides = { lr = 1.0 }";
    refused(&with(clash), &["overrides", "lr is varied"]);
    let many = format!("methods = ['svp']\nseeds = {:?}", (0..100_001).collect::<Vec<_>>());
    refused(&with(&many), &["more than 100000 runs"]);
    let published = |what: &str| {
        with(&format!("methods = ['svp']\npublished = {{ source = 'x', values = {{ {what} = 1.0 }} }}"))
    };
    refused(&published("linear.a"), &["published", "\"linear\""]);
    refused(&published("svp.b"), &["published", "\"b\""]);
    plan(&published("svp.a"));
    plan(&published("svp.mean"));
}

#[test]
fn a_sweep_is_kept_as_it_is() {
    for text in [TWO, "methods = ['svp']\ntasks = [{ name = 'a', lr = 0.1 }]\nchoose = { lr = [0.1] }"] {
        let sweep = sweep(text);
        assert_eq!(Sweep::parse(Path::new("kept"), &sweep.text()).unwrap(), sweep);
    }
    let places = |data: &str| {
        sweep(&format!("methods = ['svp']\nsettings = {{ data = '{data}' }}\ntasks = [{{ name = 'a' }}]"))
    };
    assert_ne!(places("here"), places("there"));
    assert_eq!(places("here").without_places(), places("there").without_places());
}

/// A finished run: validation and test accuracy.
fn outcome(val: f64, test: f64) -> State {
    let found = Evaluation { images: 10, loss: 1.0, top1: test, top5: 1.0, per_class: vec![] };
    let module = |name: &'static str, trained| ParameterCount { module: name.into(), trained, all: 100 };
    State::Done(Box::new(Outcome {
        method: "svp".into(),
        preset: None,
        preset_overrides: vec![],
        data: "photos".into(),
        classes: 3,
        epochs: 10,
        steps: 100,
        best_epoch: 4,
        selected_on: "val".into(),
        selected_top1: Some(val),
        test: Some(found),
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

fn failed(diverged: bool) -> State {
    State::Failed(Failure { diverged, message: "the loss is inf; try a lower --lr".into() })
}

/// Results of which nothing lies in a folder.
fn none(plan: &Plan) -> Results<'_> {
    Results::read(plan, &[PathBuf::from("there is no such folder")]).unwrap()
}

/// Makes the run that comes next.
#[track_caller]
fn make(results: &mut Results, folder: &str, state: State) {
    let run = results.next(|_| true).expect("a run to make");
    assert_eq!(folders([run]), [folder]);
    results.set(run, state);
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
    let Stat { mean, deviation } = results.task(0, 0).unwrap();
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
    let probe = plan.cell(0, 1).points[0].probe.as_ref().unwrap();
    results.set(probe, failed(false));
    assert!(results.chosen(plan.cell(0, 1)).is_none());
    assert_eq!(folders(results.next(|_| true)), ["runs/signs/linear/seed-0"], "others go on");
    assert_eq!(results.failures().len(), 1);
    assert!(markdown(&plan, &results).contains("runs/birds/SVP/lr=0.1/seed-0 failed: the loss is inf"));
}

/// All results of [`TWO`]: the same whatever is asked.
fn all(plan: &Plan) -> Results<'_> {
    let mut results = none(plan);
    while let Some(run) = results.next(|_| true) {
        let svp = run.column == 1;
        let signs = run.folder.starts_with("runs/signs");
        let test =
            if svp { 0.8 } else { 0.5 } + if signs { 0.1 } else { 0.0 } + 0.02 * run.config.seed as f64;
        let val = if run.config.lr > 0.15 { 0.3 } else { 0.2 };
        results.set(run, outcome(val, test));
    }
    results
}

#[test]
fn means_are_of_groups_and_their_deviation_of_seeds() {
    let plan = plan(TWO);
    let results = all(&plan);
    assert_eq!(results.left(|_| true), 0);
    let near = |stat: Option<Stat>, mean: f64, deviation: f64| {
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
        "{TWO}\n[published]\nsource = 'a paper'\nvalues = {{ SVP = {{ birds = 90.0, mean = 91.5 }} }}"
    );
    let plan = plan(&text);
    let table = markdown(&plan, &all(&plan));
    for line in [
        "| test accuracy, % | linear | SVP |",
        "| birds | 51.0 ± 1.4 | 81.0 ± 1.4 (90.0) |",
        "| **natural** | 51.0 ± 1.4 | 81.0 ± 1.4 |",
        "| **structured** | 61.0 ± 1.4 | 91.0 ± 1.4 |",
        "| **mean of the groups** | 56.0 ± 1.4 | 86.0 ± 1.4 (91.5) |",
        "| parameters trained | 42 | 42 |",
        "| without the head | 12 | 12 |",
        "| signs |  | lr=0.2 |",
        "In parentheses: a paper.",
        "10 runs, 10 m 00 s of training.",
    ] {
        assert!(table.lines().any(|found| found == line), "`{line}` is not in:\n{table}");
    }
    let empty = markdown(&plan, &none(&plan));
    assert!(empty.contains("| birds | - | - (90.0) |") && empty.contains("Not finished: 10 runs"), "{empty}");
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
    let csv = csv(&plan, &all(&plan));
    let lines: Vec<&str> = csv.lines().collect();
    assert_eq!(lines.len(), 11);
    assert!(lines.iter().all(|line| line.matches(',').count() >= 16), "{csv}");
    assert_eq!(
        lines[1],
        "\"birds, \"\"all\"\"\",natural,linear,,0,yes,val,20.000,50.000,100.000,,42,4,10,100.00,60.0,\
         runs/birds-all/linear/seed-0"
    );
    let of = |part: &str| lines.iter().find(|line| line.contains(part)).unwrap().split(',').nth(5).unwrap();
    assert_eq!(of("signs/SVP/lr=0.1/seed-0"), "no");
    assert_eq!(of("signs/SVP/lr=0.2/seed-0"), "yes");
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
            results.set(run, outcome(run.config.lr, 0.5));
            seen.extend(folders([run]));
            made += 1;
        }
        assert_eq!(before, made);
    }
    seen.sort();
    let results = all(&plan);
    let mut want: Vec<String> =
        folders(plan.runs().filter(|run| matches!(results.state(run), State::Done(_))));
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
    let json: serde_json::Value = serde_json::from_str(&all(&plan).json()).unwrap();
    assert_eq!(json["left"], 0);
    assert_eq!(json["cells"].as_array().unwrap().len(), 4);
    assert_eq!(json["cells"][1]["method"], "SVP");
    assert_eq!(json["cells"][1]["chosen"], "lr=0.2");
    assert_eq!(json["means"][1]["method"], "SVP");
    assert!((json["means"][1]["accuracy"]["mean"].as_f64().unwrap() - 86.0).abs() < 1e-9);
}
