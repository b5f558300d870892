//! The limits of a system as a user meets them: one line says what was asked for and what would fit, and nothing that was
//! trained is lost.

use std::fs;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use testkit::programs::{Scratch, program, succeeds, text, train, words};
use testkit::runs::{Task, same};

/// A run of a small Vim, so small that a step takes little memory.
fn args<'a>(task: &'a Task, out: &'a str) -> Vec<&'a str> {
    let task = ["--data", &task.data, "--backbone", &task.backbone, "--out", out];
    [&task[..], &words("--epochs 40 --batch-size 8 --threads 2 --workers 2 --hidden 8 --group-size 1")]
        .concat()
}

/// Runs `svp-train` in a shell that has set a limit, as a user would.
#[cfg(unix)]
fn limited(limit: &str, args: &[&str]) -> Output {
    let mut command = Command::new("bash");
    command.args(["-c", &format!("ulimit {limit} && exec \"$0\" \"$@\"")]);
    command.arg(program("svp-train").get_program()).args(args).output().unwrap()
}

/// The last line of a command that failed with exit code 1, which must be its only error.
#[track_caller]
fn error(output: &Output) -> String {
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{:?}: {stderr}", output.status);
    let errors = stderr.lines().filter(|line| line.starts_with("error:")).count();
    assert!(errors == 1 && !stderr.contains("panicked"), "{stderr}");
    stderr.lines().last().unwrap().to_string()
}

/// The number behind a flag in a line.
#[track_caller]
fn number(line: &str, flag: &str) -> usize {
    let rest = line.split_once(flag).unwrap_or_else(|| panic!("no {flag} in: {line}")).1;
    let digits: String = rest.trim_start().chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("no number behind {flag} in: {line}"))
}

#[test]
fn a_step_that_does_not_fit_says_which_batch_does() {
    let place = Scratch::new("limits-memory");
    let run = |out: &str, batch: &str| {
        let out = place.at(out);
        let more = ["--epochs", "1", "--batch-size", batch, "--out", &out];
        train(
            &[&words("--data builtin:count --threads 2 --workers 1 --max-memory 120MiB"), &more[..]].concat(),
        )
    };
    let line = error(&run("all", "200"));
    assert!(
        line.contains("--batch-size 200: cpu device: out of memory: ") && line.contains(" of 120 MiB"),
        "{line}"
    );
    let fits = number(&line.replace("--batch-size 200", ""), "--batch-size");
    assert!((1..200).contains(&fits), "{line}");
    let fitting = succeeds(&run("fitting", &fits.to_string()));
    assert!(fitting.contains("epoch 1 of 1"), "{fitting}");
}

#[test]
fn batches_that_do_not_fit_say_how_many_workers_do() {
    let place = Scratch::new("limits-workers");
    let out = place.at("out");
    let flags = "--data builtin:count --epochs 1 --batch-size 100 --threads 1 --workers 8 --max-memory 12MiB";
    let line = error(&train(&[&words(flags), &["--out", &out][..]].concat()));
    assert!(line.contains("batches of 100 images ahead with 8 data workers needs"), "{line}");
    assert!((1..8).contains(&number(&line, "--workers")), "{line}");
}

/// The runs of a sweep that are made at a time share its memory out among them.
#[test]
fn the_runs_of_a_sweep_share_its_memory() {
    let place = Scratch::new("limits-sweep");
    let text = "title = 'Two'\nmethods = ['linear', 'svp']\ntasks = [{ name = 'count', data = 'builtin:count' }]\n\
                settings = { epochs = 1, batch-size = 200 }";
    let file = place.write("two.toml", text.as_bytes());
    for (jobs, most) in [("1", "of 30 MiB"), ("2", "of 15 MiB")] {
        let out = place.at(jobs);
        let mut sweep = program("svp-sweep");
        sweep.args([&*file, "--out", &out, "--jobs", jobs, "--max-memory", "30MiB"]);
        error(&sweep.output().unwrap());
        for method in ["linear", "svp"] {
            let log = fs::read_to_string(format!("{out}/runs/count/{method}/seed-0.log")).unwrap();
            assert!(log.contains(most), "{jobs}, {method}: {log}");
        }
    }
}

