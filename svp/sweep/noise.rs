//! Tests with noise on the pictures (`--test-noise`) as a table, a file and a picture beside the results of a sweep.

use serde::Serialize;

use super::plan::Plan;
use super::results::{Accuracy, Results};
use super::table::{header, row, shown};
use crate::report::chart::{Lines, Mark, lines};
use crate::report::table::csv_line;

/// The accuracy of a task and a method at one rate of noise.
#[derive(Debug, Serialize)]
pub(super) struct AtRate {
    task: String,
    method: String,
    rate: f64,
    /// Number of seeds.
    seeds: usize,
    /// Mean and deviation over them, in percent.
    mean: f64,
    deviation: Option<f64>,
}

/// The rates at which the finished runs were tested, in rising order, no noise first. Empty where none was.
fn rates(results: &Results) -> Vec<f64> {
    let mut rates: Vec<f64> =
        results.outcomes().flat_map(|outcome| outcome.noisy.iter().map(|noisy| noisy.rate)).collect();
    if !rates.is_empty() {
        rates.push(0.0);
    }
    rates.sort_by(f64::total_cmp);
    rates.dedup();
    rates
}

/// Accuracy of a task at a rate over the seeds that have been tested at it; the plain test is that at rate 0.
fn accuracy(
    results: &Results,
    plan: &Plan,
    task: usize,
    column: usize,
    rate: f64,
) -> (usize, Option<Accuracy>) {
    let Some(result) = results.result(plan.cell(task, column)) else { return (0, None) };
    let found = result.outcomes.iter().flatten().filter_map(|outcome| {
        let noisy = outcome.noisy.iter().find(|noisy| noisy.rate == rate).map(|noisy| noisy.top1);
        Some(100.0 * noisy.or_else(|| (rate == 0.0).then(|| Some(outcome.score()?.value))?)?)
    });
    let found: Vec<f64> = found.collect();
    (found.len(), Accuracy::of(&found))
}

/// Every accuracy with noise.
pub(super) fn all(plan: &Plan, results: &Results) -> Vec<AtRate> {
    let rates = rates(results);
    let cells = plan.cells.iter().flat_map(|cell| rates.iter().map(move |&rate| (cell, rate)));
    let at = |(cell, rate): (&super::Cell, f64)| {
        let (seeds, accuracy) = accuracy(results, plan, cell.task, cell.column, rate);
        let Accuracy { mean, deviation } = accuracy?;
        let (task, method) = (plan.tasks[cell.task].name.clone(), plan.columns[cell.column].clone());
        Some(AtRate { task, method, rate, seeds, mean, deviation })
    };
    cells.filter_map(at).collect()
}

/// A table of the accuracies with noise in Markdown; empty without any.
pub(super) fn markdown(plan: &Plan, results: &Results) -> String {
    let rates = rates(results);
    if rates.is_empty() {
        return String::new();
    }
    let mut text = "\n".to_string() + &header("test accuracy with noise, %", plan);
    for (task, of) in plan.tasks.iter().enumerate() {
        for &rate in &rates {
            let cell = |column| accuracy(results, plan, task, column, rate).1.map_or("-".into(), shown);
            text += &row(&format!("{}, rate {rate}", of.name), (0..plan.columns.len()).map(cell).collect());
        }
    }
    text
}

/// The accuracies with noise as CSV, in percent: a line for each task, method and rate. `None` where no run was tested with
/// noise.
pub fn noise_csv(plan: &Plan, results: &Results) -> Option<String> {
    let all = all(plan, results);
    let line = |at: &AtRate| {
        csv_line([
            at.task.clone(),
            at.method.clone(),
            at.rate.to_string(),
            at.seeds.to_string(),
            format!("{:.3}", at.mean),
            at.deviation.map_or(String::new(), |deviation| format!("{deviation:.3}")),
        ])
    };
    let lines: String = all.iter().map(line).collect();
    (!all.is_empty()).then(|| "task,method,rate,seeds,mean,deviation\n".to_string() + &lines)
}

/// A line over the rates of noise for each task and method, as a PNG file; `None` where no run was tested with noise.
pub fn noise_chart(plan: &Plan, results: &Results) -> Option<Vec<u8>> {
    let rates = rates(results);
    let series = plan.cells.iter().map(|cell| {
        let mark = |&rate: &f64| {
            let Accuracy { mean, deviation } = accuracy(results, plan, cell.task, cell.column, rate).1?;
            Some(Mark { mean, deviation, published: None })
        };
        let name = format!("{}, {}", plan.tasks[cell.task].name, plan.columns[cell.column]);
        (name, rates.iter().map(mark).collect())
    });
    let series: Vec<_> = series.collect();
    let chart = Lines { title: &plan.sweep.title, x_label: "rate of noise", xs: &rates, series: &series };
    (!rates.is_empty()).then(|| lines(&chart))
}
