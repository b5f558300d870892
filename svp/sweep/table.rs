//! The results of a sweep as CSV and Markdown.

use std::time::Duration;

use serde::Serialize;

use super::{Cell, Plan, Results, Run, Stat, State};
use crate::report::table::{count, duration};
use crate::train::Outcome;

/// A number of the table: of a task, a group or all.
#[derive(Debug, Serialize)]
pub(super) struct Row {
    /// Name of the task or group, or `mean`.
    name: String,
    /// `task`, `group` or `mean`.
    of: &'static str,
    method: String,
    /// What was chosen on validation.
    #[serde(skip_serializing_if = "String::is_empty")]
    chosen: String,
    /// Top-1 in percent of each seed; of tasks only.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    seeds: Vec<Option<f64>>,
    mean: Option<f64>,
    deviation: Option<f64>,
    published: Option<f64>,
    trained_parameters: Option<usize>,
    without_head: Option<usize>,
}

/// All numbers of the table.
pub(super) fn summary(plan: &Plan, results: &Results) -> Vec<Row> {
    let row = |name: &str, of, column: usize, stat: Option<Stat>| Row {
        name: name.into(),
        of,
        method: plan.columns[column].clone(),
        chosen: String::new(),
        seeds: vec![],
        mean: stat.map(|stat| stat.mean),
        deviation: stat.and_then(|stat| stat.deviation),
        published: plan.published(column, name),
        trained_parameters: None,
        without_head: None,
    };
    let tasks = plan.cells.iter().map(|cell| {
        let (task, found) = (&plan.tasks[cell.task].name, results.found(cell));
        let outcome = found.as_ref().and_then(|found| found.outcomes.iter().flatten().next().copied());
        Row {
            chosen: found.as_ref().map_or(String::new(), |found| found.chosen.label.clone()),
            seeds: found.map_or(vec![], |found| found.top1()),
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

/// The table: a line for every task, group and mean of every method.
pub fn csv(plan: &Plan, results: &Results) -> String {
    let mut text =
        "name,of,method,chosen,seeds,mean,deviation,published,trained_parameters,without_head\n".to_string();
    for row in summary(plan, results) {
        let seeds = row.seeds.iter().flatten().count();
        let number = |x: Option<f64>| x.map_or(String::new(), |x| format!("{x:.3}"));
        let count = |n: Option<usize>| n.map_or(String::new(), |n| n.to_string());
        text += &line([
            row.name,
            row.of.into(),
            row.method,
            row.chosen,
            if row.of == "task" { seeds.to_string() } else { String::new() },
            number(row.mean),
            number(row.deviation),
            number(row.published),
            count(row.trained_parameters),
            count(row.without_head),
        ]);
    }
    text
}

/// A line for every finished run, those that hyper-parameters were chosen by among them.
pub fn runs_csv(plan: &Plan, results: &Results) -> String {
    let mut text = "task,method,settings,seed,reported,selected_on,selected_top1,test_top1,test_top5,\
                    trained_parameters,best_epoch,epochs,images_per_s,seconds,folder\n"
        .to_string();
    for cell in &plan.cells {
        let chosen = results.chosen(cell).map(|point| &point.label);
        for point in &cell.points {
            let reported = |run: &Run| {
                chosen == Some(&point.label) && point.runs.iter().any(|own| own.folder == run.folder)
            };
            for run in point.all_runs() {
                if let State::Done(outcome) = results.state(run) {
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
    line([
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

/// A line of a CSV file.
fn line<const N: usize>(fields: [String; N]) -> String {
    let quoted = |field: &String| match field.contains([',', '"']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")),
        false => field.clone(),
    };
    fields.each_ref().map(quoted).join(",") + "\n"
}

/// Parameters trained but for the head, as papers count them.
fn without_head(outcome: &Outcome) -> usize {
    let own = outcome.parameters.iter().filter(|module| module.module != "head");
    own.map(|module| module.trained).sum()
}

/// The table for people: tasks down, methods across.
pub fn markdown(plan: &Plan, results: &Results) -> String {
    let columns = 0..plan.columns.len();
    let mut text = format!("# {}\n\n", plan.sweep.title);
    text += &header("test accuracy, %", plan);
    let mean = |row: &str, stats: &dyn Fn(usize) -> Option<Stat>| -> Vec<String> {
        let cell = |column| with_published(stats(column).map(shown), plan.published(column, row));
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
    text + &chosen(plan, results) + &notes(plan, results)
}

/// A line of a Markdown table.
fn row(first: &str, cells: Vec<String>) -> String {
    let cells = [first.to_string()].into_iter().chain(cells).map(|cell| cell.replace('|', "\\|"));
    format!("| {} |\n", cells.collect::<Vec<_>>().join(" | "))
}

fn header(first: &str, plan: &Plan) -> String {
    row(first, plan.columns.clone()) + &row("---", vec!["---".into(); plan.columns.len()])
}

/// Accuracy of a cell, with what is missing to it.
fn cell(plan: &Plan, results: &Results, task: usize, column: usize) -> String {
    let of = plan.cell(task, column);
    let text = match (results.task(task, column).map(shown), results.found(of)) {
        (Some(stat), Some(found)) => {
            let (done, all) = (found.outcomes.iter().flatten().count(), found.outcomes.len());
            Some(if done < all { format!("{stat}, {done} of {all} seeds") } else { stat })
        }
        _ if results.diverged(of) => Some("diverged".into()),
        _ => None,
    };
    with_published(text, plan.published(column, &plan.tasks[task].name))
}

fn shown(stat: Stat) -> String {
    match stat.deviation {
        Some(deviation) => format!("{:.1} ± {deviation:.1}", stat.mean),
        None => format!("{:.1}", stat.mean),
    }
}

fn with_published(text: Option<String>, published: Option<f64>) -> String {
    let text = text.unwrap_or_else(|| "-".into());
    match published {
        Some(published) => format!("{text} ({published:.1})"),
        None => text,
    }
}

fn mean_parameters(plan: &Plan, results: &Results, column: usize, of: fn(&Outcome) -> usize) -> String {
    let found = (0..plan.tasks.len()).filter_map(|task| {
        let found = results.found(plan.cell(task, column))?;
        found.outcomes.into_iter().flatten().next().map(of)
    });
    let counts: Vec<usize> = found.collect();
    if counts.is_empty() { "-".into() } else { count((counts.iter().sum::<usize>() / counts.len()) as u64) }
}

/// What was chosen on validation, where there was a choice.
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

/// How to read the table, and what is missing in it.
fn notes(plan: &Plan, results: &Results) -> String {
    let mut text = String::from("\n");
    let mut say = |line: String| text += &(line + "\n");
    let seeds = plan.cells[0].points[0].runs.len();
    if seeds > 1 {
        say(format!(
            "Mean and sample standard deviation over {seeds} seeds; of a mean, over the seeds' means."
        ));
    }
    if let Some(published) = &plan.sweep.published {
        say(format!("In parentheses: {}.", published.source));
    }
    let outcomes: Vec<_> = results.outcomes().collect();
    if outcomes.iter().any(|outcome| outcome.selected_on == "test") {
        say("The epoch was chosen on the test split, as the published program does.".into());
    }
    if outcomes.iter().any(|outcome| outcome.test.is_none() && outcome.selected_on != "test") {
        say("Some tasks have no test split: their numbers are of validation.".into());
    }
    let seconds = outcomes.iter().map(|outcome| outcome.seconds).sum();
    let time = duration(Duration::from_secs_f64(seconds));
    say(format!("{} runs, {time} together (of a resumed run, since it was resumed last).", outcomes.len()));
    match results.left(|_| true) {
        0 => {}
        left => say(format!("Not finished: {left} runs are still to be made.")),
    }
    for (run, failure) in results.failures() {
        let what = if failure.diverged {
            "diverged (not tried again while its folder lies there)"
        } else {
            "failed"
        };
        say(format!("- {} {what}: {}", run.name(), failure.message.trim()));
    }
    text
}
