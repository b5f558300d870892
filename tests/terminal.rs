//! What the programs do for whoever sits before a terminal: bars, the next commands, Ctrl-C; and what they write about
//! themselves.

#![cfg(unix)]

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::programs::{Scratch, program, succeeds, text, words};

const PROGRAMS: [&str; 10] = [
    "svp-train",
    "svp-eval",
    "svp-predict",
    "svp-gates",
    "svp-attention",
    "svp-cost",
    "svp-report",
    "svp-convert",
    "svp-sweep",
    "svp-data",
];

/// Runs a program whose standard error is a terminal. What the terminal gets stands for standard error.
fn at_terminal(name: &str, args: &[&str]) -> Output {
    let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    let terminal = openpty(&size, None).unwrap();
    let mut command = program(name);
    command.args(args).env("TERM", "xterm").stdin(Stdio::null());
    let child = command.stdout(Stdio::piped()).stderr(terminal.slave).spawn().unwrap();
    // The command has the other end of the terminal, which is to close with the program.
    drop(command);
    let seen = thread::spawn(move || {
        let mut seen = vec![];
        // A terminal that nobody has any more cannot be read.
        let _ = File::from(terminal.master).read_to_end(&mut seen);
        seen
    });
    let output = child.wait_with_output().unwrap();
    Output { stderr: seen.join().unwrap(), ..output }
}

#[test]
fn bars_and_next_commands_are_for_terminals() {
    let place = Scratch::new("terminal");
    let (data, out) = (place.data("data", 3), place.at("out"));
    let train = ["--data", &data, "--out", &out, "--method", "linear", "--epochs", "1", "--batch-size", "8"];
    let shown = |output: Output, parts: &[&str]| {
        succeeds(&output);
        let seen = text(&output.stderr);
        for part in parts {
            assert!(seen.contains(part), "`{part}` is not in: {seen}");
        }
        seen
    };
    let next = [&*format!("next: svp-eval {out}"), &format!("svp-report {out}"), "svp-predict"];
    shown(
        at_terminal("svp-train", &train),
        &[&["/48 images seen by the frozen backbone"], &next[..]].concat(),
    );
    let done = shown(at_terminal("svp-train", &["--resume", &out, "--json"]), &[]);
    assert!(!done.contains("next:"), "{done}");
    let looks: [(&str, &[&str], &[&str]); 3] = [
        ("svp-eval", &[&out], &["/18 images"]),
        ("svp-report", &[&out], &["/18 images"]),
        (
            "svp-data",
            &["check", &data, "--decode", "--duplicates"],
            &["/78 images read", "/78 images compared"],
        ),
    ];
    for (name, args, parts) in looks {
        shown(at_terminal(name, args), parts);
        // Elsewhere there is nothing but notes about the data.
        let output = program(name).args(args).output().unwrap();
        succeeds(&output);
        assert!(!text(&output.stderr).contains("/78 images"), "{}", text(&output.stderr));
        assert!(!text(&output.stderr).contains("/18 images"), "{}", text(&output.stderr));
    }
    let resumed = program("svp-train").args(["--resume", &out]).output().unwrap();
    succeeds(&resumed);
    assert!(!text(&resumed.stderr).contains("next:"), "a log has no use for it");
}

fn interrupt(child: &Child) {
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
}

/// Waits until the program answers signals itself.
fn wait_for_handler(child: &Child) {
    let catches = || {
        let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("Linux has it");
        u64::from_str_radix(caught.trim(), 16).unwrap() >> (Signal::SIGINT as u64 - 1) & 1 == 1
    };
    let begun = Instant::now();
    while !catches() {
        assert!(begun.elapsed() < Duration::from_secs(60), "it never does");
        sleep(Duration::from_millis(10));
    }
}

