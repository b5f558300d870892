//! A run depends only on its config, seed and data. However often it is stopped, and with any number of threads, it
//! must end with the bytes of the unbroken run.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use svp::backbones::vim;
use svp::methods::Chosen;
use testkit::programs::{fails, succeeds, text, train, words};
use testkit::runs::{Task, records, same, small};

/// Kinds of runs: a method, or one with other settings ([`of_kind`]).
const KINDS: [&str; 8] = ["svp", "full", "linear", "recipe", "vpt-sgd", "bitfit-adam", "dam-vp-kept", "bf16"];
/// Every random change of images and batches there is, and a moving average.
const RECIPE: &str =
    "--augment --auto-augment rand-m9-mstd0.5-inc1 --reprob 0.25 --mixup 0.8 --cutmix 1 --ema-decay 0.9";

/// The moment at which a process is killed.
#[derive(Clone, Copy)]
enum After {
    Millis(u64),
    /// After so many new records in the metrics file.
    Records(usize),
}

fn args<'a>(task: &'a Task, method: &'a str, out: &'a str) -> Vec<&'a str> {
    // Steps on cached features are so short that more of them are needed for the same time.
    let epochs = if method == "linear" { "40" } else { "8" };
    // Both have the same images in a step and as many steps in an epoch.
    let batches = if method == "accumulated" { "--batch-size 4 --accumulate 2" } else { "--batch-size 8" };
    let (method, more) = of_kind(method);
    let fixed = words("--drop-path 0.3 --lr 0.1 --seed 3");
    let task = ["--data", &task.data, "--backbone", &task.backbone];
    let method = small(method);
    [&task[..], &["--epochs", epochs, "--out", out], &words(batches), &words(more), &fixed, &method].concat()
}

/// The method of a kind, and its further settings.
fn of_kind(kind: &str) -> (&str, &str) {
    match kind {
        "accumulated" => ("svp", ""),
        "recipe" => ("svp", RECIPE),
        "on-val" => ("svp", "--train-on-val"),
        "bf16" => ("svp", "--precision bf16"),
        "balanced" => ("svp", "--augment --sampler balanced --class-weights balanced"),
        "vpt-sgd" => ("vpt", "--position middle --prompt-dropout 0.2 --optimizer sgd"),
        "bitfit-adam" => ("bitfit", "--optimizer adam"),
        // Images that do not change keep the frame that they get before the first step.
        "dam-vp-kept" => {
            ("dam-vp", "--augment false --optimizer sgd --head-lr-scale 2 --head-weight-decay 0")
        }
        // Its logits are counted out to the classes before every epoch.
        "autovp-iter" => ("autovp", "--augment false --resize trainable --mapping iter --mapped-logits 1"),
        // One tensor holds all prompts there.
        "spt-on-vit" => ("spt", "--prompt-dropout 0.2"),
        "e2vpt-masks" => ("e2vpt", "--masks trained --prompt-dropout 0.2 --optimizer sgd"),
        method => (method, ""),
    }
}

/// A task whose backbone is one that the method of a kind runs on.
fn task(name: &str, kind: &str) -> Task {
    let entry = Chosen::named(of_kind(kind).0).unwrap().entry;
    let on_vim = entry.backbones.contains(&vim::NAME) && !kind.ends_with("on-vit");
    if on_vim { Task::new(name, 3) } else { Task::of_vit(name, 3) }
}

/// Trains to the end and returns the run folder.
fn train_to_end(task: &Task, method: &str, name: &str, more: &[&str]) -> String {
    let out = task.place.at(name);
    succeeds(&train(&[&args(task, method, &out)[..], more].concat()));
    out
}

fn spawn(args: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_svp-train"))
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits for the moment, or for the end of the process.
fn wait(child: &mut Child, run: &str, before: usize, after: After) {
    let began = Instant::now();
    let due = || match after {
        After::Millis(millis) => began.elapsed() >= Duration::from_millis(millis),
        After::Records(more) => records(run) >= before + more,
    };
    while !due() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_micros(500));
        assert!(began.elapsed() < Duration::from_secs(120), "{run} hangs");
    }
}

/// The metrics, without the values that depend on the clock.
fn numbers(run: &str) -> Vec<String> {
    let file = fs::read_to_string(Path::new(run).join("metrics.jsonl")).unwrap();
    let timeless = |line: &str| {
        let mut record: serde_json::Value = serde_json::from_str(line).unwrap();
        let fields = record.as_object_mut().unwrap();
        ["images_per_s", "wait_share", "seconds"].iter().for_each(|name| drop(fields.remove(*name)));
        record.to_string()
    };
    file.lines().map(timeless).collect()
}

