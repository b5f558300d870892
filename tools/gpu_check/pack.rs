//! Builds and gathers what a run needs on a machine without a Rust toolchain: `gpu_check` itself, and an archive with
//! the rest. Every program holds all kernels as text and most of the other programs' code, so the archive is compressed
//! as one stream with a window that reaches back over several programs.

use std::fs::{self, File};
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use lzma_rust2::{LzmaOptions, XzOptions, XzReader, XzWriter};
use serde_json::{Value, json};

use crate::environment::date;

/// The archive in the folder.
const ARCHIVE: &str = "pack.tar.xz";
/// Bytes that the compression reaches back: four programs.
const WINDOW: u32 = 64 << 20;
/// The least preset that finds long repetitions by trees; higher ones take much longer for a few percent.
const PRESET: u32 = 4;
/// In the archive: what was packed.
pub const FACTS: &str = "pack.json";
/// Most bytes of the folder. Beside a checkout, which has 32 MiB, it can be sent where 64 MiB are the most.
const LIMIT: u64 = 32 << 20;
/// The GPUs for which the published kernels are built here, by compute capability; for others they are built there.
const ARCH: &str = "90";

/// What cargo builds as tests and benches, and what it is called in the archive.
const TESTS: [(&str, &str); 5] = [
    ("conformance", "conformance"),
    ("golden", "golden"),
    ("isa", "isa"),
    ("emulated_training", "emulated_training"),
    ("gpu", "gpu_bench"),
];
const PROGRAMS: [(&str, &str); 3] = [("svp-train", "svp-train"), ("svp-eval", "svp-eval"), (SELF, SELF)];
/// Lies beside the archive.
const SELF: &str = "gpu_check";

/// Files of the project, by folder (with those in it) and ending, that go along under the same path.
const FILES: [(&str, &str); 9] = [
    ("tests/golden", "safetensors"),
    // Checkpoints in other formats, which the files of numbers beside them name.
    ("tests/golden/vit", "npz"),
    ("tests/golden/vit", "pth"),
    ("tests/golden/vit", "tar"),
    ("tests/golden/vit", "json"),
    ("tools/reference", "py"),
    ("tools/reference", "h"),
    ("tools/reference", "cpp"),
    ("tools/reference", "cu"),
];
/// Folders in which every folder may have a kernel.
const LAYERS: [&str; 2] = ["engine", "ptx"];

/// Makes the folder.
pub fn pack(folder: &Path, reference: bool) -> Result<(), String> {
    let root = root();
    let folder = root.join(folder);
    fs::create_dir_all(&folder).map_err(|err| at(&folder, err))?;
    let mut programs = vec![];
    for (program, name) in build(&root)? {
        let stripped = folder.join(name);
        strip(&program, &stripped)?;
        if name != SELF {
            programs.push((name, read(&stripped)?));
            fs::remove_file(&stripped).map_err(|err| at(&stripped, err))?;
        }
    }
    let mut carried = vec![];
    for (from, ending) in FILES {
        carried.extend(files_below(&root.join(from), ending)?);
    }
    for layer in LAYERS {
        let kernels = entries(&root.join(layer))?.into_iter().map(|entry| entry.join("kernel.ptx"));
        carried.extend(kernels.filter(|kernel| kernel.exists()));
    }
    let mut built = vec![];
    if reference {
        carried.extend(fetch(&root)?);
        match build_reference(&root) {
            Ok(libraries) => built = libraries,
            Err(why) => {
                println!("left out: the published kernels for sm_{ARCH}, which are then built there: {why}")
            }
        }
    }
    let write = |files: &[&[PathBuf]]| {
        let mut archive = Archive::create(&folder.join(ARCHIVE))?;
        archive.add(FACTS, facts(&root).to_string().as_bytes(), 0o644)?;
        programs.iter().try_for_each(|(name, bytes)| archive.add(name, bytes, 0o755))?;
        for file in files.iter().copied().flatten() {
            let name =
                file.strip_prefix(&root).map_err(|_| format!("{} is not in the project", file.display()))?;
            archive.add(&name.to_string_lossy(), &read(file)?, 0o644)?;
        }
        archive.finish()?;
        size(&folder)
    };
    let mut bytes = write(&[&carried, &built])?;
    if bytes > LIMIT && !built.is_empty() {
        println!(
            "left out: the published kernels for sm_{ARCH}, which are then built there: {bytes} bytes with them"
        );
        bytes = write(&[&carried])?;
    }
    tell(&folder, bytes)
}

/// Unpacks what lies beside `gpu_check` in a folder; where it is then. `None` where nothing was packed.
pub fn unpack(folder: &Path, to: &Path) -> Result<Option<PathBuf>, String> {
    let path = folder.join(ARCHIVE);
    if !path.exists() {
        return Ok(None);
    }
    let wrong = |err: io::Error| at(&path, err);
    let file = BufReader::new(File::open(&path).map_err(wrong)?);
    tar::Archive::new(XzReader::new(file, false)).unpack(to).map_err(wrong)?;
    Ok(Some(to.into()))
}

/// An archive being written.
struct Archive {
    path: PathBuf,
    writer: tar::Builder<XzWriter<File>>,
}

