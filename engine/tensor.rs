//! A tensor: shared storage and a shape. Row-major, contiguous, no strides.
//!
//! On the CPU elements are f32 and are read as slices. On a launched device they are f32 or bf16 and are read
//! with [`Tensor::to_host`]; kernels get them as arguments.

use std::borrow::Cow;
use std::sync::Arc;

use half::bf16;
use memmap2::Mmap;
use rayon::prelude::*;

use crate::device::{Buffer, CpuPool, Device};
use crate::elementwise::{self, Elements};
use crate::launch::{Arg, Launcher, Pending, Region};
use crate::launched::{LaunchedBuffer, LaunchedPool};
use crate::shape::numel;
use crate::{DType, Error, Result};

#[derive(Debug)]
enum Storage {
    /// Memory of the CPU device's pool.
    Owned(Buffer),
    /// Memory of an ordinary vector.
    Vec(Vec<f32>),
    /// Part of a mapped file: `offset` bytes in, read-only.
    Mapped { map: Arc<Mmap>, offset: usize },
    /// Memory of a launched device.
    Launched(LaunchedBuffer, DType),
}

/// Shared, immutable unless held once: cloning copies a pointer.
#[derive(Debug, Clone)]
pub struct Tensor {
    storage: Arc<Storage>,
    shape: Vec<usize>,
}

impl Tensor {
    /// A tensor of unspecified content (NaN on a checked CPU device), to be written whole. f32.
    pub fn empty(device: &Device, shape: &[usize]) -> Self {
        Self::empty_typed(device, DType::F32, shape)
    }

    /// [`Tensor::empty`] of a type; on the CPU there is only f32.
    pub fn empty_typed(device: &Device, dtype: DType, shape: &[usize]) -> Self {
        let n = numel(shape);
        let storage = match device {
            Device::Cpu(pool) => {
                assert_eq!(dtype, DType::F32, "the CPU computes in f32");
                Storage::Owned(CpuPool::take(pool, n))
            }
            Device::Launched(pool) => Storage::Launched(LaunchedPool::take(pool, n * dtype.size()), dtype),
        };
        Tensor { storage: Arc::new(storage), shape: shape.to_vec() }
    }

    pub fn zeros(device: &Device, shape: &[usize]) -> Self {
        let mut out = Self::empty(device, shape);
        out.fill_zero();
        out
    }

    /// Sets every element of an unshared tensor to zero.
    pub fn fill_zero(&mut self) {
        match self.storage_mut() {
            Storage::Launched(buffer, _) => {
                buffer.pool().keep(buffer.pool().zero(buffer.region()));
            }
            _ => self.as_mut_slice().fill(0.0),
        }
    }

    /// Takes over a vector; its length must be the product of the shape.
    pub fn from_vec(data: Vec<f32>, shape: &[usize]) -> Self {
        assert_eq!(data.len(), numel(shape), "{} values for shape {shape:?}", data.len());
        Tensor { storage: Arc::new(Storage::Vec(data)), shape: shape.to_vec() }
    }

