//! The page of a run: what its folder says, and what its trained model makes of a split.

use std::path::Path;
use std::time::Duration;

use crate::Result;
use crate::backbones::FAMILIES;
use crate::confusion::Means;
use crate::data::Sample;
use crate::examination::{Examination, Wrong};
use crate::model::count_parameters;
use crate::report::html::{Facts, Mistake, RunPage, Section};
use crate::report::table::{bytes, count, duration, percent};
use crate::report::{LrRange, Record, read_metrics};
use crate::train::{Evaluation, Feed, Outcome, TrainConfig, TrainedModel};

/// Largest number of mistakes that are shown.
const MISTAKES: usize = 24;

/// The split that is measured for the page.
pub struct Measured<'a> {
    /// Name of the split.
    pub split: &'a str,
    /// What is measured on, as a sentence names it: `the test split`.
    pub title: &'a str,
    /// Images of the split, for the pictures of mistakes.
    pub samples: &'a [Sample],
    /// Feed of the same images, in the same order.
    pub feed: &'a Feed,
}

/// Makes the page of the run in folder `run`, and the evaluation behind it.
///
/// A damaged metrics file or report, and errors of the evaluation.
pub fn run_page(
    run: &Path,
    of: &TrainedModel,
    config: &TrainConfig,
    on: Measured,
) -> Result<(RunPage, Evaluation)> {
    let records = read_metrics(&run.join("metrics.jsonl"))?;
    let outcome = Outcome::read(run)?;
    let mut wrong = vec![];
    let seen = Examination::of(&of.model, on.feed, &mut |one| wrong.push(one))?;
    let Examination { found, confusion, calibration_error } = seen;
    wrong.sort_by(|a, b| b.probability.total_cmp(&a.probability));
    wrong.truncate(MISTAKES);
    let classes = of.trained.classes.clone();
    let means = Means::of(&confusion.scores(classes.len()));
    let parameters = count_parameters(&of.model.params);
    let trained = parameters.iter().map(|p| p.trained as u64).sum();
    let on_split = format!("({})", on.split);
    let mut tiles = vec![
        (format!("top-1 {on_split}"), percent(found.top1 as f32)),
        (format!("top-5 {on_split}"), percent(found.top5 as f32)),
        (
            format!("balanced accuracy {on_split}"),
            percent(means.map_or(f32::NAN, |means| means.recall as f32)),
        ),
        (format!("loss {on_split}"), format!("{:.3}", found.loss)),
        (format!("calibration error {on_split}"), percent(calibration_error as f32)),
        ("parameters trained".into(), count(trained)),
    ];
    if let Some(outcome) = &outcome {
        let kept = if outcome.selected.is_some() { "best epoch" } else { "last epoch" };
        tiles.push((kept.into(), format!("{} of {}", outcome.best_epoch, outcome.epochs)));
    }
    let broken = match on.feed.broken().len() {
        0 => String::new(),
        n => format!(", {} left out because they cannot be read", count(n as u64)),
    };
    let mistakes = wrong.into_iter().map(|wrong| shown(wrong, on.samples)).collect::<Result<_>>()?;
    let section = of.model.method.section(&of.model.params, of.model.spec())?;
    let without = || Section {
        heading: "Prompts".into(),
        text: "This run has no prompts, so there are no scales to show.".into(),
        figures: vec![],
    };
    let page = RunPage {
        title: name(run),
        lead: lead(of, config),
        tiles,
        timing: timing(&records, outcome.as_ref(), config),
        records,
        range: LrRange::read(run)?,
        measured_on: format!("Measured on {}, {} images{broken}", on.title, count(found.images as u64)),
        classes,
        confusion,
        mistakes,
        sections: vec![section.unwrap_or_else(without)],
        parameters: parameters.into_iter().map(|p| (p.module.into_owned(), p.trained, p.all)).collect(),
        config: settings(config),
    };
    Ok((page, found))
}

/// A mistake with its picture.
fn shown(wrong: Wrong, samples: &[Sample]) -> Result<Mistake> {
    let Wrong { index, truth, said, probability } = wrong;
    let source = &samples[index as usize].source;
    Ok(Mistake { name: source.to_string(), picture: source.load()?, truth, said, probability })
}

/// The name of a folder, which for `.` is that of the folder it stands for.
fn name(run: &Path) -> String {
    let full = run.canonicalize().unwrap_or_else(|_| run.to_path_buf());
    full.file_name().unwrap_or(full.as_os_str()).to_string_lossy().into_owned()
}

fn lead(of: &TrainedModel, config: &TrainConfig) -> String {
    let spec = of.model.spec();
    let family = FAMILIES.iter().find(|family| family.name == spec.family);
    let method = of.trained.method.entry.about;
    let method = family.map_or(method.into(), |family| method.replace("backbone", family.title));
    format!("{method} ({spec}), trained on {}, {} classes.", config.data.display(), of.trained.classes.len())
}

fn timing(records: &[Record], outcome: Option<&Outcome>, config: &TrainConfig) -> Facts {
    let seconds = |seconds: f64| duration(Duration::try_from_secs_f64(seconds).unwrap_or_default());
    let epochs: Vec<f64> = records
        .iter()
        .filter_map(|record| match record {
            Record::Epoch { seconds, .. } => Some(f64::from(*seconds)),
            _ => None,
        })
        .collect();
    let all: f64 = epochs.iter().sum();
    let trained = if config.selects_on().is_some() { "training and validation" } else { "training" };
    let mut facts: Facts = vec![
        ("epochs".into(), format!("{} of {}", epochs.len(), config.epochs)),
        (trained.into(), seconds(all)),
        ("an epoch".into(), seconds(all / epochs.len().max(1) as f64)),
    ];
    match outcome {
        None => facts.push(("state".into(), "not finished".into())),
        Some(outcome) => facts.extend([
            ("the process that finished the run".into(), seconds(outcome.seconds)),
            ("images a second in its steps".into(), format!("{:.0}", outcome.images_per_s)),
            ("of that time waiting for data".into(), percent(outcome.wait_share as f32)),
            ("tensors at most".into(), bytes(outcome.peak_tensor_bytes as u64)),
        ]),
    }
    if let Some(patience) = outcome.and_then(|outcome| outcome.out_of_patience) {
        facts.push(("ended early".into(), format!("{patience} epochs had no better score")));
    }
    facts
}

/// Every setting of a run with its value.
fn settings(config: &TrainConfig) -> Facts {
    // The table comes from the text of the config, in which an f32 of 0.1 is written as 0.1.
    let text = toml::to_string(config).expect("plain values make valid TOML");
    let table: toml::Table = text.parse().expect("just made");
    let value = |value: toml::Value| match value {
        toml::Value::String(text) => text,
        other => other.to_string(),
    };
    let row = |(name, setting): (String, toml::Value)| match setting {
        toml::Value::Table(settings) => {
            settings.into_iter().map(|(name, setting)| (name, value(setting))).collect()
        }
        setting => vec![(name, value(setting))],
    };
    table.into_iter().flat_map(row).collect()
}
