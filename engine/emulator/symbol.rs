//! The variables of a module in a machine, by their names.

use std::sync::Arc;

use bytemuck::Pod;

use crate::args::Arg;
use crate::fault::{Fault, FaultKind};
use crate::memory::{Buffer, Machine};
use crate::module::Module;

/// A `.global` or `.const` variable (`__device__`, `__constant__`) of a module on a machine. It has its initial value at
/// first, keeps what the host and kernels write, and lives as long as the module or this value.
#[derive(Debug, Clone)]
pub struct Symbol {
    name: String,
    buffer: Arc<Buffer>,
}

impl Machine {
    /// Finds a variable of a module by its name in the PTX file, which of a variable of C++ in a namespace is mangled.
    ///
    /// ```
    /// use ptx_emulator::{Machine, Module};
    ///
    /// let text = ".version 8.4\n.target sm_80\n.address_size 64\n.global .u32 v[2] = {3, 4};";
    /// let module = Module::parse("v.ptx", text)?;
    /// let machine = Machine::new();
    /// let v = machine.symbol(&module, "v")?;
    /// assert_eq!(v.read::<u32>()?, [3, 4]);
    /// v.write(&[5, 6])?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`FaultKind::Host`] if the module has no variable of this name; the message lists those that it has.
    pub fn symbol(&self, module: &Module, name: &str) -> Result<Symbol, Fault> {
        let Some(at) = module.globals.iter().position(|global| global.name == name) else {
            let names: Vec<_> = module.globals.iter().map(|global| global.name.as_str()).collect();
            let there = if names.is_empty() { "none".into() } else { names.join(", ") };
            let detail = format!("{} has no variable `{name}`; there are: {there}", module.file());
            return Err(fault(None, detail));
        };
        Ok(Symbol { name: name.into(), buffer: self.variables(module)[at].clone() })
    }
}

impl Symbol {
    /// The address, which means this variable in launches of kernels of its module.
    pub fn address(&self) -> u64 {
        self.buffer.at
    }

    /// The size in bytes.
    pub fn bytes(&self) -> usize {
        self.buffer.bytes as usize
    }

    /// The address as an argument of a kernel of the same module, which may use the variable as it does by its name.
    pub fn arg(&self) -> Arg {
        Arg::U64(self.address())
    }

    /// Copies the whole variable to the host.
    ///
    /// # Errors
    /// [`FaultKind::Host`] if it is not a whole number of elements.
    pub fn read<T: Pod>(&self) -> Result<Vec<T>, Fault> {
        let bytes = self.bytes();
        if size_of::<T>() == 0 || !bytes.is_multiple_of(size_of::<T>()) {
            return Err(self.fault(format!("is read as elements of {} bytes", size_of::<T>())));
        }
        let mut elements = vec![T::zeroed(); bytes / size_of::<T>()];
        self.buffer
            .read(0, bytemuck::cast_slice_mut(&mut elements), false)
            .expect("what is not checked is read");
        Ok(elements)
    }

    /// Copies elements over the whole variable, also over one that kernels can only read.
    ///
    /// # Errors
    /// [`FaultKind::Host`] if they have not its size.
    pub fn write<T: Pod>(&self, elements: &[T]) -> Result<(), Fault> {
        if size_of_val(elements) != self.bytes() {
            return Err(self.fault(format!("is written with {}", size_of_val(elements))));
        }
        self.buffer.write(0, bytemuck::cast_slice(elements));
        Ok(())
    }

    fn fault(&self, what: String) -> Fault {
        let bytes = self.bytes();
        fault(Some(self.address()), format!("variable `{}` has {bytes} bytes and {what}", self.name))
    }
}

fn fault(address: Option<u64>, detail: String) -> Fault {
    Fault::host(FaultKind::Host, address, detail)
}
