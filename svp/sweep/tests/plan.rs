//! What runs a sweep makes.

use std::path::{Path, PathBuf};

use super::*;

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
    assert_eq!(units, [0, 1, 4, 4, 4, 4, 2, 3, 5, 5, 5, 5]);
}

#[test]
fn a_method_may_have_seeds_of_its_own() {
    let text = |seeds: &str| {
        format!(
            "methods = ['linear', {{ name = 'SVP', method = 'svp', seeds = {seeds} }}]\nseeds = [7]\n\
             tasks = [{{ name = 'birds', data = 'birds' }}]"
        )
    };
    let plan = plan(&text("[3, 1]"));
    let want = ["runs/birds/linear/seed-7", "runs/birds/SVP/seed-3", "runs/birds/SVP/seed-1"];
    assert_eq!(folders(plan.runs()), want);
    let kept = Sweep::parse(Path::new("kept.toml"), &plan.sweep.text()).unwrap();
    assert_eq!(kept, plan.sweep, "the kept text has them");
    refused(&text("[1, 1]"), &["seeds", "\"1\"", "twice"]);
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
    let run = &plan.cells[0].points[0].reported[0];
    let config = &run.config;
    let settings = &config.method.settings;
    let (hidden, group_size) = (settings.count("hidden"), settings.count("group-size"));
    let found = (config.epochs, hidden, group_size, config.weight_decay, config.seed);
    assert_eq!(found, (2, 3, 4, 0.5, 5));
    assert_eq!(folders([run]), ["runs/birds/a-group-size-4/seed-5"]);
    assert_eq!(plan.columns, ["a, group-size 4"]);
}

