//! Lists of one's own, a row for each image: a csv, tsv or jsonl file of path, label and perhaps split, and the
//! `metadata.csv` or `metadata.jsonl` of Hugging Face's image folders (`docs/data.md`).

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value};

use super::find::Recognised;
use super::layout::Layout;
use super::lists::{self, bad_line};
use super::splits::{self, Id, LeftOut, Purpose, ROWS, Split, Splits};
use crate::error::{Error, Result};
use crate::files::Files;
use crate::sample::Sample;
use crate::text::{count, first};

/// Endings of lists, in upper or lower case.
const ENDINGS: [&str; 3] = ["csv", "tsv", "jsonl"];
/// The lists of Hugging Face's image folders.
const METADATA: [&str; 2] = ["metadata.csv", "metadata.jsonl"];
// Names of columns, in upper or lower case, the most telling first.
const PATHS: [&str; 9] =
    ["file_name", "filename", "path", "filepath", "file_path", "image_path", "file", "image", "img"];
const LABELS: [&str; 7] = ["label", "class", "class_name", "category", "target", "class_id", "labels"];
const SPLITS: [&str; 3] = ["split", "set", "subset"];

/// True if the name ends like that of a list.
pub(super) fn is_list_name(path: &Path) -> bool {
    let ending = path.extension().and_then(|ending| ending.to_str()).unwrap_or("");
    ENDINGS.iter().any(|own| own.eq_ignore_ascii_case(ending))
}

/// A row of a list.
#[derive(Debug)]
struct Row {
    /// The number of its line, from 1.
    line: usize,
    path: String,
    /// Empty where it has none.
    label: String,
    /// What it says about its split.
    split: Option<String>,
}

