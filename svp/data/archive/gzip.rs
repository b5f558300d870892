//! Random access to a gzip stream: while it is read once for its index, the state of the decompressor is kept
//! so often, and a reader starts from the nearest such point.
//!
//! A point costs about 43 KiB (a 32 KiB window and the Huffman tables), and a read inflates half the distance of two
//! points too much on average. Up to 790 MB a point stands every 64 KiB of the file, so that the points take at most
//! two thirds of its size in memory and a read some 0.1 ms more; of a larger file there are [`MAX_POINTS`], which take
//! 500 MiB, and at 5 GB cost a read about 1 ms. Keeping the images would cost the whole file's size.

use std::ops::Range;
use std::sync::{Mutex, PoisonError};

use crc32fast::Hasher;
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress};

use super::tar::Stream;

/// How a gzip member with deflate begins.
pub(super) const MAGIC: &[u8] = &[0x1F, 0x8B, 8];
/// Fewest bytes of the file between two points.
const SPACING: usize = 64 << 10;
/// Most points of a file.
const MAX_POINTS: usize = 12_000;
/// How far back deflate refers.
const WINDOW: usize = 32 << 10;
/// Readers that stay where they are, for the next read behind them.
const MAX_WAITING: usize = 16;
/// Most bytes a byte of the file may stand for: images hardly shrink, bombs do.
const MAX_INFLATION: u64 = 200;

/// Result of anything inside an archive; the error says what is wrong in a few words.
type Result<T> = std::result::Result<T, String>;

/// A place in the stream from which it can be read on.
#[derive(Clone)]
struct Cursor {
    inflate: Box<DecompressorOxide>,
    /// The last bytes of the stream, as a ring.
    window: Box<[u8]>,
    /// Where the ring goes on.
    next: usize,
    /// Part of the ring that nobody has taken yet.
    waiting: Range<usize>,
    /// Position in the file.
    input: usize,
    /// Position in the stream of the first byte that waits.
    output: u64,
    ended: bool,
}

impl Cursor {
    fn start(file: &[u8]) -> Result<Self> {
        let mut cursor = Cursor {
            inflate: Box::default(),
            window: vec![0; WINDOW].into(),
            next: 0,
            waiting: 0..0,
            input: 0,
            output: 0,
            ended: false,
        };
        cursor.input = header(file, 0)?;
        Ok(cursor)
    }

    /// Inflates a piece once nothing waits, never beyond a gzip member: `check` gets what is new, and the trailer
    /// at the end of a member.
    fn fill(
        &mut self,
        file: &[u8],
        check: &mut impl FnMut(&[u8], Option<[u8; 8]>) -> Result<()>,
    ) -> Result<()> {
        let rest = &file[self.input..];
        let (status, read, written) = decompress(&mut self.inflate, rest, &mut self.window, self.next, 0);
        self.input += read;
        self.waiting = self.next..self.next + written;
        self.next = (self.next + written) % WINDOW;
        let new = &self.window[self.waiting.clone()];
        match status {
            TINFLStatus::HasMoreOutput => check(new, None),
            TINFLStatus::Done => {
                let trailer = file.get(self.input..self.input + 8).ok_or_else(truncated)?;
                check(new, trailer.try_into().ok())?;
                self.input += 8;
                self.next_member(file)
            }
            TINFLStatus::FailedCannotMakeProgress => Err(truncated()),
            _ => Err(format!("its compressed data is damaged at byte {}", self.input)),
        }
    }

    /// Members follow one another; zeros may follow the last.
    fn next_member(&mut self, file: &[u8]) -> Result<()> {
        if file[self.input..].starts_with(&MAGIC[..2]) {
            self.input = header(file, self.input)?;
            *self.inflate = DecompressorOxide::default();
        } else if file[self.input..].iter().all(|&byte| byte == 0) {
            self.ended = true;
        } else {
            return Err(format!("something that is not gzip follows at byte {}", self.input));
        }
        Ok(())
    }

    /// Takes up to `most` bytes that wait.
    fn take(&mut self, most: usize) -> &[u8] {
        let start = self.waiting.start;
        let end = start + most.min(self.waiting.len());
        self.waiting.start = end;
        self.output += (end - start) as u64;
        &self.window[start..end]
    }
}

fn truncated() -> String {
    "it is truncated".into()
}

