//! `svp-eval`, `svp-predict`, `svp-gates` and `svp-report` as a user runs them, on small runs.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;

use serde_json::Value;
use testkit::programs::{Scratch, fails, program, succeeds, text, train, words};

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

fn eval(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_svp-eval")).args(args).output().unwrap()
}

fn predict(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_svp-predict"));
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
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
    assert!(said.contains("linear: its line is that of the frozen backbone"), "{said}");

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
    fails(&gates(&["--run", run, "--out", &out, &text_file]), &["text.png", "is not a jpeg"]);
    fails(&gates(&["--run", run, "--out", &place.at("gates.svg"), &image]), &["gates.svg", "PNG", "--out"]);
    fails(&gates(&["--run", run, "--out", &place.at("none/gates.png"), &image]), &["none/gates.png"]);
    fails(&gates(&["--run", &TRAINED.data, "--out", &out, &image]), &["data", "best.safetensors"]);
    let attention = program("svp-attention").args(["--run", run, "--out", &out, &image]).output().unwrap();
    fails(&attention, &["vim backbone has no attention", "svp-gates"]);
    let many = vec![image.as_str(); 51];
    fails(&gates(&[&["--run", run, "--out", &out][..], &many].concat()), &["51 images", "at most 50"]);
    assert!(!Path::new(&out).exists(), "a refused picture leaves nothing");
    // One broken image among others is left out.
    let output = gates(&["--run", run, "--out", &out, "--json", &text_file, &image]);
    fails(&output, &["text.png", "is not a jpeg"]);
    assert_eq!((text(&output.stdout).lines().count(), Path::new(&out).exists()), (1, true));
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
    let best = format!("{}/best.safetensors", TRAINED.svp);
    let told = succeeds(&report(&["--run", &best, "--split", "val"]));
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

/// A run tests itself with noise in the end, and `svp-eval` finds the same with the seed of the run.
#[test]
fn a_run_is_measured_with_noise() {
    let place = Scratch::new("noise");
    let best = format!("{}/best.safetensors", TRAINED.full);
    let run = |method: &str, more: &str| {
        let out = place.at(method);
        let usual = ["--data", &TRAINED.data, "--backbone", &best, "--out", &out, "--method", method];
        let settings = "--epochs 1 --batch-size 8 --seed 5 --test-noise 0.25,1";
        succeeds(&train(&[&usual[..], &words(settings), &words(more)].concat()));
        out
    };
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&succeeds(&eval(&[&["--json"], args].concat()))).unwrap()
    };
    for (method, more, form) in [("vpt", "--lr 0.5", "mix"), ("linear", "--noise-form add", "add")] {
        let out = run(method, more);
        let report: Value =
            serde_json::from_str(&fs::read_to_string(format!("{out}/report.json")).unwrap()).unwrap();
        let noisy = report["noisy"].as_array().unwrap();
        assert_eq!((noisy.len(), &noisy[0]["rate"], &noisy[0]["form"]), (2, &0.25.into(), &form.into()));
        let again = json(&[&out, "--noise", "0.25", "--noise-form", form]);
        for found in ["top1", "loss"] {
            assert_eq!(again[found], noisy[0][found], "{method}: {found}");
        }
        assert_eq!(again["noise"], serde_json::json!({ "rate": 0.25, "form": form, "seed": 5 }));
        assert_ne!(json(&[&out])["loss"], again["loss"]);
        assert_ne!(
            json(&[&out, "--noise", "0.25", "--noise-seed", "6", "--noise-form", form])["loss"],
            again["loss"]
        );
    }
    let vpt = place.at("vpt");
    let told = succeeds(&eval(&[&vpt, "--noise", "1"]));
    assert!(told.contains(", with noise at a rate of 1 (mix, seed 5): top-1"), "{told}");
    fails(&eval(&[&vpt, "--noise", "1.5"]), &["--noise", "1.5", "0 to 1"]);
    assert_eq!(eval(&[&vpt, "--noise-seed", "1"]).status.code(), Some(2), "without --noise");
    let refused = |settings: &str, parts: &[&str]| {
        let usual = ["--data", &TRAINED.data, "--out", &place.at("none"), "--backbone", &best];
        fails(&train(&[&usual[..], &words(settings)].concat()), parts);
    };
    refused("--test-noise 0.5,-1", &["--test-noise", "-1", "0 to 1"]);
    refused("--noise-form add", &["--noise-form", "changes nothing without --test-noise"]);
}

