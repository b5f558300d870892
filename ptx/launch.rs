//! What the launches of the ops share: arguments, grids and the names of entries.

use engine::launch::{Arg, DType, Grid, Kernel, Launcher, Region};
use engine::{Device, Error, Result, Tensor};

/// Most blocks along y or z of a grid, by CUDA's limits.
pub(crate) const MAX_YZ: usize = 65_535;

/// The kernel of a file for a type: entry `NAME_f32` or `NAME_bf16`.
macro_rules! entry {
    ($file:expr, $name:expr, $dtype:expr) => {
        engine::launch::Kernel {
            file: &$file,
            entry: match $dtype {
                engine::DType::F32 => concat!($name, "_f32"),
                engine::DType::Bf16 => concat!($name, "_bf16"),
            },
        }
    };
}
pub(crate) use entry;

/// The committed `kernel.ptx` of a folder of this crate.
macro_rules! ptx_file {
    ($op:literal) => {
        engine::launch::PtxFile {
            name: concat!($op, "/kernel.ptx"),
            text: include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/", $op, "/kernel.ptx")),
        }
    };
}
pub(crate) use ptx_file;

/// A size as kernels take it. They count elements in 31 bits; more is [`Error::Unsupported`].
pub(crate) fn size(op: &'static str, n: usize) -> Result<u32> {
    i32::try_from(n).map(|n| n as u32).map_err(|_| {
        let what = format!("{n} elements in one call: at most {} on a launched device", i32::MAX);
        Error::Unsupported { op, what }
    })
}

/// Several sizes as arguments, each checked by [`size`].
pub(crate) fn sizes<const N: usize>(op: &'static str, sizes: [usize; N]) -> Result<[Arg; N]> {
    let mut args = [Arg::U32(0); N];
    for (arg, n) in args.iter_mut().zip(sizes) {
        *arg = Arg::U32(size(op, n)?);
    }
    Ok(args)
}

/// A grid of `[x, y, z]` blocks of `threads` threads along x. Beyond the hardware's limit it is
/// [`Error::Unsupported`]; y and z count samples.
pub(crate) fn grid(op: &'static str, [x, y, z]: [usize; 3], threads: usize) -> Result<Grid> {
    if y.max(z) > MAX_YZ {
        let what = format!("{} samples in one call: at most {MAX_YZ} on a launched device", y.max(z));
        return Err(Error::Unsupported { op, what });
    }
    let blocks = [size(op, x)?, y as u32, z as u32];
    Ok(Grid { blocks, threads: [threads as u32, 1, 1], shared: 0 })
}

/// Elements of the widest access, 16 bytes.
pub(crate) fn wide(dtype: DType) -> usize {
    16 / dtype.size()
}

/// Elements that a thread takes: `wide` where rows of `width` elements keep accesses aligned, else one.
pub(crate) fn each(width: usize, wide: usize) -> usize {
    if width.is_multiple_of(wide) { wide } else { 1 }
}

/// An input that may be absent.
pub(crate) fn optional(tensor: Option<&Tensor>) -> Arg {
    tensor.map_or(Arg::None, Tensor::arg)
}

/// An output that may not be asked for.
pub(crate) fn optional_mut(tensor: Option<&mut Tensor>) -> Arg {
    tensor.map_or(Arg::None, Tensor::arg_mut)
}

/// An output that is added to, or else written whole.
pub(crate) fn result(region: Region, accumulate: bool) -> Arg {
    if accumulate { Arg::InOut(region) } else { Arg::Out(region) }
}

/// Refuses a tensor of another type than the kernel takes, with [`Error::Unsupported`].
pub(crate) fn check_type(op: &'static str, name: &str, tensor: &Tensor, dtype: DType) -> Result<()> {
    if tensor.dtype() == dtype {
        return Ok(());
    }
    Err(Error::Unsupported { op, what: format!("{name} is {:?}, not {dtype:?}", tensor.dtype()) })
}

/// Launches, unless the grid is empty.
pub(crate) fn run(launcher: &dyn Launcher, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<()> {
    if grid.blocks.contains(&0) { Ok(()) } else { launcher.launch(kernel, grid, args) }
}

/// Runs a body for the type of elements, whose name in the body is `$E`.
macro_rules! on_type {
    ($dtype:expr, $E:ident, $body:expr) => {
        match $dtype {
            engine::DType::F32 => {
                type $E = f32;
                $body
            }
            engine::DType::Bf16 => {
                type $E = engine::bf16;
                $body
            }
        }
    };
}
pub(crate) use on_type;

/// A gradient in the type that its reader takes.
pub(crate) fn typed(device: &Device, grad: Tensor, dtype: DType) -> Result<Tensor> {
    if grad.dtype() == dtype { Ok(grad) } else { grad.cast(device, dtype) }
}

/// Elements of a chunk, which one block takes.
const CHUNK: usize = 4096;

/// The argument of a kernel over many tensors in one launch: chunks of tensors. A chunk has the addresses of its
/// elements in one or several tensors of one size, their number, and a word that belongs to the tensor.
#[derive(Default)]
pub(crate) struct Table {
    words: Vec<u32>,
    chunks: usize,
    reached: Vec<Arg>,
}

impl Table {
    /// Adds the chunks of f32 tensors of `n` elements each: those that are read and written, the one that is only
    /// read, and their word.
    pub fn add(&mut self, inout: &[Region], input: Region, n: usize, word: u32) {
        let all = inout.iter().chain([&input]);
        for first in (0..n).step_by(CHUNK) {
            for at in all.clone().map(|region| region.skip(first * DType::F32.size()).at) {
                self.words.extend([at as u32, (at >> 32) as u32]);
            }
            self.words.extend([(n - first).min(CHUNK) as u32, word]);
            self.chunks += 1;
        }
        if n > 0 {
            self.reached.push(Arg::ReachedIn(input));
            self.reached.extend(inout.iter().map(|&region| Arg::ReachedInOut(region)));
        }
    }

    /// Their number, one block each.
    pub fn chunks(&self) -> usize {
        self.chunks
    }

    /// The memory behind the addresses, which the launch must name.
    pub fn reached(&self) -> &[Arg] {
        &self.reached
    }

    /// The table on the device, as an f32 tensor whose bits are the words.
    pub fn tensor(&self, device: &Device) -> Tensor {
        let bits: Vec<f32> = self.words.iter().map(|&word| f32::from_bits(word)).collect();
        Tensor::from_slice(device, &bits, &[bits.len()])
    }
}
