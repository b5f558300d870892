//! Results as text.

use std::borrow::Cow;
use std::path::Path;
use std::time::Duration;

use svp::methods::{METHODS, setting_names};
use svp::model::ParameterCount;
use svp::report::Table;
use svp::report::table::{bytes, count, duration, percent};
use svp::toml_text::shown;
use svp::train::{DryRun, Outcome, Override, Preset};
use toml::Value;

/// A table of finished runs, and how their epochs were chosen.
pub fn outcomes(outcomes: &[Outcome]) -> String {
    let mut table = Table::new([
        "method",
        "top-1",
        "top-5",
        "measured on",
        "trained",
        "images/s",
        "data wait",
        "time",
        "tensors at most",
    ]);
    for outcome in outcomes {
        let (on, top5) = match &outcome.test {
            // Of five classes or fewer, every image is among the first five.
            Some(test) if outcome.classes > 5 => ("test", percent(test.top5 as f32)),
            Some(_) => ("test", "-".into()),
            None => (&*outcome.selected_on, "-".into()),
        };
        // A run that had ended before it was resumed made no steps in this process.
        let stepped = outcome.images_per_s > 0.0;
        let images_per_s = if stepped { format!("{:.1}", outcome.images_per_s) } else { "-".into() };
        let wait = if stepped { percent(outcome.wait_share as f32) } else { "-".into() };
        table.row([
            method(&outcome.method).into(),
            outcome.score().map_or("-".into(), |score| percent(score.value as f32)),
            top5,
            on.into(),
            count(outcome.trained_parameters as u64),
            images_per_s,
            wait,
            duration(Duration::from_secs_f64(outcome.seconds)),
            bytes(outcome.peak_tensor_bytes as u64),
        ]);
    }
    let chosen: String = outcomes
        .iter()
        .map(|o| {
            let (best, epochs) = (o.best_epoch, o.epochs);
            let why = match o.selected {
                Some(_) => format!("chosen on {}", o.selected_on),
                None => "the last (trained on val too)".into(),
            };
            let early = o.out_of_patience.map_or(String::new(), |patience| {
                format!("; ended early, as {patience} epochs had no better score")
            });
            format!("{}: epoch {best} of {epochs}, {why}{early}\n", method(&o.method))
        })
        .collect();
    let broken = outcomes.iter().filter(|o| !o.broken_images.is_empty()).map(|o| {
        let images = match o.broken_images.len() {
            1 => "1 image".into(),
            n => format!("{} images", count(n as u64)),
        };
        format!("{}: {images} could not be read; report.json lists them\n", method(&o.method))
    });
    let broken: String = broken.collect();
    format!("{table}\n{chosen}{broken}")
}

/// What a user may do next with a run in this folder.
pub fn next(folder: &Path) -> String {
    let folder = folder.to_string_lossy();
    let run = quoted(&folder);
    format!(
        "next: svp-eval {run}             top-1 of every class\n\
         {:6}svp-predict --run {run} IMAGE...\n\
         {:6}svp-report {run}             the run as a page for the browser",
        "", ""
    )
}

/// A word as a shell takes it.
fn quoted(word: &str) -> Cow<'_, str> {
    let plain = |c: char| c.is_alphanumeric() || "/._-+=:@%".contains(c);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.into(),
        false => format!("'{}'", word.replace('\'', "'\\''")).into(),
    }
}

/// A table of the presets of data sets with the settings in which they differ, then the presets of methods with all of
/// their settings, and whose these are.
pub fn presets() -> String {
    let mut table = Table::new(["preset", "method", "lr", "decay", "batch", "epochs", "settings", "data"]);
    let (of_data, of_methods): (Vec<_>, Vec<_>) =
        Preset::all().iter().partition(|preset| preset.dataset.is_some());
    for preset in of_data {
        let whose = if preset.published() { "published" } else { "ours" };
        let Preset { name, dataset, settings, .. } = preset;
        let setting = |key: &str| settings.get(key).map_or(String::new(), |value| value.to_string());
        let [lr, decay] = ["lr", "weight-decay"].map(setting);
        let [batch, epochs] = ["batch-size", "epochs"].map(setting);
        let of_method = setting_names().into_iter().filter(|name| settings.contains_key(*name));
        let of_method: String = of_method.map(|name| format!(" {name} {}", settings[name])).collect();
        let method = setting("method").trim_matches('"').to_string() + &of_method;
        let title = dataset.map_or(String::new(), |dataset| dataset.title.into());
        table.row([name.clone(), method, lr, decay, batch, epochs, whose.into(), title]);
    }
    let methods: String = of_methods.into_iter().map(of_method).collect();
    format!(
        "{table}\nPresets of methods; hta/cub200+vpt has both, and the settings of the method win.\n{methods}"
    )
}

