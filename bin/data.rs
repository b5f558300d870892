//! `svp-data`: what a data set is, and what is wrong with it.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use svp::data::{Check, Layout, check};
use svp::report::Table;
use svp::report::table::count;
use svp::{Error, Result};

/// Problems that are told one by one.
const TOLD: usize = 20;

/// Looks at data sets.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Says what was recognised, counts splits and classes against the published numbers, and lists what is missing or
    /// broken with how to mend it. Exit code 1 if anything is wrong
    Check(Checked),
}

#[derive(Args)]
struct Checked {
    /// Folder or archive of a data set, or folder with its archives
    #[arg(value_name = "DIR")]
    path: PathBuf,
    /// The data set that a preset trains on, such as hta/cub200 or vtab/caltech101
    #[arg(long, value_name = "PRESET", conflicts_with = "dataset")]
    preset: Option<String>,
    /// Layout, as of svp-train [default: auto]
    #[arg(long, value_name = "LAYOUT")]
    dataset: Option<Layout>,
    /// Decode every image, not only its header
    #[arg(long)]
    decode: bool,
    /// Decides the training sets that the published program draws (GTSRB, Food-101)
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let Command::Check(checked) = Cli::parse().command;
    svp_cli::exit(run(&checked))
}

fn run(checked: &Checked) -> Result<ExitCode> {
    let layout = match &checked.preset {
        Some(preset) => of_preset(preset)?,
        None => checked.dataset.unwrap_or_default(),
    };
    let found = check(&checked.path, layout, checked.seed, checked.decode)?;
    svp_cli::print(&if checked.json { json(&found) } else { text(&found) })?;
    Ok(if found.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The data set that a preset is called by.
fn of_preset(preset: &str) -> Result<Layout> {
    let layout = preset.parse().ok();
    let known = layout.filter(|layout| matches!(layout, Layout::Known(_)));
    known.ok_or_else(|| {
        let what = format!("no data set is known for {preset:?}");
        Error::input("--preset", what, "use one like hta/cub200 or vtab/caltech101")
    })
}

fn json(found: &Check) -> String {
    serde_json::to_string(found).expect("plain data") + "\n"
}

fn text(found: &Check) -> String {
    let mut table = Table::new(["split", "images", "published", "classes", "images a class"]);
    let published = |number: Option<usize>| number.map_or("-".into(), |number| count(number as u64));
    for split in &found.splits {
        let present = split.per_class.iter().copied().filter(|&images| images > 0);
        let (least, most) = (present.clone().min().unwrap_or(0), present.clone().max().unwrap_or(0));
        let range = if least == most { count(least as u64) } else { format!("{least} to {most}") };
        let classes = count(present.count() as u64);
        table.row([
            split.name.into(),
            count(split.images as u64),
            published(split.published),
            classes,
            range,
        ]);
    }
    let classes =
        format!("{} classes, published {}", found.classes.len(), published(found.published_classes));
    let mut lines = vec![format!("found: {}", found.recognised), table.to_string(), classes];
    lines.extend(found.notes.iter().map(|note| format!("note: {note}")));
    let problems = &found.problems;
    lines.extend(problems.iter().take(TOLD).map(|p| format!("problem: {}: {}; {}", p.at, p.what, p.mend)));
    if problems.len() > TOLD {
        lines.push(format!("{} more problems: --json lists them all", problems.len() - TOLD));
    }
    lines.push(match problems.len() {
        0 => "nothing is wrong".into(),
        1 => "1 problem".into(),
        n => format!("{n} problems"),
    });
    lines.join("\n") + "\n"
}
