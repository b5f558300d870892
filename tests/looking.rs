//! `svp-gates` and `svp-report` as a user runs them, on small runs.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::LazyLock;

use serde_json::Value;
use testkit::programs::{Scratch, fails, succeeds, text, train, words};

/// Data of three classes, and runs of every method on it.
struct Trained {
    data: String,
    full: String,
    svp: String,
    linear: String,
    vpt: String,
}

static TRAINED: LazyLock<Trained> = LazyLock::new(|| {
    let place = Scratch::new("looking");
    let data = place.data("data", 3);
    let full = place.small_vim("full", &data);
    let best = format!("{full}/best.safetensors");
    let run = |name: &str, settings: &str| {
        let out = place.at(name);
        let usual = ["--data", &data, "--backbone", &best, "--out", &out, "--batch-size", "8"];
        let made = train(&[&usual, &words(settings)[..]].concat());
        assert!(made.status.success(), "{}", text(&made.stderr));
        out
    };
    let svp = run("svp", "--epochs 3 --lr 0.5 --warmup-epochs 0 --hidden 8 --group-size 1");
    let linear = run("linear", "--method linear --epochs 1");
    let vpt = run("vpt", "--method vpt --tokens 3 --epochs 2 --lr 0.5");
    Trained { data, full, svp, linear, vpt }
});

fn gates(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_svp-gates")).args(args).output().unwrap()
}

fn report(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_svp-report")).args(args).output().unwrap()
}