/// The preset of a method: where its settings were published, and whose they are.
fn of_method(preset: &Preset) -> String {
    let listed = |of: &mut dyn Iterator<Item = (&String, &Value)>| {
        of.map(|(key, value)| format!("{key} {}", shown(value))).collect::<Vec<_>>().join(", ")
    };
    let Preset { name, source, ours, grid, by_task, settings, .. } = preset;
    let (own, published): (Vec<_>, Vec<_>) =
        settings.iter().filter(|(key, _)| *key != "method").partition(|(key, _)| ours.contains(key));
    let source = source.as_deref().unwrap_or_default();
    let mut text = format!("{name}: {source}\n  published  {}\n", listed(&mut published.into_iter()));
    text += &format!("  ours       {}\n", listed(&mut own.into_iter()));
    if !grid.is_empty() {
        text += &format!("  published to choose from  {}\n", listed(&mut grid.iter()));
    }
    if !by_task.is_empty() {
        let tasks = by_task.iter().map(|(task, settings)| {
            let own = settings.as_table().into_iter().flatten();
            let own: Vec<String> = own.map(|(key, value)| format!("{key} {}", shown(value))).collect();
            format!("{task} {}", own.join(" "))
        });
        text += &format!("  published for tasks  {}\n", tasks.collect::<Vec<_>>().join(", "));
    }
    text
}

/// The preset of a run, the settings that differ from it, and those of a method's preset that are not published.
pub fn preset(name: &str, overrides: &[Override]) -> String {
    let ours = match Preset::named(name) {
        Ok(preset) if preset.source.is_some() && !preset.ours.is_empty() => {
            format!("\nnot published, but this project's: {}", preset.ours.join(", "))
        }
        _ => String::new(),
    };
    let changed: Vec<String> = overrides
        .iter()
        .map(|Override { setting, preset, used }| format!("{setting} {used} (preset: {preset})"))
        .collect();
    match changed.is_empty() {
        true => format!("preset: {name}{ours}"),
        false => format!("preset: {name}, but {}{ours}", changed.join(", ")),
    }
}

/// The title of a method, or the name of one that this version does not know.
fn method(name: &str) -> &str {
    METHODS.iter().find(|entry| entry.name == name).map_or(name, |entry| entry.title)
}

/// The findings of a dry run.
pub fn dry_run(found: &DryRun) -> String {
    let mut table = Table::new(["module", "trained", "all"]);
    let mut row = |module: &str, trained: usize, all: usize| {
        table.row([module.into(), count(trained as u64), count(all as u64)]);
    };
    for ParameterCount { module, trained, all } in &found.parameters {
        row(module, *trained, *all);
    }
    let sum = |of: fn(&ParameterCount) -> usize| found.parameters.iter().map(of).sum();
    row("total", sum(|p| p.trained), sum(|p| p.all));
    let notes: String = found.notes.iter().map(|note| format!("{note}\n")).collect();
    let [train, val, test] = found.images.map(|n| count(n as u64));
    format!(
        "{notes}{table}\n\
         {} on {}: {} classes, {train} images to train, {val} to validate, {test} to test\n\
         {} steps an epoch, {} in all\n\
         the one step that was made held at most {} of tensors, with a loss of {:.4}\n\
         nothing was written\n",
        method(found.method),
        found.data,
        found.classes,
        count(found.steps_per_epoch as u64),
        count(found.steps),
        bytes(found.peak_tensor_bytes as u64),
        found.loss,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_commands_can_be_pasted() {
        let of = |folder: &str| next(Path::new(folder));
        let lines: Vec<String> = of("runs/svp-flowers-1").lines().map(String::from).collect();
        assert!(lines[0].starts_with("next: svp-eval runs/svp-flowers-1  "), "{lines:?}");
        assert_eq!(lines[1], "      svp-predict --run runs/svp-flowers-1 IMAGE...");
        assert!(of("my runs/it's").contains("svp-report 'my runs/it'\\''s'  "), "{}", of("my runs/it's"));
    }
}
