//! Two launchers: one runs kernels and notes what each did, the other only notes what would be launched.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use engine::{Error, Result};
use engine::emulated::Emulated;
use engine::launch::{Arg, BlasGemm, Grid, Kernel, Launcher, Limits, Region};

use crate::ptxas::MachineCode;
use crate::work::Work;

/// One launch.
#[derive(Debug, Clone)]
pub struct Launched {
    pub entry: &'static str,
    pub grid: Grid,
    pub work: Work,
}

/// A launcher whose launches can be looked at.
pub trait Watched: Launcher {
    /// The launches since the last call.
    fn take(&self) -> Vec<Launched>;
}

/// Runs kernels on the emulator and counts what they do.
#[derive(Debug)]
pub struct Counting {
    inner: Emulated,
    /// Counts issue slots in machine code, or else in PTX.
    code: Option<Arc<MachineCode>>,
    launched: Mutex<Vec<Launched>>,
}

impl Counting {
    pub fn new(code: Option<Arc<MachineCode>>) -> Self {
        Counting {
            code,
            inner: Emulated::with(ptx_emulator::Options { checks: false, ..Default::default() }),
            launched: Mutex::default(),
        }
    }
}

impl Watched for Counting {
    fn take(&self) -> Vec<Launched> {
        std::mem::take(&mut self.launched.lock().unwrap())
    }
}

impl Launcher for Counting {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }

    fn alloc(&self, bytes: usize) -> Result<Region> {
        self.inner.alloc(bytes)
    }

    fn free(&self, region: Region) {
        self.inner.free(region);
    }

    fn upload(&self, to: Region, bytes: &[u8]) -> Result<()> {
        self.inner.upload(to, bytes)
    }

    fn download(&self, from: Region, bytes: &mut [u8]) -> Result<()> {
        self.inner.download(from, bytes)
    }

    fn copy(&self, to: Region, from: Region) -> Result<()> {
        self.inner.copy(to, from)
    }

    fn zero(&self, region: Region) -> Result<()> {
        self.inner.zero(region)
    }

    fn launch(&self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<()> {
        self.inner.launch(kernel, grid, args)?;
        let totals = self.inner.take_totals();
        let meter = &totals[kernel.entry];
        let mut work = Work::of(meter);
        if let Some(code) = &self.code {
            let functions = code.functions(kernel.file).map_err(|what| Error::Device { device: "emulated", what })?;
            work = work.in_machine_code(&functions[kernel.entry], meter);
        }
        let launched = Launched { entry: kernel.entry, grid, work };
        self.launched.lock().unwrap().push(launched);
        Ok(())
    }

    /// The library's products are not reported on.
    fn gemm(&self, _: &BlasGemm) -> Result<()> {
        Ok(())
    }
}

/// Runs nothing and holds no memory, so that it can take the sizes of training.
#[derive(Debug, Default)]
pub struct Dry {
    next: AtomicU64,
    launched: Mutex<Vec<Launched>>,
}

impl Watched for Dry {
    fn take(&self) -> Vec<Launched> {
        std::mem::take(&mut self.launched.lock().unwrap())
    }
}

impl Launcher for Dry {
    fn name(&self) -> &'static str {
        "dry"
    }

    fn limits(&self) -> Limits {
        engine::cards::H100
    }

    fn alloc(&self, bytes: usize) -> Result<Region> {
        let span = (bytes as u64).next_multiple_of(256).max(256);
        Ok(Region { at: 256 + self.next.fetch_add(span, Relaxed), bytes })
    }

    fn free(&self, _: Region) {}

    fn upload(&self, _: Region, _: &[u8]) -> Result<()> {
        Ok(())
    }

    fn download(&self, _: Region, bytes: &mut [u8]) -> Result<()> {
        bytes.fill(0);
        Ok(())
    }

    fn copy(&self, _: Region, _: Region) -> Result<()> {
        Ok(())
    }

    fn zero(&self, _: Region) -> Result<()> {
        Ok(())
    }

    fn launch(&self, kernel: Kernel, grid: Grid, _: &[Arg]) -> Result<()> {
        let work =
            Work { launches: 1.0, blocks: grid.blocks.map(f64::from).iter().product(), ..Work::default() };
        let launched = Launched { entry: kernel.entry, grid, work };
        self.launched.lock().unwrap().push(launched);
        Ok(())
    }

    fn gemm(&self, _: &BlasGemm) -> Result<()> {
        Ok(())
    }
}
