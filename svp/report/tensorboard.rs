//! TensorBoard event files: TFRecord frames, each of which holds one `Event` protobuf.
//!
//! A frame is the length of the payload (u64), the masked CRC-32C of the length, the payload, and the masked CRC-32C of
//! the payload, little-endian. Only the parts of the protobufs that scalars and texts need are written; field numbers
//! are those of TensorFlow's `event.proto`, `summary.proto`, `tensor.proto` and `tensor_shape.proto`.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crc::{CRC_32_ISCSI, Crc};

use crate::{Error, Result};

/// Writes an event file. TensorBoard shows all event files of a folder as one run.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Creates an event file in a folder, for a run that has finished `step` steps. When a run was resumed, TensorBoard
    /// hides what earlier files hold beyond that step.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn create(folder: &Path, step: u64) -> Result<Self> {
        let (path, file) = new_file(folder)?;
        let mut writer = Self { path, file };
        writer.event(0, &Message::default().bytes(3, b"brain.Event:2"))?; // file_version
        if step > 0 {
            // A session_log with status START hides steps from its own on, and the next step is the first to hide.
            writer.event(step + 1, &Message::default().message(7, &Message::default().varint(1, 1)))?;
        }
        Ok(writer)
    }

    /// Writes one point of the curve `tag`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f32) -> Result<()> {
        let value = Message::default().bytes(1, tag.as_bytes()).fixed32(2, value.to_bits());
        self.summary(step, &value)
    }

    /// Writes a text in Markdown under `tag`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn text(&mut self, tag: &str, step: u64, text: &str) -> Result<()> {
        const DT_STRING: u64 = 7;
        let shape = Message::default().message(2, &Message::default().varint(1, 1)); // one dimension, of size 1
        let tensor = Message::default().varint(1, DT_STRING).message(2, &shape).bytes(8, text.as_bytes());
        let metadata = Message::default().message(1, &Message::default().bytes(1, b"text")); // plugin name
        let value = Message::default().bytes(1, tag.as_bytes()).message(8, &tensor).message(9, &metadata);
        self.summary(step, &value)
    }

    fn summary(&mut self, step: u64, value: &Message) -> Result<()> {
        self.event(step, &Message::default().message(5, &Message::default().message(1, value)))
    }

    /// Writes an `Event` with this content, stamped with the present time.
    fn event(&mut self, step: u64, content: &Message) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64();
        let mut event = Message::default().fixed64(1, now.to_bits()).varint(2, step);
        event.0.extend(&content.0);
        self.file
            .write_all(&frame(&event.0))
            .map_err(|e| Error::io(&self.path, "write the TensorBoard events", &e))
    }
}

/// Creates a file with a new name. TensorBoard reads the files of a folder in the order of their names.
fn new_file(folder: &Path) -> Result<(PathBuf, File)> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut number = 0;
    loop {
        let path = folder.join(format!("events.out.tfevents.{seconds:010}.svp.{number}"));
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Err(e) if e.kind() == ErrorKind::AlreadyExists => number += 1,
            opened => {
                let file = opened.map_err(|e| Error::io(&path, "make the TensorBoard events", &e))?;
                return Ok((path, file));
            }
        }
    }
}

