//! Launched devices: what runs kernels from PTX text. The CUDA driver and the emulator implement [`Launcher`], and
//! nothing above this file knows which of them it is.

use std::fmt::Debug;

use crate::{Error, Result};

/// A committed PTX file.
#[derive(Debug)]
pub struct PtxFile {
    /// `<op>/kernel.ptx`, which names the file in messages and must be its own.
    pub name: &'static str,
    /// The text of the file.
    pub text: &'static str,
}

/// One `.entry` of a PTX file.
#[derive(Debug, Clone, Copy)]
pub struct Kernel {
    /// The file that has the entry.
    pub file: &'static PtxFile,
    /// The name of the entry.
    pub entry: &'static str,
}

/// A run of bytes on a launched device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Region {
    /// The address of the first byte on the device.
    pub at: u64,
    /// The number of bytes.
    pub bytes: usize,
}

impl Region {
    /// No bytes at all, which is what an empty tensor occupies.
    pub const EMPTY: Region = Region { at: 0, bytes: 0 };

    /// The region without its first `bytes` bytes. Panics when it has fewer.
    pub fn skip(self, bytes: usize) -> Self {
        assert!(bytes <= self.bytes, "{bytes} bytes into a region of {}", self.bytes);
        Region { at: self.at + bytes as u64, bytes: self.bytes - bytes }
    }
}

/// One argument of a launch. Pointers say what the kernel may do with them; the emulator holds it to that.
#[derive(Debug, Clone, Copy)]
pub enum Arg {
    /// Memory that the kernel only reads: a store is a fault.
    In(Region),
    /// Memory that the kernel writes before it reads.
    Out(Region),
    /// Memory that the kernel reads and writes.
    InOut(Region),
    /// A pointer that this call does not use; it is 0.
    None,
    /// A whole number.
    U32(u32),
    /// A float.
    F32(f32),
    /// Not an argument: memory that the kernel reads through an address in a table.
    ReachedIn(Region),
    /// Not an argument: memory that the kernel reads and writes through an address in a table.
    ReachedInOut(Region),
}

/// The size of a launch.
#[derive(Debug, Clone, Copy)]
pub struct Grid {
    /// The number of blocks along x, y and z.
    pub blocks: [u32; 3],
    /// The number of threads in a block along x, y and z.
    pub threads: [u32; 3],
    /// Bytes of dynamic shared memory for each block.
    pub shared: u32,
}

/// What a card has for the blocks of a launch. Sizes are in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The major and the minor number; an H100 has 9 and 0.
    pub compute_capability: [u32; 2],
    /// The number of multiprocessors.
    pub multiprocessors: usize,
    /// The most shared memory that a block may ask for, static and dynamic.
    pub shared_per_block: usize,
    /// The shared memory that the blocks of a multiprocessor have together.
    pub shared_per_multiprocessor: usize,
    /// What the system takes of it for each block, beside what the block asks for.
    pub shared_reserved: usize,
    /// Registers of 32 bits.
    pub registers_per_multiprocessor: usize,
    /// The most threads that a multiprocessor has at once.
    pub threads_per_multiprocessor: usize,
    /// The most blocks that a multiprocessor has at once.
    pub blocks_per_multiprocessor: usize,
}

impl Limits {
    /// The number of blocks that a multiprocessor has at once, when each has `threads` threads of `registers` registers
    /// and `shared` bytes of shared memory; 0 where not even one fits.
    pub fn resident(&self, threads: usize, registers: usize, shared: usize) -> usize {
        if shared > self.shared_per_block {
            return 0;
        }
        // A warp of 32 threads gets registers in steps of 256.
        let warps = threads.div_ceil(32);
        let by_registers =
            self.registers_per_multiprocessor / ((32 * registers).next_multiple_of(256) * warps).max(1);
        let by_shared = self.shared_per_multiprocessor / (shared + self.shared_reserved).max(1);
        let by_threads = self.threads_per_multiprocessor / (32 * warps).max(1);
        by_registers.min(by_shared).min(by_threads).min(self.blocks_per_multiprocessor)
    }
}

/// The element type of a tensor or of a matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DType {
    /// IEEE floats of 32 bits.
    F32,
    /// bfloat16: the upper 16 bits of an f32.
    Bf16,
}

impl DType {
    /// The size of an element in bytes.
    pub fn size(self) -> usize {
        match self {
            DType::F32 => 4,
            DType::Bf16 => 2,
        }
    }
}

/// An operand of a [`BlasGemm`]: a column-major matrix on the device.
#[derive(Debug, Clone, Copy)]
pub struct ColumnMajor {
    /// The elements, from the first on.
    pub region: Region,
    /// The distance between the starts of two columns, in elements.
    pub ld: usize,
    /// The product takes the transpose of the matrix.
    pub transposed: bool,
}

/// The product `C[m n] = op(A)[m k] op(B)[k n] + beta C + bias`, column-major as BLAS takes it. Sums are in f32.
#[derive(Debug, Clone, Copy)]
pub struct BlasGemm {
    /// The number of rows of `op(A)` and of C.
    pub m: usize,
    /// The number of columns of `op(B)` and of C.
    pub n: usize,
    /// The number of columns of `op(A)` and of rows of `op(B)`.
    pub k: usize,
    /// The matrix A.
    pub a: ColumnMajor,
    /// The matrix B.
    pub b: ColumnMajor,
    /// The elements of C, from the first on.
    pub c: Region,
    /// The distance between the starts of two columns of C, in elements.
    pub ldc: usize,
    /// The type of A and B.
    pub input: DType,
    /// The type of C.
    pub output: DType,
    /// 0 or 1.
    pub beta: f32,
    /// `[m]`, f32, added to every column; only with an f32 C.
    pub bias: Option<Region>,
    /// f32 operands may be rounded to TF32 (10 bits of mantissa) on their way into the products.
    pub tf32: bool,
}

