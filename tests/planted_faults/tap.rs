//! A launcher around the emulator that watches what is launched, or plants a fault in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;

use engine::emulated::Emulated;
use engine::launch::{Arg, BlasGemm, Grid, Kernel, Launcher, Limits, PtxFile, Region};

use ptx_emulator::Options;

use super::mutant::{self, Kind};

/// A kernel: its file and entry.
pub type Name = (&'static str, &'static str);

/// Facts about one kernel in a run.
#[derive(Debug, Clone)]
pub struct Seen {
    pub file: &'static PtxFile,
    /// Lines of the file that some thread executed.
    pub lines: BTreeSet<usize>,
    /// Arguments that were buffers the kernel may read.
    pub buffers: BTreeSet<usize>,
    /// Instructions that its threads executed.
    pub instructions: u64,
}

/// A fault for one kernel.
#[derive(Debug, Clone)]
pub enum Plant {
    /// The kernel's file is replaced.
    Text(Name, &'static PtxFile),
    /// An argument is a shorter buffer.
    Buffer(Name, usize, Kind),
    /// There is no fault, but the part that the buffer would lose holds NaN, which shows whether the kernel reads it.
    Poison(Name, usize, Kind),
}

/// Each entry in a file of its own, so that a device reads no more text than it runs.
static ALONE: Mutex<BTreeMap<Name, &'static PtxFile>> = Mutex::new(BTreeMap::new());

/// A block that executes more instructions counts as hanging, because an inverted guard can make an endless loop.
const MAX_INSTRUCTIONS: u64 = 1 << 22;

/// The emulator, watched.
#[derive(Debug)]
pub struct Tap {
    inner: Emulated,
    plant: Option<Plant>,
    seen: Mutex<BTreeMap<Name, Seen>>,
}

impl Tap {
    pub fn new(plant: Option<Plant>) -> Self {
        let options = Options { max_instructions: MAX_INSTRUCTIONS, ..Options::default() };
        Tap { inner: Emulated::with(options), plant, seen: Mutex::default() }
    }

    /// What was launched so far.
    pub fn seen(&self) -> BTreeMap<Name, Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// Launches with NaN in the part of an argument that `kind` takes away.
    fn poisoned(
        &self,
        kernel: Kernel,
        grid: Grid,
        args: &[Arg],
        at: usize,
        kind: Kind,
    ) -> engine::Result<()> {
        let Some(region) = buffer(args[at]) else { return self.inner.launch(kernel, grid, args) };
        let lost = region.skip(short(region, kind).bytes);
        let mut held = vec![0; lost.bytes];
        if self.inner.download(lost, &mut held).is_err() {
            // Nothing wrote there, so nothing reads there either.
            return self.inner.launch(kernel, grid, args);
        }
        self.inner.upload(lost, &vec![0xFF; lost.bytes])?;
        self.inner.launch(kernel, grid, args)?;
        if matches!(args[at], Arg::In(_)) { self.inner.upload(lost, &held) } else { Ok(()) }
    }

    fn watch(&self, kernel: Kernel, args: &[Arg]) {
        let totals = self.inner.take_totals();
        let mut seen = self.seen.lock().unwrap();
        let seen = seen.entry((kernel.file.name, kernel.entry)).or_insert_with(|| Seen {
            file: kernel.file,
            lines: BTreeSet::new(),
            buffers: BTreeSet::new(),
            instructions: 0,
        });
        seen.instructions += totals.values().map(|meter| meter.instructions().threads).sum::<u64>();
        let lines = totals.values().flat_map(|meter| meter.lines());
        let executed = lines.filter(|(_, count)| count.threads > 0);
        seen.lines.extend(executed.map(|(line, _)| line.line as usize));
        let read = args.iter().enumerate().filter(|(_, arg)| buffer(**arg).is_some());
        seen.buffers.extend(read.map(|(i, _)| i));
    }
}

/// The kernel, from a file with nothing else.
fn alone(kernel: Kernel) -> Kernel {
    let name = (kernel.file.name, kernel.entry);
    let file = *ALONE.lock().unwrap().entry(name).or_insert_with(|| {
        let text = mutant::only(kernel.file.text, kernel.entry).leak();
        Box::leak(Box::new(PtxFile { name: format!("{}:{}", name.0, name.1).leak(), text }))
    });
    Kernel { file, ..kernel }
}

/// What is left of a buffer.
fn short(region: Region, kind: Kind) -> Region {
    let bytes = match kind {
        Kind::Short => region.bytes.saturating_sub(2),
        _ => region.bytes / 8 * 4,
    };
    Region { bytes, ..region }
}

fn buffer(arg: Arg) -> Option<Region> {
    match arg {
        Arg::In(region) | Arg::InOut(region) => Some(region),
        _ => None,
    }
}

fn shorten(arg: Arg, kind: Kind) -> Arg {
    match arg {
        Arg::In(region) => Arg::In(short(region, kind)),
        Arg::InOut(region) => Arg::InOut(short(region, kind)),
        other => other,
    }
}

impl Launcher for Tap {
    fn name(&self) -> &'static str {
        self.inner.name()
    }

    /// One multiprocessor, for which launches are cut into the largest blocks: barriers matter where there are several
    /// warps.
    fn limits(&self) -> Limits {
        Limits { multiprocessors: 1, ..self.inner.limits() }
    }

    fn alloc(&self, bytes: usize) -> engine::Result<Region> {
        self.inner.alloc(bytes)
    }

    fn free(&self, region: Region) {
        self.inner.free(region);
    }

    fn upload(&self, to: Region, bytes: &[u8]) -> engine::Result<()> {
        self.inner.upload(to, bytes)
    }

    fn download(&self, from: Region, bytes: &mut [u8]) -> engine::Result<()> {
        self.inner.download(from, bytes)
    }

    fn copy(&self, to: Region, from: Region) -> engine::Result<()> {
        self.inner.copy(to, from)
    }

    fn zero(&self, region: Region) -> engine::Result<()> {
        self.inner.zero(region)
    }

    fn launch(&self, kernel: Kernel, grid: Grid, args: &[Arg]) -> engine::Result<()> {
        let this = (kernel.file.name, kernel.entry);
        let mut args = args.to_vec();
        match &self.plant {
            None => {
                self.inner.launch(alone(kernel), grid, &args)?;
                self.watch(kernel, &args);
                return Ok(());
            }
            Some(Plant::Text(name, file)) if *name == this => {
                return self.inner.launch(Kernel { file, ..kernel }, grid, &args);
            }
            Some(Plant::Poison(name, at, kind)) if *name == this => {
                return self.poisoned(alone(kernel), grid, &args, *at, *kind);
            }
            Some(Plant::Buffer(name, at, kind)) if *name == this => {
                // Another argument may be the same buffer and would still allow the accesses that this one forbids.
                let whole = buffer(args[*at]);
                for arg in args.iter_mut().filter(|arg| buffer(**arg) == whole) {
                    *arg = shorten(*arg, *kind);
                }
            }
            Some(_) => {}
        }
        self.inner.launch(alone(kernel), grid, &args)
    }

    fn gemm(&self, gemm: &BlasGemm) -> engine::Result<()> {
        self.inner.gemm(gemm)
    }
}