/// The preset of a task and that of a method are used together.
#[test]
fn presets_of_tasks_and_methods_are_joined() {
    let text = "
        presets = ['hta/dtd']
        tasks = [{ name = 'own', data = 'own' }]
        methods = [{ name = 'a', preset = 'vpt' }, 'svp']
    ";
    let plan = plan(text);
    let presets: Vec<_> = plan.runs().map(|run| run.config.preset.as_deref()).collect();
    assert_eq!(presets, [Some("hta/dtd+vpt"), Some("hta/dtd"), Some("vpt"), None]);
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

/// A sweep over several backbones is given the folder that holds them.
#[test]
fn backbones_of_methods_lie_in_the_sweeps_folder_of_them() {
    let text = "
        methods = ['linear', { name = 'large', method = 'linear', backbone = 'L.npz' }]
        settings = { backbone = 'checkpoints' }
        tasks = [{ name = 'a' }]
    ";
    let of = |text: &str| -> Vec<_> { plan(text).runs().map(|run| run.config.backbone.clone()).collect() };
    assert_eq!(of(text), [Some("checkpoints".into()), Some(Path::new("checkpoints").join("L.npz"))]);
    assert_eq!(of(&text.replace("settings", "# settings")), [None, Some("L.npz".into())]);
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
    let Point { label, probe, reported } = &plan.cells[0].points[1];
    let probe = probe.as_ref().unwrap();
    assert_eq!(label, "lr=0.2");
    assert_eq!(folders([probe]), ["runs/a/svp/lr=0.2/choose-seed-0"]);
    assert_eq!(folders(reported), ["runs/a/svp/lr=0.2/seed-0", "runs/a/svp/lr=0.2/seed-1"]);
    assert_eq!((probe.config.train_on_val, reported[0].config.train_on_val), (false, true));
}

#[test]
fn sweeps_that_cannot_work_are_refused() {
    let task = "tasks = [{ name = 'a' }]\n";
    let with = |more: &str| format!("{task}{more}");
    refused("methods = ['svp']", &["A", "no task"]);
    refused(&with("methods = []"), &["no task or no method"]);
    refused(&with("methods = ['svp', 'svp']"), &["methods", "\"svp\"", "twice"]);
    refused(
        "methods = ['svp']\ntasks = [{ name = 'a b' }, { name = 'A-b' }]",
        &["tasks", "A-b", "the folder of \"a b\""],
    );
    refused("methods = ['svp']\npresets = ['hta/none']", &["hta/none", "--preset list"]);
    refused(&with("methods = ['svp']\nbatches = 3"), &["a.toml, line 4", "batches"]);
    refused(&with("methods = ['prompts']"), &["a, prompts", "there is no method"]);
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
    let list = format!("{:?}", (0..400).collect::<Vec<_>>());
    let many =
        format!("methods = ['svp']\nvary = {{ epochs = {list}, hidden = {list}, group-size = {list} }}");
    refused(&with(&many), &["more than 50000 runs"]);
    // Lists that make nothing, because there is no task or another list is empty, are not multiplied either.
    refused(&many, &["more than 50000 runs"]);
    refused(&with(&many.replace("['svp']", "[]")), &["more than 50000 runs"]);
    refused(&with(&many.replace(" }", ", simam = [] }")), &["more than 50000 runs"]);
    refused(&with("methods = ['svp']\nseeds = [1, 2, 1]"), &["seeds", "\"1\"", "twice"]);
    refused(&with("methods = ['svp']\nchoose = { lr = [1e-3, 0.001] }"), &["choose", "lr=0.001", "twice"]);
    for own in ["data = 'b'", "backbone = 'b'", "method = 'full'", "seed = 3"] {
        refused(
            &with(&format!("methods = ['svp']\noverrides = {{ {own} }}")),
            &["overrides", "not the same"],
        );
    }
    let published = |what: &str| {
        with(&format!("methods = ['svp']\npublished = {{ source = 'x', values = {{ {what} = 1.0 }} }}"))
    };
    let table = "methods = ['svp']\npublished = { source = 'x', table = 'table5' }";
    refused(&with(table), &["published", "\"table5\"", "table1, table2"]);
    refused("methods = ['svp']\npresets = ['vpt']", &["presets", "for a method", "preset = \"vpt\""]);
    refused(&published("linear.a"), &["published", "\"linear\""]);
    refused(&published("svp.b"), &["published", "\"b\""]);
    plan(&published("svp.a"));
    plan(&published("svp.mean"));
}

/// Whoever writes a sweep names its tasks and methods; all of its folders are below its own.
#[test]
fn names_do_not_lead_out_of_the_folder() {
    let folder = |name: &str| {
        let name = format!("{name:?}");
        let plan = plan(&format!("methods = ['svp']\ntasks = [{{ name = {name} }}]"));
        folders(plan.runs()).remove(0)
    };
    for (name, want) in [
        ("../x", "x"),
        ("/../x/..", "x"),
        ("/etc/passwd", "etc-passwd"),
        ("a/../../b", "a-b"),
        ("C:\\..\\b", "C-b"),
        (".hidden", "hidden"),
        ("-.-..-a", "a"),
    ] {
        assert_eq!(folder(name), format!("runs/{want}/svp/seed-7"));
    }
    let named = |name: &str| format!("methods = ['svp']\ntasks = [{{ name = \"{name}\" }}]");
    for nothing in ["", ".", "..", "/../", "-.-", " "] {
        refused(&named(nothing), &["tasks", "no folder can have the name"]);
    }
    refused(&named("a\\u0000b"), &["tasks", "control character"]);
    refused(&named(&"x".repeat(300)), &["tasks", "longer than the 200 bytes"]);
    let label = format!(
        "methods = ['svp']\ntasks = [{{ name = 'a' }}]\nchoose = {{ data = [{:?}] }}",
        "x".repeat(300)
    );
    refused(&label, &["choose", "longer than"]);
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
    assert_eq!(places("here").without_paths(), places("there").without_paths());
}

/// Seen on the command line: a sweep as the published program would do it. The choice stays on validation.
#[test]
fn selecting_on_test_is_for_the_reported_runs() {
    let plan = plan(
        "methods = ['linear', { name = 'b', choose = { lr = [0.1] } }]
        overrides = { select-on-test = true }
        tasks = [{ name = 'a' }]",
    );
    let on_test: Vec<_> = plan.runs().map(|run| (run.name(), run.config.select_on_test)).collect();
    let want = [
        ("runs/a/linear/seed-7", true),
        ("runs/a/b/lr=0.1/choose-seed-7", false),
        ("runs/a/b/lr=0.1/seed-7", true),
    ];
    assert_eq!(on_test, want.map(|(name, on)| (name.to_string(), on)));
}

/// Other data with other labels is not the same run; the same data elsewhere is.
#[test]
fn runs_are_known_by_what_they_were_trained_on() {
    let made = |data: &str, preset: &str| {
        let settings = format!("data = {data:?}\n{preset}").parse().unwrap();
        (
            resolve(&settings).unwrap(),
            Run {
                folder: "runs/a".into(),
                cell: (0, 0),
                unit: 0,
                config: resolve(&settings).unwrap(),
                settings,
            },
        )
    };
    let like = |a: &str, b: &str, preset: &str| made(a, preset).1.is_like(&made(b, preset).0);
    assert!(like("here/birds.tar", "there/birds.tar", ""));
    assert!(!like("birds.tar", "signs.tar", ""));
    assert!(!like("builtin:count", "builtin:position", ""));
    assert!(like("data", "all", "preset = 'hta/dtd'"), "the preset says which");
    assert!(!like("birds.tar", "signs.tar", "preset = 'vpt'"), "that of a method does not");
}
