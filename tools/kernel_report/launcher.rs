//! Two launchers: one runs kernels and notes what each did, the other only notes what would be launched.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use engine::Result;
use engine::emulated::Emulated;
use engine::launch::{Arg, BlasGemm, Grid, Kernel, Launcher, Region};

use crate::ptxas::MachineCode;
use crate::sass::weigh::{HotLoop, weigh};
use crate::work::Work;

/// One launch.
#[derive(Debug, Clone)]
pub struct Launched {
    pub entry: &'static str,
    pub grid: Grid,
    pub work: Work,
    /// Bytes of its arguments, those that are read and written twice.
    pub bytes: usize,
    /// Where it spent its slots; nothing if it did not run.
    pub loops: Vec<HotLoop>,
}

/// Bytes that a launch moves if it reads and writes all that it is given.
fn argument_bytes(args: &[Arg]) -> usize {
    let of = |arg: &Arg| match arg {
        Arg::In(region) | Arg::Out(region) | Arg::ReachedIn(region) => region.bytes,
        Arg::InOut(region) | Arg::ReachedInOut(region) => 2 * region.bytes,
        Arg::None | Arg::U32(_) | Arg::F32(_) => 0,
    };
    args.iter().map(of).sum()
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
        let (mut work, mut loops) = (Work::of(meter), vec![]);
        if let Some(code) = &self.code {
            let functions = code.functions(kernel.file);
            let functions = functions.map_err(|what| engine::Error::Device { device: self.name(), what })?;
            let mut lines: BTreeMap<u32, f64> = BTreeMap::new();
            for (line, count) in meter.lines() {
                *lines.entry(line.line).or_default() += count.warps as f64;
            }
            let weighed = weigh(&functions[kernel.entry], &lines, work.warps);
            (work, loops) = (work.in_machine_code(&weighed), weighed.hot_loops());
        }
        let bytes = argument_bytes(args);
        let launched = Launched { entry: kernel.entry, grid, work, bytes, loops };
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
    other: Mutex<Vec<Other>>,
}

/// What runs on a device beside kernels.
#[derive(Debug, Clone, Copy)]
pub enum Other {
    /// A copy of so many bytes.
    Copy(usize),
    /// Bytes set to zero.
    Zero(usize),
    Product(BlasGemm),
}

impl Dry {
    /// The copies and products since the last call.
    pub fn take_other(&self) -> Vec<Other> {
        std::mem::take(&mut self.other.lock().unwrap())
    }

    fn note(&self, other: Other) -> Result<()> {
        self.other.lock().unwrap().push(other);
        Ok(())
    }
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

    fn copy(&self, to: Region, _: Region) -> Result<()> {
        self.note(Other::Copy(to.bytes))
    }

    fn zero(&self, region: Region) -> Result<()> {
        self.note(Other::Zero(region.bytes))
    }

    fn launch(&self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<()> {
        let work =
            Work { launches: 1.0, blocks: grid.blocks.map(f64::from).iter().product(), ..Work::default() };
        let bytes = argument_bytes(args);
        let launched = Launched { entry: kernel.entry, grid, work, bytes, loops: vec![] };
        self.launched.lock().unwrap().push(launched);
        Ok(())
    }

    fn gemm(&self, gemm: &BlasGemm) -> Result<()> {
        self.note(Other::Product(*gemm))
    }
}