/// Reads the list at `path`, whose paths are below its folder or lead out of it.
pub(super) fn recognised(path: &Path, layout: Layout, purpose: Purpose) -> Result<Recognised> {
    if !matches!(layout, Layout::Auto | Layout::Csv) {
        let hint = "leave out --dataset, or point to the folder of that data set";
        return Err(Error::path(path, format!("is a list, and not {}", layout.title()), hint));
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let files = Files::folder(folder).allow_outside(true);
    let name = path.file_name().and_then(|name| name.to_str());
    let name = name.ok_or_else(|| Error::path(path, "has a name that is not UTF-8", "rename it"))?;
    let rows = rows(&files, name)?;
    if rows.iter().all(|row| row.label.is_empty()) {
        let hint = format!("call the column of classes label, or one of {}", LABELS[1..].join(", "));
        return Err(Error::path(path, "has no labels", hint));
    }
    let no_split = rows.iter().all(|row| row.split.is_none());
    let lists = [List { files: files.clone(), name: name.into(), rows, split: None }];
    let splits = read(&lists, no_split, purpose)?;
    Ok(Recognised { layout: Layout::Csv, files, splits })
}

/// Whether there is a list of Hugging Face's form, with labels, in the folder or in its training folder; to measure on, in
/// the folder of any split.
pub(super) fn has_metadata(files: &Files, purpose: Purpose) -> Result<bool> {
    let lists = metadata(files)?;
    let training = |list: &&(Files, &str, Option<Split>)| {
        purpose == Purpose::Measure || matches!(list.2, None | Some(Split::Train))
    };
    match lists.iter().find(training) {
        // A list without labels describes images whose folders are their classes.
        Some((files, name, _)) => {
            Ok(rows(files, name).map_or(true, |rows| rows.iter().any(|row| !row.label.is_empty())))
        }
        None => Ok(false),
    }
}

/// The lists of the folder and of its split folders.
fn metadata(files: &Files) -> Result<Vec<(Files, &'static str, Option<Split>)>> {
    let mut found = Vec::new();
    let mut folders = vec![(files.clone(), None)];
    for name in files.folders("")? {
        folders.extend(Split::named(&name).map(|split| (files.inside(&name), Some(split))));
    }
    for (folder, split) in folders {
        found.extend(lists::first(&folder, &METADATA).map(|name| (folder, name, split)));
    }
    Ok(found)
}

/// Reads the lists of Hugging Face's form. The folder of a list names the split, or else the first folder of a path.
pub(super) fn open_metadata(files: &Files, purpose: Purpose) -> Result<Splits> {
    let mut lists = Vec::new();
    for (files, name, split) in metadata(files)? {
        let mut rows = rows(&files, name)?;
        if split.is_none() {
            for row in rows.iter_mut().filter(|row| row.split.is_none()) {
                let folder = row.path.replace('\\', "/");
                let folder =
                    folder.trim_start_matches("./").split_once('/').map(|(folder, _)| folder.to_string());
                row.split = folder.filter(|folder| Split::named(folder).is_some());
            }
        }
        lists.push(List { files, name: name.into(), rows, split });
    }
    let no_split =
        lists.iter().all(|list| list.split.is_none() && list.rows.iter().all(|row| row.split.is_none()));
    read(&lists, no_split, purpose)
}

/// A list, and the split of its folder.
struct List {
    files: Files,
    name: String,
    rows: Vec<Row>,
    split: Option<Split>,
}

/// The samples of lists. A label is the rank of its class among those of the training rows; to measure on, of all rows.
fn read(lists: &[List], unsplit: bool, purpose: Purpose) -> Result<Splits> {
    let mut rows: Vec<(&List, &Row, Split)> = Vec::new();
    for list in lists {
        for row in &list.rows {
            let split = match (list.split, &row.split) {
                (Some(split), _) => split,
                (None, None) if unsplit => Split::Train,
                (None, named) => named.as_deref().and_then(Split::named).ok_or_else(|| {
                    let named = named.as_deref().unwrap_or("");
                    bad_line(&list.files, &list.name, row.line, named, "a split: train, val or test")
                })?,
            };
            rows.push((list, row, split));
        }
    }
    let unlabelled: Vec<_> = rows.iter().filter(|(_, row, _)| row.label.is_empty()).copied().collect();
    if let Some((list, row, _)) = unlabelled.iter().find(|(.., split)| *split != Split::Test) {
        return Err(bad_line(&list.files, &list.name, row.line, &row.path, "a path with a label"));
    }
    rows.retain(|(_, row, _)| !row.label.is_empty());
    let ids = splits::ids(rows.iter().map(|(_, row, _)| row.label.as_str()));
    let training = rows
        .iter()
        .zip(&ids)
        .filter(|((.., split), _)| purpose == Purpose::Measure || *split == Split::Train);
    let classes: Vec<&Id> = training.map(|(_, id)| id).collect::<BTreeSet<_>>().into_iter().collect();
    let mut splits = Splits { form: ROWS, unsplit, ..Splits::default() };
    for list in lists {
        let mut parts: [Option<Vec<(String, u32)>>; 3] = [None, None, None];
        for ((_, row, split), id) in rows.iter().zip(&ids).filter(|((own, ..), _)| std::ptr::eq(*own, list)) {
            let label = classes.binary_search(&id).map_err(|_| {
                let at = format!("{}:{}", list.files.path(&list.name).display(), row.line);
                let what = format!("the class {:?} has no training image", row.label);
                Error::input(at, what, "check the labels and the splits")
            })?;
            parts[*split as usize].get_or_insert_default().push((row.path.clone(), label as u32));
        }
        let mut samples = |entries: Option<Vec<_>>| {
            entries.map(|entries| {
                lists::samples(&list.files, &list.name, &list.files, entries, &mut splits.missing)
            })
        };
        let [train, val, test] = parts.map(&mut samples);
        splits.train.extend(train.into_iter().flatten());
        join(&mut splits.val, val);
        join(&mut splits.test, test);
    }
    if let Some((list, ..)) = unlabelled.first() {
        let names = first(unlabelled.iter().map(|(_, row, _)| &row.path));
        splits.left_out.push(LeftOut {
            at: list.files.path(&list.name),
            what: format!("{} of the test split without a label: {names}", count(unlabelled.len(), "row")),
            mend: "to predict their classes, give the images to svp-predict".into(),
            fault: false,
        });
    }
    let numbers: Option<Vec<i64>> =
        classes.iter().map(|id| if let Id::Number(n) = id { Some(*n) } else { None }).collect();
    splits.notes.extend(numbers.and_then(|numbers| splits::gaps(&numbers)));
    splits.classes = classes.iter().map(|id| id.to_string()).collect();
    Ok(splits)
}

/// Appends samples to those of a split that may not be there.
fn join(all: &mut Option<Vec<Sample>>, more: Option<Vec<Sample>>) {
    if let Some(more) = more {
        all.get_or_insert_default().extend(more);
    }
}

/// The rows of a list of any form.
fn rows(files: &Files, name: &str) -> Result<Vec<Row>> {
    let text = files.text(name)?;
    let is_json = name.to_ascii_lowercase().ends_with("jsonl");
    let rows = if is_json { objects(files, name, &text)? } else { table(files, name, &text)? };
    if rows.is_empty() {
        return Err(Error::path(&files.path(name), "lists no images", "check that it is the right list"));
    }
    Ok(rows)
}

/// The rows of a file with a JSON object in each line.
fn objects(files: &Files, name: &str, text: &str) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    for (line, content) in lists::lines(text) {
        let bad = |want: &str| bad_line(files, name, line, content, want);
        let object: Map<String, Value> =
            serde_json::from_str(content).map_err(|_| bad("an object with file_name and label"))?;
        let value = |names: &[&str]| {
            let found =
                names.iter().find_map(|own| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(own)));
            match found.map(|(_, value)| value) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => Ok(Some(text.clone())),
                Some(Value::Number(number)) => Ok(Some(number.to_string())),
                Some(Value::Bool(truth)) => Ok(Some(truth.to_string())),
                Some(_) => Err(bad("one label for each image")),
            }
        };
        let path = value(&PATHS)?.ok_or_else(|| bad("an object with file_name and label"))?;
        rows.push(Row { line, path, label: value(&LABELS)?.unwrap_or_default(), split: value(&SPLITS)? });
    }
    Ok(rows)
}

