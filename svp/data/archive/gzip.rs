//! Random access to a gzip stream. While the stream is read once for its index, the state of the decompressor is kept
//! at regular points, and a reader starts from the nearest point before what it wants.
//!
//! A point costs about 43 KiB (a 32 KiB window and the Huffman tables), and on average a read inflates half the
//! distance of two points too much. In files of up to 790 MB there is a point every 64 KiB, so that the points take at
//! most two thirds of the file's size in memory and a read takes some 0.1 ms longer. A larger file has [`MAX_POINTS`],
//! which take 500 MiB; at 5 GB a read takes about 1 ms longer. Keeping the images would cost the whole file's size.
//! Points take no more than a quarter of the budget of memory: where they would, every second one is given up.

use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crc32fast::Hasher;
use engine::budget::{self, Claim};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::inflate_flags::TINFL_FLAG_HAS_MORE_INPUT;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::bytes::{Bytes, LEAST, Piece};
use crate::error::Parsed;
use crate::held::Held;

/// The first bytes of a gzip member that is compressed by deflate.
pub(super) const MAGIC: &[u8] = &[0x1F, 0x8B, 8];
/// The fewest bytes of the file between two points.
const SPACING: u64 = 64 << 10;
/// The most points of a file.
const MAX_POINTS: u64 = 12_000;
/// Bytes of memory that a point takes.
const POINT: u64 = (WINDOW + size_of::<DecompressorOxide>() + size_of::<Point>()) as u64;
/// How many bytes deflate can refer back.
const WINDOW: usize = 32 << 10;
/// The most readers that are kept where they stopped, for a read that begins behind them.
const MAX_READERS: usize = 16;
/// The most bytes that one byte of the file may inflate to. Images hardly shrink; bombs do.
pub(super) const MAX_INFLATION: u64 = 200;

/// A position in the stream from which it can be read on.
#[derive(Clone)]
struct Cursor {
    inflate: Box<DecompressorOxide>,
    /// The last bytes of the stream, a ring buffer.
    window: Box<[u8]>,
    /// Where the ring goes on when more is inflated.
    next: usize,
    /// The part of the ring that is inflated and not taken yet.
    ready: Range<usize>,
    /// Position in the file.
    input: u64,
    /// Position in the stream of the first byte that is ready.
    output: u64,
    ended: bool,
}

impl Cursor {
    fn start(file: &mut Piece) -> Parsed<Self> {
        let mut cursor = Cursor {
            inflate: Box::default(),
            window: vec![0; WINDOW].into(),
            next: 0,
            ready: 0..0,
            input: 0,
            output: 0,
            ended: false,
        };
        cursor.input = header(file, 0)?;
        Ok(cursor)
    }

    /// Inflates a piece, which never reaches beyond a gzip member. `check` gets what is new, and the trailer at the end
    /// of a member. Nothing may be ready any more.
    fn fill(
        &mut self,
        file: &mut Piece,
        check: &mut impl FnMut(&[u8], Option<[u8; 8]>) -> Parsed<()>,
    ) -> Parsed<()> {
        let length = file.length();
        let rest = file.at(self.input)?;
        let is_last = self.input + rest.len() as u64 >= length;
        let more = if is_last { 0 } else { TINFL_FLAG_HAS_MORE_INPUT };
        let (status, read, written) = decompress(&mut self.inflate, rest, &mut self.window, self.next, more);
        self.input += read as u64;
        self.ready = self.next..self.next + written;
        self.next = (self.next + written) % WINDOW;
        let new = &self.window[self.ready.clone()];
        match status {
            TINFLStatus::HasMoreOutput => check(new, None),
            TINFLStatus::Done => {
                let trailer = file.at(self.input)?.first_chunk().ok_or_else(truncated)?;
                check(new, Some(*trailer))?;
                self.input += 8;
                self.next_member(file)
            }
            TINFLStatus::FailedCannotMakeProgress => Err(truncated()),
            // The decompressor would have read ahead, so that the end of the member could not be told any more.
            TINFLStatus::NeedsMoreInput => Err(format!(
                "over {LEAST} bytes hold less than {WINDOW} at byte {}: it is damaged",
                self.input
            )),
            _ => Err(format!("its compressed data is damaged at byte {}", self.input)),
        }
    }

