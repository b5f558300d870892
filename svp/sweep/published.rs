//! The tables of the papers of SVP (AAAI 2025) and iVPT (arXiv 2404.05207), to show beside the results of a sweep.

use std::collections::BTreeMap;

use serde::Serialize;

/// Columns that describe a row; all others but [`ROW`] hold accuracies.
const ABOUT: [&str; 5] = ["method", "publication", "backbone", "params", "pretrain"];

/// The column that names the row of the sweep, or `-`.
const ROW: &str = "row";

macro_rules! tables {
    ($($name:literal)*) => {
        /// Name and text of each table (`published/README.md`).
        static TABLES: &[(&str, &str)] =
            &[$(($name, include_str!(concat!("published/", $name, ".tsv"))),)*];
    };
}

tables!(
    "table1" "table2" "table3" "table4" "ivpt-table1" "ivpt-table2" "ivpt-table3" "ivpt-table4" "ivpt-table5"
    "ivpt-table6" "ivpt-table9"
);

/// A row of a published table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PublishedRow {
    /// The column of the sweep's results that it belongs to; `None` for models that this program does not run.
    #[serde(skip)]
    pub column: Option<&'static str>,
    /// What the table says about it: `method`, and where they are printed `publication`, `backbone`, `params` and
    /// `pretrain`.
    #[serde(flatten)]
    pub about: BTreeMap<&'static str, &'static str>,
    /// Accuracies in percent by task, group or `mean`.
    pub values: BTreeMap<&'static str, f64>,
}

impl PublishedRow {
    /// The row in one line: method, backbone and pre-training.
    pub fn title(&self) -> String {
        let about = |key| self.about.get(key).copied();
        let parts = [about("method"), about("backbone")].into_iter().flatten();
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// Names of the tables.
pub fn names() -> Vec<&'static str> {
    TABLES.iter().map(|(name, _)| *name).collect()
}

/// The rows of a table in the order of the paper; `None` where there is no table of this name.
pub fn rows(table: &str) -> Option<Vec<PublishedRow>> {
    let (_, text) = TABLES.iter().find(|(name, _)| *name == table)?;
    let mut lines = text.lines().map(|line| line.split('\t'));
    let header: Vec<&str> = lines.next()?.collect();
    let row = |fields: std::str::Split<'static, char>| {
        let mut row = PublishedRow { column: None, about: BTreeMap::new(), values: BTreeMap::new() };
        let printed = header.iter().copied().zip(fields).filter(|(_, field)| *field != "-");
        for (name, field) in printed {
            if name == ROW {
                row.column = Some(field);
            } else if ABOUT.contains(&name) {
                row.about.insert(name, field);
            } else {
                row.values.insert(name, field.parse().expect("a test reads every table"));
            }
        }
        row
    };
    Some(lines.map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::Preset;

    #[test]
    fn every_field_of_every_table_is_read() {
        let mut sizes = vec![];
        for name in names() {
            let text = TABLES.iter().find(|table| table.0 == name).unwrap().1;
            let fields: usize = text.lines().skip(1).map(|line| line.split('\t').count()).sum();
            let printed =
                text.lines().skip(1).flat_map(|line| line.split('\t')).filter(|field| *field != "-");
            let rows = rows(name).unwrap();
            let read =
                rows.iter().map(|row| usize::from(row.column.is_some()) + row.about.len() + row.values.len());
            assert_eq!(read.sum::<usize>(), printed.count(), "{name}");
            assert_eq!(fields % rows.len(), 0, "{name}: a field is missing");
            sizes.push((rows.len(), rows[0].values.len()));
        }
        let svp = [(18, 11), (5, 23), (6, 4), (4, 4)];
        let ivpt = [(17, 23), (4, 23), (5, 23), (3, 23), (8, 23), (8, 23), (7, 6)];
        assert_eq!(sizes, [&svp[..], &ivpt].concat());
        assert!(rows("table9").is_none());
    }

    /// The printed means are those of the printed numbers, which finds a slip in copying them.
    #[test]
    fn means_are_those_of_the_numbers() {
        let close = |row: &PublishedRow, printed: &str, of: &[&str]| {
            let mean = of.iter().map(|task| row.values[task]).sum::<f64>() / of.len() as f64;
            assert!((mean - row.values[printed]).abs() < 0.0501, "{}, {printed}: {mean}", row.title());
        };
        let printed = |row: &PublishedRow| row.values.contains_key("mean");
        for row in rows("table1").unwrap().into_iter().chain(rows("ivpt-table9").unwrap()).filter(printed) {
            let tasks: Vec<&str> = row.values.keys().copied().filter(|task| *task != "mean").collect();
            close(&row, "mean", &tasks);
        }
        let groups = ["natural", "specialized", "structured"];
        let on_vtab =
            names().into_iter().filter(|table| rows(table).unwrap()[0].values.contains_key(groups[0]));
        for (table, row) in
            on_vtab.flat_map(|table| rows(table).unwrap().into_iter().map(move |row| (table, row)))
        {
            for group in groups {
                let in_group = |task: &&str| {
                    let preset = Preset::named(task).ok();
                    preset.is_some_and(|preset| preset.group.as_deref() == Some(group))
                };
                let tasks: Vec<&str> = row.values.keys().copied().filter(in_group).collect();
                if !tasks.is_empty() {
                    close(&row, group, &tasks);
                }
            }
            // iVPT prints 68.90 where its groups have the mean 68.97.
            if (table, row.column) != ("ivpt-table1", Some("full")) {
                close(&row, "mean", &groups);
            }
        }
    }
}
