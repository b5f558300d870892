//! What was found, as Markdown for people and JSON for programs.

use std::fmt::{self, Write};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

/// What became of a step or a target.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum Status {
    #[default]
    Passed,
    Failed(String),
    NotRun(String),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Passed => write!(f, "PASS"),
            Status::Failed(why) => write!(f, "FAIL: {why}"),
            Status::NotRun(why) => write!(f, "not run: {why}"),
        }
    }
}

impl Status {
    fn json(&self) -> Value {
        match self {
            Status::Passed => json!({ "status": "pass" }),
            Status::Failed(why) => json!({ "status": "fail", "why": why }),
            Status::NotRun(why) => json!({ "status": "not run", "why": why }),
        }
    }

    /// Whether this is well; `require` makes what did not run a failure.
    fn holds(&self, require: bool) -> bool {
        match self {
            Status::Passed => true,
            Status::Failed(_) => false,
            Status::NotRun(_) => !require,
        }
    }
}

/// Rows of text under a header.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub header: Vec<&'static str>,
    pub rows: Vec<Vec<String>>,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A bar in a cell would end it.
        let line = |cells: Vec<String>| format!("| {} |", cells.join(" | "));
        writeln!(f, "{}", line(self.header.iter().map(|cell| cell.to_string()).collect()))?;
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

pub struct Section {
    pub name: &'static str,
    pub seconds: f64,
    pub found: Found,
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
        let row =
            |name: &str, status: &Status, more: String| vec![name.to_string(), more, status.to_string()];
        let summary = self.sections.iter();
        let summary = summary.map(|s| row(s.name, &s.found.status, format!("{:.0}", s.seconds)));
        add(format_args!(
            "\n{}",
            Table { header: vec!["step", "seconds", "result"], rows: summary.collect() }
        ));
        let rows = self.targets.iter().map(|target| {
            let Target { what, want, got, status } = target;
            vec![what.clone(), want.clone(), got.clone(), status.to_string()]
        });
        let targets = Table { header: vec!["target", "wanted", "measured", "result"], rows: rows.collect() };
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
        let section = |section: &Section| {
            let mut found = section.found.status.json();
            found["name"] = section.name.into();
            found["seconds"] = section.seconds.into();
            found["notes"] = section.found.notes.clone().into();
            found["data"] = section.found.data.clone();
            found
        };
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
            "sections": self.sections.iter().map(section).collect::<Vec<_>>(),
            "targets": self.targets.iter().map(target).collect::<Vec<_>>(),
        })
    }

    /// Writes `DATE-gpu-DEVICE.md`, `.json`, and all logs of the folder `work` as one.
    pub fn write(&self, folder: &Path, work: &Path) -> Result<Vec<PathBuf>, String> {
        let date = self.facts.iter().find(|(what, _)| what == "date").map_or("", |(_, date)| date);
        let smoke = if self.smoke { "-smoke" } else { "" };
        let name = format!("{date}-gpu-{}{smoke}", slug(&self.device));
        let json = serde_json::to_string_pretty(&self.json()).expect("plain data") + "\n";
        let files = [("md", self.markdown().into_bytes()), ("json", json.into_bytes()), ("log", logs(work))];
        let write = |(end, bytes): (&str, Vec<u8>)| {
            let path = folder.join(format!("{name}.{end}"));
            let written = fs::create_dir_all(folder).and_then(|()| fs::write(&path, bytes));
            written.map(|()| path.clone()).map_err(|err| format!("{}: {err}", path.display()))
        };
        files.into_iter().map(write).collect()
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
