//! A launch that is put together step by step.

use crate::args::{Arg, Launch};
use crate::fault::Fault;
use crate::memory::Machine;
use crate::meter::Meter;
use crate::module::Module;

/// A number of blocks or threads along x, y and z. It is made of one number, of two or three in a tuple, or of an array;
/// what is left out is 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size(pub [u32; 3]);

impl From<u32> for Size {
    fn from(x: u32) -> Self {
        Self([x, 1, 1])
    }
}

impl From<(u32, u32)> for Size {
    fn from((x, y): (u32, u32)) -> Self {
        Self([x, y, 1])
    }
}

impl From<(u32, u32, u32)> for Size {
    fn from((x, y, z): (u32, u32, u32)) -> Self {
        Self([x, y, z])
    }
}

impl From<[u32; 3]> for Size {
    fn from(size: [u32; 3]) -> Self {
        Self(size)
    }
}

/// A launch of a kernel before it runs; [`Machine::kernel`] begins one.
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `launch`"]
pub struct Call<'m> {
    machine: &'m Machine,
    module: &'m Module,
    kernel: &'m str,
    size: Launch,
    args: Vec<Arg>,
}

impl Machine {
    /// Begins a launch of a kernel, with one block of one thread and without arguments.
    ///
    /// ```
    /// use ptx_emulator::{Machine, Module};
    ///
    /// let module = Module::parse("axpy.ptx", include_str!("examples/axpy.ptx"))?;
    /// let machine = Machine::new();
    /// let x = machine.upload(&vec![2.0f32; 1000]);
    /// let y = machine.upload(&vec![1.0f32; 1000]);
    /// let call = machine.kernel(&module, "axpy").grid(8).block(128);
    /// call.arg(x.read()).arg(y.inout()).arg(0.5f32).arg(1000u32).launch()?;
    /// assert_eq!(machine.download(y)?, [2.0; 1000]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn kernel<'m>(&'m self, module: &'m Module, kernel: &'m str) -> Call<'m> {
        let size = Launch { grid: [1; 3], block: [1; 3], shared: 0 };
        Call { machine: self, module, kernel, size, args: Vec::new() }
    }
}

impl Call<'_> {
    /// Sets the number of blocks.
    pub fn grid(mut self, blocks: impl Into<Size>) -> Self {
        self.size.grid = blocks.into().0;
        self
    }

    /// Sets the number of threads in a block.
    pub fn block(mut self, threads: impl Into<Size>) -> Self {
        self.size.block = threads.into().0;
        self
    }

    /// Sets the bytes of dynamic shared memory for each block.
    pub fn shared(mut self, bytes: u32) -> Self {
        self.size.shared = bytes;
        self
    }

    /// Adds an argument: a number of the width of the parameter, or memory, such as [`Slice::read`](crate::Slice::read).
    pub fn arg(mut self, arg: impl Into<Arg>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds several arguments.
    pub fn args(mut self, args: impl IntoIterator<Item = Arg>) -> Self {
        self.args.extend(args);
        self
    }

    /// Runs the kernel to its end, and returns what it executed.
    ///
    /// # Errors
    /// Those of [`Machine::launch`].
    pub fn launch(self) -> Result<Meter, Fault> {
        self.machine.launch(self.module, self.kernel, self.size, &self.args)
    }
}