impl Archive {
    fn create(path: &Path) -> Result<Self, String> {
        let file = File::create(path).map_err(|err| at(path, err))?;
        let lzma_options = LzmaOptions { dict_size: WINDOW, ..LzmaOptions::with_preset(PRESET) };
        let options = XzOptions { lzma_options, ..XzOptions::with_preset(PRESET) };
        let writer = XzWriter::new(file, options).map_err(|err| at(path, err))?;
        Ok(Archive { path: path.into(), writer: tar::Builder::new(writer) })
    }

    fn add(&mut self, name: &str, bytes: &[u8], mode: u32) -> Result<(), String> {
        println!("{:>9.1} KiB  {name}", bytes.len() as f64 / 1024.0);
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(mode);
        self.writer.append_data(&mut header, name, bytes).map_err(|err| at(&self.path, err))
    }

    fn finish(self) -> Result<(), String> {
        let finished = self.writer.into_inner().and_then(XzWriter::finish);
        finished.map(|_| ()).map_err(|err| at(&self.path, err))
    }
}

fn at(path: &Path, err: io::Error) -> String {
    format!("{}: {err}", path.display())
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    fs::read(path).map_err(|err| at(path, err))
}

/// Builds the programs; where each is, and its name in the folder. They are built as `cargo test --workspace` builds them,
/// whose choice of the crates' features would else be another one and compile most of the project once more.
fn build(root: &Path) -> Result<Vec<(PathBuf, &'static str)>, String> {
    let mut arguments = vec!["test", "--no-run", "--workspace"];
    for (target, _) in TESTS {
        arguments.extend([if target == "gpu" { "--bench" } else { "--test" }, target]);
    }
    // Cargo builds the programs of a package beside its tests. This is one of the package that has `gpu_check`.
    arguments.extend(["--test", "gpu_check_without_a_gpu"]);
    let cargo = std::env::var_os("CARGO").unwrap_or("cargo".into());
    let mut command = Command::new(cargo);
    command.args(&arguments).args(["--release", "--message-format", "json-render-diagnostics"]);
    let output = command.current_dir(root).stderr(Stdio::inherit()).output();
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
    TESTS.iter().chain(&PROGRAMS).map(find).collect()
}

/// Copies a program without the names that only a debugger reads. Without `strip` it is larger, and works.
fn strip(program: &Path, to: &Path) -> Result<(), String> {
    let stripped = Command::new("strip").arg("-o").arg(to).arg(program).status();
    if stripped.is_ok_and(|status| status.success()) {
        return Ok(());
    }
    println!("not stripped: {}", program.display());
    fs::copy(program, to).map(|_| ()).map_err(|err| at(to, err))
}

/// The commit, and whether the files are its.
fn facts(root: &Path) -> Value {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).current_dir(root).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_string())
    };
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    json!({
        "commit": git(&["rev-parse", "HEAD"]),
        "dirty": git(&["status", "--porcelain"]).is_none_or(|changes| !changes.is_empty()),
        "packed": date(seconds),
    })
}

/// The archives of the published kernels' sources, fetched with a compiler where they are not there yet.
fn fetch(root: &Path) -> Result<Vec<PathBuf>, String> {
    let script = root.join("tools/reference/fetch_sources.py");
    let fetched = Command::new("python3").arg(script).arg("--compiler").status();
    match fetched {
        Ok(status) if status.success() => files(&root.join("target/reference"), "gz"),
        Ok(status) => {
            Err(format!("fetch_sources.py: {status}; --no-reference packs without the published kernels"))
        }
        Err(err) => Err(format!("python3: {err}; --no-reference packs without the published kernels")),
    }
}

/// The published kernels as libraries for [`ARCH`], built where they are not there yet.
fn build_reference(root: &Path) -> Result<Vec<PathBuf>, String> {
    let script = root.join("tools/reference/build_kernels.py");
    let mut command = Command::new("python3");
    let output = command.arg(script).args(["--arch", ARCH]).stderr(Stdio::inherit()).output();
    let output = output.map_err(|err| format!("python3: {err}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        return Err(format!("build_kernels.py: {}", output.status));
    }
    // A line for each: its path, and how large it is.
    Ok(said.lines().filter_map(|line| Some(format!("{}.so", line.split_once(".so ")?.0).into())).collect())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let wrong = |err| at(folder, err);
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

/// The files of a folder, and of the folders in it, with this ending.
fn files_below(folder: &Path, ending: &str) -> Result<Vec<PathBuf>, String> {
    let mut found = files(folder, ending)?;
    for below in entries(folder)?.into_iter().filter(|entry| entry.is_dir()) {
        found.extend(files_below(&below, ending)?);
    }
    Ok(found)
}

/// Bytes of the folder's two files.
fn size(folder: &Path) -> Result<u64, String> {
    let bytes =
        |name| folder.join(name).metadata().map(|file| file.len()).map_err(|err| at(&folder.join(name), err));
    Ok(bytes(SELF)? + bytes(ARCHIVE)?)
}

/// Says how large the folder is and how to use it; fails if it is too large.
fn tell(folder: &Path, bytes: u64) -> Result<(), String> {
    println!("{:.1} MiB in {}", bytes as f64 / f64::from(1 << 20), folder.display());
    if bytes > LIMIT {
        return Err(format!("{} is larger than {} MiB", folder.display(), LIMIT >> 20));
    }
    println!("\nOn the machine with the GPU, in a copy of this folder:\n  ./{SELF} --out reports");
    Ok(())
}

fn root() -> PathBuf {
    let tools = Path::new(env!("CARGO_MANIFEST_DIR"));
    tools.parent().expect("a member of the workspace").to_path_buf()
}
