//! `svp-data`: says what a data set is, and what is wrong with it.

#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};
use svp::data::duplicates::{Duplicates, Pair};
use svp::data::text::shown;
use svp::data::{Check, Depth, Layout, Problem, check};
use svp::report::table::count;
use svp::report::{Counter, Table};
use svp::{Error, Result};

/// Most problems that are listed one by one.
const LISTED: usize = 20;

/// Examines data sets.
#[derive(Parser)]
#[command(version, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Says which data set was recognised, compares its splits and classes with the published numbers, and lists what
    /// is missing or broken and how to mend it. The exit code is 1 if anything is wrong
    Check(CheckArgs),
}

#[derive(Args)]
struct CheckArgs {
    /// Folder or archive of a data set, a folder that holds its archives, or a csv or jsonl file
    #[arg(value_name = "PATH")]
    path: PathBuf,
    /// Expect the data set that this preset trains on, such as hta/cub200 or vtab/caltech101
    #[arg(long, value_name = "PRESET", conflicts_with = "dataset")]
    preset: Option<String>,
    /// Layout of the data, as svp-train takes it [default: auto]
    #[arg(long, value_name = "LAYOUT")]
    dataset: Option<Layout>,
    /// Decode every image completely, instead of reading its header only
    #[arg(long)]
    decode: bool,
    /// Look for images of val and test that train has too, exactly or nearly
    #[arg(long)]
    duplicates: bool,
    /// Seed of the training sets that the published program draws at random (GTSRB, Food-101)
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Read images that lists in the data set name outside of it
    #[arg(long)]
    allow_outside: bool,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let Command::Check(args) = svp_cli::parse::<Cli>(env!("CARGO_BIN_NAME")).command;
    svp_cli::exit(|| svp_cli::start_threads(None).and_then(|()| run(&args)))
}

fn run(args: &CheckArgs) -> Result<ExitCode> {
    let layout = match &args.preset {
        Some(preset) => of_preset(preset)?,
        None => args.dataset.unwrap_or_default(),
    };
    let depth = Depth { decode: args.decode, duplicates: args.duplicates };
    let checked = check(&args.path, layout, args.seed, depth, args.allow_outside, &counted)?;
    svp_cli::show(&checked, args.json, text)?;
    Ok(if checked.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Shows on a terminal how far work on images is.
fn counted(what: &str, images: usize) -> Box<dyn Fn() + Sync> {
    let counter = Counter::new(what, images);
    Box::new(move || counter.add(1))
}

/// The layout of the data set that a preset is named after.
fn of_preset(preset: &str) -> Result<Layout> {
    let layout = preset.parse().ok();
    let known = layout.filter(|layout| matches!(layout, Layout::Known(_)));
    known.ok_or_else(|| {
        let what = format!("no data set is known for {preset:?}");
        Error::input("--preset", what, "use one like hta/cub200 or vtab/caltech101")
    })
}

fn text(checked: &Check) -> String {
    let mut table = Table::new(["split", "images", "published", "classes", "images a class"]);
    let published = |number: Option<usize>| number.map_or("-".into(), |number| count(number as u64));
    for split in &checked.splits {
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
        format!("{} classes, published {}", checked.classes.len(), published(checked.published_classes));
    let mut lines = vec![format!("found: {}", shown(&checked.recognised)), table.to_string(), classes];
    lines.extend(checked.notes.iter().map(|note| format!("note: {}", shown(note))));
    if checked.turned > 0 {
        let n = count(checked.turned as u64);
        lines.push(format!(
            "note: images that an EXIF orientation turns or mirrors: {n} (see --exif-orientation)"
        ));
    }
    if let Some(Duplicates { pairs, .. }) = &checked.duplicates {
        let line = |pair: &Pair| {
            let how = if pair.exact { "is" } else { "is nearly" };
            format!("duplicate: {} {how} {}", shown(&pair.other), shown(&pair.train))
        };
        lines.extend(pairs.iter().take(LISTED).map(line));
        match pairs.len() {
            0 => lines.push("no image of val or test is in train".into()),
            n if n > LISTED => lines.push(format!("{} more duplicates: --json lists them all", n - LISTED)),
            _ => {}
        }
    }
    let problems = &checked.problems;
    let line = |p: &Problem| format!("problem: {}", shown(&format!("{}: {}; {}", p.at, p.what, p.mend)));
    lines.extend(problems.iter().take(LISTED).map(line));
    if problems.len() > LISTED {
        lines.push(format!("{} more problems: --json lists them all", problems.len() - LISTED));
    }
    lines.push(match problems.len() {
        0 if checked.notes.iter().any(|note| note.starts_with("left out")) => {
            "nothing is wrong with what is read".into()
        }
        0 => "nothing is wrong".into(),
        1 => "1 problem".into(),
        n => format!("{n} problems"),
    });
    lines.join("\n") + "\n"
}
