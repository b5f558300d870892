//! Builds and gathers what a run needs on a machine without a Rust toolchain.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::environment::date;

/// Most bytes of the whole folder.
const LIMIT: u64 = 64 << 20;

/// What cargo builds, and what it is called in the folder.
const TESTS: [(&str, &str); 5] = [
    ("conformance", "conformance"),
    ("golden", "golden"),
    ("isa", "isa"),
    ("emulated_training", "emulated_training"),
    ("gpu", "gpu_bench"),
];
const PROGRAMS: [(&str, &str); 3] =
    [("svp-train", "svp-train"), ("svp-eval", "svp-eval"), ("gpu_check", "gpu_check")];

/// Files of the project, by folder and ending, that go along under the same path.
const FILES: [(&str, &str); 2] = [("tests/golden", "safetensors"), ("tools/reference", "py")];

/// The folder with everything, made anew.
pub fn pack(folder: &Path, reference: bool) -> Result<(), String> {
    let root = root();
    let folder = root.join(folder);
    let programs = build(&root)?;
    if folder.join("pack.json").exists() {
        fs::remove_dir_all(&folder).map_err(|err| format!("{}: {err}", folder.display()))?;
    } else if folder.exists() {
        return Err(format!("{} is there, and was not made by --pack: name another", folder.display()));
    }
    // First, so that the folder is known as one of ours whatever happens next.
    write_facts(&root, &folder)?;
    for (program, name) in programs {
        copy(&program, &folder.join(name))?;
        strip(&folder.join(name));
    }
    for (from, ending) in FILES {
        for file in files(&root.join(from), ending)? {
            carry(&root, &file, &folder)?;
        }
    }
    for layer in ["engine", "ptx"] {
        for entry in entries(&root.join(layer))? {
            let kernel = entry.join("kernel.ptx");
            if kernel.exists() {
                carry(&root, &kernel, &folder)?;
            }
        }
    }
    if reference {
        let sources = fetch(&root)?;
        sources.iter().try_for_each(|source| carry(&root, source, &folder))?;
    }
    tell(&folder)
}

/// Builds the programs; where each is, and its name in the folder.
fn build(root: &Path) -> Result<Vec<(PathBuf, &'static str)>, String> {
    let mut tests = vec!["test", "--no-run", "-p", "svp-train"];
    for (target, _) in TESTS {
        tests.extend([if target == "gpu" { "--bench" } else { "--test" }, target]);
    }
    let mut programs = vec!["build", "-p", "svp-train", "-p", "tools"];
    PROGRAMS.iter().for_each(|(target, _)| programs.extend(["--bin", target]));
    let mut found = cargo(root, &tests, &TESTS)?;
    found.extend(cargo(root, &programs, &PROGRAMS)?);
    Ok(found)
}

fn cargo(
    root: &Path,
    arguments: &[&str],
    wanted: &[(&str, &'static str)],
) -> Result<Vec<(PathBuf, &'static str)>, String> {
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    command.args(arguments).args(["--release", "--message-format", "json-render-diagnostics"]);
    let output = command.current_dir(root).stderr(std::process::Stdio::inherit()).output();
    let output = output.map_err(|err| format!("cargo: {err}"))?;
    if !output.status.success() {
        return Err(format!("cargo {}: {}", arguments.join(" "), output.status));
    }
    let messages = String::from_utf8_lossy(&output.stdout);
    let messages: Vec<Value> = messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let program = |target: &str| {
        let built = messages.iter().filter(|message| message["target"]["name"] == target);
        built.filter_map(|message| message["executable"].as_str()).next().map(PathBuf::from)
    };
    let find = |&(target, name): &(&str, &'static str)| {
        Ok((program(target).ok_or(format!("cargo built no {target}"))?, name))
    };
    wanted.iter().map(find).collect()
}

/// Removes names that only a debugger reads. Without `strip` the program is larger, and works.
fn strip(program: &Path) {
    let stripped = Command::new("strip").arg(program).status();
    if !stripped.is_ok_and(|status| status.success()) {
        println!("not stripped: {}", program.display());
    }
}

/// The commit, and whether the files are its.
fn write_facts(root: &Path, folder: &Path) -> Result<(), String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(root).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let facts = json!({
        "commit": git(&["rev-parse", "HEAD"]),
        "dirty": git(&["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty()),
        "packed": date(seconds),
    });
    let wrong = |err: std::io::Error| format!("{}: {err}", folder.display());
    fs::create_dir_all(folder).map_err(wrong)?;
    fs::write(folder.join("pack.json"), facts.to_string() + "\n").map_err(wrong)
}

/// The archives of the published kernels' sources, fetched where they are not there yet.
fn fetch(root: &Path) -> Result<Vec<PathBuf>, String> {
    let script = root.join("tools/reference/fetch_sources.py");
    let fetched = Command::new("python3").arg(script).status();
    match fetched {
        Ok(status) if status.success() => files(&root.join("target/reference"), "gz"),
        Ok(status) => {
            Err(format!("fetch_sources.py: {status}; --no-reference packs without the published kernels"))
        }
        Err(err) => Err(format!("python3: {err}; --no-reference packs without the published kernels")),
    }
}

/// Copies a file of the project to the same path in the folder.
fn carry(root: &Path, file: &Path, folder: &Path) -> Result<(), String> {
    let path = file.strip_prefix(root).map_err(|_| format!("{} is not in the project", file.display()))?;
    copy(file, &folder.join(path))
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let made = fs::create_dir_all(to.parent().expect("a file in a folder"));
    made.and_then(|()| fs::copy(from, to)).map(|_| ()).map_err(|err| format!("{}: {err}", to.display()))
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let wrong = |err: std::io::Error| format!("{}: {err}", folder.display());
    let entries = fs::read_dir(folder).map_err(wrong)?.map(|entry| Ok(entry.map_err(wrong)?.path()));
    let mut entries = entries.collect::<Result<Vec<_>, String>>()?;
    entries.sort();
    Ok(entries)
}

/// The files of a folder with this ending.
fn files(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, String> {
    let named = |path: &PathBuf| path.extension().is_some_and(|end| end == ending);
    Ok(entries(folder)?.into_iter().filter(named).collect())
}

/// Says what is in the folder and how to use it; fails if it is too large.
fn tell(folder: &Path) -> Result<(), String> {
    let mut all = 0;
    for entry in entries(folder)? {
        let size = size(&entry)?;
        println!("{:>9.1} KiB  {}", size as f64 / 1024.0, entry.display());
        all += size;
    }
    println!("{:>9.1} KiB  in all", all as f64 / 1024.0);
    if all > LIMIT {
        return Err(format!("{} is larger than {} MiB", folder.display(), LIMIT >> 20));
    }
    println!("\nOn the machine with the GPU, in a copy of this folder:\n  ./gpu_check --out reports");
    Ok(())
}

fn size(path: &Path) -> Result<u64, String> {
    if path.is_dir() {
        return entries(path)?.iter().map(|entry| size(entry)).sum();
    }
    path.metadata().map(|data| data.len()).map_err(|err| format!("{}: {err}", path.display()))
}

fn root() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR"));
    tools.parent().expect("a member of the workspace").to_path_buf()
}
