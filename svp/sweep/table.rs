//! The results of a sweep as CSV, JSON and Markdown.

use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::noise;
use super::plan::{Cell, Plan, Run};
use super::results::{Accuracy, Results, RunStatus};
use crate::data::text;
use crate::report::table::{count, csv_line, duration};
use crate::train::Outcome;

/// An accuracy of the table: of a task, of a group or the mean, with one method.
#[derive(Debug, Serialize)]
struct Row {
    /// Name of the task or group, or `mean`.
    name: String,
    /// `task`, `group` or `mean`.
    of: &'static str,
    method: String,
    /// The hyper-parameters that were chosen on validation.
    #[serde(skip_serializing_if = "String::is_empty")]
    chosen: String,
    /// Top-1 accuracy in percent of each seed, for tasks only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    seeds: Vec<Option<f64>>,
    mean: Option<f64>,
    deviation: Option<f64>,
    published: Option<f64>,
    /// The mean minus the published accuracy, in percent points.
    difference: Option<f64>,
    trained_parameters: Option<usize>,
    without_head: Option<usize>,
}

/// All accuracies of the table.
fn summary(plan: &Plan, results: &Results) -> Vec<Row> {
    let row = |name: &str, of, column: usize, accuracy: Option<Accuracy>| Row {
        name: name.into(),
        of,
        method: plan.columns[column].clone(),
        chosen: String::new(),
        seeds: vec![],
        mean: accuracy.map(|accuracy| accuracy.mean),
        deviation: accuracy.and_then(|accuracy| accuracy.deviation),
        published: plan.published(column, name),
        difference: difference(accuracy, plan.published(column, name)),
        trained_parameters: None,
        without_head: None,
    };
    let tasks = plan.cells.iter().map(|cell| {
        let (task, result) = (&plan.tasks[cell.task].name, results.result(cell));
        let outcome = result.as_ref().and_then(|result| result.outcomes.iter().flatten().next().copied());
        Row {
            chosen: result.as_ref().map_or(String::new(), |result| result.chosen.label.clone()),
            seeds: result.map_or(vec![], |result| result.top1()),
            trained_parameters: outcome.map(|outcome| outcome.trained_parameters),
            without_head: outcome.map(without_head),
            ..row(task, "task", cell.column, results.task(cell.task, cell.column))
        }
    });
    let columns = 0..plan.columns.len();
    let groups = plan.groups();
    let groups = groups.iter().flat_map(|group| columns.clone().map(move |column| (group, column)));
    let groups = groups.map(|(group, column)| row(group, "group", column, results.group(group, column)));
    let means = columns.clone().map(|column| row("mean", "mean", column, results.mean(column)));
    tasks.chain(groups).chain(means).collect()
}

/// Header of [`csv`].
const CSV: &str =
    "name,of,method,chosen,seeds,mean,deviation,published,difference,trained_parameters,without_head,run";

/// The results as CSV: a line for every task, every group and the mean, with every method. Accuracies are in percent.
/// The last lines are published rows that the sweep does not run, with `published only` in the last column.
pub fn csv(plan: &Plan, results: &Results) -> String {
    let mut text = format!("{CSV}\n");
    let number = |x: Option<f64>| x.map_or(String::new(), |x| format!("{x:.3}"));
    for row in summary(plan, results) {
        let seeds = row.seeds.iter().flatten().count();
        let count = |n: Option<usize>| n.map_or(String::new(), |n| n.to_string());
        text += &csv_line([
            row.name,
            row.of.into(),
            row.method,
            row.chosen,
            if row.of == "task" { seeds.to_string() } else { String::new() },
            number(row.mean),
            number(row.deviation),
            number(row.published),
            number(row.difference),
            count(row.trained_parameters),
            count(row.without_head),
            "here".into(),
        ]);
    }
    for row in &plan.not_run {
        for name in plan.rows() {
            let Some(published) = row.values.get(name) else { continue };
            let of = match plan.tasks.iter().any(|task| task.name == name) {
                true => "task",
                false if name == "mean" => "mean",
                false => "group",
            };
            let mut fields = [(); 12].map(|()| String::new());
            (fields[0], fields[1], fields[2]) = (name.into(), of.into(), row.title());
            (fields[7], fields[11]) = (number(Some(*published)), "published only".into());
            text += &csv_line(fields);
        }
    }
    text
}

/// The results as JSON: the accuracies in percent, the runs that failed, and how many runs are left.
pub fn json(plan: &Plan, results: &Results) -> String {
    let failed: Vec<_> = results
        .failures()
        .into_iter()
        .map(|(run, failure)| json!({ "run": run.name(), "diverged": failure.diverged, "message": failure.message }))
        .collect();
    let (rows, left) = (summary(plan, results), results.left(|_| true));
    let source = plan.sweep.published.as_ref().map(|published| &published.source);
    let json = json!({
        "title": plan.sweep.title,
        "results": rows,
        "source": source,
        "published_only": plan.not_run,
        "failed": failed,
        "left": left,
        "noise": noise::all(plan, results),
    });
    text::shown_json(&json.to_string())
}