/// Checks that a program ends soon, as one that was interrupted, and gives what it said last.
#[track_caller]
fn ends_soon(child: Child) -> String {
    let asked = Instant::now();
    let output = child.wait_with_output().unwrap();
    // It takes 0.6 seconds. The work would take minutes, and other tests have the processor too.
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(75), "{stderr}");
    assert!(output.stdout.is_empty(), "{}", text(&output.stdout));
    stderr.lines().last().unwrap_or_default().to_string()
}

fn spawn(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

/// The emulated device takes minutes for a step of this size, in which nothing looks at the signal.
#[cfg(target_os = "linux")]
#[test]
fn an_interrupt_ends_whatever_saves_nothing_at_once() {
    let place = Scratch::new("interrupts");
    let (data, out) = (place.data("data", 3), place.at("out"));
    let slow = words("--method full --model vim_tiny --device emulated --threads 1");
    let train = |more: &str| {
        let mut command = program("svp-train");
        command.args([&["--data", &data, "--out", &out], &slow[..], &words(more)].concat());
        command
    };
    let mut cost = program("svp-cost");
    cost.args(words("full --model vim_tiny --device emulated --threads 1"));
    for command in [train("--batch-size 8 --dry-run"), train("--batch-size auto"), cost] {
        let child = spawn(command);
        wait_for_handler(&child);
        sleep(Duration::from_millis(300));
        interrupt(&child);
        let last = ends_soon(child);
        assert!(last.starts_with("error: stopped by a signal"), "{last}");
    }
    assert!(!Path::new(&out).exists());
}

/// A training step is finished and saved, unless the user will not wait for it.
#[cfg(target_os = "linux")]
#[test]
fn a_second_interrupt_ends_a_long_step() {
    let place = Scratch::new("interrupts-again");
    let (data, out) = (place.data("data", 3), place.at("out"));
    let mut command = program("svp-train");
    let slow = words("--method full --model vim_tiny --device emulated --threads 1 --batch-size 8");
    command.args([&["--data", &data, "--out", &out], &slow[..]].concat());
    let mut child = spawn(command);
    let mut said = BufReader::new(child.stderr.take().unwrap());
    let mut until = |start: &str| {
        let mut line = String::new();
        while !line.starts_with(start) {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "it ended before `{start}`");
        }
    };
    until("run folder: ");
    sleep(Duration::from_millis(1500));
    interrupt(&child);
    until("stopping after this step");
    // One that comes at once may be the same that was passed on.
    interrupt(&child);
    sleep(Duration::from_millis(2100));
    assert!(child.try_wait().unwrap().is_none(), "it was to save");
    interrupt(&child);
    until("error: stopped by a signal; svp-train --resume");
    ends_soon(child);
}

#[test]
fn every_program_has_completions_and_man_pages() {
    let place = Scratch::new("described");
    for name in PROGRAMS {
        let run = |args: &[&str]| program(name).args(args).output().unwrap();
        let version = succeeds(&run(&["--version"]));
        assert!(version.starts_with(&format!("{name} ")), "{version}");
        let bash = succeeds(&run(&["--completions", "bash"]));
        assert!(bash.contains(&format!(" -o default {name}\n")) && bash.contains("--man-pages"), "{bash}");
        assert!(succeeds(&run(&["--completions=zsh"])).starts_with(&format!("#compdef {name}\n")));
        let folder = place.at("share/man/man1");
        succeeds(&run(&["--man-pages", &folder]));
        let page = fs::read_to_string(format!("{folder}/{name}.1")).unwrap();
        assert!(page.contains(".SH OPTIONS") || page.contains(".SH SUBCOMMANDS"), "{page}");
        assert_eq!(run(&["--completions", "tcsh"]).status.code(), Some(2), "{name}");
    }
    assert!(Path::new(&place.at("share/man/man1/svp-data-check.1")).is_file());
    let file = place.write("file", b"");
    let refused = program("svp-eval").args(["--man-pages", &file]).output().unwrap();
    testkit::programs::fails(&refused, &[&file, "man pages"]);
}