    /// Enters the next gzip member, if there is one. Zeros may follow the last.
    fn next_member(&mut self, file: &mut Piece) -> Parsed<()> {
        if file.at(self.input)?.starts_with(&MAGIC[..2]) {
            self.input = header(file, self.input)?;
            *self.inflate = DecompressorOxide::default();
            return Ok(());
        }
        let mut at = self.input;
        loop {
            let rest = file.at(at)?;
            if rest.iter().any(|&byte| byte != 0) {
                return Err(format!("something that is not gzip follows at byte {}", self.input));
            }
            if rest.is_empty() {
                self.ended = true;
                return Ok(());
            }
            at += rest.len() as u64;
        }
    }

    /// Takes up to `most` bytes that are ready.
    fn take(&mut self, most: usize) -> &[u8] {
        let start = self.ready.start;
        let end = start + most.min(self.ready.len());
        self.ready.start = end;
        self.output += (end - start) as u64;
        &self.window[start..end]
    }
}

fn truncated() -> String {
    "it is truncated".into()
}

/// Position of the first byte behind the header of the member at `start` (RFC 1952), which is refused if it has more
/// than [`LEAST`] bytes.
fn header(file: &mut Piece, start: u64) -> Parsed<u64> {
    let file = file.at(start)?;
    let fixed = file.get(..10).ok_or_else(truncated)?;
    if !fixed.starts_with(MAGIC) {
        return Err("it is not gzip with deflate".into());
    }
    let flags = fixed[3];
    let mut at = 10;
    if flags & 4 != 0 {
        let length = file.get(at..at + 2).ok_or_else(truncated)?;
        at += 2 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    }
    // A file name and a comment, each ended by a zero.
    for flag in [8, 16] {
        if flags & flag != 0 {
            let text = file.get(at..).ok_or_else(truncated)?;
            let end = || if file.len() < LEAST { truncated() } else { "its header is too long".into() };
            at += text.iter().position(|&byte| byte == 0).ok_or_else(end)? + 1;
        }
    }
    if flags & 2 != 0 {
        at += 2;
    }
    if at <= file.len() { Ok(start + at as u64) } else { Err(truncated()) }
}

/// A place where the stream can be entered.
struct Point {
    cursor: Cursor,
    _claim: Claim,
}

/// The points of a stream.
pub(super) struct Points {
    points: Vec<Point>,
    /// Readers that stopped somewhere, so that reading on in order needs no point.
    readers: Mutex<Vec<Cursor>>,
}

impl Points {
    /// `length` bytes of the stream from `start` on. The points must be those of `file`.
    ///
    /// # Errors
    /// A stream that ends before, or whose compressed data is damaged, and memory beyond the budget.
    pub fn read(&self, file: &Bytes, start: u64, length: u64) -> Parsed<Held> {
        let claim = budget::claim(length).map_err(|refused| refused.to_string())?;
        let length = length as usize;
        let mut cursor = self.nearest(start);
        let mut file = Piece::of(file);
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            if cursor.ready.is_empty() {
                if cursor.ended {
                    return Err(truncated());
                }
                cursor.fill(&mut file, &mut |_, _| Ok(()))?;
            }
            if cursor.output < start {
                cursor.take((start - cursor.output).min(WINDOW as u64) as usize);
            } else {
                let most = length - bytes.len();
                bytes.extend_from_slice(cursor.take(most));
            }
        }
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() == MAX_READERS {
            readers.remove(0);
        }
        readers.push(cursor);
        Ok(Held::new(bytes, claim))
    }

    /// The reader or point that is nearest before `start`.
    fn nearest(&self, start: u64) -> Cursor {
        let after = self.points.partition_point(|point| point.cursor.output <= start);
        let point = &self.points[after.saturating_sub(1)].cursor;
        let mut readers = self.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let nearer = |cursor: &Cursor| cursor.output <= start && cursor.output >= point.output;
        let best = (0..readers.len()).filter(|&i| nearer(&readers[i])).max_by_key(|&i| readers[i].output);
        best.map_or_else(|| point.clone(), |i| readers.remove(i))
    }
}

