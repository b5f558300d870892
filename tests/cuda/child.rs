//! Runs tests in processes of their own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use testkit::fake_cuda;
use testkit::programs::{Scratch, text};

/// Variable that names the test that a child process runs.
const CHILD: &str = "SVP_TEST_CHILD";
const LOG: &str = "FAKE_CUDA_LOG";

/// The libraries that the loader finds.
pub enum Libraries {
    /// The fake driver and the fake cuBLASLt.
    Fake,
    /// The libraries in a folder, which may hold none.
    In(String),
}

/// Runs the rest of a test in a process of its own.
///
/// `test` is the path of the calling test in its file. `variables` are set in the child; others that matter and that a
/// user may have set are removed. A failure of the child fails the test. Returns what the child said, and nothing in the
/// child.
pub fn alone(
    test: &str,
    libraries: Libraries,
    variables: &[(&str, &str)],
    body: impl FnOnce(),
) -> Option<String> {
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        body();
        return None;
    }
    let place = Scratch::new(&format!("cuda-{}", test.replace("::", "-")));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--nocapture", "--test-threads=1"])
        .env(CHILD, test)
        .env(LOG, place.at("log"));
    for name in ["SVP_CUBLAS_DIR", "SVP_CUDA_SYNC", "CUDA_HOME", "CUDA_PATH", "CONDA_PREFIX", "VIRTUAL_ENV"] {
        command.env_remove(name);
    }
    let folder = match libraries {
        Libraries::Fake => fake_cuda::folder().to_path_buf(),
        Libraries::In(folder) => PathBuf::from(folder),
    };
    let output = command.env("LD_LIBRARY_PATH", folder).envs(variables.iter().copied()).output().unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{test}:\n{said}");
    Some(said)
}

/// [`alone`] with the fake libraries.
pub fn on_fake(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) -> Option<String> {
    alone(test, Libraries::Fake, variables, body)
}

/// [`on_fake`] where work runs as late as CUDA allows, at the call, and at drawn moments.
pub fn in_every_order(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) {
    if std::env::var(CHILD).is_ok_and(|name| name == test) {
        return body();
    }
    for schedule in ["late", "early", "1"] {
        on_fake(test, &[variables, &[("FAKE_CUDA_SCHEDULE", schedule)]].concat(), || {});
    }
}

/// The lines that the fake libraries have logged since the process began.
pub fn log() -> Vec<String> {
    let log = std::env::var(LOG).expect("set for the child");
    fs::read_to_string(log).unwrap_or_default().lines().map(Into::into).collect()
}

/// The calls of the driver that were answered with an error, and the faults.
pub fn failures() -> Vec<String> {
    let driver = |line: &str| line.starts_with("cu") && !line.starts_with("cublas");
    let failed = |line: &String| line.starts_with("fault: ") || driver(line) && !line.ends_with(" -> 0");
    log().into_iter().filter(failed).collect()
}

/// The names of the functions that were called after the first `after` lines.
pub fn calls(after: usize) -> Vec<String> {
    log()
        .split_off(after)
        .iter()
        .filter_map(|line| Some(line.split_whitespace().next()?.to_string()))
        .collect()
}
