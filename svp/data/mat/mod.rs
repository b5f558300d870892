//! MATLAB level-5 files, as far as data sets use them: numbers, text, cells and structs.
//!
//! Source: MathWorks' "MAT-File Format", level 5. Memory is bounded by a multiple of the file's size, by
//! [`MAX_INFLATED`] and by the budget.

use std::ops::Deref;

use engine::budget::{Claim, Refused};
use miniz_oxide::inflate::{decompress_slice_iter_to_slice, decompress_to_vec_zlib_with_limit};

use crate::error::Parsed;
use crate::held::Held;

/// The most bytes that the compressed variables of a file may inflate to in all. Of a smaller file it is 16 times the
/// size, or up to [`SMALL`] if that is not more than 200 times the size, as of an archive.
const MAX_INFLATED: usize = 1 << 30;
const SMALL: usize = 64 << 20;
/// How deep cells and structs may be nested.
const MAX_DEPTH: usize = 8;

// Types of an element.
const INT8: u32 = 1;
const UINT8: u32 = 2;
const INT16: u32 = 3;
const UINT16: u32 = 4;
const INT32: u32 = 5;
const UINT32: u32 = 6;
const SINGLE: u32 = 7;
const DOUBLE: u32 = 9;
const MATRIX: u32 = 14;
const COMPRESSED: u32 = 15;
const UTF8: u32 = 16;
const UTF16: u32 = 17;

// Classes of a matrix.
const CELL: u8 = 1;
const STRUCT: u8 = 2;
const CHAR: u8 = 4;
/// The classes of numbers: doubles, singles and integers of 8 to 64 bits.
const NUMBERS: std::ops::RangeInclusive<u8> = 6..=15;

/// The value of a variable, a cell or a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Array {
    pub dims: Vec<usize>,
    pub data: Data,
}

/// The elements of an array, column by column.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    Bytes(Vec<u8>),
    Numbers(Vec<f64>),
    Text(String),
    Cells(Vec<Array>),
    /// The names of the fields, then the values of all fields of the first struct, of the second, and so on.
    Structs(Vec<String>, Vec<Array>),
    /// A class that no data set uses.
    Other,
}

impl Array {
    /// The numbers, whatever their type, if they are all integers from 0 to 2^32 - 1.
    pub fn integers(&self) -> Option<Vec<u32>> {
        let integer = |&v: &f64| (v.fract() == 0.0 && (0.0..4294967296.0).contains(&v)).then_some(v as u32);
        match &self.data {
            Data::Numbers(numbers) => numbers.iter().map(integer).collect(),
            Data::Bytes(bytes) => Some(bytes.iter().map(|&byte| byte.into()).collect()),
            _ => None,
        }
    }

    /// A text, which may be in a cell of its own.
    pub fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            Data::Cells(cells) if cells.len() == 1 => cells[0].text(),
            _ => None,
        }
    }

    /// The texts of a cell array.
    pub fn texts(&self) -> Option<Vec<String>> {
        let Data::Cells(cells) = &self.data else { return None };
        cells.iter().map(|cell| cell.text().map(String::from)).collect()
    }

    /// One field of all structs.
    pub fn field(&self, name: &str) -> Option<Vec<&Array>> {
        let Data::Structs(names, values) = &self.data else { return None };
        let at = names.iter().position(|n| n == name)?;
        Some(values.chunks_exact(names.len()).map(|fields| &fields[at]).collect())
    }
}

/// The variables of a file, with their names.
#[derive(Debug, Default)]
pub(crate) struct Variables {
    pub all: Vec<(String, Array)>,
    /// What they take of the budget.
    pub claim: Claim,
}

/// The only variable of those that were asked for.
pub(crate) struct Variable {
    array: Array,
    _claim: Claim,
}

impl Variables {
    /// The first of them.
    pub fn into_first(self) -> Option<Variable> {
        let (_, array) = self.all.into_iter().next()?;
        Some(Variable { array, _claim: self.claim })
    }
}

impl Deref for Variable {
    type Target = Array;

    fn deref(&self) -> &Array {
        &self.array
    }
}

/// The variables of a file with these names. Others are passed over.
///
/// # Errors
/// In a few words, what is wrong with the file: another format, damage, or too large contents.
pub(crate) fn read(file: &[u8], names: &[&str]) -> Parsed<Variables> {
    let mut elements = Elements { bytes: body(file)?, at: 128 };
    let mut found = Variables::default();
    let small = SMALL.min((file.len() + (64 << 10)).saturating_mul(200));
    let mut left = MAX_INFLATED.min(file.len().saturating_mul(16).max(small));
    while let Some((kind, bytes)) = elements.next()? {
        let inflated;
        let matrix = match kind {
            MATRIX => bytes,
            COMPRESSED => {
                inflated = inflate(bytes, left)?;
                left -= inflated.len();
                match (Elements { bytes: &inflated, at: 0 }).next()? {
                    Some((MATRIX, matrix)) => matrix,
                    _ => continue,
                }
            }
            _ => continue,
        };
        let mut parts = Elements { bytes: matrix, at: 0 };
        let head = Head::read(&mut parts)?;
        if names.contains(&head.name.as_str()) {
            let name = head.name.clone();
            let array = array(head, &mut parts, 0, &mut found.claim);
            found.all.push((name, array?));
        }
    }
    Ok(found)
}

