//! `metrics.jsonl`: one JSON object a line, appended while the run goes on.
//!
//! The records of a step are written before the state of that step is saved. So whatever a saved state covers is in the
//! file, and [`truncate_after`] removes exactly what a resumed run will write again.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize};

use super::run_dir::read_file;
use crate::{Error, Result};

/// One line of the file. `step` and `epoch` count what is finished, so the first are 1.
///
/// Losses are mean cross-entropies in nats, accuracies and shares lie between 0 and 1, and times are in seconds. JSON has
/// neither NaN nor infinity: both are written as `null`, which reads back as NaN.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Record {
    /// Written after a training step.
    Step {
        /// Number of steps finished in the whole run.
        step: u64,
        /// Number of the epoch under way.
        epoch: u64,
        /// Training loss of the step.
        #[serde(deserialize_with = "nan_if_null")]
        loss: f32,
        /// Learning rate of the step.
        #[serde(deserialize_with = "nan_if_null")]
        lr: f32,
        /// Images trained on in a second of the step.
        #[serde(deserialize_with = "nan_if_null")]
        images_per_s: f32,
        /// Share of the step that was spent waiting for data.
        #[serde(deserialize_with = "nan_if_null")]
        wait_share: f32,
    },
    /// Written after an epoch and its validation, if there is one.
    Epoch {
        /// Number of steps finished in the whole run.
        step: u64,
        /// Number of the epoch that is finished.
        epoch: u64,
        /// Mean training loss over the steps of the epoch.
        #[serde(deserialize_with = "nan_if_null")]
        train_loss: f32,
        /// Loss on the images that choose the epoch.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_nan_if_null")]
        val_loss: Option<f32>,
        /// Top-1 accuracy on these images.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_nan_if_null")]
        val_top1: Option<f32>,
        /// Top-5 accuracy on these images.
        #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_nan_if_null")]
        val_top5: Option<f32>,
        /// Time of the epoch and its validation.
        #[serde(deserialize_with = "nan_if_null")]
        seconds: f32,
    },
    /// Written at the end, after the one test of the chosen epoch.
    Final {
        /// Number of steps of the whole run.
        step: u64,
        /// Number of the epoch that was chosen.
        best_epoch: u64,
        /// Loss on the test images.
        #[serde(deserialize_with = "nan_if_null")]
        test_loss: f32,
        /// Top-1 accuracy on the test images.
        #[serde(deserialize_with = "nan_if_null")]
        test_top1: f32,
        /// Top-5 accuracy on the test images.
        #[serde(deserialize_with = "nan_if_null")]
        test_top5: f32,
        /// Time of the test.
        #[serde(deserialize_with = "nan_if_null")]
        seconds: f32,
    },
}

impl Record {
    /// Number of training steps that were finished when this was written.
    pub fn step(&self) -> u64 {
        match self {
            Record::Step { step, .. } | Record::Epoch { step, .. } | Record::Final { step, .. } => *step,
        }
    }
}

fn nan_if_null<'de, D: Deserializer<'de>>(input: D) -> std::result::Result<f32, D::Error> {
    Ok(Option::deserialize(input)?.unwrap_or(f32::NAN))
}

/// Reads a value that is there, in contrast to one that is left out.
fn some_nan_if_null<'de, D: Deserializer<'de>>(input: D) -> std::result::Result<Option<f32>, D::Error> {
    nan_if_null(input).map(Some)
}

/// Appends records to a metrics file.
#[derive(Debug)]
pub struct MetricsWriter {
    path: PathBuf,
    file: File,
}

impl MetricsWriter {
    /// Opens the file for appending, and creates it if there is none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(path: &Path) -> Result<Self> {
        let file = OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .map_err(|e| Error::io(path, "open the metrics file", &e))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Writes one line, in one call, so that a killed run tears at most the last one.
    ///
    /// # Errors
    /// When the file cannot be written, for instance because the disk is full.
    pub fn write(&mut self, record: &Record) -> Result<()> {
        let mut line = serde_json::to_vec(record).expect("numbers and fixed names make valid JSON");
        line.push(b'\n');
        self.file.write_all(&line).map_err(|e| Error::io(&self.path, "write the metrics file", &e))
    }
}

/// The records of a metrics file, in order. A last line torn by `kill -9` is left out; a missing file has none.
///
/// # Errors
/// A file that cannot be read, or a whole line that is no record, with its number.
pub fn read_metrics(path: &Path) -> Result<Vec<Record>> {
    Ok(scan(path)?.into_iter().map(|(_, record)| record).collect())
}

/// Cuts the file after the last record that is covered by a state which was saved at `step` with `epochs` epochs
/// finished. Later records, a [`Record::Final`] (a run that goes on has not ended) and a torn last line are dropped. The
/// record of an epoch may be later than a state with its last step: then the epoch is evaluated again.
///
/// # Errors
/// A file that cannot be read or cut, or a whole line that is no record, with its number.
pub fn truncate_after(path: &Path, step: u64, epochs: u64) -> Result<()> {
    let covered = |record: &Record| match *record {
        Record::Final { .. } => false,
        Record::Epoch { epoch, .. } => epoch <= epochs,
        Record::Step { .. } => record.step() <= step,
    };
    let keep = scan(path)?.iter().take_while(|(_, record)| covered(record)).last().map_or(0, |(end, _)| *end);
    let cut = || OpenOptions::new().write(true).open(path)?.set_len(keep);
    match cut() {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(Error::io(path, "cut the metrics file", &e)),
        _ => Ok(()),
    }
}

