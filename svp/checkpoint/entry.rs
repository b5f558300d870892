//! One tensor of a file: its type and shape, where its bytes lie, and how it becomes an f32 tensor.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use data::mapped::Mmap;
use engine::{Tensor, budget};
use half::{bf16, f16};

use super::fault::Fault;

/// Element types that files may hold; only the float types become tensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dtype {
    /// IEEE double precision, 8 bytes.
    F64,
    /// IEEE single precision, 4 bytes.
    F32,
    /// IEEE half precision, 2 bytes.
    F16,
    /// The upper half of an f32, 2 bytes.
    BF16,
    /// Signed integer, 8 bytes.
    I64,
    /// Signed integer, 4 bytes.
    I32,
    /// Signed integer, 2 bytes.
    I16,
    /// Signed integer, 1 byte.
    I8,
    /// Unsigned integer, 1 byte.
    U8,
    /// Truth value, 1 byte.
    Bool,
}

impl Dtype {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            Dtype::F64 | Dtype::I64 => 8,
            Dtype::F32 | Dtype::I32 => 4,
            Dtype::F16 | Dtype::BF16 | Dtype::I16 => 2,
            Dtype::I8 | Dtype::U8 | Dtype::Bool => 1,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&format!("{self:?}").to_lowercase())
    }
}

/// Bytes of a storage: part of the file in memory, or memory of their own where the file holds them compressed.
#[derive(Debug, Clone)]
pub(super) struct Bytes {
    map: Arc<Mmap>,
    range: Range<usize>,
}

impl Bytes {
    /// Part of a file in memory.
    ///
    /// # Errors
    /// A range that reaches beyond the end of the file.
    pub(super) fn part(map: &Arc<Mmap>, start: usize, len: usize) -> Result<Self, Fault> {
        let end = start.checked_add(len).filter(|&end| end <= map.len());
        let end = end.ok_or_else(|| {
            Fault::damaged(format!("{len} bytes wanted at byte {start}, the file has {}", map.len()))
        })?;
        Ok(Bytes { map: map.clone(), range: start..end })
    }

    /// All `len` bytes that a reader gives.
    ///
    /// # Errors
    /// A reader that fails or gives more or fewer, and memory that the budget does not have.
    pub(super) fn read(mut from: impl Read, len: usize) -> Result<Self, Fault> {
        let map = memory(len, |bytes| {
            from.read_exact(bytes)?;
            match from.read(&mut [0])? {
                0 => Ok(()),
                _ => Err(io::Error::other("there are more")),
            }
        });
        let map = map?.map_err(|e| Fault::damaged(format!("{len} bytes promised: {e}")))?;
        Ok(Bytes { map: Arc::new(map), range: 0..len })
    }

    /// Those from byte `start` on; none where there are fewer.
    pub(super) fn from(&self, start: usize) -> Self {
        let start = self.range.start.saturating_add(start).min(self.range.end);
        Bytes { map: self.map.clone(), range: start..self.range.end }
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.map[self.range.clone()]
    }
}

/// Memory of so many bytes that `fill` writes, claimed from the budget. The outer error is the budget's.
fn memory(len: usize, fill: impl FnOnce(&mut [u8]) -> io::Result<()>) -> Result<io::Result<Mmap>, Fault> {
    Ok(Mmap::filled(budget::claim(len as u64)?, len, fill))
}

/// Tensors by name.
pub type Entries = BTreeMap<String, Entry>;
/// Text by key, as `.safetensors` keeps it beside the tensors.
pub type Metadata = BTreeMap<String, String>;

/// A tensor in a file: a strided view of a storage, checked to lie inside it, or the rows of several.
#[derive(Debug, Clone)]
pub struct Entry {
    dtype: Dtype,
    shape: Vec<usize>,
    values: Values,
}

/// Where the values of a tensor are.
#[derive(Debug, Clone)]
enum Values {
    /// In a storage; strides are in elements, like the offset.
    View { strides: Vec<usize>, offset: usize, bytes: Bytes },
    /// In these tensors of the same type, one after the other along the first axis.
    Stacked(Vec<Entry>),
}

