//! CIFAR-10 and CIFAR-100, as Python pickles or as binary files (`docs/data.md`).

use engine::budget;

use super::lists;
use super::published::damaged;
use super::splits::{BINARY, PICKLES, Splits};
use crate::error::{Error, Result};
use crate::files::Files;
use crate::held::Held;
use crate::pickle::{Object, Pickle, Value};
use crate::picture::{self, Order, PictureArray};
use crate::sample::Sample;

/// What differs between the two.
struct Cifar {
    pickles: Form,
    binary: Form,
    classes: u32,
    /// The key of the labels.
    labels: &'static str,
    /// The key of the names of the classes.
    names: &'static str,
}

/// The files of one form.
struct Form {
    train: &'static [&'static str],
    test: &'static str,
    names: &'static str,
}

const CIFAR_10: Cifar = Cifar {
    pickles: Form {
        train: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
        test: "test_batch",
        names: "batches.meta",
    },
    binary: Form {
        train: &[
            "data_batch_1.bin",
            "data_batch_2.bin",
            "data_batch_3.bin",
            "data_batch_4.bin",
            "data_batch_5.bin",
        ],
        test: "test_batch.bin",
        names: "batches.meta.txt",
    },
    classes: 10,
    labels: "labels",
    names: "label_names",
};

const CIFAR_100: Cifar = Cifar {
    pickles: Form { train: &["train"], test: "test", names: "meta" },
    binary: Form { train: &["train.bin"], test: "test.bin", names: "fine_label_names.txt" },
    classes: 100,
    labels: "fine_labels",
    names: "fine_label_names",
};

pub(super) fn fits_10(files: &Files) -> Result<bool> {
    Ok(CIFAR_10.fits(files))
}

pub(super) fn fits_100(files: &Files) -> Result<bool> {
    // Names as common as `train` and `meta` count only together.
    Ok(files.has("train.bin") || files.has("train") && files.has("meta"))
}

pub(super) fn open_10(files: &Files) -> Result<Splits> {
    CIFAR_10.open(files)
}

pub(super) fn open_100(files: &Files) -> Result<Splits> {
    CIFAR_100.open(files)
}

impl Cifar {
    fn fits(&self, files: &Files) -> bool {
        [&self.pickles, &self.binary].iter().any(|form| lists::first(files, form.train).is_some())
    }

    fn open(&self, files: &Files) -> Result<Splits> {
        let pickled = lists::first(files, self.pickles.train).is_some();
        let form = if pickled { &self.pickles } else { &self.binary };
        let read = |file: &str| if pickled { self.pickle(files, file) } else { self.records(files, file) };
        let mut train = Vec::new();
        for file in form.train {
            train.extend(read(file)?);
        }
        let test = files.has(form.test).then(|| read(form.test)).transpose()?;
        let mut notes = Vec::new();
        let classes = match files.has(form.names) {
            true if pickled => self.pickled_names(files, form.names)?,
            true => self.listed_names(files, form.names)?,
            false => {
                notes.push(format!("classes are numbered: {} is missing", form.names));
                (0..self.classes).map(|label| label.to_string()).collect()
            }
        };
        let form = if pickled { PICKLES } else { BINARY };
        Ok(Splits { form, classes, train, test, notes, ..Splits::default() })
    }

    /// The samples of a file with these pictures and labels.
    fn samples(&self, files: &Files, file: &str, bytes: Held, labels: &[u32]) -> Result<Vec<Sample>> {
        if let Some(label) = labels.iter().find(|&&label| label >= self.classes) {
            return Err(damaged(
                files,
                file,
                format!("has the label {label}, there are {} classes", self.classes),
            ));
        }
        let count = bytes.len() / picture::BYTES;
        if count != labels.len() || count == 0 {
            let what = format!("has {count} pictures and {} labels", labels.len());
            return Err(damaged(files, file, what));
        }
        let array = PictureArray::new(&files.path(file), bytes, Order::Rows);
        let pictures = array.pictures().zip(labels);
        Ok(pictures.map(|(picture, &label)| Sample::picture(picture, label)).collect())
    }

    /// The samples of a binary file. Its records are one or two label bytes, the last of which counts, and the pixels.
    fn records(&self, files: &Files, file: &str) -> Result<Vec<Sample>> {
        let bytes = files.read(file)?;
        let front = if self.classes == 100 { 2 } else { 1 };
        let length = front + picture::BYTES;
        if bytes.is_empty() || bytes.len() % length != 0 {
            let what = format!("has {} bytes, no multiple of {length}: it is truncated", bytes.len());
            return Err(damaged(files, file, what));
        }
        let labels: Vec<u32> = bytes.chunks_exact(length).map(|record| record[front - 1].into()).collect();
        let mut pixels = held(files, file, labels.len() * picture::BYTES)?;
        let records = bytes.chunks_exact(length).zip(pixels.as_mut().chunks_exact_mut(picture::BYTES));
        records.for_each(|(record, pixels)| pixels.copy_from_slice(&record[front..]));
        self.samples(files, file, pixels, &labels)
    }

