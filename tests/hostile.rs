//! Files that claim far more than they hold must end in one line, within the memory that the program may take.
//!
//! `hostile/make.py` writes them and says what each is.

#![cfg(unix)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use testkit::programs::{Scratch, fails, program, succeeds};

/// The budget that the programs are given.
const MAX_MEMORY: &str = "256MiB";
/// KiB of address space that the system gives them: the budget, and what threads and code reserve.
const ADDRESS_SPACE: u32 = 1 << 20;

/// Unpacks a case into the folder of the test, as the file `to`.
fn unpack(place: &Scratch, case: &str, to: &str) -> String {
    let packed = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/hostile/cases/{case}.z"));
    let bytes = miniz_oxide::inflate::decompress_to_vec_zlib(&fs::read(packed).unwrap()).unwrap();
    place.write(to, &bytes)
}

/// Runs a program within the limits.
fn run(name: &str, args: &[&str]) -> Output {
    let program = program(name).get_program().to_owned();
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(format!("ulimit -v {ADDRESS_SPACE}; exec \"$0\" \"$@\"")).arg(program);
    shell.args(args).args(["--max-memory", MAX_MEMORY]).output().unwrap()
}

#[test]
fn a_trained_file_that_claims_huge_prompts() {
    let place = Scratch::new("hostile_trained");
    let image = place.write("x.ppm", &[b"P6 2 2 255\n".as_slice(), &[0; 12]].concat());
    for power in [20, 40] {
        let file = unpack(&place, &format!("trained_hidden_2_{power}.safetensors"), "best.safetensors");
        fails(&run("svp-predict", &["--run", &file, &image]), &["best.safetensors", "hidden"]);
    }
}

#[test]
fn a_checkpoint_with_a_tensor_of_no_elements_and_a_huge_axis() {
    let place = Scratch::new("hostile_empty");
    let file = unpack(&place, "empty_tensor.safetensors", "x.safetensors");
    let args = ["--backbone", &file, "--allow-mismatch", "--data", "builtin:count", "--dry-run"];
    fails(&run("svp-train", &args), &["x.safetensors", "is not a Vim checkpoint"]);
}

#[test]
fn a_pth_with_thousands_of_names_for_one_tensor() {
    let place = Scratch::new("hostile_shared");
    let file = unpack(&place, "shared_storage.pth", "in.pth");
    fails(&run("svp-convert", &[&file, &place.at("out.safetensors")]), &["in.pth"]);
}

#[test]
fn archives_that_inflate_to_far_more() {
    let place = Scratch::new("hostile_archives");
    for case in ["overlapping", "inflating"] {
        let file = unpack(&place, &format!("{case}.zip"), &format!("{case}.zip"));
        fails(&run("svp-data", &["check", &file]), &[&format!("{case}.zip")]);
    }
}

#[test]
fn an_array_file_that_inflates_to_far_more() {
    let place = Scratch::new("hostile_mat");
    unpack(&place, "train_32x32.mat", "svhn/train_32x32.mat");
    unpack(&place, "train_32x32.mat", "svhn/test_32x32.mat");
    fails(&run("svp-data", &["check", &place.at("svhn")]), &["32x32.mat"]);
}

#[test]
fn pictures_that_decode_to_far_more() {
    let place = Scratch::new("hostile_pictures");
    let run_folder = place.at("run");
    let small = ["--data", "builtin:count", "--epochs", "1", "--method", "linear"];
    succeeds(&program("svp-train").args(small).args(["--out", &run_folder]).output().unwrap());
    for case in ["deep.png", "long.pam"] {
        let file = unpack(&place, case, case);
        let output = run("svp-predict", &["--run", &run_folder, &file]);
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && stderr.contains(case), "{stderr}");
        assert!(stderr.len() < 2000, "{} bytes of message", stderr.len());
    }
    // The profile of a picture is not used, so that it need not be inflated: the picture is read.
    let file = unpack(&place, "profile.png", "profile.png");
    succeeds(&run("svp-predict", &["--run", &run_folder, &file]));
}

#[test]
fn settings_that_are_none() {
    let place = Scratch::new("hostile_settings");
    // A number that no table can hold, of a setting that belongs to a method.
    let huge = place.write("huge.toml", b"cross = 22222222222222222222222222222222\n");
    fails(&run("svp-train", &["--config", &huge]), &["huge.toml, line 1: "]);
    let long = place.write("long.toml", &vec![b'#'; 5 << 20]);
    fails(&run("svp-train", &["--config", &long]), &["long.toml", "has over 4 MiB"]);
    fails(&run("svp-sweep", &[&long, "--dry-run"]), &["long.toml", "has over 4 MiB"]);
    let endless = ["--config", "/dev/zero"];
    fails(&run("svp-train", &endless), &["/dev/zero", "has over 4 MiB"]);
    let threads = ["--data", "builtin:count", "--dry-run", "--threads", "20000"];
    fails(&run("svp-train", &threads), &["--threads", "use at most"]);
}

#[test]
fn outputs_do_not_take_the_place_of_pipes() {
    let place = Scratch::new("hostile_outputs");
    let pipe = |name: &str| {
        let path = place.at(name);
        assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
        path
    };
    let out = place.at("run");
    let small = ["--data", "builtin:count", "--epochs", "1", "--method", "linear", "--out", &out];
    succeeds(&program("svp-train").args(small).output().unwrap());
    let (weights, page) = (pipe("a.safetensors"), pipe("a.html"));
    fails(&run("svp-convert", &[&out, &weights, "--force"]), &["a.safetensors", "a named pipe"]);
    fails(&run("svp-report", &[&out, "--out", &page]), &["a.html", "a named pipe"]);
    let sweep = place.write(
        "s.toml",
        b"title = \"t\"\nmethods = [\"linear\"]\ntasks = [{ name = \"c\", data = \"builtin:count\", epochs = 1 }]\n",
    );
    place.write("o/runs/c/linear/x", b"");
    pipe("o/runs/c/linear/seed-0.log");
    let output = run("svp-sweep", &[&sweep, "--out", &place.at("o")]);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    let last = stderr.lines().last().unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        last.starts_with("error: ") && last.contains("seed-0.log: cannot be written: is a named pipe"),
        "{stderr}"
    );
}