/// The finished runs as CSV, those by which hyper-parameters were chosen included. Accuracies are in percent.
pub fn runs_csv(plan: &Plan, results: &Results) -> String {
    let mut text = "task,method,settings,seed,reported,selected_on,selected_top1,test_top1,test_top5,\
                    trained_parameters,best_epoch,epochs,images_per_s,seconds,folder\n"
        .to_string();
    for cell in &plan.cells {
        let chosen = results.chosen(cell).map(|point| &point.label);
        for point in &cell.points {
            let reported = |run: &Run| {
                chosen == Some(&point.label) && point.reported.iter().any(|own| own.folder == run.folder)
            };
            for run in point.runs() {
                if let RunStatus::Done(outcome) = results.status(run) {
                    text += &run_line(plan, cell, &point.label, run, outcome, reported(run));
                }
            }
        }
    }
    text
}

fn run_line(plan: &Plan, cell: &Cell, label: &str, run: &Run, outcome: &Outcome, reported: bool) -> String {
    let percent = |share: Option<f64>| share.map_or(String::new(), |share| format!("{:.3}", 100.0 * share));
    let test = outcome.test.as_ref();
    csv_line([
        plan.tasks[cell.task].name.clone(),
        plan.columns[cell.column].clone(),
        label.into(),
        run.config.seed.to_string(),
        if reported { "yes" } else { "no" }.into(),
        outcome.selected_on.to_string(),
        percent(outcome.selected.map(|score| score.value)),
        percent(test.map(|test| test.top1)),
        percent(test.map(|test| test.top5)),
        outcome.trained_parameters.to_string(),
        outcome.best_epoch.to_string(),
        outcome.epochs.to_string(),
        format!("{:.2}", outcome.images_per_s),
        format!("{:.1}", outcome.seconds),
        run.name(),
    ])
}

/// The number of trained parameters without those of the head, as papers count them.
fn without_head(outcome: &Outcome) -> usize {
    let own = outcome.parameters.iter().filter(|module| module.module != "head");
    own.map(|module| module.trained).sum()
}

/// The results as Markdown: a table with tasks down and methods across, and notes on how to read it.
pub fn markdown(plan: &Plan, results: &Results) -> String {
    let columns = 0..plan.columns.len();
    let mut text = format!("# {}\n\n", text::shown(&plan.sweep.title));
    text += &header("test accuracy, %", plan);
    let mean = |row: &str, accuracies: &dyn Fn(usize) -> Option<Accuracy>| -> Vec<String> {
        let cell = |column| {
            let accuracy = accuracies(column);
            with_published(plan, column, row, accuracy, accuracy.map(shown))
        };
        columns.clone().map(cell).collect()
    };
    let groups = plan.groups();
    for group in groups.iter().map(|group| Some(*group)).chain([None]) {
        for (task, of) in plan.tasks.iter().enumerate().filter(|(_, task)| task.group.as_deref() == group) {
            let cells = columns.clone().map(|column| cell(plan, results, task, column));
            text += &row(&of.name, cells.collect());
        }
        if let Some(group) = group {
            text += &row(&format!("**{group}**"), mean(group, &|column| results.group(group, column)));
        }
    }
    if plan.tasks.len() > 1 {
        let name = if plan.in_groups() { "**mean of the groups**" } else { "**mean**" };
        text += &row(name, mean("mean", &|column| results.mean(column)));
    }
    let parameters = |of: fn(&Outcome) -> usize| -> Vec<String> {
        columns.clone().map(|column| mean_parameters(plan, results, column, of)).collect()
    };
    let of = if plan.tasks.len() > 1 { ", mean" } else { "" };
    text += &row(&format!("parameters trained{of}"), parameters(|outcome| outcome.trained_parameters));
    text += &row("without the head", parameters(without_head));
    text + &noise::markdown(plan, results) + &not_run(plan) + &chosen(plan, results) + &notes(plan, results)
}

