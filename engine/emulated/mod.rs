//! The emulated device: kernels run on the crate `ptx-emulator`, products on the CPU's GEMM in place of cuBLAS.
//!
//! It watches every access of every thread, so it is slow (hundreds of millions of thread-instructions a second and
//! core) and finds what a GPU would hide. Everything above [`Launcher`] is what a GPU will run.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Display;
use std::sync::{Arc, Mutex};

use half::bf16;
use ptx_emulator::{Access, Launch, Machine, Meter, Module, Options};

use crate::cards::H100;
use crate::gemm::{Mat, gemm};
use crate::launch::{Arg, BlasGemm, ColumnMajor, DType, Grid, Kernel, Launcher, Limits, Region, Replay};
use crate::{Error, Result};

#[cfg(test)]
mod tests;

/// The launcher of the emulated device. Clones are the same device.
#[derive(Debug, Clone)]
pub struct Emulated(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    machine: Machine,
    /// The figures of the card that it plays.
    limits: Limits,
    /// Parsed files by name.
    modules: Mutex<HashMap<String, Arc<Module>>>,
    /// What ran since the last call of [`Emulated::take_totals`], by entry.
    totals: Mutex<BTreeMap<String, Meter>>,
    /// The calls so far, while they are recorded.
    recording: Mutex<Option<Vec<Call>>>,
}

/// A call that can be made later.
#[derive(Debug, Clone)]
enum Call {
    Upload { to: Region, bytes: Vec<u8> },
    Copy { to: Region, from: Region },
    Launch { kernel: Kernel, grid: Grid, args: Vec<Arg> },
    Gemm(BlasGemm),
}

impl Default for Emulated {
    fn default() -> Self {
        Self::new()
    }
}

impl Emulated {
    /// Makes an H100 with every check on.
    pub fn new() -> Self {
        Self::card(H100)
    }

    /// Makes an H100 with other options, such as without checks.
    pub fn with(options: Options) -> Self {
        Self::card_with(H100, options)
    }

    /// Makes a machine that plays a card: launches are cut as for it, and one that asks for more shared memory than a
    /// block of it may have is refused.
    pub fn card(limits: Limits) -> Self {
        Self::card_with(limits, Options::default())
    }

    fn card_with(limits: Limits, options: Options) -> Self {
        let options = Options { max_shared: limits.shared_per_block as u32, ..options };
        Emulated(Arc::new(Inner {
            machine: Machine::with(options),
            limits,
            modules: Mutex::default(),
            totals: Mutex::default(),
            recording: Mutex::default(),
        }))
    }

    /// Runs this text in place of the committed file of that name. Tests plant faults with it.
    ///
    /// # Errors
    /// [`Error::Device`] with the line of the text that the emulator cannot parse.
    pub fn replace(&self, file: &str, text: &str) -> Result<()> {
        let module = Module::parse_whole(file, text).map_err(failed)?;
        self.0.modules.lock().unwrap().insert(file.into(), Arc::new(module));
        Ok(())
    }

    /// Returns the counts of what ran since the last call, by the entry of the kernel.
    pub fn take_totals(&self) -> BTreeMap<String, Meter> {
        std::mem::take(&mut *self.0.totals.lock().unwrap())
    }

    fn module(&self, kernel: Kernel) -> Result<Arc<Module>> {
        if let Some(module) = self.0.modules.lock().unwrap().get(kernel.file.name) {
            return Ok(module.clone());
        }
        self.replace(kernel.file.name, kernel.file.text)?;
        self.module(kernel)
    }

    /// Keeps a call while calls are recorded, else makes it.
    fn call(&self, call: Call) -> Result<()> {
        match &mut *self.0.recording.lock().unwrap() {
            Some(calls) => {
                calls.push(call);
                Ok(())
            }
            None => self.make(&call),
        }
    }

    /// Refuses what cannot be recorded.
    fn not_recording(&self, what: &str) -> Result<()> {
        match &*self.0.recording.lock().unwrap() {
            Some(_) => Err(failed(format!("{what} while calls are recorded"))),
            None => Ok(()),
        }
    }

    fn make(&self, call: &Call) -> Result<()> {
        match call {
            Call::Upload { to, bytes } => self.write(*to, bytes),
            Call::Copy { to, from } => {
                let mut bytes = vec![0; from.bytes];
                self.read(*from, &mut bytes)?;
                self.write(*to, &bytes)
            }
            Call::Launch { kernel, grid, args } => self.run(*kernel, *grid, args),
            Call::Gemm(gemm) => self.multiply(gemm),
        }
    }

    fn read(&self, from: Region, bytes: &mut [u8]) -> Result<()> {
        self.0.machine.read(from.at, bytes).map_err(failed)
    }

    fn write(&self, to: Region, bytes: &[u8]) -> Result<()> {
        self.0.machine.write(to.at, bytes).map_err(failed)
    }