/// Reads a stream from its start to its end, forwards only, checks it and collects the points.
pub(super) struct Indexer<'a> {
    file: Piece<'a>,
    cursor: Cursor,
    points: Vec<Point>,
    /// The fewest bytes of the file between two points.
    spacing: u64,
    /// Checksum of the gzip member at hand.
    checksum: Hasher,
    /// Length of the gzip member at hand, modulo 2^32.
    length: u32,
}

impl<'a> Indexer<'a> {
    pub fn new(file: &'a Bytes) -> Parsed<Self> {
        let spacing = SPACING.max(file.length() / MAX_POINTS);
        let mut file = Piece::of(file);
        let cursor = Cursor::start(&mut file)?;
        let mut stream =
            Indexer { file, cursor, points: Vec::new(), spacing, checksum: Hasher::new(), length: 0 };
        stream.add_point()?;
        Ok(stream)
    }

    /// Makes a point where the reader stands. Where there is no memory for it, every second one is given up.
    fn add_point(&mut self) -> Parsed<()> {
        let most = (budget::most() / 4 / POINT).max(1);
        let claim = match budget::claim(POINT) {
            Ok(claim) if (self.points.len() as u64) < most => claim,
            Err(refused) if self.points.len() < 2 => return Err(refused.to_string()),
            _ => {
                let mut even = [true, false].into_iter().cycle();
                self.points.retain(|_| even.next() == Some(true));
                self.spacing *= 2;
                return Ok(());
            }
        };
        self.points.push(Point { cursor: self.cursor.clone(), _claim: claim });
        Ok(())
    }

    /// Reads what is left, so that damage there shows too.
    pub fn finish(mut self) -> Parsed<Points> {
        while self.step(WINDOW, |_| {})? {}
        Ok(Points { points: self.points, readers: Mutex::default() })
    }

    fn fill(&mut self) -> Parsed<()> {
        let (checksum, length) = (&mut self.checksum, &mut self.length);
        self.cursor.fill(&mut self.file, &mut |new, trailer| {
            checksum.update(new);
            *length = length.wrapping_add(new.len() as u32);
            if let Some([a, b, c, d, size @ ..]) = trailer {
                let sum = std::mem::take(checksum).finalize();
                if sum != u32::from_le_bytes([a, b, c, d])
                    || std::mem::take(length) != u32::from_le_bytes(size)
                {
                    return Err("its checksum is wrong: it is damaged".into());
                }
            }
            Ok(())
        })?;
        let Cursor { output, input, .. } = self.cursor;
        if output > (input + (64 << 10)).saturating_mul(MAX_INFLATION) {
            return Err(format!("it inflates to over {MAX_INFLATION} times its size"));
        }
        if self.points.last().is_some_and(|point| input - point.cursor.input >= self.spacing) {
            self.add_point()?;
        }
        Ok(())
    }

    /// Hands up to `most` bytes to `use_them`. False at the end.
    fn step(&mut self, most: usize, use_them: impl FnOnce(&[u8])) -> Parsed<bool> {
        while self.cursor.ready.is_empty() {
            if self.cursor.ended {
                return Ok(false);
            }
            self.fill()?;
        }
        use_them(self.cursor.take(most));
        Ok(true)
    }
}

impl Read for Indexer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            let rest = &mut buffer[done..];
            let most = rest.len();
            let copy = |bytes: &[u8]| {
                rest[..bytes.len()].copy_from_slice(bytes);
                done += bytes.len();
            };
            if !self.step(most, copy).map_err(io::Error::other)? {
                break;
            }
        }
        Ok(done)
    }
}

/// Passes over bytes: only forwards, and never beyond the end.
impl Seek for Indexer<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let SeekFrom::Current(count @ 0..) = to else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let end = self.cursor.output.saturating_add_signed(count);
        while self.cursor.output < end {
            let most = (end - self.cursor.output).min(WINDOW as u64) as usize;
            if !self.step(most, |_| {}).map_err(io::Error::other)? {
                break;
            }
        }
        Ok(self.cursor.output)
    }
}