/// Copies images of the test split: `(class there, number, path in the new folder)`.
fn copied(place: &Scratch, images: &[(usize, usize, &str)]) {
    for (class, number, name) in images {
        let bytes = fs::read(format!("{}/test/class {class}/{number}.ppm", TRAINED.data)).unwrap();
        place.write(name, &bytes);
    }
}

/// A test split alone with some of the classes, one that the run does not know, and class folders without splits; each is
/// measured image by image as in the whole test split.
#[test]
fn a_run_is_measured_on_other_images() {
    let place = Scratch::new("other-images");
    let run = &TRAINED.svp;
    let json = |args: &[&str]| -> Value {
        serde_json::from_str(&succeeds(&eval(&[&["--run", run, "--json"], args].concat()))).unwrap()
    };
    let whole = json(&[]);
    let confusion = place.at("confusion.csv");
    let images = |folder: &str, class: usize| -> Vec<(usize, usize, String)> {
        (0..6).map(|i| (class, i, format!("{folder}/class {class}/{i}.ppm"))).collect()
    };
    let new: Vec<_> = [images("new/test", 2), images("new/test", 0)].concat();
    let new: Vec<_> = new.iter().map(|(class, i, name)| (*class, *i, name.as_str())).collect();
    copied(&place, &new);
    copied(&place, &[(1, 0, "new/test/Class 1/0.ppm"), (1, 0, "new/test/class 2/broken.txt")]);
    let new = place.at("new");
    let found = json(&["--data", &new, "--confusion", &confusion]);
    let counts = |report: &Value, class: usize| report["per_class"][class].clone();
    for class in [0, 2] {
        assert_eq!(counts(&found, class), counts(&whole, class), "class {class}");
        assert_eq!(found["scores"][class]["recall"], whole["scores"][class]["recall"]);
    }
    assert_eq!((counts(&found, 1), &found["images"]), (serde_json::json!([0, 0]), &12.into()));
    let recall = |class: usize| found["scores"][class]["recall"].as_f64().unwrap();
    let balanced = found["balanced_accuracy"].as_f64().unwrap();
    assert!((balanced - (recall(0) + recall(2)) / 2.0).abs() < 1e-12);
    assert!(found["calibration_error"].as_f64().is_some_and(|error| (0.0..=1.0).contains(&error)));
    let matrix = fs::read_to_string(&confusion).unwrap();
    let rows: Vec<Vec<&str>> = matrix.lines().map(|line| line.split(',').collect()).collect();
    assert_eq!(rows[0], ["true \\ predicted", "class 0", "class 1", "class 2"]);
    assert_eq!((rows[2].join(","), rows.len()), ("class 1,0,0,0".into(), 4));
    assert_eq!(rows[1][1], counts(&found, 0)[0].to_string());

    let output = eval(&[run, "--data", &new, "--split", "test"]);
    let (table, told) = (succeeds(&output), text(&output.stderr));
    assert!(
        table.contains("1 class of the model has no images here") && !table.contains("class 1 "),
        "{table}"
    );
    assert!(table.contains("balanced accuracy") && table.contains("Test split of "), "{table}");
    assert!(told.contains("1 image of a class that the model does not know: \"Class 1\""), "{told}");

    // Class folders alone are all measured, unless they are what the run was trained on.
    copied(&place, &[(2, 3, "flat/class 2/3.ppm"), (2, 4, "flat/class 2/4.ppm")]);
    let flat = json(&["--data", &place.at("flat")]);
    assert_eq!((&flat["split"], &flat["images"]), (&"all".into(), &2.into()));
    let refused = eval(&[run, "--data", &place.at("flat"), "--split", "val"]);
    assert!(text(&refused.stderr).contains("flat: has no val split; use another --split"));
    assert_eq!(refused.status.code(), Some(1));
    let list = place.write("list.csv", b"flat/class 2/3.ppm,class 2\nflat/class 2/4.ppm,unknown\n");
    assert_eq!(json(&["--data", &list])["images"], 1);
    fails(&eval(&[run, "--confusion", &place.at("none/c.csv")]), &["none/c.csv", "cannot write"]);
}

