//! What was found, as Markdown for people and JSON for programs.

use std::fmt::{self, Write};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use crate::plan::STEPS;

/// What became of a step or a target.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Status {
    #[default]
    Passed,
    Failed(String),
    NotRun(String),
    /// Left out, as too little time was left: another call can run it.
    NoTime(String),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Passed => write!(f, "PASS"),
            Status::Failed(why) => write!(f, "FAIL: {why}"),
            Status::NotRun(why) | Status::NoTime(why) => write!(f, "not run: {why}"),
        }
    }
}

impl Status {
    fn json(&self) -> Value {
        match self {
            Status::Passed => json!({ "status": "pass" }),
            Status::Failed(why) => json!({ "status": "fail", "why": why }),
            Status::NotRun(why) | Status::NoTime(why) => json!({ "status": "not run", "why": why }),
        }
    }

    /// As [`Status::json`] writes it.
    fn read(from: &Value) -> Option<Self> {
        let why = || from["why"].as_str().map(String::from);
        match from["status"].as_str()? {
            "pass" => Some(Status::Passed),
            "fail" => why().map(Status::Failed),
            "not run" => why().map(Status::NotRun),
            _ => None,
        }
    }

    /// Of a step that takes about so many seconds and had too little time.
    pub fn out_of_time(left: Duration, expected: u64) -> Self {
        Status::NoTime(format!(
            "{} s of the time are left for it, and it takes about {expected} s",
            left.as_secs()
        ))
    }

    /// Whether this is well; `require` makes what did not run a failure.
    fn holds(&self, require: bool) -> bool {
        match self {
            Status::Passed => true,
            Status::Failed(_) => false,
            Status::NotRun(_) | Status::NoTime(_) => !require,
        }
    }
}

/// Rows of text under a header.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub header: Vec<String>,
    pub rows: Vec<Vec<String>>,
}

impl Table {
    pub fn new(header: &[&str], rows: Vec<Vec<String>>) -> Self {
        Table { header: header.iter().map(ToString::to_string).collect(), rows }
    }

    fn json(&self) -> Value {
        json!({ "header": self.header, "rows": self.rows })
    }

    fn read(from: &Value) -> Option<Self> {
        let texts = |from: &Value| -> Option<Vec<String>> {
            from.as_array()?.iter().map(|text| text.as_str().map(String::from)).collect()
        };
        let rows = from["rows"].as_array()?.iter().map(texts).collect::<Option<_>>()?;
        Some(Table { header: texts(&from["header"])?, rows })
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A bar in a cell would end it.
        let line = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
        writeln!(f, "{}", line(self.header.clone()))?;
        writeln!(f, "{}", line(vec!["---".into(); self.header.len()]))?;
        for row in &self.rows {
            writeln!(f, "{}", line(row.iter().map(|cell| cell.replace('|', "\\|")).collect()))?;
        }
        Ok(())
    }
}

/// What a step found.
#[derive(Debug, Clone, Default)]
pub struct Found {
    pub status: Status,
    /// A sentence each.
    pub notes: Vec<String>,
    pub tables: Vec<Table>,
    /// For the JSON report.
    pub data: Value,
}

/// A step and what became of it.
#[derive(Clone)]
pub struct Section {
    pub name: &'static str,
    pub seconds: f64,
    /// Seconds that it takes on a large GPU.
    pub expected: u64,
    pub found: Found,
}

/// Sections whose tables are made from the data of several, when a report is made.
const DERIVED: [&str; 2] = ["kernels", "step"];
/// How the note begins that says from where a section is.
const EARLIER: &str = "From an earlier call";

impl Section {
    fn json(&self) -> Value {
        let Found { status, notes, tables, data } = &self.found;
        let mut found = status.json();
        found["name"] = self.name.into();
        found["seconds"] = self.seconds.into();
        found["notes"] = notes.clone().into();
        found["tables"] = tables.iter().map(Table::json).collect();
        found["data"] = data.clone();
        found
    }

