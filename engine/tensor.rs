//! A tensor: shared f32 storage and a shape. Row-major, contiguous, no strides.

use std::sync::Arc;

use memmap2::Mmap;
use rayon::prelude::*;

use crate::device::{Buffer, Device};
use crate::shape::numel;
use crate::{Error, Result};

#[derive(Debug)]
enum Storage {
    /// Memory of the device's pool.
    Owned(Buffer),
    /// Memory of an ordinary vector.
    Vec(Vec<f32>),
    /// Part of a mapped file: `offset` bytes in, read-only.
    Mapped { map: Arc<Mmap>, offset: usize },
}

/// Shared, immutable unless held once: cloning copies a pointer.
#[derive(Debug, Clone)]
pub struct Tensor {
    storage: Arc<Storage>,
    shape: Vec<usize>,
}

impl Tensor {
    /// A tensor of unspecified content (NaN on a checked device), to be written whole.
    pub fn empty(device: &Device, shape: &[usize]) -> Self {
        Tensor { storage: Arc::new(Storage::Owned(device.alloc(numel(shape)))), shape: shape.to_vec() }
    }

    pub fn zeros(device: &Device, shape: &[usize]) -> Self {
        let mut out = Self::empty(device, shape);
        out.as_mut_slice().fill(0.0);
        out
    }

    /// Takes over a vector; its length must be the product of the shape.
    pub fn from_vec(data: Vec<f32>, shape: &[usize]) -> Self {
        assert_eq!(data.len(), numel(shape), "{} values for shape {shape:?}", data.len());
        Tensor { storage: Arc::new(Storage::Vec(data)), shape: shape.to_vec() }
    }

    /// Copies values onto a device.
    pub fn from_slice(device: &Device, data: &[f32], shape: &[usize]) -> Self {
        assert_eq!(data.len(), numel(shape), "{} values for shape {shape:?}", data.len());
        let mut out = Self::empty(device, shape);
        out.as_mut_slice().copy_from_slice(data);
        out
    }

    /// A read-only view of little-endian f32 values in a mapped file, `offset` bytes in; nothing is copied.
    pub fn from_map(map: Arc<Mmap>, offset: usize, shape: &[usize]) -> Result<Self> {
        let end = numel(shape).checked_mul(4).and_then(|bytes| bytes.checked_add(offset));
        let aligned = (map.as_ptr() as usize + offset).is_multiple_of(align_of::<f32>());
        if end.is_none_or(|end| end > map.len()) || !aligned || cfg!(target_endian = "big") {
            let what = format!("bytes {offset}.. of a {} byte file cannot hold f32 {shape:?}", map.len());
            return Err(Error::Unsupported { op: "map", what });
        }
        Ok(Tensor { storage: Arc::new(Storage::Mapped { map, offset }), shape: shape.to_vec() })
    }

    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    pub fn numel(&self) -> usize {
        numel(&self.shape)
    }

    /// The same elements under another shape of equal size.
    pub fn reshape(mut self, shape: &[usize]) -> Self {
        assert_eq!(self.numel(), numel(shape), "reshape {:?} to {shape:?}", self.shape);
        self.shape = shape.to_vec();
        self
    }

    pub fn as_slice(&self) -> &[f32] {
        match &*self.storage {
            Storage::Owned(buffer) => buffer.as_slice(),
            Storage::Vec(data) => data,
            Storage::Mapped { map, offset } => {
                bytemuck::cast_slice(&map[*offset..*offset + numel(&self.shape) * 4])
            }
        }
    }

    /// The elements for writing. Panics when the storage is shared or mapped: ops write only what they made.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        match Arc::get_mut(&mut self.storage) {
            Some(Storage::Owned(buffer)) => buffer.as_mut_slice(),
            Some(Storage::Vec(data)) => data,
            Some(Storage::Mapped { .. }) => panic!("a mapped tensor is read-only"),
            None => panic!("write to a shared tensor of shape {:?}", self.shape),
        }
    }

    /// Adds `other`, element by element; a shared storage is copied first.
    pub fn add_assign(&mut self, device: &Device, other: &Tensor) {
        assert_eq!(self.shape, other.shape);
        self.make_unique(device);
        let chunks = self.as_mut_slice().par_chunks_mut(1 << 16).zip(other.as_slice().par_chunks(1 << 16));
        chunks.for_each(|(to, from)| to.iter_mut().zip(from).for_each(|(t, f)| *t += f));
    }

    /// Makes the storage writable by copying it when it is shared or mapped.
    pub fn make_unique(&mut self, device: &Device) {
        if self.is_mapped() || Arc::get_mut(&mut self.storage).is_none() {
            *self = self.to_owned_on(device);
        }
    }

    /// A copy of its own on `device`.
    pub fn to_owned_on(&self, device: &Device) -> Self {
        Self::from_slice(device, self.as_slice(), &self.shape)
    }

    /// True when the values live in a mapped file.
    pub fn is_mapped(&self) -> bool {
        matches!(&*self.storage, Storage::Mapped { .. })
    }

    /// Refuses NaN and infinity, naming the place and the first such element.
    pub fn check_finite(&self, at: &str) -> Result<()> {
        // Without its sign, a float's bits order like its magnitude; an integer maximum vectorises.
        let data = self.as_slice();
        let largest = |chunk: &[f32]| chunk.iter().fold(0, |m, v| m.max(v.to_bits() & 0x7FFF_FFFF));
        if data.par_chunks(1 << 16).all(|chunk| largest(chunk) < f32::INFINITY.to_bits()) {
            return Ok(());
        }
        let index = data.iter().position(|v| !v.is_finite()).expect("a non-finite value");
        Err(Error::NonFinite { at: at.into(), index, value: data[index] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_finite_names_the_first() {
        let mut data = vec![1.0; 5000];
        let tensor = |d: &[f32]| Tensor::from_slice(&Device::cpu(), d, &[5000]);
        assert!(tensor(&data).check_finite("w").is_ok());
        data[4999] = f32::INFINITY;
        data[4500] = f32::NAN;
        assert!(tensor(&data).check_finite("w").unwrap_err().to_string().contains("element 4500"));
    }

    #[test]
    #[should_panic(expected = "write to a shared tensor")]
    fn a_shared_tensor_is_not_written() {
        let mut a = Tensor::zeros(&Device::cpu(), &[2]);
        let _b = a.clone();
        a.as_mut_slice()[0] = 1.0;
    }
}