    /// Copies values onto a device, as f32.
    pub fn from_slice(device: &Device, data: &[f32], shape: &[usize]) -> Self {
        assert_eq!(data.len(), numel(shape), "{} values for shape {shape:?}", data.len());
        let mut out = Self::empty(device, shape);
        match out.storage_mut() {
            Storage::Launched(buffer, _) => {
                let bytes = bytemuck::cast_slice(data);
                buffer.pool().keep(buffer.pool().upload(buffer.region(), bytes));
            }
            _ => out.as_mut_slice().copy_from_slice(data),
        }
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

    /// Writes values that may still be on their way when this returns: they are there for what is launched next,
    /// and not for what was launched before. f32; panics when the storage is shared.
    pub fn send(&mut self, data: &[f32]) -> Result<()> {
        assert_eq!(data.len(), self.numel(), "{} values for shape {:?}", data.len(), self.shape);
        match self.storage_mut() {
            Storage::Launched(buffer, DType::F32) => {
                buffer.pool().send(buffer.region(), bytemuck::cast_slice(data))
            }
            _ => {
                self.as_mut_slice().copy_from_slice(data);
                Ok(())
            }
        }
    }

    /// Starts reading the values as they are after what was launched before. f32.
    pub fn receive(&self) -> Result<Arriving> {
        match &*self.storage {
            Storage::Launched(buffer, DType::F32) => {
                Ok(Arriving::Later(buffer.pool().receive(buffer.region())?))
            }
            _ => Ok(Arriving::Here(self.to_host()?)),
        }
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

    /// f32 on the CPU; what it was made with on a launched device.
    pub fn dtype(&self) -> DType {
        match &*self.storage {
            Storage::Launched(_, dtype) => *dtype,
            _ => DType::F32,
        }
    }

    /// The elements of a tensor of the CPU.
    pub fn as_slice(&self) -> &[f32] {
        match &*self.storage {
            Storage::Owned(buffer) => buffer.as_slice(),
            Storage::Vec(data) => data,
            Storage::Mapped { map, offset } => {
                bytemuck::cast_slice(&map[*offset..*offset + numel(&self.shape) * 4])
            }
            Storage::Launched(..) => {
                panic!("a tensor of a launched device has no slice: shape {:?}", self.shape)
            }
        }
    }

    /// The elements for writing. Panics when the storage is shared or mapped: ops write only what they made.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        match self.storage_mut() {
            Storage::Owned(buffer) => buffer.as_mut_slice(),
            Storage::Vec(data) => data,
            Storage::Mapped { .. } => panic!("a mapped tensor is read-only"),
            Storage::Launched(..) => panic!("a tensor of a launched device has no slice"),
        }
    }

    /// The storage for writing. Panics when it is shared.
    fn storage_mut(&mut self) -> &mut Storage {
        match Arc::get_mut(&mut self.storage) {
            Some(storage) => storage,
            None => panic!("write to a shared tensor of shape {:?}", self.shape),
        }
    }