/// Where the columns are.
struct Columns {
    path: usize,
    label: Option<usize>,
    split: Option<usize>,
}

/// The rows of a file of columns, with or without a header. Commas, semicolons and tabs may part them.
fn table(files: &Files, name: &str, text: &str) -> Result<Vec<Row>> {
    let start = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("");
    let often = |mark: &char| start.matches(*mark).count();
    let mark = ['\t', ';', ','].into_iter().max_by_key(often).unwrap_or(',');
    let mut reader = csv::ReaderBuilder::new();
    let reader = reader.delimiter(mark as u8).has_headers(false).flexible(true).trim(csv::Trim::All);
    let mut columns: Option<Columns> = None;
    let mut rows = Vec::new();
    for record in reader.from_reader(text.as_bytes()).records() {
        let hint = "check that it is a list of path, label and perhaps split";
        let record =
            record.map_err(|e| Error::path(&files.path(name), format!("is no csv file: {e}"), hint))?;
        if record.iter().all(str::is_empty) {
            continue;
        }
        let line = record.position().map_or(0, |at| at.line() as usize);
        let found = match columns.take() {
            Some(found) => found,
            None => {
                let (found, is_header) = header(files, name, &record)?;
                if is_header {
                    columns = Some(found);
                    continue;
                }
                found
            }
        };
        rows.push(row(files, name, line, &record, &found)?);
        columns = Some(found);
    }
    Ok(rows)
}

/// Finds the columns in the first record, which is a header if it names them. Otherwise they are path, label and split.
fn header(files: &Files, name: &str, record: &csv::StringRecord) -> Result<(Columns, bool)> {
    let at = |names: &[&str]| {
        names.iter().find_map(|own| record.iter().position(|field| field.eq_ignore_ascii_case(own)))
    };
    let (path, label, split) = (at(&PATHS), at(&LABELS), at(&SPLITS));
    match (path, label) {
        (Some(path), label) => Ok((Columns { path, label, split }, true)),
        (None, None) if record.len() >= 2 => {
            Ok((Columns { path: 0, label: Some(1), split: (record.len() > 2).then_some(2) }, false))
        }
        _ => {
            let columns: Vec<&str> = record.iter().collect();
            let what = format!("has the columns {}", columns.join(", "));
            let hint = "name them path, label and, where there are splits, split";
            Err(Error::path(&files.path(name), what, hint))
        }
    }
}

fn row(files: &Files, name: &str, line: usize, record: &csv::StringRecord, at: &Columns) -> Result<Row> {
    let field = |column: usize| record.get(column).unwrap_or("");
    let path = field(at.path);
    if path.is_empty() {
        let shown: Vec<&str> = record.iter().collect();
        return Err(bad_line(files, name, line, &shown.join(","), "a row of path, label and perhaps split"));
    }
    let label = at.label.map_or("", field).to_string();
    Ok(Row { line, path: path.into(), label, split: at.split.map(|column| field(column).to_string()) })
}