/// A device with its own memory that runs kernels in the order in which they are launched.
///
/// Every call can fail with [`Error::Device`], [`Error::Memory`] or [`Error::Lost`], also because of a call before it that
/// the device had not finished.
pub trait Launcher: Debug + Send + Sync {
    /// `emulated` or `cuda`.
    fn name(&self) -> &'static str;

    /// Describes a GPU in one line; `None` for other devices.
    fn info(&self) -> Option<String> {
        None
    }

    /// What the device has for the blocks of a launch. An emulator has what the card has that it plays.
    fn limits(&self) -> Limits;

    /// Makes memory of unspecified content, aligned to 256 bytes. Between [`Launcher::record`] and
    /// [`Launcher::recorded`] too, it is made at once.
    fn alloc(&self, bytes: usize) -> Result<Region>;

    /// Frees a region of [`Launcher::alloc`] once what was launched before is done.
    fn free(&self, region: Region);

    /// Free bytes and all bytes of the device's memory; `None` where it is the host's.
    fn memory(&self) -> Option<[usize; 2]> {
        None
    }

    /// Copies `bytes` to a region of the same size. They may change when this returns.
    fn upload(&self, to: Region, bytes: &[u8]) -> Result<()>;

    /// Copies a region to `bytes` of the same size, and waits for what was launched before.
    fn download(&self, from: Region, bytes: &mut [u8]) -> Result<()>;

    /// [`Launcher::upload`] that does not wait: the bytes travel beside what runs, and arrive in `to` after what was
    /// launched before and before what is launched next. This is for a `to` that is sent to again and again.
    fn send(&self, to: Region, bytes: &[u8]) -> Result<()> {
        self.upload(to, bytes)
    }

    /// [`Launcher::download`] that does not wait: it gives the bytes as they are after what was launched before.
    fn receive(&self, from: Region) -> Result<Box<dyn Pending>> {
        let mut bytes = vec![0; from.bytes];
        self.download(from, &mut bytes)?;
        Ok(Box::new(Received(bytes)))
    }

    /// Copies a region to another of the same size.
    fn copy(&self, to: Region, from: Region) -> Result<()>;

    /// Fills a region with zero bytes.
    fn zero(&self, region: Region) -> Result<()>;

    /// Runs a kernel. The number, the width and the kind of the arguments are checked against its `.entry`.
    fn launch(&self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<()>;

    /// Computes a matrix product.
    fn gemm(&self, gemm: &BlasGemm) -> Result<()>;

    /// Starts to keep uploads, copies, launches and products instead of making them, until [`Launcher::recorded`]. The
    /// memory they use must stay. A download, `send` or `receive` in between is an error.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where the device cannot record.
    fn record(&self) -> Result<()> {
        let what = format!("the {} device cannot record calls", self.name());
        Err(Error::Unsupported { op: "record", what })
    }

    /// Returns what was kept since [`Launcher::record`], to be run as often as wanted.
    fn recorded(&self) -> Result<Box<dyn Replay>> {
        let what = "nothing is being recorded".into();
        Err(Error::Unsupported { op: "record", what })
    }
}

/// Bytes on their way from a device.
pub trait Pending: Debug + Send {
    /// Waits for them.
    ///
    /// # Errors
    /// Those of [`Launcher`].
    fn wait(self: Box<Self>) -> Result<Vec<u8>>;
}

/// Bytes that have arrived already.
#[derive(Debug)]
struct Received(Vec<u8>);

impl Pending for Received {
    fn wait(self: Box<Self>) -> Result<Vec<u8>> {
        Ok(self.0)
    }
}

/// Recorded calls.
pub trait Replay: Debug + Send {
    /// Runs them after what was launched before. Uploads bring the bytes that they had when they were recorded.
    ///
    /// # Errors
    /// Those of [`Launcher`].
    fn run(&self) -> Result<()>;
}

#[cfg(test)]
mod tests {
    use crate::cards::{self, H100};

    #[test]
    fn blocks_share_a_multiprocessor_as_far_as_each_resource_goes() {
        assert_eq!(H100.resident(384, 80, 113 << 10), 2, "shared memory and registers");
        assert_eq!(H100.resident(384, 80, (113 << 10) + 1), 1, "1 KiB of a block is reserved");
        assert_eq!(H100.resident(384, 80, (227 << 10) + 1), 0);
        assert_eq!(H100.resident(256, 128, 0), 2, "registers");
        assert_eq!(H100.resident(32, 16, 0), 32, "blocks");
        let rtx4090 = cards::parse("rtx4090").unwrap();
        assert_eq!(rtx4090.resident(256, 32, 49 << 10), 2);
        assert_eq!(rtx4090.resident(1024, 32, 0), 1, "1536 threads");
        assert_eq!(rtx4090.resident(256, 32, 100 << 10), 0);
    }
}
