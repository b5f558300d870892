//! What there is: the packed files, the GPU and its libraries, Python, the profilers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use engine::cuda::{Status, status};
use serde_json::{Value, json};
use testkit::activity;

use crate::options::Options;
use crate::{child, pack};

/// Longest time that a question to another program may take.
const QUESTION: Duration = Duration::from_secs(60);

/// Everything that steps need to know.
pub struct Environment {
    /// The folder with what was packed.
    pub home: PathBuf,
    /// Where steps keep their files; each program's output in a `.log`.
    pub work: PathBuf,
    /// The first GPU; else why there is none to use.
    pub gpu: Result<String, String>,
    /// Variables for every program that is run.
    variables: Vec<(&'static str, PathBuf)>,
    /// What the report says about the machine.
    pub facts: Vec<(&'static str, String)>,
    /// PyTorch's version, if it sees the GPU; else why not.
    pub torch: Result<String, String>,
    pub sanitizer: Option<PathBuf>,
    /// Nsight Compute, which reads the counters of kernels.
    pub ncu: Option<PathBuf>,
    pub smoke: bool,
}

impl Environment {
    pub fn find(options: &Options) -> Result<Self, String> {
        let program = std::env::current_exe().map_err(|err| format!("this program's folder: {err}"))?;
        let folder = program.parent().ok_or("this program has no folder")?;
        let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let work = std::env::temp_dir().join(format!("gpu_check-{}", std::process::id()));
        fs::create_dir_all(&work).map_err(|err| format!("{}: {err}", work.display()))?;
        // Without an archive there is nothing to run: each step says so.
        let home = pack::unpack(folder, &work.join("unpacked"))?.unwrap_or(folder.into());
        let mut found = Environment {
            variables: vec![("SVP_ROOT", home.clone())],
            home,
            work,
            gpu: Err("not looked for".into()),
            facts: vec![("date", date(seconds))],
            torch: Err("not looked for".into()),
            sanitizer: None,
            ncu: None,
            smoke: options.smoke,
        };
        found.facts.extend(built(&found.home));
        found.find_gpu(&program);
        if found.gpu.is_ok() {
            found.find_tools();
        }
        Ok(found)
    }

    /// Asks the driver, in a process of its own: a driver may crash, and cuBLAS may have to be pointed out to it.
    fn find_gpu(&mut self, program: &Path) {
        let mut answer = self.probed(program);
        let unusable = |answer: &Value| answer["unusable"].as_str().map(String::from);
        if unusable(&answer).is_some_and(|why| why.contains("cuBLASLt not found"))
            && let Some(folder) = self.of_python("*/lib/libcublasLt.so.1[23]")
        {
            self.facts.push(("cuBLASLt from", folder.display().to_string()));
            self.variables.push(("SVP_CUBLAS_DIR", folder));
            answer = self.probed(program);
        }
        self.gpu = match (answer["name"].as_str(), unusable(&answer)) {
            (Some(name), _) => Ok(name.into()),
            (None, Some(why)) => Err(why),
            (None, None) => Err(answer["absent"].as_str().unwrap_or("the driver could not be asked").into()),
        };
        self.facts.push(("device", self.gpu.clone().unwrap_or_else(|why| format!("none: {why}"))));
        if let Some(info) = answer["info"].as_str() {
            self.facts.push(("as the program sees it", info.into()));
        }
    }

    fn probed(&self, program: &Path) -> Value {
        let answer = self.ask(Command::new(program).arg("--probe"));
        answer.and_then(|text| serde_json::from_str(&text).map_err(|err| err.to_string())).unwrap_or_default()
    }

    /// The folder of a file that came with PyTorch.
    fn of_python(&self, pattern: &str) -> Option<PathBuf> {
        const SEARCH: &str = "
import importlib.util, pathlib, sys
spec = importlib.util.find_spec('nvidia')
for folder in spec.submodule_search_locations if spec else []:
    for file in sorted(pathlib.Path(folder).glob(sys.argv[1]), reverse=True):
        print(file.parent)";
        let found = self.ask(Command::new("python3").args(["-c", SEARCH, pattern])).ok()?;
        found.lines().next().map(PathBuf::from)
    }

    /// The device's name, or `none`.
    pub fn device(&self) -> &str {
        self.gpu.as_deref().unwrap_or("none")
    }

    /// The day.
    pub fn date(&self) -> &str {
        self.facts.iter().find(|(what, _)| *what == "date").map_or("", |(_, date)| date)
    }

    /// Why the published kernels cannot be run, where they cannot.
    pub fn reference(&self) -> Result<(), String> {
        self.gpu.as_ref().and(self.torch.as_ref()).map_err(String::clone)?;
        let packed = self.home.join("tools/reference/gpu_compare.py").exists()
            && fs::read_dir(self.home.join("target/reference")).is_ok();
        match packed {
            _ if self.smoke => Err("not for a try of the tool".into()),
            true => Ok(()),
            false => Err("packed without the reference".into()),
        }
    }

    fn find_tools(&mut self) {
        const QUERY: &str =
            "driver_version,memory.total,clocks.max.sm,clocks.max.memory,temperature.gpu,utilization.gpu";
        let query = [&format!("--query-gpu={QUERY}"), "--format=csv,noheader"];
        let smi = self.ask(Command::new("nvidia-smi").args(query));
        let first = |text: String| text.lines().next().unwrap_or_default().to_string();
        self.facts.push(("driver, memory, clocks, temperature, use", smi.map_or_else(|why| why, first)));
        let cores = std::thread::available_parallelism().map_or(0, |n| n.get());
        self.facts.push(("processor", format!("{cores} threads")));
        self.sanitizer = find_program("compute-sanitizer");
        self.ncu = find_program("ncu").or_else(|| Some(self.of_python("**/bin/ncu")?.join("ncu")));
        if std::env::var_os(activity::FOLDER).is_none()
            && let Some(folder) = self.of_python("*/lib/libcupti.so.1[23]")
        {
            self.facts.push(("CUPTI from", folder.display().to_string()));
            self.variables.push((activity::FOLDER, folder));
        }
        const TORCH: &str = "import torch; print(torch.__version__ if torch.cuda.is_available() else '')";
        self.torch = match self.ask(Command::new("python3").args(["-c", TORCH])) {
            Ok(version) if version.is_empty() => Err("PyTorch sees no GPU".into()),
            Ok(version) => Ok(version),
            Err(_) => Err("python3 has no PyTorch".into()),
        };
        self.facts.push(("PyTorch", self.torch.clone().unwrap_or_else(|why| why)));
    }

    /// A program that was packed, with what it needs to know. `Err` where it is missing.
    pub fn packed(&self, name: &str) -> Result<Command, String> {
        let path = self.home.join(name);
        if !path.exists() {
            return Err(format!("{name} is not there: make the folder with gpu_check --pack"));
        }
        Ok(self.command(&path))
    }

    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.home).envs(self.variables.iter().map(|(name, value)| (name, value)));
        command
    }