/// A line of a Markdown table, which no name in it breaks.
pub(super) fn row(first: &str, cells: Vec<String>) -> String {
    let cells = [first.to_string()].into_iter().chain(cells);
    let cells = cells.map(|cell| text::shown(&cell).replace('|', "\\|"));
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

pub(super) fn header(first: &str, plan: &Plan) -> String {
    row(first, plan.columns.clone()) + &row("---", vec!["---".into(); plan.columns.len()])
}

/// The accuracy of a task and a method, with how many seeds are missing.
fn cell(plan: &Plan, results: &Results, task: usize, column: usize) -> String {
    let of = plan.cell(task, column);
    let text = match (results.task(task, column).map(shown), results.result(of)) {
        (Some(accuracy), Some(result)) => {
            let (done, all) = (result.outcomes.iter().flatten().count(), result.outcomes.len());
            Some(if done < all { format!("{accuracy}, {done} of {all} seeds") } else { accuracy })
        }
        _ if results.diverged(of) => Some("diverged".into()),
        _ => None,
    };
    with_published(plan, column, &plan.tasks[task].name, results.task(task, column), text)
}

pub(super) fn shown(Accuracy { mean, deviation }: Accuracy) -> String {
    match deviation {
        Some(deviation) => format!("{mean:.1} ± {deviation:.1}"),
        None => format!("{mean:.1}"),
    }
}

/// The difference of two accuracies, where both are known.
fn difference(ours: Option<Accuracy>, published: Option<f64>) -> Option<f64> {
    Some(ours?.mean - published?)
}

/// A result with the published number and the difference to it, `-` for those that are missing.
fn with_published(
    plan: &Plan,
    column: usize,
    row: &str,
    ours: Option<Accuracy>,
    text: Option<String>,
) -> String {
    let text = text.unwrap_or_else(|| "-".into());
    if plan.sweep.published.is_none() {
        return text;
    }
    let published = plan.published(column, row);
    let number = published.map_or("-".into(), |published| format!("{published:.1}"));
    let difference = difference(ours, published).map_or("-".into(), |difference| format!("{difference:+.1}"));
    format!("{text} ({number}, {difference})")
}

/// A table of the published rows that the sweep does not run, as in the paper with methods down; empty without any.
fn not_run(plan: &Plan) -> String {
    if plan.not_run.is_empty() {
        return String::new();
    }
    let about = ["publication", "params", "pretrain"];
    let about = about.iter().filter(|key| plan.not_run.iter().any(|row| row.about.contains_key(*key)));
    let about: Vec<&str> = about.copied().collect();
    let names = || plan.rows().filter(|name| plan.not_run.iter().any(|row| row.values.contains_key(name)));
    let header = about.iter().copied().chain(names()).map(String::from);
    let header: Vec<String> = header.collect();
    let rules = row("---", vec!["---".into(); header.len()]);
    let mut text = "\n".to_string() + &row("published only, not run here, %", header) + &rules;
    for published in &plan.not_run {
        let told =
            about.iter().map(|key| published.about.get(key).map_or("-".into(), |text| text.to_string()));
        let numbers =
            names().map(|name| published.values.get(name).map_or("-".into(), |x| format!("{x:.1}")));
        text += &row(&published.title(), told.chain(numbers).collect());
    }
    text
}

fn mean_parameters(plan: &Plan, results: &Results, column: usize, of: fn(&Outcome) -> usize) -> String {
    let counts = (0..plan.tasks.len()).filter_map(|task| {
        let result = results.result(plan.cell(task, column))?;
        result.outcomes.into_iter().flatten().next().map(of)
    });
    let counts: Vec<usize> = counts.collect();
    if counts.is_empty() { "-".into() } else { count((counts.iter().sum::<usize>() / counts.len()) as u64) }
}

/// A table of the hyper-parameters that were chosen on validation; empty if there was no choice.
fn chosen(plan: &Plan, results: &Results) -> String {
    if plan.cells.iter().all(|cell| cell.points.len() < 2) {
        return String::new();
    }
    let mut text = "\n".to_string() + &header("chosen on validation", plan);
    for (task, of) in plan.tasks.iter().enumerate() {
        let label = |column| match plan.cell(task, column) {
            cell if cell.points.len() < 2 => String::new(),
            cell => results.chosen(cell).map_or("-".into(), |point| point.label.clone()),
        };
        text += &row(&of.name, (0..plan.columns.len()).map(label).collect());
    }
    text
}

/// How to read the table, and which runs are missing from it.
fn notes(plan: &Plan, results: &Results) -> String {
    let mut text = String::from("\n");
    let mut say = |line: String| text += &(line + "\n");
    let seeds = plan.cells[0].points[0].reported.len();
    if seeds > 1 {
        say(format!(
            "Mean and sample standard deviation over {seeds} seeds; those of a mean are over the seeds' means."
        ));
    }
    if let Some(published) = &plan.sweep.published {
        say(format!(
            "In parentheses: what was published ({}), and ours minus it; `-` where one is missing.",
            published.source
        ));
    }
    let outcomes: Vec<_> = results.outcomes().collect();
    if outcomes.iter().any(|outcome| outcome.selected_on == "test") {
        say("The epoch was chosen on the test split, as the published program does.".into());
    }
    if outcomes.iter().any(|outcome| outcome.test.is_none() && outcome.selected_on != "test") {
        say("Some tasks have no test split: their accuracies are those on validation.".into());
    }
    let seconds = outcomes.iter().map(|outcome| outcome.seconds).sum();
    let time = duration(Duration::from_secs_f64(seconds));
    say(format!(
        "{} runs, which took {time} together (a resumed run counts from its last start).",
        outcomes.len()
    ));
    match results.left(|_| true) {
        0 => {}
        left => say(format!("Not finished: {left} runs are still to be made.")),
    }
    for (run, failure) in results.failures() {
        let what = if failure.diverged {
            "diverged (it is not tried again unless its folder is removed)"
        } else {
            "failed"
        };
        say(format!("- {} {what}: {}", run.name(), failure.message.trim()));
    }
    text
}