/// Starts a run, kills and resumes it `kills` times, then lets it end. Returns how many processes were killed before
/// they had ended.
fn broken(task: &Task, method: &str, out: &str, save_every: &str, after: After, kills: usize) -> usize {
    let start = [&args(task, method, out)[..], &["--save-every", save_every]].concat();
    let mut killed = 0;
    for attempt in 0..=kills {
        // A run that was killed before it had written its config is started again.
        let resumable = Path::new(out).join("config.toml").exists();
        let mut child = if resumable { spawn(&["--resume", out]) } else { spawn(&start) };
        if attempt < kills {
            wait(&mut child, out, records(out), after);
            child.kill().unwrap();
        }
        let output = child.wait_with_output().unwrap();
        match output.status.code() {
            None => killed += 1,
            code => assert_eq!(code, Some(0), "{}", text(&output.stderr)),
        }
    }
    killed
}

fn killed_and_resumed(method: &str) {
    let task = task(&format!("killed-{method}"), method);
    let unbroken = train_to_end(&task, method, "unbroken", &[]);
    let mut killed = 0;
    let moments = [1, 4, 10, 20, 35, 60, 100].map(After::Millis);
    let counts = [1, 2, 5, 9, 16].map(After::Records);
    for (i, after) in moments.into_iter().chain(counts).enumerate() {
        let out = task.place.at(&format!("broken-{i}"));
        killed += broken(&task, method, &out, ["1", "2"][i % 2], after, 4);
        same(&unbroken, &out);
        assert!(numbers(&unbroken) == numbers(&out), "{out}/metrics.jsonl differs from the unbroken run's");
        let left = fs::read_dir(&out)
            .unwrap()
            .any(|e| e.unwrap().file_name().to_string_lossy().starts_with(".partial-"));
        assert!(!left, "{out} holds parts of files");
    }
    assert!(killed >= 12, "only {killed} processes were killed before they had ended");
}

#[test]
fn svp_killed_and_resumed() {
    killed_and_resumed("svp");
}

#[test]
fn full_killed_and_resumed() {
    killed_and_resumed("full");
}

#[test]
fn linear_killed_and_resumed() {
    killed_and_resumed("linear");
}

/// With dropped prompts and the momentum of SGD.
#[test]
fn vpt_killed_and_resumed() {
    killed_and_resumed("vpt-sgd");
}

#[test]
fn bitfit_killed_and_resumed() {
    killed_and_resumed("bitfit-adam");
}

#[test]
fn svp_in_bf16_killed_and_resumed() {
    killed_and_resumed("bf16");
}

/// With frames that are found anew for each changed image.
#[test]
fn dam_vp_killed_and_resumed() {
    killed_and_resumed("dam-vp");
}

#[test]
fn dam_vp_with_kept_frames_killed_and_resumed() {
    killed_and_resumed("dam-vp-kept");
}

#[test]
fn autovp_with_counted_logits_killed_and_resumed() {
    killed_and_resumed("autovp-iter");
}

#[test]
fn e2vpt_killed_and_resumed() {
    killed_and_resumed("e2vpt-masks");
}

#[test]
fn spt_on_a_vit_killed_and_resumed() {
    killed_and_resumed("spt-on-vit");
}

/// With drop path, which drops branches of both its sequences.
#[test]
fn sa2vp_killed_and_resumed() {
    killed_and_resumed("sa2vp");
}

#[test]
fn the_whole_recipe_killed_and_resumed() {
    killed_and_resumed("recipe");
}

#[test]
fn accumulated_killed_and_resumed() {
    killed_and_resumed("accumulated");
}

/// Where no split chooses, the epoch that was finished last is kept.
#[test]
fn trained_on_val_killed_and_resumed() {
    let task = Task::new("killed-on-val", 3);
    let unbroken = train_to_end(&task, "on-val", "unbroken", &[]);
    let mut killed = 0;
    for (i, after) in [1, 7, 8, 9].map(After::Records).into_iter().enumerate() {
        let out = task.place.at(&format!("broken-{i}"));
        killed += broken(&task, "on-val", &out, ["1", "2"][i % 2], after, 3);
        same(&unbroken, &out);
        assert_eq!(numbers(&unbroken), numbers(&out));
    }
    assert!(killed >= 4, "only {killed} processes were killed before they had ended");
}