/// Class folders that a run was trained on are split as in training wherever they lie, so that no training image is
/// measured.
#[test]
fn moved_class_folders_are_split_as_in_training() {
    let place = Scratch::new("moved-classes");
    let data = place.data("data", 2);
    let (out, flat) = (place.at("run"), format!("{data}/train"));
    let settings = words("--method linear --epochs 1 --batch-size 8");
    succeeds(&train(&[&["--data", &flat, "--out", &out][..], &settings].concat()));
    let before: Value = serde_json::from_str(&succeeds(&eval(&[&out, "--json"]))).unwrap();
    let moved = place.at("moved");
    fs::rename(&flat, &moved).unwrap();
    let after: Value = serde_json::from_str(&succeeds(&eval(&[&out, "--json", "--data", &moved]))).unwrap();
    for key in ["split", "images", "per_class", "loss"] {
        assert_eq!(before[key], after[key], "{key}");
    }
    fs::remove_file(format!("{moved}/class 0/0.ppm")).unwrap();
    let output = eval(&[&out, "--data", &moved]);
    succeeds(&output);
    assert!(text(&output.stderr).contains("all 39 are measured"), "{}", text(&output.stderr));
}

/// A backbone alone is as good as the run that trained all of it.
#[test]
fn a_backbone_is_measured_with_its_own_head() {
    let place = Scratch::new("untouched");
    let best = format!("{}/best.safetensors", TRAINED.full);
    let json = |output: Output| -> Value { serde_json::from_str(&succeeds(&output)).unwrap() };
    let run = json(eval(&[&TRAINED.full, "--json"]));
    let alone = |data: &str| eval(&["--method", "none", "--backbone", &best, "--data", data, "--json"]);
    let found = json(alone(&TRAINED.data));
    for key in ["split", "images", "top1", "loss", "per_class", "scores"] {
        assert_eq!(run[key], found[key], "{key}");
    }
    copied(&place, &[(2, 0, "numbers/val/2/0.ppm"), (0, 1, "numbers/val/0/1.ppm")]);
    let numbers = json(alone(&place.at("numbers")));
    assert_eq!((&numbers["split"], &numbers["images"]), (&"val".into(), &2.into()));
    assert_eq!(numbers["per_class"][1], serde_json::json!([0, 0]));
    copied(&place, &[(2, 0, "names/cat/0.ppm"), (0, 1, "names/dog/1.ppm")]);
    fails(&alone(&place.at("names")), &["names", "2 classes", "3 of the backbone's head", "\"cat\""]);
    copied(&place, &[(0, 1, "three/3/1.ppm"), (0, 1, "three/1/1.ppm")]);
    fails(&alone(&place.at("three")), &["three", "has a class 3", "0 to 2"]);
    let bytes = fs::read(&best).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let others = tensors.tensors().into_iter().filter(|(name, _)| !name.starts_with("head."));
    let headless = place.write("headless.safetensors", &safetensors::serialize(others, None).unwrap());
    let none = eval(&["--method", "none", "--backbone", &headless, "--data", &TRAINED.data]);
    fails(&none, &["headless.safetensors", "has no head of its own"]);
    assert_eq!(eval(&["--method", "none", &TRAINED.full, "--data", &TRAINED.data]).status.code(), Some(2));
    assert_eq!(eval(&["--json"]).status.code(), Some(2));
}