impl Entry {
    /// A view of `bytes`. Its last element must lie inside, and elements must not repeat, because an expanded tensor of
    /// a few bytes could ask for any amount of memory.
    pub(super) fn strided(
        dtype: Dtype,
        shape: Vec<usize>,
        strides: Vec<usize>,
        offset: usize,
        bytes: Bytes,
    ) -> Result<Self, Fault> {
        let wanted = shape.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim));
        if wanted == Some(0) {
            let values = Values::View { strides: row_major(&shape), offset: 0, bytes };
            return Ok(Entry { dtype, shape, values });
        }
        let held = bytes.as_slice().len() / dtype.size();
        let last = shape.iter().zip(&strides).try_fold(offset, |at, (&dim, &stride)| {
            dim.saturating_sub(1).checked_mul(stride).and_then(|step| at.checked_add(step))
        });
        let inside = wanted.is_some_and(|n| n <= held) && last.is_some_and(|last| last < held);
        if strides.len() != shape.len() || !inside {
            return Err(Fault::damaged(format!(
                "shape {shape:?}, strides {strides:?}, offset {offset} reach beyond a storage of {held} elements"
            )));
        }
        // The stride of an axis of length 1 is never taken, so it may be any number.
        let strides = shape.iter().zip(strides).map(|(&dim, stride)| if dim == 1 { 0 } else { stride });
        let values = Values::View { strides: strides.collect(), offset, bytes };
        Ok(Entry { dtype, shape, values })
    }

    /// The same values with the axes in this order; `None` where the tensor has another number of axes, or is stacked.
    pub(crate) fn permuted(&self, axes: &[usize]) -> Option<Self> {
        let Values::View { strides, offset, bytes } = &self.values else { return None };
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..self.shape.len()) {
            return None;
        }
        let reordered = |of: &[usize]| axes.iter().map(|&axis| of[axis]).collect::<Vec<_>>();
        let values = Values::View { strides: reordered(strides), offset: *offset, bytes: bytes.clone() };
        Some(Entry { dtype: self.dtype, shape: reordered(&self.shape), values })
    }

    /// The same values in another shape; `None` where the numbers of values differ, or the tensor is not row-major.
    pub(crate) fn reshaped(&self, shape: &[usize]) -> Option<Self> {
        let Values::View { offset, bytes, .. } = &self.values else { return None };
        if !self.is_contiguous() || count(shape)? != count(&self.shape)? {
            return None;
        }
        let values = Values::View { strides: row_major(shape), offset: *offset, bytes: bytes.clone() };
        Some(Entry { dtype: self.dtype, shape: shape.to_vec(), values })
    }

    /// The rows of all these tensors, one after the other; `None` where their types or the lengths of their later axes
    /// differ.
    pub(crate) fn stacked(all: Vec<Entry>) -> Option<Self> {
        let first = all.first()?;
        let (dtype, rest) = (first.dtype, first.shape.get(1..)?.to_vec());
        if !all.iter().all(|entry| entry.dtype == dtype && entry.shape.get(1..) == Some(&rest[..])) {
            return None;
        }
        let rows = all.iter().try_fold(0usize, |sum, entry| sum.checked_add(entry.shape[0]))?;
        let shape = [vec![rows], rest].concat();
        count(&shape)?;
        Some(Entry { dtype, shape, values: Values::Stacked(all) })
    }

    /// A row-major tensor that fills `bytes`.
    pub(super) fn contiguous(dtype: Dtype, shape: Vec<usize>, bytes: Bytes) -> Result<Self, Fault> {
        let strides = row_major(&shape);
        Entry::strided(dtype, shape, strides, 0, bytes)
    }

    /// Element type in the file.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Length of each axis.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The values as f32. They are used in place where they are row-major and aligned in the file, and converted once
    /// otherwise, into memory that counts in the budget: many names can stand for one storage.
    ///
    /// # Errors
    /// Elements that are not floating-point numbers, and memory that the budget does not have.
    pub(super) fn tensor(&self) -> Result<Tensor, Fault> {
        if let Values::View { offset, bytes: Bytes { map, range }, .. } = &self.values {
            let start = range.start + 4 * offset;
            let aligned = (map.as_ptr() as usize + start).is_multiple_of(4);
            if self.dtype == Dtype::F32 && aligned && self.is_contiguous() {
                return self.view(map.clone(), start);
            }
        }
        let converted = match self.dtype {
            Dtype::F64 => self.gather(|b| f64::from_le_bytes(b) as f32),
            Dtype::F32 => self.gather(f32::from_le_bytes),
            Dtype::F16 => self.gather(|b| f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => self.gather(|b| bf16::from_le_bytes(b).to_f32()),
            other => {
                return Err(Fault::new(format!("is {other}"), "only floating-point tensors can be weights"));
            }
        };
        self.view(Arc::new(converted?), 0)
    }

    /// The tensor of this shape whose values lie `start` bytes into `map`.
    fn view(&self, map: Arc<Mmap>, start: usize) -> Result<Tensor, Fault> {
        Tensor::from_map(map, start, &self.shape).map_err(|e| Fault::damaged(e.to_string()))
    }

    fn is_contiguous(&self) -> bool {
        let Values::View { strides, .. } = &self.values else { return false };
        let mut axes = self.shape.iter().zip(strides.iter().zip(row_major(&self.shape)));
        axes.all(|(&dim, (&have, want))| dim == 1 || have == want)
    }

    /// All elements in row-major order.
    fn gather<const SIZE: usize>(&self, decode: impl Fn([u8; SIZE]) -> f32) -> Result<Mmap, Fault> {
        let n = count(&self.shape).expect("checked when it was made");
        let values = memory(4 * n, |bytes| {
            self.put(&decode, bytemuck::cast_slice_mut(bytes));
            Ok(())
        });
        values?.map_err(|e| Fault::new(format!("has {n} values: {e}"), "free some memory"))
    }

    /// Writes all elements in row-major order into `values`.
    fn put<const SIZE: usize>(&self, decode: &impl Fn([u8; SIZE]) -> f32, mut values: &mut [f32]) {
        let (strides, offset, bytes) = match &self.values {
            Values::View { strides, offset, bytes } => (strides, *offset, bytes),
            Values::Stacked(all) => {
                for entry in all {
                    let n = count(&entry.shape).expect("checked when it was made");
                    entry.put(decode, &mut values[..n]);
                    values = &mut values[n..];
                }
                return;
            }
        };
        let (stored, _) = bytes.as_slice().as_chunks::<SIZE>();
        if self.is_contiguous() {
            values.iter_mut().zip(&stored[offset..]).for_each(|(value, &b)| *value = decode(b));
        } else {
            let mut index = vec![0; self.shape.len()];
            let mut at = offset;
            for value in values {
                *value = decode(stored[at]);
                // The index counts up like an odometer, with the last axis fastest.
                for axis in (0..index.len()).rev() {
                    index[axis] += 1;
                    at += strides[axis];
                    if index[axis] < self.shape[axis] {
                        break;
                    }
                    at -= strides[axis] * self.shape[axis];
                    index[axis] = 0;
                }
            }
        }
    }
}