/// Stops a run by a signal, after which it must have ended as an interrupted one.
fn stop(child: Child, signal: &str, out: &str) {
    let kill = format!("kill -{signal} {}", child.id());
    assert!(Command::new("sh").args(["-c", &kill]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{stderr}");
    let last = stderr.lines().last().unwrap();
    assert!(last.starts_with("error: stopped by a signal after step"), "{stderr}");
    assert!(last.contains(&format!("svp-train --resume {out}")), "{stderr}");
}

#[test]
fn a_signal_saves_and_says_how_to_resume() {
    let task = Task::new("signals", 3);
    for method in KINDS {
        let unbroken = train_to_end(&task, method, &format!("{method}-unbroken"), &[]);
        for signal in ["TERM", "INT"] {
            let out = task.place.at(&format!("{method}-{signal}"));
            let mut child = spawn(&[&args(&task, method, &out)[..], &["--save-every", "1"]].concat());
            wait(&mut child, &out, 0, After::Records(3));
            stop(child, signal, &out);
            succeeds(&train(&["--resume", &out]));
            same(&unbroken, &out);
        }
    }
}

#[test]
fn threads_and_workers_change_nothing() {
    let task = Task::new("threads", 3);
    for method in KINDS {
        let run = |threads: &str, workers: &str| {
            let more = ["--threads", threads, "--workers", workers];
            train_to_end(&task, method, &format!("{method}-{threads}-{workers}"), &more)
        };
        let one = run("1", "1");
        same(&one, &run("2", "3"));
        same(&one, &run("5", "1"));
    }
}

/// Resuming a finished run tests it again and changes nothing.
#[test]
fn a_finished_run_stays_as_it_is() {
    let task = Task::new("finished", 3);
    let (once, twice) = (train_to_end(&task, "svp", "once", &[]), train_to_end(&task, "svp", "twice", &[]));
    assert!(train(&["--resume", &twice]).status.success());
    same(&once, &twice);
    assert_eq!(numbers(&once), numbers(&twice));
}

/// Of one class there are fewer images, and they are drawn more often: with other changes and drop path each time.
#[test]
fn unbalanced_classes_killed_and_resumed() {
    let task = Task::new("killed-balanced", 3);
    (5..20).for_each(|i| fs::remove_file(format!("{}/train/class 1/{i}.ppm", task.data)).unwrap());
    let unbroken = train_to_end(&task, "balanced", "unbroken", &[]);
    let more = ["--workers", "3", "--threads", "1"];
    same(&unbroken, &train_to_end(&task, "balanced", "threads", &more));
    let mut killed = 0;
    for (i, after) in [1, 5, 8].map(After::Records).into_iter().enumerate() {
        let out = task.place.at(&format!("broken-{i}"));
        killed += broken(&task, "balanced", &out, ["1", "2"][i % 2], after, 3);
        same(&unbroken, &out);
        assert_eq!(numbers(&unbroken), numbers(&out));
    }
    assert!(killed >= 3, "only {killed} processes were killed before they had ended");
}

/// The command that a scheduler gives again and again.
#[test]
fn the_same_command_goes_on_where_it_stopped() {
    let task = Task::new("requeued", 3);
    let unbroken = train_to_end(&task, "svp", "unbroken", &[]);
    let out = task.place.at("run");
    let command = [&args(&task, "svp", &out)[..], &["--save-every", "1", "--requeue"]].concat();
    for _ in 0..2 {
        let mut child = spawn(&command);
        wait(&mut child, &out, records(&out), After::Records(3));
        stop(child, "USR1", &out);
    }
    succeeds(&train(&command));
    same(&unbroken, &out);
    let again = train(&command);
    assert!(succeeds(&again).contains("chosen on val"), "the result is said");
    assert!(text(&again.stderr).contains("this run is finished"), "{}", text(&again.stderr));
    same(&unbroken, &out);
    let other = [&args(&task, "linear", &out)[..], &["--requeue"]].concat();
    fails(&train(&other), &[&out, "other settings (epochs 8, now 40)", "--resume"]);
}

/// The rate is so high that the second step with it is not finite, and the weights are spoilt by then. At a lower rate the
/// run goes on as if that had been its rate from the start.
#[test]
fn a_lower_rate_goes_on_from_a_sound_state() {
    let task = Task::new("diverged", 3);
    let run = |out: &str, warmup: &str, lr: &str| {
        let places = ["--data", &task.data, "--backbone", &task.backbone, "--out", out];
        let fixed = words("--epochs 4 --batch-size 8 --lr-scaling false --warmup-lr 1e-2 --save-every 1");
        let rate = ["--warmup-epochs", warmup, "--lr", lr];
        train(&[&places, &fixed[..], &rate, &small("svp")].concat())
    };
    // With a warm-up, the first two epochs have its rate and not that of --lr.
    for (warmup, goes_on) in [("0", "begin again"), ("2", "go on from the end of epoch 2")] {
        let [good, out] = ["good", "bad"].map(|name| task.place.at(&format!("{name}-{warmup}")));
        succeeds(&run(&good, warmup, "1e-2"));
        let diverged = run(&out, warmup, "1e30");
        let stderr = text(&diverged.stderr);
        assert_eq!(diverged.status.code(), Some(3), "{stderr}");
        assert!(stderr.contains(goes_on) && stderr.contains("diverged.safetensors"), "{stderr}");
        succeeds(&train(&["--resume", &out, "--lr", "1e-2"]));
        same(&good, &out);
        assert_eq!(numbers(&good), numbers(&out));
        assert!(!Path::new(&out).join("sound.safetensors").exists());
    }
}

/// No epoch is better than the first where nothing is learned.
#[test]
fn a_run_out_of_patience_ends_early() {
    let task = Task::new("patience", 3);
    let out = task.place.at("run");
    let places = ["--data", &task.data, "--backbone", &task.backbone, "--out", &out];
    let fixed = words("--batch-size 8 --lr 0 --warmup-lr 0 --min-lr 0 --patience 2");
    let more = |epochs| ["--epochs", epochs];
    let told = succeeds(&train(&[&places, &fixed[..], &more("9"), &small("svp")].concat()));
    assert!(told.contains("epoch 1 of 3, chosen on val; ended early, as 2 epochs"), "{told}");
    let report: serde_json::Value =
        serde_json::from_slice(&fs::read(Path::new(&out).join("report.json")).unwrap()).unwrap();
    assert_eq!((&report["epochs"], &report["out_of_patience"]), (&3.into(), &2.into()));
    let before = numbers(&out);
    assert_eq!(
        before.iter().filter(|line| line.contains("\"epoch\"") && line.contains("val_top1")).count(),
        3
    );
    succeeds(&train(&["--resume", &out]));
    assert_eq!(numbers(&out), before, "a resumed run ends where it ended");
    fails(&train(&["--resume", &out, "--epochs", "12"]), &["--epochs", "after epoch 3", "--init-from"]);
    let place = task.place.at("none");
    let alone = [&places[..4], &["--out", &place], &fixed[..], &["--train-on-val"]].concat();
    fails(&train(&alone), &["--patience", "--train-on-val"]);
}

/// Where the rate is the same in all epochs, a run that is made longer is one that had been as long from the start.
#[test]
fn a_finished_run_can_be_made_longer() {
    let task = Task::new("longer", 3);
    let run = |out: &str, epochs: &str| {
        let places = ["--data", &task.data, "--backbone", &task.backbone, "--out", out, "--epochs", epochs];
        let rate = words("--lr-scaling false --lr 1e-2 --warmup-lr 1e-2 --warmup-epochs 99 --batch-size 8");
        succeeds(&train(&[&places, &rate[..], &small("svp")].concat()));
    };
    let [long, out] = ["long", "run"].map(|name| task.place.at(name));
    run(&long, "6");
    run(&out, "4");
    let longer = train(&["--resume", &out, "--epochs", "6"]);
    succeeds(&longer);
    let told = "made longer: 6 epochs instead of 4, of which 4 are done";
    assert!(text(&longer.stderr).contains(told), "{}", text(&longer.stderr));
    same(&long, &out);
    assert_eq!(numbers(&long), numbers(&out));
    let file = |name: &str| fs::read_to_string(Path::new(&out).join(name)).unwrap();
    assert!(file("config.toml").contains("epochs = 6\n"), "{}", file("config.toml"));
    assert!(file("report-4-epochs.json").contains("\"epochs\": 4"));
    assert!(file("report.json").contains("\"epochs\": 6"));
}

/// What is left out is found once, before the first step; prompts begin as in the run that tells it.
#[test]
fn prompts_that_matter_least_are_left_out() {
    let task = Task::of_vit("pruned", 3);
    let run = |out: &str, more: &str| {
        let places = ["--data", &task.data, "--backbone", &task.backbone, "--out", out];
        let fixed = words("--epochs 2 --batch-size 8 --lr 0.1 --save-every 1");
        train(&[&places, &fixed[..], &small("e2vpt"), &words(more)].concat())
    };
    let [first, pruned, broken] = ["first", "pruned", "broken"].map(|name| task.place.at(name));
    succeeds(&run(&first, "--masks trained"));
    let asked = format!("--prune-from {first} --prune-tokens 40 --prune-pieces 50");
    let told = run(&pruned, &asked);
    succeeds(&told);
    let line = "1 of 3 prompt rows and 8 of the 16 pieces of each are left out";
    assert!(text(&told.stderr).contains(line), "{}", text(&told.stderr));
    let masks: Vec<Vec<f32>> = tensors(&pruned)
        .into_iter()
        .filter(|(name, _)| name.contains("mask_cls_token"))
        .map(|(_, bytes)| bytes.as_chunks().0.iter().map(|&value| f32::from_le_bytes(value)).collect())
        .collect();
    let zeros = |masks: &[f32]| masks.iter().filter(|&&mask| mask == 0.0).count();
    assert_eq!(masks.iter().map(|masks| (masks.len(), zeros(masks))).collect::<Vec<_>>(), [(3, 1), (48, 24)]);
    let start = [
        &["--data", &task.data, "--backbone", &task.backbone, "--out", &broken][..],
        &words("--epochs 2 --batch-size 8 --lr 0.1 --save-every 1"),
        &small("e2vpt"),
        &words(&asked),
    ]
    .concat();
    let mut child = spawn(&start);
    wait(&mut child, &broken, 0, After::Records(3));
    child.kill().unwrap();
    child.wait().unwrap();
    succeeds(&train(&["--resume", &broken]));
    same(&pruned, &broken);
    fails(&run(&task.place.at("none"), "--prune-tokens 40"), &["--prune-from RUN"]);
    let of_vpt =
        ["--data", &task.data, "--backbone", &task.backbone, "--method", "vpt", "--prune-from", &first];
    fails(&train(&of_vpt), &["--prune-from", "use it with e2vpt"]);
}

/// Tensors of a trained file by their names.
fn tensors(run: &str) -> Vec<(String, Vec<u8>)> {
    let bytes = fs::read(Path::new(run).join("best.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let tensors = file.tensors().into_iter();
    let mut all: Vec<_> = tensors.map(|(name, view)| (name, view.data().to_vec())).collect();
    all.sort();
    all
}

/// A run of rate 0 ends with its initial values.
#[test]
fn a_run_begins_with_what_another_has_trained() {
    let task = Task::new("init-from", 3);
    let two = task.place.data("two", 2);
    let run = |out: &str, data: &str, method: &str, more: &[&str]| {
        let places = ["--data", data, "--backbone", &task.backbone, "--out", out];
        let fixed = words("--epochs 1 --batch-size 8 --warmup-lr 0 --min-lr 0");
        train(&[&places, &fixed[..], &small(method), more].concat())
    };
    let still =
        |out: &str, data: &str, from: &str| run(out, data, "svp", &["--lr", "0", "--init-from", from]);
    let [from, same, other] = ["from", "same", "other"].map(|name| task.place.at(name));
    succeeds(&run(&from, &task.data, "svp", &["--lr", "1"]));
    let begun = still(&same, &task.data, &from);
    succeeds(&begun);
    assert!(text(&begun.stderr).contains("had trained after epoch 1\n"), "{}", text(&begun.stderr));
    assert!(tensors(&same) == tensors(&from));
    let config = fs::read_to_string(Path::new(&same).join("config.toml")).unwrap();
    assert!(config.contains(&format!("init-from = \"{from}\"")), "{config}");

    let begun = still(&other, &two, &from);
    succeeds(&begun);
    assert!(text(&begun.stderr).contains("the head begins anew, because the classes are others"));
    let (ours, theirs) = (tensors(&other), tensors(&from));
    for ((name, ours), (_, theirs)) in ours.iter().zip(&theirs) {
        assert_eq!(ours == theirs, !name.starts_with("head."), "{name}");
    }

    let refused = |method: &str, data: &str, from: &str, parts: &[&str]| {
        let out = task.place.at("refused");
        fails(&run(&out, data, method, &["--init-from", from]), parts);
        assert!(!Path::new(&out).exists(), "a refused run leaves nothing");
    };
    refused("vpt", &task.data, &from, &["is a run of svp", "--method svp"]);
    refused("svp", &task.data, &task.data, &["holds no trained model"]);
    let linear = task.place.at("linear");
    succeeds(&run(&linear, &task.data, "linear", &["--lr", "1"]));
    refused("linear", &two, &linear, &["only a head", "classes are others"]);
    let backbone = task.place.small_vim("backbone-of-two", &two) + "/best.safetensors";
    let elsewhere = ["--data", &task.data, "--backbone", &backbone, "--init-from", &from];
    fails(&train(&elsewhere), &["another backbone", "--backbone"]);
    let wide = ["--hidden", "4", "--group-size", "1", "--init-from", &from];
    let wide = [&["--data", &task.data, "--backbone", &task.backbone], &wide[..]].concat();
    fails(&train(&wide), &["best.safetensors", "has shape"]);
}