/// A protobuf message in wire format, written field by field.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn varint(mut self, field: u32, value: u64) -> Self {
        self.key(field, 0);
        self.number(value);
        self
    }

    fn fixed64(mut self, field: u32, bits: u64) -> Self {
        self.key(field, 1);
        self.0.extend(bits.to_le_bytes());
        self
    }

    fn bytes(mut self, field: u32, bytes: &[u8]) -> Self {
        self.key(field, 2);
        self.number(bytes.len() as u64);
        self.0.extend(bytes);
        self
    }

    fn message(self, field: u32, message: &Message) -> Self {
        self.bytes(field, &message.0)
    }

    fn fixed32(mut self, field: u32, bits: u32) -> Self {
        self.key(field, 5);
        self.0.extend(bits.to_le_bytes());
        self
    }

    fn key(&mut self, field: u32, wire_type: u32) {
        self.number((field << 3 | wire_type).into());
    }

    /// Writes seven bits a byte, the lowest first; the top bit is set in all bytes but the last.
    fn number(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

fn frame(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(payload.len() + 16);
    bytes.extend(length);
    bytes.extend(checksum(&length).to_le_bytes());
    bytes.extend(payload);
    bytes.extend(checksum(payload).to_le_bytes());
    bytes
}

/// CRC-32C under TFRecord's mask, so that a CRC over bytes that hold CRCs stays useful.
fn checksum(bytes: &[u8]) -> u32 {
    const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISCSI);
    CRC.checksum(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A field as a reader of protobufs sees it.
    #[derive(Debug, PartialEq)]
    enum Field<'a> {
        Varint(u64),
        Fixed64(f64),
        Bytes(&'a [u8]),
        Fixed32(f32),
    }

    fn number(bytes: &mut &[u8]) -> u64 {
        let length = bytes.iter().position(|b| b & 0x80 == 0).expect("an end") + 1;
        let (mine, rest) = bytes.split_at(length);
        *bytes = rest;
        mine.iter().rev().fold(0, |value, b| value << 7 | u64::from(b & 0x7f))
    }

    fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
        let (mine, rest) = bytes.split_at(length);
        *bytes = rest;
        mine
    }

    fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
        let mut fields = Vec::new();
        while !bytes.is_empty() {
            let key = number(&mut bytes);
            let field = match key & 7 {
                0 => Field::Varint(number(&mut bytes)),
                1 => Field::Fixed64(f64::from_le_bytes(take(&mut bytes, 8).try_into().unwrap())),
                2 => {
                    let length = number(&mut bytes) as usize;
                    Field::Bytes(take(&mut bytes, length))
                }
                5 => Field::Fixed32(f32::from_le_bytes(take(&mut bytes, 4).try_into().unwrap())),
                other => panic!("wire type {other}"),
            };
            fields.push((key >> 3, field));
        }
        fields
    }

    /// The content of the field that a path of field numbers leads to.
    fn at<'a>(mut bytes: &'a [u8], path: &[u64]) -> Field<'a> {
        let (last, parents) = path.split_last().unwrap();
        for parent in parents {
            match fields(bytes).into_iter().find(|(field, _)| field == parent) {
                Some((_, Field::Bytes(inner))) => bytes = inner,
                other => panic!("{parent} of {path:?} is {other:?}"),
            }
        }
        fields(bytes).into_iter().find(|(field, _)| field == last).expect("the field").1
    }

    /// Payloads of a file, after checking frame lengths and both checksums of each.
    fn payloads(mut bytes: &[u8]) -> Vec<&[u8]> {
        let read = |bytes: &mut &[u8]| u32::from_le_bytes(take(bytes, 4).try_into().unwrap());
        let mut payloads = Vec::new();
        while !bytes.is_empty() {
            let head = take(&mut bytes, 8);
            assert_eq!(read(&mut bytes), checksum(head));
            let payload = take(&mut bytes, u64::from_le_bytes(head.try_into().unwrap()) as usize);
            assert_eq!(read(&mut bytes), checksum(payload));
            payloads.push(payload);
        }
        payloads
    }

    #[test]
    fn a_reader_finds_what_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = EventWriter::create(folder.path(), 0).unwrap();
        writer.scalar("train/loss", 300, 2.5).unwrap();
        writer.scalar("train/loss", u64::from(u32::MAX) + 1, f32::NAN).unwrap();
        let long = "| a | b |\n".repeat(50);
        writer.text("config", 0, &long).unwrap();

        let bytes = std::fs::read(&writer.path).unwrap();
        let events = payloads(&bytes);
        assert_eq!(events.len(), 4);
        assert_eq!(at(events[0], &[3]), Field::Bytes(b"brain.Event:2"));
        assert!(matches!(at(events[0], &[1]), Field::Fixed64(seconds) if seconds > 1.7e9));

        assert_eq!(at(events[1], &[2]), Field::Varint(300));
        assert_eq!(at(events[1], &[5, 1, 1]), Field::Bytes(b"train/loss"));
        assert_eq!(at(events[1], &[5, 1, 2]), Field::Fixed32(2.5));
        assert_eq!(at(events[2], &[2]), Field::Varint(1 << 32));
        assert!(matches!(at(events[2], &[5, 1, 2]), Field::Fixed32(value) if value.is_nan()));

        assert_eq!(at(events[3], &[5, 1, 1]), Field::Bytes(b"config"));
        assert_eq!(at(events[3], &[5, 1, 8, 1]), Field::Varint(7));
        assert_eq!(at(events[3], &[5, 1, 8, 2, 2, 1]), Field::Varint(1));
        assert_eq!(at(events[3], &[5, 1, 8, 8]), Field::Bytes(long.as_bytes()));
        assert_eq!(at(events[3], &[5, 1, 9, 1, 1]), Field::Bytes(b"text"));
    }

    /// The common check value of CRC-32C, masked by hand.
    #[test]
    fn a_frame_is_these_bytes() {
        let framed = frame(b"123456789");
        assert_eq!(framed[..8], [9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(framed[12..21], *b"123456789");
        // 0xe3069283 turned right by 15 is 0x2507c60d; plus 0xa282ead8.
        assert_eq!(framed[21..], 0xc78a_b0e5_u32.to_le_bytes());
        assert_eq!(framed.len(), 25);
    }

    #[test]
    fn a_resumed_run_opens_another_file_and_says_where_it_continues() {
        let folder = tempfile::tempdir().unwrap();
        let first = EventWriter::create(folder.path(), 0).unwrap();
        let second = EventWriter::create(folder.path(), 40).unwrap();
        assert!(first.path < second.path);
        let bytes = std::fs::read(&second.path).unwrap();
        let events = payloads(&bytes);
        assert_eq!(at(events[1], &[2]), Field::Varint(41));
        assert_eq!(at(events[1], &[7, 1]), Field::Varint(1));
    }

    #[test]
    fn a_missing_folder_is_one_line() {
        let folder = tempfile::tempdir().unwrap();
        let message = EventWriter::create(&folder.path().join("absent"), 0).unwrap_err().to_string();
        assert!(message.contains("absent") && !message.contains('\n'), "{message}");
    }
}