/// Number of values of a shape; `None` where it is beyond any memory.
fn count(shape: &[usize]) -> Option<usize> {
    if shape.contains(&0) {
        return Some(0);
    }
    shape.iter().try_fold(1usize, |n, &dim| n.checked_mul(dim))
}

/// Strides of a row-major tensor.
pub(super) fn row_major(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1usize; shape.len()];
    for axis in (1..shape.len()).rev() {
        // A product that overflows belongs to a shape that is refused later.
        strides[axis - 1] = strides[axis].saturating_mul(shape[axis]);
    }
    strides
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(all: Vec<u8>) -> Bytes {
        Bytes::read(&all[..], all.len()).unwrap()
    }

    fn f32s(n: usize) -> Bytes {
        bytes((0..n).flat_map(|i| (i as f32).to_le_bytes()).collect())
    }

    fn values(shape: &[usize], strides: &[usize], offset: usize, n: usize) -> Vec<f32> {
        let entry = Entry::strided(Dtype::F32, shape.into(), strides.into(), offset, f32s(n)).unwrap();
        entry.tensor().unwrap().as_slice().to_vec()
    }

    #[test]
    fn strides_and_offsets_are_followed() {
        assert_eq!(values(&[3, 2], &[1, 3], 0, 6), [0., 3., 1., 4., 2., 5.]);
        assert_eq!(values(&[2, 2], &[3, 1], 1, 6), [1., 2., 4., 5.]);
        assert_eq!(values(&[2, 2, 2], &[1, 4, 2], 0, 8), [0., 2., 4., 6., 1., 3., 5., 7.]);
        assert_eq!(values(&[1, 3], &[77, 1], 2, 5), [2., 3., 4.]);
        assert_eq!(values(&[1, 3], &[usize::MAX, 2], 0, 5), [0., 2., 4.]);
        assert_eq!(values(&[], &[], 4, 5), [4.]);
        assert_eq!(values(&[0, 9], &[9, 1], usize::MAX, 0), [0.; 0]);
    }

    #[test]
    fn views_beyond_their_storage_are_refused() {
        let refused = |shape: &[usize], strides: &[usize], offset| {
            Entry::strided(Dtype::F32, shape.into(), strides.into(), offset, f32s(6)).is_err()
        };
        assert!(refused(&[7], &[1], 0));
        assert!(refused(&[3, 2], &[2, 1], 1));
        assert!(refused(&[2, 2], &[usize::MAX, 1], 0));
        assert!(refused(&[usize::MAX, 2], &[0, 0], 0));
        assert!(refused(&[1 << 40], &[0], 0), "expanded");
        assert!(refused(&[2, 3], &[3], 0), "rank");
        assert!(!refused(&[2, 3], &[3, 1], 0));
    }

    #[test]
    fn axes_are_permuted_and_merged_and_rows_stacked() {
        let entry = Entry::contiguous(Dtype::F32, vec![2, 1, 3], f32s(6)).unwrap();
        let read =
            |entry: Option<Entry>| entry.map(|e| (e.shape.clone(), e.tensor().unwrap().as_slice().to_vec()));
        let turned = entry.reshaped(&[2, 3]).and_then(|e| e.permuted(&[1, 0])).unwrap();
        assert_eq!(read(Some(turned.clone())), Some((vec![3, 2], vec![0., 3., 1., 4., 2., 5.])));
        let flat = Entry::contiguous(Dtype::F32, vec![1, 2], f32s(2)).unwrap();
        let stacked = Entry::stacked(vec![turned.clone(), flat]).unwrap();
        assert_eq!(read(Some(stacked.clone())), Some((vec![4, 2], vec![0., 3., 1., 4., 2., 5., 0., 1.])));
        assert!(turned.reshaped(&[6]).is_none(), "not row-major");
        assert!(entry.reshaped(&[5]).is_none() && entry.reshaped(&[usize::MAX, 9]).is_none());
        assert!(entry.permuted(&[0, 1]).is_none() && entry.permuted(&[0, 1, 1]).is_none());
        assert!(stacked.permuted(&[1, 0]).is_none() && stacked.reshaped(&[8]).is_none());
        assert!(Entry::stacked(vec![turned, entry]).is_none() && Entry::stacked(vec![]).is_none());
    }

    #[test]
    fn readers_must_give_what_is_promised() {
        assert_eq!(Bytes::read(&b"abc"[..], 3).unwrap().as_slice(), b"abc");
        assert!(Bytes::read(&b"abc"[..], 4).is_err() && Bytes::read(&b"abc"[..], 2).is_err());
        assert!(Bytes::read(&b""[..], 1 << 50).is_err(), "more than any budget has");
    }

    #[test]
    fn half_and_double_are_converted() {
        let all = [1.5f32, -2.0, 0.25];
        let half = bytes(all.iter().flat_map(|&v| f16::from_f32(v).to_le_bytes()).collect());
        let brain = bytes(all.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect());
        let double = bytes(all.iter().flat_map(|&v| f64::from(v).to_le_bytes()).collect());
        for (dtype, bytes) in [(Dtype::F16, half), (Dtype::BF16, brain), (Dtype::F64, double)] {
            let entry = Entry::contiguous(dtype, vec![3], bytes).unwrap();
            assert_eq!(entry.tensor().unwrap().as_slice(), all, "{dtype}");
        }
        assert!(Entry::contiguous(Dtype::I32, vec![3], f32s(3)).unwrap().tensor().is_err());
    }
}