fn image(class: usize) -> String {
    format!("{}/test/class {class}/0.ppm", TRAINED.data)
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[test]
fn gates_are_drawn_and_told() {
    let place = Scratch::new("gates");
    let out = place.at("gates.png");
    let args = ["--run", &TRAINED.svp, "--out", &out, "--json", &image(0), &image(2)];
    let shown = succeeds(&gates(&args));
    let reports: Vec<Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(reports.len(), 2);
    for report in &reports {
        assert_eq!(report["grid"], 8);
        let [frozen, prompted] = [&report["models"][0], &report["models"][1]];
        assert_eq!((&frozen["model"], &prompted["model"]), (&"frozen".into(), &"prompted".into()));
        assert_ne!(frozen["update"], prompted["update"], "the prompts were trained");
        for model in [frozen, prompted] {
            for direction in ["forward", "backward"] {
                let (update, forget) =
                    (numbers(&model["update"][direction]), numbers(&model["forget"][direction]));
                assert_eq!((update.len(), forget.len()), (64, 64));
                assert!(update.iter().all(|&gate| gate > 0.0), "{update:?}");
                assert!(forget.iter().all(|&gate| gate > 0.0 && gate < 1.0), "{forget:?}");
            }
            let both: Vec<f64> =
                ["forward", "backward"].iter().flat_map(|d| numbers(&model["update"][d])).collect();
            let last = &model["walked"][3];
            let mean = both.iter().sum::<f64>() / 128.0;
            assert_eq!(last["share"], 1.0);
            assert!((last["update"].as_f64().unwrap() / mean - 1.0).abs() < 1e-12);
        }
    }
    let picture = fs::read(&out).unwrap();
    assert!(picture.starts_with(b"\x89PNG\r\n"));

    // The picture depends only on run and images, and the emulated kernels give the same gates.
    let again = succeeds(&gates(&[&args[..], &["--threads", "1"]].concat()));
    assert_eq!((again, fs::read(&out).unwrap()), (shown.clone(), picture));
    let emulated = succeeds(&gates(&[&args[..6], &["--device", "emulated"]].concat()));
    let emulated: Value = serde_json::from_str(&emulated).unwrap();
    for gate in ["update", "forget"] {
        let of = |report: &Value| numbers(&report["models"][1][gate]["backward"]);
        for (cpu, emulated) in of(&reports[0]).into_iter().zip(of(&emulated)) {
            assert!(
                (cpu - emulated).abs() <= 1e-4 * cpu.abs(),
                "{gate} {cpu} on the CPU, {emulated} emulated"
            );
        }
    }
}

#[test]
fn runs_without_prompts_show_their_backbone() {
    let place = Scratch::new("gates-plain");
    let out = place.at("gates.png");
    for (run, model) in [(&TRAINED.linear, "frozen"), (&TRAINED.full, "trained")] {
        let output = gates(&["--run", run, "--out", &out, "--json", &image(1)]);
        let found: Value = serde_json::from_str(&succeeds(&output)).unwrap();
        let models = found["models"].as_array().unwrap();
        assert_eq!((models.len(), &models[0]["model"]), (1, &model.into()));
        assert!(text(&output.stderr).contains("no prompts"), "{}", text(&output.stderr));
    }
}

/// As in the paper's Figure 6: the frozen backbone once, then a panel for each method, wherever its class row stands.
#[test]
fn runs_are_drawn_side_by_side() {
    let place = Scratch::new("gates-together");
    let Trained { svp, vpt, linear, .. } = &*TRAINED;
    let drawn = |runs: &[&String], image: &str| {
        let out = place.at("gates.png");
        let runs = runs.iter().flat_map(|run| ["--run", run.as_str()]);
        let args: Vec<&str> = runs.chain(["--out", &out, "--json", image]).collect();
        let output = gates(&args);
        let report: Value = serde_json::from_str(&succeeds(&output)).unwrap();
        let models = report["models"].as_array().unwrap().clone();
        let picture = image::open(&out).unwrap();
        (models, text(&output.stderr), (picture.width(), picture.height()))
    };
    let image = image(1);
    let (both, said, size) = drawn(&[vpt, svp], &image);
    let names: Vec<_> = both.iter().map(|model| model["model"].as_str().unwrap()).collect();
    assert_eq!((names, said.as_str()), (vec!["frozen", "vpt", "svp"], ""));
    assert_eq!((&both[0]["run"], &both[1]["run"]), (&Value::Null, &vpt.as_str().into()));
    let (alone_vpt, _, small) = drawn(&[vpt], &image);
    let (alone_svp, ..) = drawn(&[svp], &image);
    assert_eq!((small.0, small.1 < size.1), (size.0, true), "a panel more");
    for gate in ["update", "forget", "walked"] {
        assert_eq!(both[0][gate], alone_svp[0][gate], "frozen");
        assert_eq!(both[1][gate], alone_vpt[1][gate], "vpt");
        assert_eq!(both[2][gate], alone_svp[1][gate], "svp");
    }
    assert_eq!(numbers(&both[1]["update"]["forward"]).len(), 64, "rows of prompts are left out");

    // The run's folder names the panel where two runs have one method; the probe has no panel of its own.
    let (same, said, _) = drawn(&[svp, linear, svp], &image);
    let names: Vec<_> = same.iter().map(|model| model["model"].as_str().unwrap()).collect();
    assert_eq!(names, ["frozen", "svp", "svp"]);
    assert!(said.contains("linear: its gates are those of the frozen backbone"), "{said}");

    let out = place.at("none.png");
    let refused = gates(&["--run", svp, "--run", &TRAINED.full, "--out", &out, &image]);
    fails(&refused, &["full", "another backbone than", "side by side"]);
    let larger = place.at("larger");
    let best = format!("{}/best.safetensors", TRAINED.full);
    let usual = ["--data", &TRAINED.data, "--backbone", &best, "--out", &larger, "--batch-size", "8"];
    succeeds(&train(&[&usual, &words("--method vpt --tokens 2 --epochs 1 --img-size 48")[..]].concat()));
    fails(
        &gates(&["--run", svp, "--run", &larger, "--out", &out, &image]),
        &["larger", "48 px", "side by side"],
    );
    fails(&gates(&["--run", svp, "--run", &place.at("no-run"), "--out", &out, &image]), &["no-run"]);
    assert!(!Path::new(&out).exists());
}

#[test]
fn gates_of_bad_input_are_refused() {
    let place = Scratch::new("gates-bad");
    let (out, run) = (place.at("gates.png"), &TRAINED.svp);
    let image = image(0);
    let text_file = place.write("text.png", b"no picture");
    fails(&gates(&["--run", run, "--out", &out, &place.at("none.png")]), &["none.png", "No such file"]);
    fails(&gates(&["--run", run, "--out", &out, &image, &text_file]), &["text.png", "is not a jpeg"]);
    fails(&gates(&["--run", run, "--out", &place.at("gates.svg"), &image]), &["gates.svg", "PNG", "--out"]);
    fails(&gates(&["--run", run, "--out", &place.at("none/gates.png"), &image]), &["none/gates.png"]);
    fails(&gates(&["--run", &TRAINED.data, "--out", &out, &image]), &["data", "best.safetensors"]);
    let many = vec![image.as_str(); 51];
    fails(&gates(&[&["--run", run, "--out", &out][..], &many].concat()), &["51 images", "at most 50"]);
    assert!(!Path::new(&out).exists(), "a refused picture leaves nothing");
}

#[test]
fn a_report_shows_what_was_measured() {
    let place = Scratch::new("report");
    for (run, prompts) in [(&TRAINED.svp, true), (&TRAINED.linear, false), (&TRAINED.full, false)] {
        let out = place.at("page.html");
        let shown: Value = serde_json::from_str(&succeeds(&report(&[run, "--out", &out, "--json"]))).unwrap();
        let finished: Value =
            serde_json::from_str(&fs::read_to_string(format!("{run}/report.json")).unwrap()).unwrap();
        for key in ["top1", "loss", "per_class"] {
            assert_eq!(shown[key], finished["test"][key], "{key}");
        }
        let page = fs::read_to_string(&out).unwrap();
        let top1 = format!("{:.1} %", 100.0 * shown["top1"].as_f64().unwrap());
        for part in [&top1, "class 2", "test split, 18 images", "batch-size", "Learning rate"] {
            assert!(page.contains(part), "`{part}` is not in the page");
        }
        assert_eq!(page.contains("This run has no prompts"), !prompts);
        assert_eq!(page.contains("Mean size of the scales"), prompts);
        let wrong = 18.0 * (1.0 - shown["top1"].as_f64().unwrap());
        assert_eq!(
            page.matches("<figure title=").count(),
            wrong.round() as usize,
            "every mistake has its picture"
        );
    }
    let told = succeeds(&report(&[&TRAINED.svp, "--split", "val"]));
    assert!(told.contains("report.html") && told.contains("val split"), "{told}");
    assert!(Path::new(&TRAINED.svp).join("report.html").is_file());
}

/// A killed run has no report yet, and the error about a run with damaged files names the file.
#[test]
fn unfinished_runs_are_shown_and_damaged_ones_named() {
    let place = Scratch::new("report-bad");
    let copy = |name: &str| {
        let run = place.at(name);
        fs::create_dir_all(&run).unwrap();
        for file in ["best.safetensors", "config.toml", "metrics.jsonl", "report.json"] {
            fs::copy(format!("{}/{file}", TRAINED.svp), format!("{run}/{file}")).unwrap();
        }
        run
    };
    let unfinished = copy("unfinished");
    fs::remove_file(format!("{unfinished}/report.json")).unwrap();
    succeeds(&report(&[&unfinished]));
    assert!(fs::read_to_string(format!("{unfinished}/report.html")).unwrap().contains("not finished"));

    let damaged = copy("damaged");
    let metrics = format!("{damaged}/metrics.jsonl");
    let whole = fs::read_to_string(&metrics).unwrap();
    fs::write(&metrics, whole.replacen("\"loss\":", "\"los", 1)).unwrap();
    fails(&report(&[&damaged]), &["metrics.jsonl", "line 1 is no record"]);
    fs::write(&metrics, whole).unwrap();
    place.write("damaged/report.json", b"{\"method\": \"svp\"");
    fails(&report(&[&damaged]), &["report.json", "is not a run's report"]);
    place.write("damaged/best.safetensors", b"half");
    fails(&report(&[&damaged]), &["best.safetensors"]);
    assert!(!Path::new(&damaged).join("report.html").exists(), "a refused page leaves nothing");

    fails(&report(&[&place.at("none")]), &["none", "is not a folder"]);
    fails(&report(&[&TRAINED.data]), &["data", "best.safetensors"]);
    fails(&report(&[&TRAINED.svp, "--out", &place.at("none/page.html")]), &["none/page.html"]);
    fails(&report(&[&TRAINED.svp, "--device", "gpu"]), &["--device", "gpu"]);
}