/// The record of every whole line, with the offset in bytes where the line ends.
fn scan(path: &Path) -> Result<Vec<(u64, Record)>> {
    let Some(bytes) = read_file(path)? else { return Ok(Vec::new()) };
    let whole_lines = bytes.split_inclusive(|&b| b == b'\n').filter(|line| line.ends_with(b"\n"));
    let mut end = 0;
    whole_lines
        .enumerate()
        .map(|(number, line)| {
            end += line.len() as u64;
            let record = serde_json::from_slice(line).map_err(|e| {
                Error::path(path, format!("line {} is no record: {e}", number + 1), "remove that line")
            })?;
            Ok((end, record))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(step: u64, loss: f32) -> Record {
        Record::Step { step, epoch: 1, loss, lr: 1e-3, images_per_s: 4.5, wait_share: 0.0 }
    }

    fn epoch(step: u64) -> Record {
        let epoch = step / 2;
        Record::Epoch {
            step,
            epoch,
            train_loss: 2.5,
            val_loss: Some(2.25),
            val_top1: Some(0.5),
            val_top5: Some(0.875),
            seconds: 3.0,
        }
    }

    fn last(step: u64) -> Record {
        Record::Final { step, best_epoch: 1, test_loss: 1.0, test_top1: 0.75, test_top5: 1.0, seconds: 9.0 }
    }

    fn append(path: &Path, records: &[Record]) {
        let mut writer = MetricsWriter::append(path).unwrap();
        records.iter().for_each(|record| writer.write(record).unwrap());
    }

    fn written(records: &[Record]) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        append(&path, records);
        (folder, path)
    }

    #[test]
    fn what_is_written_is_read() {
        let records = [step(1, 2.3), step(2, 2.0), epoch(2), last(2)];
        let (_folder, path) = written(&records);
        assert_eq!(read_metrics(&path).unwrap(), records);
        assert_eq!(
            std::fs::read_to_string(&path).unwrap().lines().next().unwrap(),
            r#"{"kind":"step","step":1,"epoch":1,"loss":2.3,"lr":0.001,"images_per_s":4.5,"wait_share":0.0}"#
        );
    }

    #[test]
    fn what_is_not_finite_becomes_null() {
        for loss in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let (_folder, path) = written(&[step(1, loss)]);
            assert!(std::fs::read_to_string(&path).unwrap().contains(r#""loss":null"#));
            let read = read_metrics(&path).unwrap();
            assert!(matches!(read[..], [Record::Step { loss, .. }] if loss.is_nan()));
        }
    }

    /// Absent and not finite are not the same.
    #[test]
    fn an_epoch_without_validation_has_no_numbers_of_it() {
        let epoch = |val: Option<f32>| Record::Epoch {
            step: 2,
            epoch: 1,
            train_loss: 2.5,
            val_loss: val,
            val_top1: val,
            val_top5: val,
            seconds: 3.0,
        };
        let (_folder, path) = written(&[epoch(None), epoch(Some(f32::NAN))]);
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], r#"{"kind":"epoch","step":2,"epoch":1,"train_loss":2.5,"seconds":3.0}"#);
        assert!(lines[1].contains(r#""val_loss":null,"val_top1":null,"val_top5":null"#), "{}", lines[1]);
        let read = read_metrics(&path).unwrap();
        assert_eq!(read[0], epoch(None));
        assert!(matches!(read[1], Record::Epoch { val_top1: Some(top1), .. } if top1.is_nan()));
    }

    #[test]
    fn a_resumed_file_continues_exactly() {
        let all = [step(1, 1.0), step(2, 0.9), epoch(2), step(3, 0.8), step(4, 0.7), epoch(4), last(4)];
        // At step 2 the last step of an epoch may be saved before the epoch is.
        let saves = [(0, 0, 0), (1, 0, 1), (2, 0, 2), (2, 1, 3), (3, 1, 4), (4, 1, 5), (4, 2, 6), (9, 9, 6)];
        for (saved, epochs, kept) in saves {
            let (_folder, path) = written(&all);
            let unbroken = std::fs::read(&path).unwrap();
            OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"kind\":\"st").unwrap();
            truncate_after(&path, saved, epochs).unwrap();
            append(&path, &all[kept..]);
            assert_eq!(std::fs::read(&path).unwrap(), unbroken, "resumed at step {saved}");
        }
    }

    #[test]
    fn a_torn_last_line_is_left_out_wherever_it_tears() {
        let (_folder, path) = written(&[step(1, 1.0), step(2, 2.0)]);
        let bytes = std::fs::read(&path).unwrap();
        let first = bytes.iter().position(|&b| b == b'\n').unwrap() + 1;
        for length in first..bytes.len() {
            std::fs::write(&path, &bytes[..length]).unwrap();
            assert_eq!(read_metrics(&path).unwrap(), [step(1, 1.0)], "cut at {length}");
            truncate_after(&path, 5, 0).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), &bytes[..first]);
        }
    }

    #[test]
    fn a_broken_line_is_named() {
        let (_folder, path) = written(&[step(1, 1.0)]);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"oops\n").unwrap();
        let message = read_metrics(&path).unwrap_err().to_string();
        assert!(message.contains("line 2 is no record") && !message.contains('\n'), "{message}");
        assert!(truncate_after(&path, 1, 0).is_err());
    }

    #[test]
    fn a_missing_file_has_no_records_and_stays_missing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("metrics.jsonl");
        assert_eq!(read_metrics(&path).unwrap(), []);
        truncate_after(&path, 3, 1).unwrap();
        assert!(!path.exists());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_is_one_line() {
        let mut writer = MetricsWriter::append(Path::new("/dev/full")).unwrap();
        let message = writer.write(&step(1, 1.0)).unwrap_err().to_string();
        assert!(message.contains("free some space") && !message.contains('\n'), "{message}");
    }
}