    fn run(&self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<()> {
        let module = self.module(kernel)?;
        let args: Vec<_> = args.iter().copied().map(argument).collect();
        let size = Launch { grid: grid.blocks, block: grid.threads, shared: grid.shared };
        let meter = self.0.machine.launch(&module, kernel.entry, size, &args).map_err(failed)?;
        *self.0.totals.lock().unwrap().entry(kernel.entry.into()).or_default() += meter;
        Ok(())
    }

    /// Multiplies on the CPU. A column-major `C[m n]` is a row-major `[n m]`, and the same holds for A and B, so this is the
    /// row-major product of the transposes.
    fn multiply(&self, g: &BlasGemm) -> Result<()> {
        let (a, b) = (self.read_operand(g, g.a, [g.k, g.m])?, self.read_operand(g, g.b, [g.n, g.k])?);
        let accumulate = g.beta != 0.0;
        let mut c = match accumulate {
            true => self.read_rows(g.c, g.output, g.ldc, [g.n, g.m])?,
            false => vec![0.0; g.n * g.m],
        };
        gemm(g.n, g.m, g.k, b.matrix(), a.matrix(), &mut c, g.m, accumulate);
        if let Some(bias) = g.bias {
            let bias = self.read_rows(bias, DType::F32, g.m, [1, g.m])?;
            c.chunks_exact_mut(g.m).for_each(|row| row.iter_mut().zip(&bias).for_each(|(c, b)| *c += b));
        }
        self.write_rows(g.c, g.output, g.ldc, g.m, &c)
    }

    /// Reads A or B of a product; `[rows, columns]` is its size as a row-major matrix when it is not transposed.
    fn read_operand(
        &self,
        g: &BlasGemm,
        operand: ColumnMajor,
        [rows, columns]: [usize; 2],
    ) -> Result<HostOperand> {
        let ColumnMajor { region, ld, transposed } = operand;
        let shape = if transposed { [columns, rows] } else { [rows, columns] };
        let mut values = self.read_rows(region, g.input, ld, shape)?;
        if g.tf32 {
            values.iter_mut().for_each(|v| *v = to_tf32(*v));
        }
        Ok(HostOperand { values, ld: shape[1], transposed })
    }

    /// The region of row `row` of a row-major matrix.
    fn row(from: Region, dtype: DType, ld: usize, row: usize, columns: usize) -> Region {
        Region { bytes: columns * dtype.size(), ..from.skip(row * ld * dtype.size()) }
    }

    /// Reads the rows of a row-major matrix, without what lies between them.
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
            self.read(Self::row(from, dtype, ld, row, columns), &mut bytes)?;
            match dtype {
                DType::F32 => values.extend(bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b))),
                DType::Bf16 => {
                    values.extend(bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()))
                }
            }
        }
        Ok(values)
    }

    /// Writes the rows of a row-major matrix, and leaves what lies between them.
    fn write_rows(&self, to: Region, dtype: DType, ld: usize, columns: usize, values: &[f32]) -> Result<()> {
        for (row, values) in values.chunks_exact(columns).enumerate() {
            let bytes: Vec<u8> = match dtype {
                DType::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                DType::Bf16 => values.iter().flat_map(|&v| bf16::from_f32(v).to_le_bytes()).collect(),
            };
            self.write(Self::row(to, dtype, ld, row, columns), &bytes)?;
        }
        Ok(())
    }
}

/// An operand of a product that was read to the host: a row-major matrix.
struct HostOperand {
    values: Vec<f32>,
    ld: usize,
    transposed: bool,
}

impl HostOperand {
    fn matrix(&self) -> Mat<'_> {
        if self.transposed {
            Mat::transposed(&self.values, self.ld)
        } else {
            Mat::rows(&self.values, self.ld)
        }
    }
}

/// Rounds to 10 bits of mantissa, ties away from zero, as tensor cores take f32.
fn to_tf32(value: f32) -> f32 {
    if value.is_finite() { f32::from_bits((value.to_bits() + 0x1000) & !0x1FFF) } else { value }
}

fn failed(what: impl Display) -> Error {
    Error::Device { device: "emulated", what: what.to_string() }
}

/// An argument as the emulator takes it.
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

    fn limits(&self) -> Limits {
        self.0.limits
    }

    fn alloc(&self, bytes: usize) -> Result<Region> {
        Ok(Region { at: self.0.machine.alloc(bytes), bytes })
    }

    fn free(&self, region: Region) {
        self.0.machine.free(region.at);
    }

    fn upload(&self, to: Region, bytes: &[u8]) -> Result<()> {
        self.call(Call::Upload { to, bytes: bytes.into() })
    }

    fn download(&self, from: Region, bytes: &mut [u8]) -> Result<()> {
        self.not_recording("download")?;
        self.read(from, bytes)
    }

    fn send(&self, to: Region, bytes: &[u8]) -> Result<()> {
        self.not_recording("send")?;
        self.write(to, bytes)
    }

    fn copy(&self, to: Region, from: Region) -> Result<()> {
        self.call(Call::Copy { to, from })
    }

    fn zero(&self, region: Region) -> Result<()> {
        self.upload(region, &vec![0; region.bytes])
    }

    fn launch(&self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<()> {
        self.call(Call::Launch { kernel, grid, args: args.into() })
    }

    fn gemm(&self, gemm: &BlasGemm) -> Result<()> {
        self.call(Call::Gemm(*gemm))
    }

    fn record(&self) -> Result<()> {
        self.not_recording("record")?;
        *self.0.recording.lock().unwrap() = Some(vec![]);
        Ok(())
    }

    fn recorded(&self) -> Result<Box<dyn Replay>> {
        let calls = self.0.recording.lock().unwrap().take();
        let calls = calls.ok_or_else(|| failed("nothing is being recorded"))?;
        Ok(Box::new(Recorded { device: self.clone(), calls }))
    }
}

/// Calls that were recorded.
#[derive(Debug)]
struct Recorded {
    device: Emulated,
    calls: Vec<Call>,
}

impl Replay for Recorded {
    fn run(&self) -> Result<()> {
        self.calls.iter().try_for_each(|call| self.device.make(call))
    }
}
