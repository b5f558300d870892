//! The emulated device: kernels run on crate `ptx-emulator`, products on the CPU's GEMM in the place of cuBLAS.
//!
//! It watches every access of every thread, so it is slow (tens of millions of thread-instructions a second and
//! core) and finds what a GPU would hide. Everything above [`Launcher`] is what a GPU will run.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::sync::{Arc, Mutex};

use half::bf16;
use ptx_emulator::{Access, Launch, Machine, Meter, Module, Options};

use crate::gemm::{Mat, gemm};
use crate::launch::{Arg, BlasGemm, Grid, Kernel, Launcher, Region};
use crate::{DType, Error, Result};

/// The launcher of the emulated device.
#[derive(Debug, Default)]
pub struct Emulated {
    machine: Machine,
    /// Parsed files by name.
    modules: Mutex<HashMap<String, Arc<Module>>>,
    totals: Mutex<BTreeMap<String, Meter>>,
}

impl Emulated {
    /// With every check on.
    pub fn new() -> Self {
        Self::default()
    }

    /// A machine with other options, such as without checks.
    pub fn with(options: Options) -> Self {
        Emulated { machine: Machine::with(options), ..Self::default() }
    }

    /// Runs this text in the place of the committed file of that name: tests plant faults with it.
    pub fn replace(&self, file: &str, text: &str) -> Result<()> {
        let module = Module::parse(file, text).map_err(failed)?;
        self.modules.lock().unwrap().insert(file.into(), Arc::new(module));
        Ok(())
    }

    /// What ran since the last call: counts by entry.
    pub fn take_totals(&self) -> BTreeMap<String, Meter> {
        std::mem::take(&mut *self.totals.lock().unwrap())
    }

    fn module(&self, kernel: Kernel) -> Result<Arc<Module>> {
        if let Some(module) = self.modules.lock().unwrap().get(kernel.file.name) {
            return Ok(module.clone());
        }
        self.replace(kernel.file.name, kernel.file.text)?;
        self.module(kernel)
    }

    /// Where row `row` of a matrix starts, and its bytes.
    fn row(from: Region, dtype: DType, ld: usize, row: usize, columns: usize) -> Region {
        Region { bytes: columns * dtype.size(), ..from.skip(row * ld * dtype.size()) }
    }

    /// The rows of a row-major matrix, without what lies between them.
    fn read_rows(
        &self,
        from: Region,
        dtype: DType,
        ld: usize,
        [rows, columns]: [usize; 2],
    ) -> Result<Vec<f32>> {
        let mut values = Vec::with_capacity(rows * columns);
        let mut bytes = vec![0; columns * dtype.size()];
        for row in 0..rows {
            self.download(Self::row(from, dtype, ld, row, columns), &mut bytes)?;
            match dtype {
                DType::F32 => values.extend(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b))),
                DType::Bf16 => {
                    values.extend(bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()))
                }
            }
        }
        Ok(values)
    }

    fn write_rows(&self, to: Region, dtype: DType, ld: usize, columns: usize, values: &[f32]) -> Result<()> {
        for (row, values) in values.chunks_exact(columns).enumerate() {
            let bytes: Vec<u8> = match dtype {
                DType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                DType::Bf16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
            };
            self.upload(Self::row(to, dtype, ld, row, columns), &bytes)?;
        }
        Ok(())
    }
}

fn failed(what: impl Display) -> Error {
    Error::Device { device: "emulated", what: what.to_string() }
}

fn argument(arg: Arg) -> ptx_emulator::Arg {
    use ptx_emulator::Arg as Emulated;
    let buffer = |region: Region, access| Emulated::Buffer { at: region.at, bytes: region.bytes, access };
    let reached = |region: Region, access| Emulated::Reached { at: region.at, bytes: region.bytes, access };
    match arg {
        Arg::In(region) => buffer(region, Access::Read),
        Arg::Out(region) => buffer(region, Access::Write),
        Arg::InOut(region) => buffer(region, Access::ReadWrite),
        Arg::None => Emulated::U64(0),
        Arg::U32(value) => Emulated::U32(value),
        Arg::F32(value) => Emulated::F32(value),
        Arg::ReachedIn(region) => reached(region, Access::Read),
        Arg::ReachedInOut(region) => reached(region, Access::ReadWrite),
    }
}

impl Launcher for Emulated {
    fn name(&self) -> &'static str {
        "emulated"
    }

    fn alloc(&self, bytes: usize) -> Result<Region> {
        Ok(Region { at: self.machine.alloc(bytes), bytes })
    }

    fn free(&self, region: Region) {
        self.machine.free(region.at);
    }

    fn upload(&self, to: Region, bytes: &[u8]) -> Result<()> {
        self.machine.write(to.at, bytes).map_err(failed)
    }

    fn download(&self, from: Region, bytes: &mut [u8]) -> Result<()> {
        self.machine.read(from.at, bytes).map_err(failed)
    }

    fn copy(&self, to: Region, from: Region) -> Result<()> {
        let mut bytes = vec![0; from.bytes];
        self.download(from, &mut bytes)?;
        self.upload(to, &bytes)
    }

    fn zero(&self, region: Region) -> Result<()> {
        self.upload(region, &vec![0; region.bytes])
    }

    fn launch(&self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<()> {
        let module = self.module(kernel)?;
        let args: Vec<_> = args.iter().copied().map(argument).collect();
        let size = Launch { grid: grid.blocks, block: grid.threads, shared: grid.shared };
        let meter = self.machine.launch(&module, kernel.entry, size, &args).map_err(failed)?;
        *self.totals.lock().unwrap().entry(kernel.entry.into()).or_default() += meter;
        Ok(())
    }

    /// Column-major `C[m n]` is the row-major `[n m]`, and so with A and B: the product of the transposes.
    fn gemm(&self, g: &BlasGemm) -> Result<()> {
        let operand = |(from, ld, transposed): (Region, usize, bool), [rows, columns]: [usize; 2]| {
            let shape = if transposed { [columns, rows] } else { [rows, columns] };
            Ok::<_, Error>((self.read_rows(from, g.input, ld, shape)?, shape[1], transposed))
        };
        let (a, b) = (operand(g.a, [g.k, g.m])?, operand(g.b, [g.n, g.k])?);
        fn matrix((values, ld, transposed): &(Vec<f32>, usize, bool)) -> Mat<'_> {
            if *transposed { Mat::transposed(values, *ld) } else { Mat::rows(values, *ld) }
        }
        let accumulate = g.beta != 0.0;
        let mut c = match accumulate {
            true => self.read_rows(g.c.0, g.output, g.c.1, [g.n, g.m])?,
            false => vec![0.0; g.n * g.m],
        };
        gemm(g.n, g.m, g.k, matrix(&b), matrix(&a), &mut c, g.m, accumulate);
        self.write_rows(g.c.0, g.output, g.c.1, g.m, &c)
    }
}