    /// The values in f32: borrowed on the CPU, else read from the device.
    pub fn values(&self) -> Result<Cow<'_, [f32]>> {
        let Storage::Launched(buffer, dtype) = &*self.storage else { return Ok(self.as_slice().into()) };
        match dtype {
            DType::F32 => {
                let mut values = vec![0.0f32; self.numel()];
                buffer.pool().download(buffer.region(), bytemuck::cast_slice_mut(&mut values))?;
                Ok(values.into())
            }
            DType::Bf16 => {
                let mut values = vec![bf16::ZERO; self.numel()];
                buffer.pool().download(buffer.region(), bytemuck::cast_slice_mut(&mut values))?;
                Ok(values.into_iter().map(bf16::to_f32).collect())
            }
        }
    }

    /// The values in f32, in a vector of their own.
    pub fn to_host(&self) -> Result<Vec<f32>> {
        Ok(self.values()?.into_owned())
    }

    /// The tensor on a device: itself where it is already there; f32 when it moves.
    pub fn to_device(&self, device: &Device) -> Result<Self> {
        match (&*self.storage, device) {
            (Storage::Launched(buffer, _), Device::Launched(pool)) if Arc::ptr_eq(buffer.pool(), pool) => {
                Ok(self.clone())
            }
            (Storage::Launched(..), _) | (_, Device::Launched(_)) => {
                Ok(Self::from_slice(device, &self.values()?, &self.shape))
            }
            _ => Ok(self.clone()),
        }
    }

    /// The tensor in another type, rounded to the nearest; itself where it has it already.
    pub fn cast(&self, dtype: DType) -> Result<Self> {
        if dtype == self.dtype() {
            return Ok(self.clone());
        }
        let Storage::Launched(buffer, _) = &*self.storage else {
            let what = "the CPU computes in f32".into();
            return Err(Error::Unsupported { op: "cast", what });
        };
        let mut out = Self::empty_typed(&Device::Launched(buffer.pool().clone()), dtype, &self.shape);
        elementwise::cast(&**buffer.pool(), self.numel(), out.elements_mut(), self.elements())?;
        Ok(out)
    }

    /// Where a tensor of a launched device lies.
    pub fn region(&self) -> Region {
        match &*self.storage {
            Storage::Launched(buffer, _) => buffer.region(),
            _ => panic!("no kernel can read a tensor of the CPU: shape {:?}", self.shape),
        }
    }

    /// Where a tensor of a launched device lies, for writing. Panics when the storage is shared.
    pub fn region_mut(&mut self) -> Region {
        self.storage_mut();
        self.region()
    }

    /// The tensor as what a kernel reads.
    pub fn arg(&self) -> Arg {
        Arg::In(self.region())
    }

    /// The tensor as what a kernel writes whole. Panics when the storage is shared.
    pub fn arg_mut(&mut self) -> Arg {
        Arg::Out(self.region_mut())
    }

    /// The tensor as what a kernel reads and writes. Panics when the storage is shared.
    pub fn arg_inout(&mut self) -> Arg {
        Arg::InOut(self.region_mut())
    }

    fn elements(&self) -> Elements {
        (self.region(), self.dtype())
    }

    fn elements_mut(&mut self) -> Elements {
        (self.region_mut(), self.dtype())
    }

    /// Adds `other`, element by element; a shared storage is copied first. Types may differ.
    pub fn add_assign(&mut self, device: &Device, other: &Tensor) {
        assert_eq!(self.shape, other.shape);
        self.make_unique(device);
        if let Device::Launched(pool) = device {
            let n = self.numel();
            pool.keep(elementwise::add_assign(&**pool, n, self.elements_mut(), other.elements()));
            return;
        }
        let chunks = self.as_mut_slice().par_chunks_mut(1 << 16).zip(other.as_slice().par_chunks(1 << 16));
        chunks.for_each(|(to, from)| to.iter_mut().zip(from).for_each(|(t, f)| *t += f));
    }

    /// Makes the storage writable by copying it when it is shared or mapped.
    pub fn make_unique(&mut self, device: &Device) {
        if self.is_mapped() || Arc::get_mut(&mut self.storage).is_none() {
            *self = self.to_owned_on(device);
        }
    }

    /// A copy of its own on `device`: of a tensor of the CPU, or of that device.
    pub fn to_owned_on(&self, device: &Device) -> Self {
        let Storage::Launched(buffer, dtype) = &*self.storage else {
            let Device::Cpu(_) = device else {
                return Self::from_slice(device, self.as_slice(), &self.shape);
            };
            let mut out = Self::empty(device, &self.shape);
            let chunks = out.as_mut_slice().par_chunks_mut(1 << 16).zip(self.as_slice().par_chunks(1 << 16));
            chunks.for_each(|(to, from)| to.copy_from_slice(from));
            return out;
        };
        let mut out = Self::empty_typed(device, *dtype, &self.shape);
        buffer.pool().keep(buffer.pool().copy(out.region_mut(), buffer.region()));
        out
    }

    /// True when the values live in a mapped file.
    pub fn is_mapped(&self) -> bool {
        matches!(&*self.storage, Storage::Mapped { .. })
    }

    /// Refuses NaN and infinity, naming the place and the first such element.
    pub fn check_finite(&self, at: &str) -> Result<()> {
        // Without its sign, a float's bits order like its magnitude; an integer maximum vectorises.
        let data = self.values()?;
        let largest = |chunk: &[f32]| chunk.iter().fold(0, |m, v| m.max(v.to_bits() & 0x7FFF_FFFF));
        if data.par_chunks(1 << 16).all(|chunk| largest(chunk) < f32::INFINITY.to_bits()) {
            return Ok(());
        }
        let index = data.iter().position(|v| !v.is_finite()).expect("a non-finite value");
        Err(Error::NonFinite { at: at.into(), index, value: data[index] })
    }
}

/// Values on their way from a device.
#[derive(Debug)]
pub enum Arriving {
    Here(Vec<f32>),
    Later(Box<dyn Pending>),
}

impl Arriving {
    /// Waits for them.
    pub fn wait(self) -> Result<Vec<f32>> {
        match self {
            Arriving::Here(values) => Ok(values),
            Arriving::Later(pending) => {
                Ok(pending.wait()?.as_chunks().0.iter().map(|&bytes| f32::from_ne_bytes(bytes)).collect())
            }
        }
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
