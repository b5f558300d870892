//! Tensors: shared storage and a shape. Elements lie row-major and contiguous; there are no strides.
//!
//! Elements are f32 or bf16. Those of the CPU are read as slices; those of a launched device are read with
//! [`Tensor::to_host`], and kernels get them as arguments.

use std::borrow::Cow;
use std::sync::Arc;

use half::bf16;
use rayon::prelude::*;

use crate::device::Device;
use crate::elementwise::{self, Elements};
use crate::launch::{Arg, DType, Launcher, Pending, Region};
use crate::mmap::Mmap;
use crate::pool::{CpuBuffer, CpuPool, LaunchedBuffer, LaunchedPool};
use crate::shape::numel;
use crate::simd::{Element, add, convert, copy};
use crate::{Error, Result};

/// Elements that a thread looks at, at a time.
const CHUNK: usize = 1 << 16;

#[derive(Debug)]
enum Storage {
    /// Memory of the CPU device's pool, which holds elements of the type.
    Owned(CpuBuffer, DType),
    /// Memory of an ordinary vector.
    Vec(Vec<f32>),
    /// A part of a file in memory, `offset` bytes in, which is read-only.
    Mapped { map: Arc<Mmap>, offset: usize },
    /// Memory of a launched device.
    Launched(LaunchedBuffer, DType),
}

/// A tensor. A clone shares the storage, which can be written only while it is held once.
#[derive(Debug, Clone)]
pub struct Tensor {
    storage: Arc<Storage>,
    shape: Vec<usize>,
}

impl Tensor {
    /// Makes an f32 tensor of unspecified content (NaN on a checked CPU device), which is to be written whole.
    pub fn empty(device: &Device, shape: &[usize]) -> Self {
        Self::empty_typed(device, DType::F32, shape)
    }

    /// [`Tensor::empty`] of a type.
    pub fn empty_typed(device: &Device, dtype: DType, shape: &[usize]) -> Self {
        let n = numel(shape);
        let storage = match device {
            Device::Cpu(pool) => {
                let floats = (n * dtype.size()).div_ceil(DType::F32.size());
                Storage::Owned(CpuPool::take(pool, floats), dtype)
            }
            Device::Launched(pool) => Storage::Launched(LaunchedPool::take(pool, n * dtype.size()), dtype),
        };
        Tensor { storage: Arc::new(storage), shape: shape.to_vec() }
    }

    /// Makes an f32 tensor of zeros.
    pub fn zeros(device: &Device, shape: &[usize]) -> Self {
        let mut out = Self::empty(device, shape);
        out.fill_zero();
        out
    }

    /// Sets every element to zero. Panics when the storage is shared.
    pub fn fill_zero(&mut self) {
        match self.storage_mut() {
            Storage::Launched(buffer, _) => {
                buffer.pool().keep(buffer.pool().zero(buffer.region()));
            }
            // Zero has the same bits in both types.
            Storage::Owned(buffer, _) => buffer.as_mut_slice().fill(0.0),
            _ => self.as_mut_slice().fill(0.0),
        }
    }

    /// Makes a tensor of the CPU of a vector. Panics when its length is not the product of the shape.
    pub fn from_vec(data: Vec<f32>, shape: &[usize]) -> Self {
        assert_eq!(data.len(), numel(shape), "{} values for shape {shape:?}", data.len());
        Tensor { storage: Arc::new(Storage::Vec(data)), shape: shape.to_vec() }
    }

    /// Copies values to a device, as f32. Panics when their number is not the product of the shape.
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

    /// Makes a read-only view of the little-endian f32 values that lie `offset` bytes into a file in memory; nothing is
    /// copied.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the file ends before, when the values are not aligned, or on a big-endian machine.
    pub fn from_map(map: Arc<Mmap>, offset: usize, shape: &[usize]) -> Result<Self> {
        let end = numel(shape).checked_mul(4).and_then(|bytes| bytes.checked_add(offset));
        let aligned = (map.as_ptr() as usize + offset).is_multiple_of(align_of::<f32>());
        if end.is_none_or(|end| end > map.len()) || !aligned || cfg!(target_endian = "big") {
            let what = format!("bytes {offset}.. of a {} byte file cannot hold f32 {shape:?}", map.len());
            return Err(Error::Unsupported { op: "map", what });
        }
        Ok(Tensor { storage: Arc::new(Storage::Mapped { map, offset }), shape: shape.to_vec() })
    }

    /// Writes f32 values that may still be on their way when this returns: they are there for what is launched next, and
    /// not for what was launched before. Panics when the storage is shared.
    ///
    /// # Errors
    /// Those of [`Launcher`].
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