/// The file, if its header is that of a little-endian one of level 5.
fn body(file: &[u8]) -> Parsed<&[u8]> {
    if file.starts_with(b"\x89HDF") || file.get(512..).is_some_and(|at| at.starts_with(b"\x89HDF")) {
        return Err("is a MATLAB 7.3 (HDF5) file; only level 5 is read".into());
    }
    match file.get(124..128) {
        Some([_, 1, b'I', b'M']) => Ok(file),
        Some([1, _, b'M', b'I']) => Err("was written on a big-endian machine".into()),
        _ => Err("is no MATLAB level-5 file, or truncated".into()),
    }
}

/// A compressed element. The tag at its start says how many bytes it has.
fn inflate(bytes: &[u8], limit: usize) -> Parsed<Held> {
    let damaged = || "has a compressed variable that is damaged".to_string();
    let tag = decompress_to_vec_zlib_with_limit(bytes, 8).unwrap_or_else(|e| e.output);
    let tag = tag.as_chunks::<4>().0;
    let &[_, size] = tag else { return Err(damaged()) };
    let length = 8 + u32::from_le_bytes(size) as usize;
    if length > limit {
        return Err(format!("has a variable that inflates to over {} MiB", limit >> 20));
    }
    let mut inflated = Held::zeros(length as u64).map_err(refused)?;
    match decompress_slice_iter_to_slice(inflated.as_mut(), std::iter::once(bytes), true, false) {
        Ok(count) if count == length => Ok(inflated),
        _ => Err(damaged()),
    }
}

fn refused(refused: Refused) -> String {
    format!("has a variable that {refused}")
}

/// Elements that follow one another, each a tag and its data.
struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Elements<'a> {
    /// Type and data of the next element.
    fn next(&mut self) -> Parsed<Option<(u32, &'a [u8])>> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let word = |at: usize| {
            let word = self.bytes.get(at..at + 4).ok_or("is truncated")?;
            Ok::<_, String>(u32::from_le_bytes(word.try_into().expect("four bytes")))
        };
        let (first, second) = (word(self.at)?, word(self.at + 4)?);
        // In the small form, the upper half of the first word is the size and the second word is the data.
        let (kind, size, start, whole) = match first >> 16 {
            0 if first == COMPRESSED => (first, second as usize, self.at + 8, second as usize),
            0 => (first, second as usize, self.at + 8, (second as usize).next_multiple_of(8)),
            size => (first & 0xFFFF, size as usize, self.at + 4, 4),
        };
        if size > whole {
            return Err("has an element of impossible size".into());
        }
        let data = start.checked_add(size).and_then(|end| self.bytes.get(start..end));
        let data = data.ok_or("is truncated")?;
        self.at = start + whole;
        Ok(Some((kind, data)))
    }

    /// The data of the next element, which must be of this type.
    fn want(&mut self, kind: u32) -> Parsed<&'a [u8]> {
        match self.next()? {
            Some((found, data)) if found == kind => Ok(data),
            _ => Err("has a matrix that is damaged".into()),
        }
    }
}

/// The elements that every matrix begins with.
struct Head {
    class: u8,
    complex: bool,
    dims: Vec<usize>,
    /// Number of elements of the matrix.
    count: usize,
    name: String,
}

impl Head {
    fn read(parts: &mut Elements) -> Parsed<Self> {
        let flags = parts.want(UINT32)?;
        let &[class, bits, ..] = flags else {
            return Err("has a matrix without a class".into());
        };
        let dims = parts.want(INT32)?;
        let dims: Vec<usize> = dims.as_chunks().0.iter().map(|&d| u32::from_le_bytes(d) as usize).collect();
        let count = dims.iter().try_fold(1usize, |count, &dim| count.checked_mul(dim));
        let count = count.ok_or("has a matrix of impossible size")?;
        let name = String::from_utf8_lossy(parts.want(INT8)?).into();
        Ok(Head { class, complex: bits & 8 != 0, dims, count, name })
    }
}