#[test]
fn sizes_of_memory_that_are_none_are_refused() {
    for size in ["", "0", "much", "-1GiB", "8 apples"] {
        let output = train(&[&format!("--max-memory={size}")]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{stderr}");
        assert!(stderr.contains("--max-memory") && stderr.contains("such as 8GiB or 500MB"), "{stderr}");
    }
}

/// As `ulimit -v` does, a job system may limit the memory of a process.
#[cfg(target_os = "linux")]
#[test]
fn an_address_space_that_is_too_small_is_no_abort() {
    let place = Scratch::new("limits-space");
    let out = place.at("out");
    let flags = "--data builtin:count --epochs 1 --batch-size 800 --threads 1 --workers 1";
    let line = error(&limited("-v 400000", &[&words(flags), &["--out", &out][..]].concat()));
    assert!(line.contains("out of memory") && line.contains("--batch-size"), "{line}");
}

/// Where every little request may be the one that is refused, the end is still one line.
#[cfg(target_os = "linux")]
#[test]
fn whatever_is_refused_first_there_is_a_line() {
    let place = Scratch::new("limits-any");
    let flags = words("--data builtin:count --hidden 8 --epochs 1 --batch-size 64 --threads 2 --workers 2");
    let mut refused = 0;
    // From too little for the threads up to nearly enough, in KiB.
    for limit in (30_000..150_000).step_by(8_000) {
        let out = place.at(&limit.to_string());
        let output = limited(&format!("-v {limit}"), &[&flags[..], &["--out", &out]].concat());
        if !output.status.success() {
            error(&output);
            refused += 1;
        }
    }
    assert!(refused > 3, "the limits are too high to try anything: {refused}");
}

/// By default the system ends a process whose file reaches the limit.
#[cfg(unix)]
#[test]
fn a_file_that_may_not_grow_is_an_error_and_the_run_goes_on_later() {
    let task = Task::new("limits-file", 3);
    let [whole, stopped] = ["whole", "stopped"].map(|name| task.place.at(name));
    succeeds(&train(&args(&task, &whole)));
    let last = format!("{stopped}/last.safetensors");
    let mut child = program("svp-train").args(args(&task, &stopped)).stderr(Stdio::null()).spawn().unwrap();
    let began = Instant::now();
    while !Path::new(&last).exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "nothing is saved");
        sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let saved = fs::read(&last).unwrap();
    // In blocks of 1024 bytes, fewer than the state has.
    let limit = format!("-f {}", saved.len() / 2048);
    let line = error(&limited(&limit, &["--resume", &stopped]));
    assert!(line.contains("cannot write") && line.contains("ulimit -f"), "{line}");
    assert_eq!(fs::read(&last).unwrap(), saved, "what was saved is there");
    let names =
        fs::read_dir(&stopped).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let partial: Vec<String> = names.filter(|name| name.starts_with(".partial")).collect();
    assert_eq!(partial, [""; 0], "what is unfinished is removed");
    succeeds(&train(&["--resume", &stopped]));
    same(&whole, &stopped);
}

/// Threads that the system does not start are an error, whichever they are.
#[cfg(target_os = "linux")]
#[test]
fn threads_that_cannot_be_started_are_an_error() {
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::process::CommandExt;
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        println!("skipped: only the superuser can run a program as a user who has no other processes");
        return;
    }
    // Nobody, in a number of its own so that no other process counts.
    let user = 1_000_000_000 + std::process::id();
    let place = Path::new("/tmp").join(format!("svp-threads-{user}"));
    fs::create_dir_all(&place).unwrap();
    std::os::unix::fs::chown(&place, Some(user), None).unwrap();
    let file = place.join("svp-train");
    fs::copy(program("svp-train").get_program(), &file).unwrap();
    let flags = "--data builtin:count --hidden 8 --epochs 1 --threads 2 --workers 3 --out run";
    let lines = (1..=6).map(|most| {
        let mut command = Command::new("bash");
        command.args(["-c", &format!("ulimit -u {most} && exec ./svp-train {flags}")]);
        let output = command.uid(user).gid(user).current_dir(&place).output().unwrap();
        let _ = fs::remove_dir_all(place.join("run"));
        error(&output)
    });
    let lines: Vec<String> = lines.collect();
    fs::remove_dir_all(&place).unwrap();
    assert!(lines.iter().all(|line| line.contains("ulimit -u")), "{lines:#?}");
    for kind in ["error: signals: ", "error: --threads: ", "error: data: data worker "] {
        assert!(lines.iter().any(|line| line.starts_with(kind)), "{kind}: {lines:#?}");
    }
}
