//! Memory of a machine as slices of elements, and its way from and to the host.

use std::marker::PhantomData;

use bytemuck::Pod;

use crate::args::{Access, Arg};
use crate::fault::{Fault, FaultKind};
use crate::memory::Machine;

// The bytes of elements are copied as they lie in the host's memory, and a GPU's lowest byte comes first.
const _: () =
    assert!(cfg!(target_endian = "little"), "the emulator needs a host whose lowest byte comes first");

/// `len` elements of a machine's memory: an address with a type. It is a plain number, as a pointer to a GPU's memory is:
/// copies of it mean the same memory, which lives until it is freed with [`Machine::free`] or the machine is dropped.
#[derive(Debug)]
pub struct Slice<T> {
    at: u64,
    len: usize,
    elements: PhantomData<fn() -> T>,
}

impl<T> Clone for Slice<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Slice<T> {}

impl<T: Pod> Slice<T> {
    /// The slice of `len` elements at an address, which may lie anywhere in a buffer.
    pub fn at(at: u64, len: usize) -> Self {
        Self { at, len, elements: PhantomData }
    }

    /// The address of the first element.
    pub fn address(&self) -> u64 {
        self.at
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The number of bytes of all elements.
    pub fn bytes(&self) -> usize {
        self.len.saturating_mul(size_of::<T>())
    }

    /// The argument with which a kernel only reads: a store is a fault.
    pub fn read(&self) -> Arg {
        self.arg(Access::Read)
    }

    /// The argument with which a kernel writes before it reads: what the elements are before counts as never written.
    pub fn write(&self) -> Arg {
        self.arg(Access::Write)
    }

    /// The argument with which a kernel reads what the elements are before, and may write.
    pub fn inout(&self) -> Arg {
        self.arg(Access::ReadWrite)
    }

    /// Not an argument, but the right to reach the elements through an address that the kernel finds in a buffer.
    pub fn reached(&self, access: Access) -> Arg {
        Arg::Reached { at: self.at, bytes: self.bytes(), access }
    }

    fn arg(&self, access: Access) -> Arg {
        Arg::Buffer { at: self.at, bytes: self.bytes(), access }
    }
}

impl Machine {
    /// Copies elements to new memory of the machine.
    ///
    /// ```
    /// let machine = ptx_emulator::Machine::new();
    /// let x = machine.upload(&[1.5f32, -2.0]);
    /// assert_eq!(machine.download(x)?, [1.5, -2.0]);
    /// # Ok::<(), ptx_emulator::Fault>(())
    /// ```
    pub fn upload<T: Pod>(&self, elements: &[T]) -> Slice<T> {
        let slice = self.uninit(elements.len());
        self.buffer_at(slice.at).expect("it was made above").fill(bytemuck::cast_slice(elements));
        slice
    }

    /// Makes memory for `len` elements, which count as never written.
    pub fn uninit<T: Pod>(&self, len: usize) -> Slice<T> {
        let bytes = len.saturating_mul(size_of::<T>());
        Slice::at(self.alloc(bytes), len)
    }

    /// Copies elements over those of a slice.
    ///
    /// # Errors
    /// [`FaultKind::Host`] if the numbers of elements differ, or the slice does not lie in one buffer.
    pub fn overwrite<T: Pod>(&self, slice: Slice<T>, elements: &[T]) -> Result<(), Fault> {
        if elements.len() != slice.len {
            let detail = format!("{} elements are written to a slice of {}", elements.len(), slice.len);
            return Err(Fault::host(FaultKind::Host, Some(slice.at), detail));
        }
        self.write(slice.at, bytemuck::cast_slice(elements))
    }

    /// Copies the elements of a slice to the host.
    ///
    /// # Errors
    /// [`FaultKind::Host`] if the slice does not lie in one buffer, and with checks on [`FaultKind::Uninitialised`] at the
    /// first byte that nothing wrote.
    pub fn download<T: Pod>(&self, slice: Slice<T>) -> Result<Vec<T>, Fault> {
        // No more is allocated than the machine has.
        self.host_range(slice.at, slice.bytes(), "read")?;
        let mut elements = vec![T::zeroed(); slice.len];
        self.read(slice.at, bytemuck::cast_slice_mut(&mut elements))?;
        Ok(elements)
    }
}
