//! Launched devices: what runs kernels from PTX text. The CUDA driver and the emulator implement [`Launcher`];
//! nothing above this file knows which it is.

use std::fmt::Debug;

use crate::{Error, Result};

/// A committed PTX file.
#[derive(Debug)]
pub struct PtxFile {
    /// `<op>/kernel.ptx`, for messages.
    pub name: &'static str,
    pub text: &'static str,
}

/// One `.entry` of a PTX file.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    pub file: &'static PtxFile,
    pub entry: &'static str,
}

/// Bytes on a launched device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    pub at: u64,
    pub bytes: usize,
}

impl Region {
    /// Nothing at all: what an empty tensor occupies.
    pub const EMPTY: Region = Region { at: 0, bytes: 0 };

    /// The region without its first bytes.
    pub fn skip(self, bytes: usize) -> Self {
        assert!(bytes <= self.bytes, "{bytes} bytes into a region of {}", self.bytes);
        Region { at: self.at + bytes as u64, bytes: self.bytes - bytes }
    }
}

/// One argument of a launch. Pointers say what the kernel may do with them: a store into an `In` is a fault.
#[derive(Debug, Clone, Copy)]
pub enum Arg {
    In(Region),
    Out(Region),
    InOut(Region),
    /// A pointer that this call does not use: 0.
    None,
    U32(u32),
    F32(f32),
    /// No argument: memory that the kernel reads through an address in a table.
    ReachedIn(Region),
    /// No argument: memory that the kernel reads and writes through an address in a table.
    ReachedInOut(Region),
}

/// Blocks, threads in a block, and bytes of dynamic shared memory.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    pub blocks: [u32; 3],
    pub threads: [u32; 3],
    pub shared: u32,
}

/// Element type of a tensor or a matrix operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    F32,
    Bf16,
}

impl DType {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::Bf16 => 2,
        }
    }
}

/// `C[m n] = op(A)[m k] op(B)[k n] + beta C + bias`, column-major as BLAS takes it; sums in f32.
#[derive(Debug, Clone, Copy)]
pub struct BlasGemm {
    pub m: usize,
    pub n: usize,
    pub k: usize,
    /// Matrix, leading dimension, transposed.
    pub a: (Region, usize, bool),
    pub b: (Region, usize, bool),
    pub c: (Region, usize),
    /// Type of A and B, and of C.
    pub input: DType,
    pub output: DType,
    /// 0 or 1.
    pub beta: f32,
    /// `[m]`, f32, added to every column; only with an f32 C.
    pub bias: Option<Region>,
    /// f32 operands may be rounded to TF32 (10 bits of mantissa) on their way into the products.
    pub tf32: bool,
}

/// A device with its own memory that runs kernels in the order they are launched.
pub trait Launcher: Debug + Send + Sync {
    /// `emulated` or `cuda`.
    fn name(&self) -> &'static str;

    /// What the device is, in a line.
    fn info(&self) -> Option<String> {
        None
    }

    /// Memory of unspecified content, aligned to 256 bytes. Also between [`Launcher::record`] and
    /// [`Launcher::recorded`] the memory is made at once.
    fn alloc(&self, bytes: usize) -> Result<Region>;

    fn free(&self, region: Region);

    /// Free bytes and all bytes of the device's memory; `None` where it is the host's.
    fn memory(&self) -> Option<[usize; 2]> {
        None
    }

    fn upload(&self, to: Region, bytes: &[u8]) -> Result<()>;

    /// Waits for what was launched before.
    fn download(&self, from: Region, bytes: &mut [u8]) -> Result<()>;

    /// [`Launcher::upload`] that does not wait: the bytes travel beside what runs, and arrive in `to` after what
    /// was launched before and before what is launched next. For one `to` that is sent to again and again.
    fn send(&self, to: Region, bytes: &[u8]) -> Result<()> {
        self.upload(to, bytes)
    }

    /// [`Launcher::download`] that does not wait: the bytes as they are after what was launched before.
    fn receive(&self, from: Region) -> Result<Box<dyn Pending>> {
        let mut bytes = vec![0; from.bytes];
        self.download(from, &mut bytes)?;
        Ok(Box::new(Received(bytes)))
    }

    fn copy(&self, to: Region, from: Region) -> Result<()>;

    /// Fills with zero bytes.
    fn zero(&self, region: Region) -> Result<()>;

    /// Runs a kernel; number, width and kind of the arguments are checked against its `.entry`.
    fn launch(&self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<()>;

    fn gemm(&self, gemm: &BlasGemm) -> Result<()>;

    /// From here on uploads, copies, launches and products are kept instead of made, until
    /// [`Launcher::recorded`]; memory they use must stay. A download, `send` or `receive` in between is an error.
    fn record(&self) -> Result<()> {
        let what = format!("the {} device cannot", self.name());
        Err(Error::Unsupported { op: "record", what })
    }

    /// What was kept since [`Launcher::record`], to be run as often as wanted.
    fn recorded(&self) -> Result<Box<dyn Replay>> {
        let what = "nothing is being recorded".into();
        Err(Error::Unsupported { op: "record", what })
    }
}

/// Bytes on their way from a device.
pub trait Pending: Debug + Send {
    /// Waits for them.
    fn wait(self: Box<Self>) -> Result<Vec<u8>>;
}

/// Bytes that are here already.
#[derive(Debug)]
struct Received(Vec<u8>);

impl Pending for Received {
    fn wait(self: Box<Self>) -> Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// Recorded calls.
pub trait Replay: Debug + Send {
    /// Runs them after what was launched before. Uploads bring the bytes they had when they were recorded.
    fn run(&self) -> Result<()>;
}
