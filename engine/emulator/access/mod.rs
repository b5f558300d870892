//! Instructions that access memory: loads, stores, atomics and asynchronous copies.

mod address;
mod atomic;
mod bytes;
mod copy;
mod global;
mod local;
mod matrix;
mod param;
mod race;
mod shared;
mod words;

use crate::exec::Exec;
use crate::fault::Run;
use crate::isa::MemoryAccess;
use crate::lanes::Lanes;
use crate::types::Space;

impl Exec<'_, '_> {
    /// Loads for the lanes of `active`.
    pub(crate) fn load(&mut self, access: &MemoryAccess, active: u32) -> Run<()> {
        let at = self.addresses(access.address);
        self.load_at(access, &at, active)
    }

    /// Loads from these addresses.
    #[inline(always)]
    fn load_at(&mut self, access: &MemoryAccess, at: &Lanes<u64>, active: u32) -> Run<()> {
        match access.space {
            Space::Shared => self.load_shared(access, at, active),
            Space::Global | Space::Const => self.load_global(access, at, active),
            Space::Local => self.load_local(access, at, active),
            Space::Param => self.load_param(access, at, active),
            Space::Generic => self.by_space(at, active, |exec, space, at, lanes| match space {
                Space::Shared => exec.load_shared(access, at, lanes),
                Space::Local => exec.load_local(access, at, lanes),
                _ => exec.load_global(access, at, lanes),
            }),
        }
    }

    /// Stores for the lanes of `active`.
    pub(crate) fn store(&mut self, access: &MemoryAccess, active: u32) -> Run<()> {
        let at = self.addresses(access.address);
        self.store_at(access, &at, active)
    }

    /// Stores to these addresses.
    #[inline(always)]
    fn store_at(&mut self, access: &MemoryAccess, at: &Lanes<u64>, active: u32) -> Run<()> {
        match access.space {
            Space::Shared => self.store_shared(access, at, active),
            Space::Local => self.store_local(access, at, active),
            Space::Generic => self.by_space(at, active, |exec, space, at, lanes| match space {
                Space::Shared => exec.store_shared(access, at, lanes),
                Space::Local => exec.store_local(access, at, lanes),
                _ => exec.store_global(access, at, lanes),
            }),
            _ => self.store_global(access, at, active),
        }
    }
}