    fn read(from: &Value) -> Option<Self> {
        let step = STEPS.iter().find(|step| from["name"] == step.name)?;
        let tables = match DERIVED.contains(&step.name) {
            true => vec![],
            false => from["tables"].as_array()?.iter().map(Table::read).collect::<Option<_>>()?,
        };
        let notes = from["notes"].as_array()?.iter().map(|note| note.as_str().map(String::from));
        let found = Found {
            status: Status::read(from)?,
            notes: notes.collect::<Option<_>>()?,
            tables,
            data: from["data"].clone(),
        };
        Some(Section { name: step.name, seconds: from["seconds"].as_f64()?, expected: step.expected, found })
    }

    /// What an earlier report of this device found by running it.
    pub fn read_all(path: &Path, device: &str) -> Result<Vec<Self>, String> {
        let wrong = |what: &str| format!("{}: {what}", path.display());
        let text = fs::read(path).map_err(|err| wrong(&err.to_string()))?;
        let report: Value =
            serde_json::from_slice(&text).map_err(|_| wrong("it is no report of gpu_check"))?;
        match report["device"].as_str() {
            Some(name) if name == device => {}
            Some(name) => {
                return Err(wrong(&format!("it is of another device, {name}, and this is {device}")));
            }
            None => return Err(wrong("it is no report of gpu_check")),
        }
        let day = report["facts"]["date"].as_str().unwrap_or("an unknown day");
        let commit = report["facts"]["commit"].as_str().unwrap_or("an unknown commit");
        // A step that ran in part has data too.
        let ran = report["sections"].as_array().into_iter().flatten();
        let ran = ran.filter(|section| section["status"] != "not run" || !section["data"].is_null());
        let read = |from: &Value| {
            let mut section = Section::read(from).ok_or_else(|| wrong("a section of it cannot be read"))?;
            // Of a report that took it over itself, it says already where it is from.
            if !section.found.notes.first().is_some_and(|note| note.starts_with(EARLIER)) {
                section.found.notes.insert(0, format!("{EARLIER}: {day}, commit {commit}."));
            }
            Ok(section)
        };
        ran.map(read).collect()
    }
}

/// Something that a GPU shall reach.
pub struct Target {
    pub what: String,
    pub want: String,
    /// What was measured.
    pub got: String,
    pub status: Status,
}

pub struct Report {
    pub facts: Vec<(String, String)>,
    pub device: String,
    pub smoke: bool,
    pub sections: Vec<Section>,
    pub targets: Vec<Target>,
}

impl Report {
    /// Whether nothing failed; with `require`, also whether everything ran.
    pub fn holds(&self, require: bool) -> bool {
        let sections = self.sections.iter().map(|section| &section.found.status);
        sections.chain(self.targets.iter().map(|target| &target.status)).all(|status| status.holds(require))
    }

    pub fn markdown(&self) -> String {
        let mut text = format!("# GPU check: {}\n\n", self.device);
        let mut add = |line: fmt::Arguments| text.write_fmt(line).expect("a string takes all");
        if self.smoke {
            add(format_args!("**A try of the tool at tiny sizes: its times say nothing.**\n\n"));
        }
        for (what, value) in &self.facts {
            add(format_args!("- {what}: {value}\n"));
        }
        let summary = self.sections.iter().map(|section| {
            let Section { name, seconds, expected, found } = section;
            vec![name.to_string(), format!("{seconds:.0}"), expected.to_string(), found.status.to_string()]
        });
        let summary = Table::new(&["step", "seconds", "expected", "result"], summary.collect());
        add(format_args!("\n{summary}"));
        if let Some(names) = self.without_time() {
            add(format_args!("\nNot run for want of time: {names}.\n"));
        }
        let rows = self.targets.iter().map(|target| {
            let Target { what, want, got, status } = target;
            vec![what.clone(), want.clone(), got.clone(), status.to_string()]
        });
        let targets = Table::new(&["target", "wanted", "measured", "result"], rows.collect());
        add(format_args!("\n## Targets\n\n{targets}"));
        for section in &self.sections {
            let Found { status, notes, tables, .. } = &section.found;
            add(format_args!("\n## {}\n\n{status}\n", title(section.name)));
            notes.iter().for_each(|note| add(format_args!("\n{note}\n")));
            tables.iter().for_each(|table| add(format_args!("\n{table}")));
        }
        text
    }