/// Every form has the same images in the same order, and features have a row for each of them, whatever cannot be read.
#[test]
fn predictions_and_features_have_the_same_rows() {
    let place = Scratch::new("forms");
    let broken = place.write("broken.ppm", b"no picture");
    let files: Vec<String> = (0..3).map(image).collect();
    let list = format!("{}\n{broken}\r\n\n{}\n{}\n", files[0], files[1], files[2]);
    let run = |args: &[&str]| {
        let mut child = predict(&[&["--run", &TRAINED.svp], args, &["-"]].concat()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(list.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let named = stderr.lines().filter(|line| line.starts_with("error: ")).collect::<Vec<_>>();
        assert!(named.len() == 1 && named[0].contains("broken.ppm: is not a jpeg"), "{stderr}");
        assert!(stderr.lines().last().is_some_and(|line| line.starts_with("3 images in ")), "{stderr}");
        text(&output.stdout)
    };
    let npy = place.at("features.npy");
    let csv = run(&["--format", "csv", "--top-k", "2", "--probabilities", "--features", &npy]);
    let rows: Vec<Vec<&str>> = csv.lines().map(|line| line.split(',').collect()).collect();
    let head = "image,class_1,probability_1,class_2,probability_2,class 0,class 1,class 2";
    assert_eq!(rows[0].join(","), head);
    assert_eq!(rows[1..].iter().map(|row| row[0]).collect::<Vec<_>>(), files);
    let json = run(&["--format", "jsonl", "--top-k", "all", "--probabilities"]);
    for (line, row) in json.lines().zip(&rows[1..]) {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&line["image"], &line["predictions"][0]["class"]), (&row[0].into(), &row[1].into()));
        assert_eq!(line["predictions"].as_array().unwrap().len(), 3);
        for (probability, field) in numbers(&line["probabilities"]).iter().zip(&row[5..]) {
            // serde_json may read a number as the float next to it.
            let apart = (probability - field.parse::<f64>().unwrap()).abs();
            assert!(apart <= f64::EPSILON * probability, "{probability} {field}");
        }
    }

    let names = fs::read_to_string(format!("{npy}.txt")).unwrap();
    assert_eq!(names.lines().collect::<Vec<_>>(), files);
    let rows = |bytes: &[u8], n: usize| -> Vec<f32> {
        let header = text(&bytes[..128]);
        assert!(header.contains(&format!("'<f4', 'fortran_order': False, 'shape': ({n}, 16)")), "{header}");
        bytes[128..].as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect()
    };
    let all = rows(&fs::read(&npy).unwrap(), 3);
    let last = place.at("last.npy");
    succeeds(&predict(&["--run", &TRAINED.svp, "--features", &last, &files[2]]).output().unwrap());
    let alone = rows(&fs::read(&last).unwrap(), 1);
    assert_eq!((all.len(), alone.len()), (48, 16));
    for (a, b) in all[32..].iter().zip(&alone) {
        assert!((a - b).abs() <= 1e-4 * a.abs().max(1.0), "{a} among others, {b} alone");
    }

    let refused = |args: &[&str], parts: &[&str]| {
        fails(&predict(&[&["--run", &TRAINED.svp], args, &[&files[0]]].concat()).output().unwrap(), parts);
    };
    refused(&["--probabilities"], &["--probabilities", "--format csv"]);
    refused(&["--features", &place.at("features.txt")], &["features.txt", ".npy"]);
    refused(&["--features", &place.at("none/f.npy")], &["none/f.npy"]);
    let mut empty = predict(&["--run", &TRAINED.svp, "-"]).spawn().unwrap();
    drop(empty.stdin.take());
    fails(&empty.wait_with_output().unwrap(), &["standard input", "lists no images"]);
}

/// A signal ends a long prediction at once, with a line, and what was written is whole.
#[test]
fn a_stopped_prediction_leaves_whole_lines() {
    let place = Scratch::new("stopped-prediction");
    let npy = place.at("features.npy");
    let args = ["--run", &TRAINED.svp, "--format", "csv", "--features", &npy, "-"];
    let mut child = predict(&args).spawn().unwrap();
    let list = format!("{}\n", image(0)).repeat(400_000);
    child.stdin.take().unwrap().write_all(list.as_bytes()).unwrap();
    let mut printed = BufReader::new(child.stdout.take().unwrap());
    let mut lines = String::new();
    for _ in 0..40 {
        assert!(printed.read_line(&mut lines).unwrap() > 0, "it is not at its end");
    }
    let reader = std::thread::spawn(move || {
        printed.read_to_string(&mut lines).unwrap();
        lines
    });
    let kill = format!("kill -INT {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let (lines, stderr) = (reader.join().unwrap(), text(&output.stderr));
    assert_eq!(output.status.code(), Some(75), "{stderr}");
    let last = stderr.lines().last().unwrap();
    assert!(
        last.starts_with("error: stopped by a signal; ") && last.contains("of 400000 images"),
        "{stderr}"
    );
    let fields = lines.lines().next().unwrap().split(',').count();
    assert!(lines.ends_with('\n') && lines.lines().all(|line| line.split(',').count() == fields));
    let bytes = fs::read(&npy).unwrap();
    let names = fs::read_to_string(format!("{npy}.txt")).unwrap().lines().count();
    assert_eq!(bytes.len(), 128 + names * 16 * 4);
    assert!(text(&bytes[..128]).contains(&format!("({names}, 16)")), "{names} rows");
    assert!(lines.lines().count() - 1 <= names && names < 400_000);
}
