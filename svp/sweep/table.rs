//! The results of a sweep as CSV and Markdown.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use super::{Plan, Results, Stat, State};
use crate::report::table::{count, duration};

/// A line for every finished run, those that hyper-parameters were chosen by among them.
pub fn csv(plan: &Plan, results: &Results) -> String {
    let mut text = String::from(
        "task,group,method,settings,seed,reported,selected_on,selected_top1,test_top1,test_top5,published,\
         trained_parameters,best_epoch,epochs,images_per_s,seconds,folder\n",
    );
    for cell in &plan.cells {
        let task = &plan.tasks[cell.task];
        let chosen = results.chosen(cell);
        let published = plan.published(cell.column, &task.name);
        for point in &cell.points {
            let is_chosen = chosen.is_some_and(|chosen| chosen.label == point.label);
            let reported = |run: &&_| is_chosen && point.runs.iter().any(|own| std::ptr::eq(own, *run));
            let own =
                point.probe.iter().filter(|probe| point.runs.iter().all(|run| run.folder != probe.folder));
            for run in own.chain(&point.runs) {
                let State::Done(outcome) = results.state(run) else { continue };
                let percent =
                    |share: Option<f64>| share.map_or(String::new(), |share| format!("{:.3}", 100.0 * share));
                let test = outcome.test.as_ref();
                let fields = [
                    task.name.clone(),
                    task.group.clone().unwrap_or_default(),
                    plan.columns[cell.column].clone(),
                    point.label.clone(),
                    run.config.seed.to_string(),
                    if reported(&run) { "yes" } else { "no" }.into(),
                    outcome.selected_on.to_string(),
                    percent(outcome.selected_top1),
                    percent(test.map(|test| test.top1)),
                    percent(test.map(|test| test.top5)),
                    published.map_or(String::new(), |published| published.to_string()),
                    outcome.trained_parameters.to_string(),
                    outcome.best_epoch.to_string(),
                    outcome.epochs.to_string(),
                    format!("{:.2}", outcome.images_per_s),
                    format!("{:.1}", outcome.seconds),
                    run.folder.display().to_string(),
                ];
                text += &(fields.map(|field| quoted(&field).into_owned()).join(",") + "\n");
            }
        }
    }
    text
}

/// A field of a CSV file.
fn quoted(field: &str) -> Cow<'_, str> {
    match field.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", field.replace('"', "\"\"")).into(),
        false => field.into(),
    }
}

/// The table for people: tasks down, methods across.
pub fn markdown(plan: &Plan, results: &Results) -> String {
    let mut text = format!("# {}\n\n", plan.sweep.title);
    let columns = 0..plan.columns.len();
    let mut line = |first: &str, cells: Vec<String>| {
        let cells = [first.to_string()].into_iter().chain(cells).map(|cell| cell.replace('|', "\\|"));
        writeln!(text, "| {} |", cells.collect::<Vec<_>>().join(" | ")).expect("writing to a string");
    };
    line("test accuracy, %", plan.columns.clone());
    line("---", columns.clone().map(|_| "---".to_string()).collect());
    let mean = |row: &str, stats: &dyn Fn(usize) -> Option<Stat>| -> Vec<String> {
        let cell = |column| with_published(stats(column).map(shown), plan.published(column, row));
        columns.clone().map(cell).collect()
    };
    let groups = plan.groups();
    let in_groups = groups.iter().map(|group| Some(*group));
    for group in in_groups.chain([None]) {
        for (task, of) in plan.tasks.iter().enumerate().filter(|(_, task)| task.group.as_deref() == group) {
            line(&of.name, columns.clone().map(|column| cell(plan, results, task, column)).collect());
        }
        if let Some(group) = group {
            line(&format!("**{group}**"), mean(group, &|column| results.group(group, column)));
        }
    }
    if plan.tasks.len() > 1 {
        let name = if groups.is_empty() { "**mean**" } else { "**mean of the groups**" };
        line(name, mean("mean", &|column| results.mean(column)));
    }
    let parameters = |of: fn(&crate::train::Outcome) -> usize| -> Vec<String> {
        columns.clone().map(|column| mean_parameters(plan, results, column, of)).collect()
    };
    line("parameters trained", parameters(|outcome| outcome.trained_parameters));
    line(
        "without the head",
        parameters(|outcome| {
            let own = outcome.parameters.iter().filter(|module| module.module != "head");
            own.map(|module| module.trained).sum()
        }),
    );
    text + &chosen(plan, results) + &notes(plan, results)
}

/// Accuracy of a cell, with what is missing to it.
fn cell(plan: &Plan, results: &Results, task: usize, column: usize) -> String {
    let of = plan.cell(task, column);
    let stat = results.task(task, column).map(shown);
    let diverged = |state: &State| matches!(state, State::Failed(failure) if failure.diverged);
    let text = match (stat, results.found(of)) {
        (Some(stat), Some(found)) => {
            let (done, all) = (found.outcomes.iter().flatten().count(), found.outcomes.len());
            Some(if done < all { format!("{stat}, {done} of {all} seeds") } else { stat })
        }
        (None, Some(found)) if found.chosen.runs.iter().any(|run| diverged(results.state(run))) => {
            Some("diverged".into())
        }
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
    published.map_or(text.clone(), |published| format!("{text} ({published:.1})"))
}

fn mean_parameters(
    plan: &Plan,
    results: &Results,
    column: usize,
    of: fn(&crate::train::Outcome) -> usize,
) -> String {
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
    let mut text = format!("\nChosen on validation:\n\n| task | {} |\n", plan.columns.join(" | "));
    text += &format!("|{}\n", " --- |".repeat(plan.columns.len() + 1));
    for (task, of) in plan.tasks.iter().enumerate() {
        let label = |column| match plan.cell(task, column) {
            cell if cell.points.len() < 2 => "".to_string(),
            cell => results.chosen(cell).map_or("-".into(), |point| point.label.clone()),
        };
        let labels: Vec<String> = (0..plan.columns.len()).map(label).collect();
        text += &format!("| {} | {} |\n", of.name, labels.join(" | "));
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
    say(format!("{} runs, {} of training.", outcomes.len(), duration(Duration::from_secs_f64(seconds))));
    match results.left(|_| true) {
        0 => {}
        left => say(format!("Not finished: {left} runs are still to be made.")),
    }
    for (run, failure) in results.failures() {
        say(format!("- {} failed: {}", run.folder.display(), failure.message.trim()));
    }
    text
}