    pub fn json(&self) -> Value {
        let facts = self.facts.iter().map(|(what, value)| (what.clone(), Value::from(value.clone())));
        let target = |target: &Target| {
            let mut found = target.status.json();
            found["what"] = target.what.clone().into();
            found["want"] = target.want.clone().into();
            found["got"] = target.got.clone().into();
            found
        };
        json!({
            "device": self.device,
            "smoke": self.smoke,
            "facts": Value::Object(facts.collect()),
            "sections": self.sections.iter().map(Section::json).collect::<Vec<_>>(),
            "targets": self.targets.iter().map(target).collect::<Vec<_>>(),
        })
    }

    /// The steps that another call could run.
    fn without_time(&self) -> Option<String> {
        let late = self.sections.iter().filter(|section| matches!(section.found.status, Status::NoTime(_)));
        let names: Vec<&str> = late.map(|section| section.name).collect();
        (!names.is_empty()).then(|| names.join(","))
    }

    /// How to go on with what was left out.
    pub fn left_out(&self, files: &Files) -> Option<String> {
        let report = files.named("json");
        Some(format!("go on with: gpu_check --only {} --with {}", self.without_time()?, report.display()))
    }

    /// Writes the files anew, the last with all logs of the folder `work`.
    pub fn write(&self, files: &Files, work: &Path) -> Result<(), String> {
        let json = serde_json::to_string_pretty(&self.json()).expect("plain data") + "\n";
        let texts = [("md", self.markdown().into_bytes()), ("json", json.into_bytes()), ("log", logs(work))];
        texts.into_iter().try_for_each(|(end, bytes)| {
            let path = files.named(end);
            let written = fs::create_dir_all(&files.folder).and_then(|()| fs::write(&path, bytes));
            written.map_err(|err| format!("{}: {err}", path.display()))
        })
    }
}

/// The files of a report: `DATE-gpu-DEVICE.md`, `.json` and `.log`.
pub struct Files {
    folder: PathBuf,
    stem: String,
}

impl Files {
    /// Names that no earlier report has.
    pub fn new(folder: &Path, date: &str, device: &str, smoke: bool) -> Self {
        let stem = format!("{date}-gpu-{}{}", slug(device), if smoke { "-smoke" } else { "" });
        let stems = (2..).map(|n| format!("{stem}-{n}"));
        let mut all = std::iter::once(stem.clone()).chain(stems);
        let free = all.find(|stem| !folder.join(format!("{stem}.json")).exists());
        Files { folder: folder.into(), stem: free.expect("there are numbers enough") }
    }

    fn named(&self, end: &str) -> PathBuf {
        self.folder.join(format!("{}.{end}", self.stem))
    }

    pub fn all(&self) -> [PathBuf; 3] {
        ["md", "json", "log"].map(|end| self.named(end))
    }
}

/// All logs of a folder, each under its name.
fn logs(work: &Path) -> Vec<u8> {
    let entries = fs::read_dir(work).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
    files.sort();
    let mut all = vec![];
    for file in files {
        let name = file.file_stem().unwrap_or_default().to_string_lossy();
        all.extend(format!("==== {name}\n").into_bytes());
        all.extend(fs::read(&file).unwrap_or_default());
    }
    all
}

/// With a capital letter.
fn title(name: &str) -> String {
    let (first, rest) = name.split_at(1);
    first.to_uppercase() + rest
}

/// A device's name as a part of a file's.
fn slug(name: &str) -> String {
    let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_lowercase()
}