    /// Starts to read the f32 values as they are after what was launched before.
    ///
    /// # Errors
    /// Those of [`Launcher`].
    pub fn receive(&self) -> Result<Arriving> {
        match &*self.storage {
            Storage::Launched(buffer, DType::F32) => {
                Ok(Arriving::Later(buffer.pool().receive(buffer.region())?))
            }
            _ => Ok(Arriving::Here(self.to_host()?)),
        }
    }

    /// The sizes of the axes.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        numel(&self.shape)
    }

    /// The same elements under another shape. Panics when it has another number of elements.
    pub fn reshape(mut self, shape: &[usize]) -> Self {
        assert_eq!(self.numel(), numel(shape), "reshape {:?} to {shape:?}", self.shape);
        self.shape = shape.to_vec();
        self
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        match &*self.storage {
            Storage::Owned(_, dtype) | Storage::Launched(_, dtype) => *dtype,
            _ => DType::F32,
        }
    }

    /// The elements of an f32 tensor of the CPU: [`Tensor::slice`].
    pub fn as_slice(&self) -> &[f32] {
        self.slice()
    }

    /// The elements of an f32 tensor of the CPU, for writing: [`Tensor::slice_mut`].
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        self.slice_mut()
    }

    /// The elements of a tensor of the CPU. Panics for one of a launched device, and for elements of another type.
    pub fn slice<E: Element>(&self) -> &[E] {
        assert_eq!(self.dtype(), E::DTYPE, "elements of another type: shape {:?}", self.shape);
        let n = numel(&self.shape);
        match &*self.storage {
            Storage::Owned(buffer, _) => &bytemuck::cast_slice(buffer.as_slice())[..n],
            Storage::Vec(data) => bytemuck::cast_slice(data),
            Storage::Mapped { map, offset } => bytemuck::cast_slice(&map[*offset..*offset + n * 4]),
            Storage::Launched(..) => {
                panic!("a tensor of a launched device has no slice: shape {:?}", self.shape)
            }
        }
    }

    /// The elements of a tensor of the CPU, for writing. Panics as [`Tensor::slice`] does, and when the storage is shared or
    /// mapped, because ops write only what they made.
    pub fn slice_mut<E: Element>(&mut self) -> &mut [E] {
        assert_eq!(self.dtype(), E::DTYPE, "elements of another type: shape {:?}", self.shape);
        let n = numel(&self.shape);
        match self.storage_mut() {
            Storage::Owned(buffer, _) => &mut bytemuck::cast_slice_mut(buffer.as_mut_slice())[..n],
            Storage::Vec(data) => bytemuck::cast_slice_mut(data),
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

    /// The values in f32: borrowed where the CPU has them so, widened from another type, read from a launched device.
    ///
    /// # Errors
    /// Those of [`Launcher`].
    pub fn values(&self) -> Result<Cow<'_, [f32]>> {
        let Storage::Launched(buffer, dtype) = &*self.storage else {
            return Ok(match self.dtype() {
                DType::F32 => self.as_slice().into(),
                DType::Bf16 => self.slice::<bf16>().iter().map(|v| v.to_f32()).collect(),
            });
        };
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
    ///
    /// # Errors
    /// Those of [`Launcher`].
    pub fn to_host(&self) -> Result<Vec<f32>> {
        Ok(self.values()?.into_owned())
    }

    /// The tensor on a device: a clone where it is there already, else a copy in f32.
    ///
    /// # Errors
    /// Those of [`Launcher`].
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

    /// The tensor in another type, rounded to nearest; a clone where it has the type already. It must be one of `device`, or
    /// for the CPU any of the CPU.
    ///
    /// # Errors
    /// Those of [`Launcher`].
    pub fn cast(&self, device: &Device, dtype: DType) -> Result<Self> {
        if dtype == self.dtype() {
            return Ok(self.clone());
        }
        let mut out = Self::empty_typed(device, dtype, &self.shape);
        match (device, dtype) {
            (Device::Launched(pool), _) => {
                elementwise::cast(&**pool, self.numel(), out.elements_mut(), self.elements())?;
            }
            (Device::Cpu(_), DType::F32) => convert(self.slice::<bf16>(), out.slice_mut::<f32>()),
            (Device::Cpu(_), DType::Bf16) => convert(self.slice::<f32>(), out.slice_mut::<bf16>()),
        }
        Ok(out)
    }

    /// The memory of a tensor of a launched device. Panics for one of the CPU.
    pub fn region(&self) -> Region {
        match &*self.storage {
            Storage::Launched(buffer, _) => buffer.region(),
            _ => panic!("a kernel cannot read a tensor of the CPU: shape {:?}", self.shape),
        }
    }

    /// The memory of a tensor of a launched device, for writing. Panics when the storage is shared.
    pub fn region_mut(&mut self) -> Region {
        self.storage_mut();
        self.region()
    }

    /// The argument for a kernel that reads the tensor.
    pub fn arg(&self) -> Arg {
        Arg::In(self.region())
    }

    /// The argument for a kernel that writes the whole tensor. Panics when the storage is shared.
    pub fn arg_mut(&mut self) -> Arg {
        Arg::Out(self.region_mut())
    }

    /// The argument for a kernel that reads and writes the tensor. Panics when the storage is shared.
    pub fn arg_inout(&mut self) -> Arg {
        Arg::InOut(self.region_mut())
    }

    fn elements(&self) -> Elements {
        Elements { region: self.region(), dtype: self.dtype() }
    }

    fn elements_mut(&mut self) -> Elements {
        Elements { region: self.region_mut(), dtype: self.dtype() }
    }

    /// Adds `other`, element by element; a shared storage is copied first. Types may differ, shapes may not. A failure of a
    /// launched device is returned by its next call.
    pub fn add_assign(&mut self, device: &Device, other: &Tensor) {
        assert_eq!(self.shape, other.shape);
        self.make_unique(device);
        if let Device::Launched(pool) = device {
            let n = self.numel();
            pool.keep(elementwise::add_assign(&**pool, n, self.elements_mut(), other.elements()));
            return;
        }
        match (self.dtype(), other.dtype()) {
            (DType::F32, DType::F32) => add(self.slice_mut::<f32>(), other.slice::<f32>()),
            (DType::F32, DType::Bf16) => add(self.slice_mut::<f32>(), other.slice::<bf16>()),
            (DType::Bf16, DType::F32) => add(self.slice_mut::<bf16>(), other.slice::<f32>()),
            (DType::Bf16, DType::Bf16) => add(self.slice_mut::<bf16>(), other.slice::<bf16>()),
        }
    }

    /// Makes the storage writable by copying it when it is shared or mapped.
    pub fn make_unique(&mut self, device: &Device) {
        if self.is_mapped() || Arc::get_mut(&mut self.storage).is_none() {
            *self = self.to_owned_on(device);
        }
    }

    /// A copy on `device` with a storage of its own. The tensor must be one of the CPU, or of that device.
    pub fn to_owned_on(&self, device: &Device) -> Self {
        let Storage::Launched(buffer, dtype) = &*self.storage else {
            let Device::Cpu(_) = device else {
                return Self::from_slice(device, self.as_slice(), &self.shape);
            };
            let mut out = Self::empty_typed(device, self.dtype(), &self.shape);
            match self.dtype() {
                DType::F32 => copy(self.slice::<f32>(), out.slice_mut()),
                DType::Bf16 => copy(self.slice::<bf16>(), out.slice_mut()),
            }
            return out;
        };
        let mut out = Self::empty_typed(device, *dtype, &self.shape);
        buffer.pool().keep(buffer.pool().copy(out.region_mut(), buffer.region()));
        out
    }

    /// True when both share one storage and one shape.
    pub fn is_clone_of(&self, other: &Tensor) -> bool {
        Arc::ptr_eq(&self.storage, &other.storage) && self.shape == other.shape
    }

    /// True when the values lie in memory that [`Device::memory`] counts.
    pub fn is_counted(&self) -> bool {
        matches!(&*self.storage, Storage::Owned(..) | Storage::Launched(..))
    }

    /// True when the values lie in a mapped file.
    pub fn is_mapped(&self) -> bool {
        matches!(&*self.storage, Storage::Mapped { .. })
    }

    /// Checks that no element is NaN or infinite.
    ///
    /// # Errors
    /// [`Error::NonFinite`] with `at` and the first such element, and those of [`Launcher`].
    pub fn check_finite(&self, at: &str) -> Result<()> {
        // Without its sign, a float's bits are ordered like its magnitude, and a maximum of integers vectorises.
        let data = self.values()?;
        let largest = |chunk: &[f32]| chunk.iter().fold(0, |m, v| m.max(v.to_bits() & 0x7FFF_FFFF));
        if data.par_chunks(CHUNK).all(|chunk| largest(chunk) < f32::INFINITY.to_bits()) {
            return Ok(());
        }
        let index = data.iter().position(|v| !v.is_finite()).expect("a non-finite value");
        Err(Error::NonFinite { at: at.into(), index, value: data[index] })
    }
}

/// Values on their way from a device.
#[derive(Debug)]
pub enum Arriving {
    /// Values that have arrived already.
    Here(Vec<f32>),
    /// The bytes of f32 values that are still on their way.
    Later(Box<dyn Pending>),
}

impl Arriving {
    /// Waits for them.
    ///
    /// # Errors
    /// Those of [`Launcher`].
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