/// Position behind the header of the member at `at` (RFC 1952).
fn header(file: &[u8], at: usize) -> Result<usize> {
    let fixed = file.get(at..at + 10).ok_or_else(truncated)?;
    if !fixed.starts_with(MAGIC) {
        return Err("it is not gzip with deflate".into());
    }
    let flags = fixed[3];
    let mut at = at + 10;
    if flags & 4 != 0 {
        let length = file.get(at..at + 2).ok_or_else(truncated)?;
        at += 2 + usize::from(u16::from_le_bytes([length[0], length[1]]));
    }
    // A file name and a comment, each ended by a zero.
    for flag in [8, 16] {
        if flags & flag != 0 {
            let text = file.get(at..).ok_or_else(truncated)?;
            at += text.iter().position(|&byte| byte == 0).ok_or_else(truncated)? + 1;
        }
    }
    if flags & 2 != 0 {
        at += 2;
    }
    if at <= file.len() { Ok(at) } else { Err(truncated()) }
}

/// The points of a stream.
pub(super) struct Points {
    points: Vec<Cursor>,
    /// Readers that stopped somewhere: reading on in order needs no point.
    waiting: Mutex<Vec<Cursor>>,
}

impl Points {
    /// `length` bytes of the stream from `start` on; the points must be those of `file`.
    pub fn read(&self, file: &[u8], start: u64, length: usize) -> Result<Vec<u8>> {
        let mut cursor = self.nearest(start);
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            if cursor.waiting.is_empty() {
                if cursor.ended {
                    return Err(truncated());
                }
                cursor.fill(file, &mut |_, _| Ok(()))?;
            }
            if cursor.output < start {
                cursor.take((start - cursor.output).min(WINDOW as u64) as usize);
            } else {
                let most = length - bytes.len();
                bytes.extend_from_slice(cursor.take(most));
            }
        }
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() == MAX_WAITING {
            waiting.remove(0);
        }
        waiting.push(cursor);
        Ok(bytes)
    }

    /// The reader or point that is nearest before `start`.
    fn nearest(&self, start: u64) -> Cursor {
        let after = self.points.partition_point(|point| point.output <= start);
        let point = &self.points[after.saturating_sub(1)];
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let nearer = |cursor: &Cursor| cursor.output <= start && cursor.output >= point.output;
        let best = (0..waiting.len()).filter(|&i| nearer(&waiting[i])).max_by_key(|&i| waiting[i].output);
        best.map_or_else(|| point.clone(), |i| waiting.remove(i))
    }
}

/// Reads a stream from its start to its end, checks it and collects the points.
pub(super) struct Indexer<'a> {
    file: &'a [u8],
    cursor: Cursor,
    points: Vec<Cursor>,
    /// Checksum and length of the gzip member at hand.
    checksum: Hasher,
    length: u32,
}

impl<'a> Indexer<'a> {
    pub fn new(file: &'a [u8]) -> Result<Self> {
        let cursor = Cursor::start(file)?;
        Ok(Indexer { file, points: vec![cursor.clone()], cursor, checksum: Hasher::new(), length: 0 })
    }

    /// Reads what is left, so that damage there shows too.
    pub fn finish(mut self) -> Result<Points> {
        self.skip(u64::MAX)?;
        Ok(Points { points: self.points, waiting: Mutex::default() })
    }

    fn fill(&mut self) -> Result<()> {
        let (checksum, length) = (&mut self.checksum, &mut self.length);
        self.cursor.fill(self.file, &mut |new, trailer| {
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
        if output > (input as u64 + (64 << 10)).saturating_mul(MAX_INFLATION) {
            return Err(format!("it inflates to over {MAX_INFLATION} times its size"));
        }
        let spacing = SPACING.max(self.file.len() / MAX_POINTS);
        if self.points.last().is_some_and(|point| input - point.input >= spacing) {
            self.points.push(self.cursor.clone());
        }
        Ok(())
    }

    /// Hands up to `most` bytes to `use_them`; false at the end.
    fn step(&mut self, most: usize, use_them: impl FnOnce(&[u8])) -> Result<bool> {
        while self.cursor.waiting.is_empty() {
            if self.cursor.ended {
                return Ok(false);
            }
            self.fill()?;
        }
        use_them(self.cursor.take(most));
        Ok(true)
    }
}

impl Stream for Indexer<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            let rest = &mut buffer[done..];
            let mut got = 0;
            let more = self.step(rest.len(), |bytes| {
                rest[..bytes.len()].copy_from_slice(bytes);
                got = bytes.len();
            })?;
            if !more {
                break;
            }
            done += got;
        }
        Ok(done)
    }

    fn skip(&mut self, count: u64) -> Result<u64> {
        let mut done = 0;
        while done < count {
            let most = (count - done).min(WINDOW as u64) as usize;
            if !self.step(most, |bytes| done += bytes.len() as u64)? {
                break;
            }
        }
        Ok(done)
    }

    fn position(&self) -> u64 {
        self.cursor.output
    }
}
