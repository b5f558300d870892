//! Devices: where tensors lie and ops run.

use std::sync::Arc;

use crate::cuda::Cuda;
use crate::emulated::Emulated;
use crate::launch::{Launcher, Limits};
use crate::pool::{CpuPool, LaunchedPool, Recording};
use crate::{Error, Result};

/// Where a tensor lies and an op runs. Clones are the same device; the tensors of one device share its memory pool.
#[derive(Debug, Clone)]
pub enum Device {
    /// The CPU, whose ops compute at once.
    Cpu(Arc<CpuPool>),
    /// A device that runs kernels: a GPU or the emulator.
    Launched(Arc<LaunchedPool>),
}

impl Device {
    /// Makes a CPU device with an empty pool.
    pub fn cpu() -> Self {
        Device::Cpu(Arc::new(CpuPool::new(false)))
    }

    /// Makes a CPU device for tests: fresh buffers hold NaN, and writes outside a buffer are found
    /// ([`Device::red_zone_hits`]).
    pub fn cpu_checked() -> Self {
        Device::Cpu(Arc::new(CpuPool::new(true)))
    }

    /// Makes a device that runs kernels on the CPU as an H100 would, and checks what they do.
    pub fn emulated() -> Self {
        Self::launched(Arc::new(Emulated::new()))
    }

    /// Makes a [`Device::emulated`] that plays another card.
    pub fn emulated_card(limits: Limits) -> Self {
        Self::launched(Arc::new(Emulated::card(limits)))
    }

    /// Opens the NVIDIA GPU of this number, counted as the driver counts.
    ///
    /// # Errors
    /// Those of [`Cuda::open`].
    pub fn cuda(ordinal: usize) -> Result<Self> {
        Ok(Self::launched(Arc::new(Cuda::open(ordinal)?)))
    }

    /// Makes a device of a launcher; freed memory is handed out again.
    pub fn launched(launcher: Arc<dyn Launcher>) -> Self {
        Device::Launched(Arc::new(LaunchedPool::new(launcher, true)))
    }

    /// Makes a [`Device::launched`] for tests: every tensor gets memory of its own and of exactly its size, so that a
    /// launcher that watches memory sees reads of what nobody wrote and accesses outside a tensor.
    pub fn launched_checked(launcher: Arc<dyn Launcher>) -> Self {
        Device::Launched(Arc::new(LaunchedPool::new(launcher, false)))
    }

    /// The same device with an empty pool of its own, whose [`Device::memory`] counts what lies in it alone.
    pub fn with_own_memory(&self) -> Self {
        match self {
            Device::Cpu(_) => Self::cpu(),
            Device::Launched(pool) => Self::launched(pool.inner()),
        }
    }

    /// What runs this device's kernels; `None` on the CPU.
    pub fn launcher(&self) -> Option<&dyn Launcher> {
        match self {
            Device::Cpu(_) => None,
            Device::Launched(pool) => Some(&**pool),
        }
    }

    /// The name of the kind of device: `cpu`, `emulated` or `cuda`.
    pub fn name(&self) -> &'static str {
        match self {
            Device::Cpu(_) => "cpu",
            Device::Launched(pool) => pool.name(),
        }
    }

    /// Describes a GPU in one line for reports; `None` for other devices.
    pub fn info(&self) -> Option<String> {
        self.launcher().and_then(Launcher::info)
    }

    /// The most bytes that were ever in use at once, and the bytes that are in use now.
    pub fn memory(&self) -> (usize, usize) {
        match self {
            Device::Cpu(pool) => pool.memory(),
            Device::Launched(pool) => pool.memory(),
        }
    }

    /// Free bytes and all bytes of a device that has memory of its own; `None` for other devices.
    pub fn own_memory(&self) -> Option<[usize; 2]> {
        self.launcher().and_then(Launcher::memory)
    }

    /// The bytes that are held now: for tensors, for recordings, and for tensors to come.
    pub fn held(&self) -> usize {
        match self {
            Device::Cpu(pool) => pool.held(),
            Device::Launched(pool) => pool.held(),
        }
    }

    /// Gives back the memory that no tensor and no recording uses.
    pub fn trim(&self) {
        match self {
            Device::Cpu(pool) => pool.trim(),
            Device::Launched(pool) => pool.trim(),
        }
    }

    /// Says whether a launched device may round the f32 operands of products to TF32 from now on.
    pub fn allow_tf32(&self, allow: bool) {
        if let Device::Launched(pool) = self {
            pool.allow_tf32(allow);
        }
    }

    /// Records what `work` launches instead of running it. Tensors that `work` makes keep their memory: as long as they
    /// live, they hold their values after each [`Recording::run`]. Values must not be read in `work`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] on the CPU, an error of `work`, or one of the device.
    pub fn record<T, E: From<Error>>(
        &self,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<(Recording, T), E> {
        match self {
            Device::Launched(pool) => LaunchedPool::record_calls(pool, work),
            Device::Cpu(_) => {
                let what = "the CPU computes at once".into();
                Err(Error::Unsupported { op: "record", what }.into())
            }
        }
    }

    /// The number of dropped buffers that had a write outside them, on a device of [`Device::cpu_checked`]; 0 on other
    /// devices.
    pub fn red_zone_hits(&self) -> usize {
        match self {
            Device::Cpu(pool) => pool.hits(),
            Device::Launched(_) => 0,
        }
    }
}
