//! The results of a sweep as a picture.

use toml::Value;

use super::plan::Plan;
use super::results::{Accuracy, Results};
use crate::report::chart::{Bars, Lines, Mark, bars, lines};

/// The accuracies as a PNG file: lines over the values of a setting if the sweep varies one number of one method, else
/// bars.
pub fn chart(plan: &Plan, results: &Results) -> Vec<u8> {
    let columns = 0..plan.columns.len();
    let marks = |row: &str, accuracy: &dyn Fn(usize) -> Option<Accuracy>| -> (String, Vec<Option<Mark>>) {
        let mark = |column| {
            let Accuracy { mean, deviation } = accuracy(column)?;
            Some(Mark { mean, deviation, published: plan.published(column, row) })
        };
        (row.to_string(), columns.clone().map(mark).collect())
    };
    let mut rows: Vec<_> = (0..plan.tasks.len())
        .map(|task| marks(&plan.tasks[task].name, &|column| results.task(task, column)))
        .collect();
    let groups = plan.groups();
    rows.extend(groups.iter().map(|group| marks(group, &|column| results.group(group, column))));
    if plan.tasks.len() > 1 {
        rows.push(marks("mean", &|column| results.mean(column)));
    }
    let title = &plan.sweep.title;
    match axis(plan) {
        Some((x_label, xs)) => lines(&Lines { title, x_label, xs: &xs, series: &rows }),
        None => bars(&Bars { title, series: &plan.columns, rows: &rows }),
    }
}

/// The setting that is varied, and its values, if one number of one method is.
fn axis(plan: &Plan) -> Option<(&str, Vec<f64>)> {
    let vary = &plan.sweep.vary;
    if vary.len() != 1 || plan.sweep.methods.len() != 1 {
        return None;
    }
    let (key, values) = vary.iter().next()?;
    let number = |value: &Value| value.as_float().or(value.as_integer().map(|n| n as f64));
    Some((key, values.as_array()?.iter().map(number).collect::<Option<_>>()?))
}
