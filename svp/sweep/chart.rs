//! The results of a sweep as a picture.

use toml::Value;

use super::{Plan, Results, Stat};
use crate::report::chart::{Bars, Lines, Mark, bars, lines};

/// A PNG: accuracy over the values of one setting where the sweep varies one number of one method, else bars.
pub fn chart(plan: &Plan, results: &Results) -> Vec<u8> {
    let columns = 0..plan.columns.len();
    let marks = |row: &str, stat: &dyn Fn(usize) -> Option<Stat>| -> (String, Vec<Option<Mark>>) {
        let mark = |column| {
            let Stat { mean, deviation } = stat(column)?;
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

/// The setting that is varied, and its values.
fn axis(plan: &Plan) -> Option<(&str, Vec<f64>)> {
    let vary = &plan.sweep.vary;
    if vary.len() != 1 || plan.sweep.methods.len() != 1 {
        return None;
    }
    let (key, values) = vary.iter().next()?;
    let number = |value: &Value| value.as_float().or(value.as_integer().map(|n| n as f64));
    Some((key, values.as_array()?.iter().map(number).collect::<Option<_>>()?))
}