    /// A file for what a step prints.
    pub fn log_of(&self, step: &str) -> PathBuf {
        self.work.join(format!("{}.log", step.replace(' ', "-")))
    }

    /// What a program answers.
    fn ask(&self, command: &mut Command) -> Result<String, String> {
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        let ended = child::run(command, &self.log_of("question"), QUESTION)?;
        match ended.complaint() {
            None => Ok(ended.output.trim().to_string()),
            Some(wrong) => Err(wrong),
        }
    }
}

#[cfg(test)]
impl Environment {
    /// A machine with nothing but a GPU.
    pub fn for_tests() -> Self {
        Environment {
            home: "nowhere".into(),
            work: "nowhere".into(),
            gpu: Ok("a GPU".into()),
            variables: vec![],
            facts: vec![],
            torch: Err("python3 has no PyTorch".into()),
            sanitizer: None,
            ncu: None,
            smoke: false,
        }
    }
}

/// What was packed: the commit and the state of its files.
fn built(home: &Path) -> Vec<(&'static str, String)> {
    let packed = fs::read(home.join(pack::FACTS)).ok();
    let packed: Value = packed.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let commit = packed["commit"].as_str().map_or("not known: not packed".into(), |commit| {
        let dirty = packed["dirty"].as_bool() != Some(false);
        format!("{commit}{}", if dirty { " and changes that are not committed" } else { "" })
    });
    vec![("commit", commit)]
}

/// Whether there is a GPU, as JSON.
pub fn probe() -> Value {
    match status() {
        Status::Ready(devices) => json!({ "name": devices[0].name, "info": devices[0].to_string() }),
        Status::Absent => json!({ "absent": "no CUDA device" }),
        Status::Unusable(error) => json!({ "unusable": error.to_string() }),
    }
}

/// A program on the PATH or in a CUDA installation.
fn find_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let installed = fs::read_dir("/usr/local").into_iter().flatten().flatten().map(|entry| entry.path());
    let cuda =
        |folder: &PathBuf| folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("cuda"));
    folders.extend(installed.filter(cuda).map(|folder| folder.join("bin")));
    // Nsight Compute has folders of its own, by version.
    let nsight = fs::read_dir("/opt/nvidia/nsight-compute").into_iter().flatten().flatten();
    folders.extend(nsight.map(|entry| entry.path()));
    folders.into_iter().map(|folder| folder.join(name)).find(|file| file.is_file())
}

/// The day of a time in seconds since 1970, as `2026-11-21`.
pub fn date(seconds: u64) -> String {
    let mut days = seconds / 86_400;
    let leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    format!("{year}-{:02}-{:02}", month + 1, days + 1)
}

#[test]
fn days_are_those_of_the_calendar() {
    let at = |day: u64| date(86_400 * day + 86_399);
    assert_eq!(
        [at(0), at(59), at(11_016), at(20_778)],
        ["1970-01-01", "1970-03-01", "2000-02-29", "2026-11-21"]
    );
}