fn array(head: Head, parts: &mut Elements, depth: usize, claim: &mut Claim) -> Parsed<Array> {
    let data = match head.class {
        CELL => Data::Cells(children(parts, head.count, depth, claim)?),
        STRUCT => structs(parts, head.count, depth, claim)?,
        CHAR => match parts.next()? {
            Some((kind, bytes)) => Data::Text(text(kind, bytes, claim)?),
            None => Data::Text(String::new()),
        },
        class if NUMBERS.contains(&class) && !head.complex => match parts.next()? {
            Some((kind, bytes)) => numbers(kind, bytes, claim)?,
            None => Data::Bytes(Vec::new()),
        },
        _ => Data::Other,
    };
    let length = match &data {
        Data::Bytes(bytes) => bytes.len(),
        Data::Numbers(numbers) => numbers.len(),
        _ => head.count,
    };
    if length != head.count {
        return Err(format!("has a matrix of {} elements that holds {length}", head.count));
    }
    Ok(Array { dims: head.dims, data })
}

/// `count` matrices, the cells or fields of another one. An element without content is an empty matrix.
fn children(parts: &mut Elements, count: usize, depth: usize, claim: &mut Claim) -> Parsed<Vec<Array>> {
    if depth == MAX_DEPTH {
        return Err(format!("has cells more than {MAX_DEPTH} deep"));
    }
    // Each of them takes at least the eight bytes of its tag.
    if count > (parts.bytes.len() - parts.at.min(parts.bytes.len())) / 8 {
        return Err("is truncated, or has a matrix of impossible size".into());
    }
    // An array has its sizes in memory of their own.
    claim.grow((count * (size_of::<Array>() + 2 * size_of::<usize>())) as u64).map_err(refused)?;
    let child = |_| match parts.want(MATRIX)? {
        [] => Ok(Array { dims: vec![0, 0], data: Data::Bytes(Vec::new()) }),
        bytes => {
            let mut parts = Elements { bytes, at: 0 };
            let head = Head::read(&mut parts)?;
            array(head, &mut parts, depth + 1, claim)
        }
    };
    (0..count).map(child).collect()
}

fn structs(parts: &mut Elements, count: usize, depth: usize, claim: &mut Claim) -> Parsed<Data> {
    let length = parts.want(INT32)?;
    let length = length.first_chunk().map_or(0, |&length| u32::from_le_bytes(length) as usize);
    let names = parts.want(INT8)?;
    if length == 0 || names.len() % length != 0 {
        return Err("has a struct whose fields have no names".into());
    }
    let name = |bytes: &[u8]| {
        let end = bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len());
        String::from_utf8_lossy(&bytes[..end]).into_owned()
    };
    let names: Vec<String> = names.chunks_exact(length).map(name).collect();
    let values = count.checked_mul(names.len()).ok_or("has a matrix of impossible size")?;
    Ok(Data::Structs(names, children(parts, values, depth, claim)?))
}

fn numbers(kind: u32, bytes: &[u8], claim: &mut Claim) -> Parsed<Data> {
    fn all<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f64) -> Data {
        Data::Numbers(bytes.as_chunks().0.iter().map(|&bytes| number(bytes)).collect())
    }
    let each = match kind {
        UINT8 => 1,
        INT8 => 8,
        INT16 | UINT16 => 4,
        INT32 | UINT32 | SINGLE => 2,
        _ => 1,
    };
    claim.grow(bytes.len() as u64 * each).map_err(refused)?;
    Ok(match kind {
        UINT8 => Data::Bytes(bytes.to_vec()),
        INT8 => all(bytes, |b| i8::from_le_bytes(b).into()),
        INT16 => all(bytes, |b| i16::from_le_bytes(b).into()),
        UINT16 => all(bytes, |b| u16::from_le_bytes(b).into()),
        INT32 => all(bytes, |b| i32::from_le_bytes(b).into()),
        UINT32 => all(bytes, |b| u32::from_le_bytes(b).into()),
        SINGLE => all(bytes, |b| f32::from_le_bytes(b).into()),
        DOUBLE => all(bytes, f64::from_le_bytes),
        _ => return Err(format!("has numbers of type {kind}, which is not read")),
    })
}

fn text(kind: u32, bytes: &[u8], claim: &mut Claim) -> Parsed<String> {
    // What cannot be read becomes a character of three bytes.
    claim.grow(3 * bytes.len() as u64).map_err(refused)?;
    Ok(match kind {
        // MATLAB writes one byte a character where that is enough.
        INT8 | UINT8 | UTF8 => String::from_utf8_lossy(bytes).into(),
        UINT16 | UTF16 => {
            let units: Vec<u16> = bytes.as_chunks().0.iter().map(|&unit| u16::from_le_bytes(unit)).collect();
            String::from_utf16_lossy(&units)
        }
        _ => return Err(format!("has text of type {kind}, which is not read")),
    })
}

#[cfg(test)]
mod tests;