    fn pickle(&self, files: &Files, file: &str) -> Result<Vec<Sample>> {
        let bytes = files.read(file)?;
        let pickle = unpickle(files, file, &bytes)?;
        let root = pickle.root();
        let label = |value: &Value| value.size().and_then(|label| u32::try_from(label).ok());
        let labels = pickle.get(root, self.labels).and_then(|labels| pickle.items(labels));
        let labels: Option<Vec<u32>> = labels.and_then(|labels| labels.iter().map(label).collect());
        let labels = labels.ok_or_else(|| damaged(files, file, format!("has no list of {}", self.labels)))?;
        let claim = || {
            budget::claim(bytes.len() as u64).map_err(|refused| Error::refused(&files.path(file), refused))
        };
        // Where the order of the pixels is changed, they are in memory twice for a while.
        let (claim, _meanwhile) = (claim()?, claim()?);
        let data = pickle.get(root, "data").and_then(|data| pixel_rows(&pickle, data));
        let data = data.map(|data| Held::new(data, claim));
        let data = data.ok_or_else(|| damaged(files, file, "has no uint8 array `data` of rows of 3072"))?;
        self.samples(files, file, data, &labels)
    }

    fn pickled_names(&self, files: &Files, file: &str) -> Result<Vec<String>> {
        let bytes = files.read(file)?;
        let pickle = unpickle(files, file, &bytes)?;
        let names = pickle.get(pickle.root(), self.names).and_then(|names| pickle.items(names));
        let names =
            names.map(|names| names.iter().filter_map(|name| name.text().map(String::from)).collect());
        self.all_names(files, file, names.unwrap_or_default())
    }

    fn listed_names(&self, files: &Files, file: &str) -> Result<Vec<String>> {
        let text = files.text(file)?;
        self.all_names(files, file, lists::lines(&text).map(|(_, name)| name.into()).collect())
    }

    fn all_names(&self, files: &Files, file: &str, names: Vec<String>) -> Result<Vec<String>> {
        if names.len() != self.classes as usize {
            let what = format!("names {} of {} classes", names.len(), self.classes);
            return Err(damaged(files, file, what));
        }
        Ok(names)
    }
}

/// Memory for so many bytes of a file.
fn held(files: &Files, file: &str, bytes: usize) -> Result<Held> {
    Held::zeros(bytes as u64).map_err(|refused| Error::refused(&files.path(file), refused))
}

fn unpickle<'a>(files: &Files, file: &str, bytes: &'a [u8]) -> Result<Pickle<'a>> {
    Pickle::read(bytes, 0).map_err(|e| damaged(files, file, e.to_string()))
}

/// The bytes of a NumPy array `[n 3072]` of uint8, row by row.
fn pixel_rows(pickle: &Pickle, array: Value) -> Option<Vec<u8>> {
    let (module, function, object) = pickle.object(array)?;
    let (shape, dtype, columns_first, bytes) = match (module, function) {
        ("numpy.core.multiarray" | "numpy._core.multiarray", "_reconstruct") => {
            let &[_version, shape, dtype, fortran, bytes] = pickle.items(object.state?)? else { return None };
            (shape, dtype, fortran == Value::Bool(true), bytes)
        }
        // How NumPy pickles in protocol 5.
        ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => {
            let &[bytes, dtype, shape, order] = pickle.items(object.args)? else { return None };
            (shape, dtype, order.text() == Some("F"), bytes)
        }
        _ => return None,
    };
    let &[rows, columns] = pickle.items(shape)? else { return None };
    let (rows, columns) = (rows.size()?, columns.size()?);
    let bytes = raw_bytes(pickle, bytes)?;
    if columns != picture::BYTES || rows.checked_mul(columns)? != bytes.len() || !is_u8(pickle, dtype) {
        return None;
    }
    if !columns_first {
        return Some(bytes);
    }
    Some((0..bytes.len()).map(|i| bytes[i % columns * rows + i / columns]).collect())
}

/// Whether a NumPy dtype is uint8.
fn is_u8(pickle: &Pickle, dtype: Value) -> bool {
    let kind = |object: &Object| pickle.items(object.args)?.first()?.text().map(|kind| kind == "u1");
    matches!(pickle.object(dtype), Some(("numpy", "dtype", object)) if kind(object) == Some(true))
}

/// Bytes, which Python 3 writes for Python 2 as Latin-1 text that is to be encoded.
fn raw_bytes(pickle: &Pickle, value: Value) -> Option<Vec<u8>> {
    if let Value::Bytes(bytes) = value {
        return Some(bytes.to_vec());
    }
    let ("_codecs", "encode", object) = pickle.object(value)? else { return None };
    let &[Value::Str(text), encoding, ..] = pickle.items(object.args)? else { return None };
    let latin = matches!(encoding.text()?, "latin1" | "latin-1");
    latin.then(|| text.chars().map(|c| u8::try_from(c).ok()).collect())?
}
