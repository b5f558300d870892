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
use crate::launch::{Arg, BlasGemm, Grid, Kernel, Launcher, Region, Replay};
use crate::{DType, Error, Result};

/// The launcher of the emulated device. Clones are the same device.
#[derive(Debug, Default, Clone)]
pub struct Emulated(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    machine: Machine,
    /// Parsed files by name.
    modules: Mutex<HashMap<String, Arc<Module>>>,
    totals: Mutex<BTreeMap<String, Meter>>,
    /// Calls that are kept instead of made.
    recording: Mutex<Option<Vec<Call>>>,
}

/// A call that can be made later.
#[derive(Debug, Clone)]
enum Call {
    Upload(Region, Vec<u8>),
    Copy(Region, Region),
    Launch(Kernel, Grid, Vec<Arg>),
    Gemm(BlasGemm),
}

impl Emulated {
    /// With every check on.
    pub fn new() -> Self {
        Self::default()
    }

    /// A machine with other options, such as without checks.
    pub fn with(options: Options) -> Self {
        Emulated(Arc::new(Shared { machine: Machine::with(options), ..Shared::default() }))
    }

    /// Runs this text in the place of the committed file of that name: tests plant faults with it.
    pub fn replace(&self, file: &str, text: &str) -> Result<()> {
        let module = Module::parse(file, text).map_err(failed)?;
        self.0.modules.lock().unwrap().insert(file.into(), Arc::new(module));
        Ok(())
    }

    /// What ran since the last call: counts by entry.
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

    /// Keeps a call while recording, else makes it.
    fn call(&self, call: Call) -> Result<()> {
        match &mut *self.0.recording.lock().unwrap() {
            Some(calls) => {
                calls.push(call);
                Ok(())
            }
            None => self.make(&call),
        }
    }

    fn not_recording(&self, what: &str) -> Result<()> {
        match &*self.0.recording.lock().unwrap() {
            Some(_) => Err(failed(format!("{what} while calls are recorded"))),
            None => Ok(()),
        }
    }

    fn make(&self, call: &Call) -> Result<()> {
        match call {
            Call::Upload(to, bytes) => self.write(*to, bytes),
            Call::Copy(to, from) => {
                let mut bytes = vec![0; from.bytes];
                self.read(*from, &mut bytes)?;
                self.write(*to, &bytes)
            }
            Call::Launch(kernel, grid, args) => self.run(*kernel, *grid, args),
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

    /// Column-major `C[m n]` is the row-major `[n m]`, and so with A and B: the product of the transposes.
    fn multiply(&self, g: &BlasGemm) -> Result<()> {
        let operand = |(from, ld, transposed): (Region, usize, bool), [rows, columns]: [usize; 2]| {
            let shape = if transposed { [columns, rows] } else { [rows, columns] };
            let mut values = self.read_rows(from, g.input, ld, shape)?;
            if g.tf32 {
                values.iter_mut().for_each(|v| *v = to_tf32(*v));
            }
            Ok::<_, Error>((values, shape[1], transposed))
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
        if let Some(bias) = g.bias {
            let bias = self.read_rows(bias, DType::F32, g.m, [1, g.m])?;
            c.chunks_exact_mut(g.m).for_each(|row| row.iter_mut().zip(&bias).for_each(|(c, b)| *c += b));
        }
        self.write_rows(g.c.0, g.output, g.c.1, g.m, &c)
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

/// Rounded to 10 bits of mantissa, ties away from zero, as tensor cores take f32.
fn to_tf32(value: f32) -> f32 {
    if value.is_finite() { f32::from_bits((value.to_bits() + 0x1000) & !0x1FFF) } else { value }
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
        Ok(Region { at: self.0.machine.alloc(bytes), bytes })
    }

    fn free(&self, region: Region) {
        self.0.machine.free(region.at);
    }

    fn upload(&self, to: Region, bytes: &[u8]) -> Result<()> {
        self.call(Call::Upload(to, bytes.into()))
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
        self.call(Call::Copy(to, from))
    }

    fn zero(&self, region: Region) -> Result<()> {
        self.upload(region, &vec![0; region.bytes])
    }

    fn launch(&self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<()> {
        self.call(Call::Launch(kernel, grid, args.into()))
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

#[cfg(test)]
mod tests {
    use crate::{Device, Tensor};

    /// A recording runs on its own memory, brings the bytes it was made with, and reads what changed since.
    #[test]
    fn a_recording_runs_again_on_what_its_inputs_hold() {
        let device = Device::emulated();
        let mut x = Tensor::from_slice(&device, &[1.0, 2.0], &[2]);
        let (recording, (y, add)) = device
            .record(|| -> crate::Result<_> {
                let add = Tensor::from_slice(&device, &[10.0, 20.0], &[2]);
                let mut y = x.to_owned_on(&device);
                drop(Tensor::zeros(&device, &[2]));
                y.add_assign(&device, &add);
                assert!(x.to_host().unwrap_err().to_string().contains("download while calls are recorded"));
                Ok((y, add))
            })
            .unwrap();
        let kept = add.region();
        drop(add);
        let bystander = Tensor::from_slice(&device, &[7.0, 7.0], &[2]);
        assert_ne!(bystander.region().at, kept.at, "memory of a recording is nobody else's");
        for (values, want) in [([1.0, 2.0], [11.0, 22.0]), ([5.0, 6.0], [15.0, 26.0])] {
            x.send(&values).unwrap();
            recording.run().unwrap();
            assert_eq!(y.receive().unwrap().wait().unwrap(), want);
        }
        assert_eq!(bystander.to_host().unwrap(), [7.0, 7.0]);
        drop(recording);
        assert_eq!(y.to_host().unwrap(), [15.0, 26.0]);
    }

    #[test]
    fn a_failed_recording_leaves_the_device_usable() {
        let device = Device::emulated();
        let failed = device.record(|| Err::<(), _>(super::failed("no")));
        assert_eq!(failed.unwrap_err().to_string(), "emulated device: no");
        assert_eq!(Tensor::zeros(&device, &[3]).to_host().unwrap(), [0.0; 3]);
    }

    #[test]
    fn tf32_keeps_ten_bits_of_mantissa() {
        let one = 1.0f32;
        for (value, want) in [
            (one, one),
            (1.0 + 2f32.powi(-11), 1.0 + 2f32.powi(-10)),
            (-1.0 - 2f32.powi(-12), -1.0),
            (f32::INFINITY, f32::INFINITY),
        ] {
            assert_eq!(super::to_tf32(value), want);
        }
    }
}
