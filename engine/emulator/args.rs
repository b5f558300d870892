//! The size and the arguments of a launch, and their checks against the kernel.

use crate::module::Entry;
use crate::shadow::MOST_NOTED_BLOCKS;

/// The size of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Launch {
    /// The number of blocks along x, y and z.
    pub grid: [u32; 3],
    /// The number of threads in a block along x, y and z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory for each block.
    pub shared: u32,
}

/// What a kernel may do with a buffer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// The kernel only reads: a store is a fault.
    Read,
    /// The kernel writes before it reads: what the buffer held before counts as never written, so a load before a store
    /// is a fault.
    Write,
    /// The kernel reads what the buffer held before, and may write.
    ReadWrite,
}

/// One argument of a launch.
#[derive(Debug, Clone, PartialEq)]
pub enum Arg {
    /// A pointer to memory that lies in one buffer of the machine.
    Buffer {
        /// The address that the kernel gets.
        at: u64,
        /// The number of bytes from there that the kernel may use.
        bytes: usize,
        /// What it may do with them.
        access: Access,
    },
    /// Not an argument: memory that the kernel reaches through an address that it finds in a buffer.
    Reached {
        /// The first address of the memory, in one buffer of the machine.
        at: u64,
        /// The number of bytes from there that the kernel may use.
        bytes: usize,
        /// What it may do with them.
        access: Access,
    },
    /// A whole number of 32 bits.
    U32(u32),
    /// A float of 32 bits.
    F32(f32),
    /// A whole number of 64 bits, or 0 for a pointer that is not used.
    U64(u64),
    /// A value of any size, such as a struct with its padding, as it lies in memory. Memory to which pointers in it lead is
    /// named by [`Arg::Reached`].
    Bytes(Vec<u8>),
}

impl Arg {
    /// The value as it lies in memory; `None` for what is not an argument.
    fn bytes(&self) -> Option<Vec<u8>> {
        Some(match self {
            Self::Reached { .. } => return None,
            Self::Buffer { at, .. } => at.to_le_bytes().into(),
            Self::U32(x) => x.to_le_bytes().into(),
            Self::F32(x) => x.to_le_bytes().into(),
            Self::U64(x) => x.to_le_bytes().into(),
            Self::Bytes(bytes) => bytes.clone(),
        })
    }
}

/// The argument for a parameter of the same type.
macro_rules! from_scalars {
    ($($ty:ty)*) => {$(
        impl From<$ty> for Arg {
            fn from(x: $ty) -> Self {
                Self::Bytes(x.to_le_bytes().into())
            }
        }
    )*};
}

from_scalars!(i8 u8 i16 u16 i32 i64 f64);

impl From<bool> for Arg {
    fn from(x: bool) -> Self {
        Self::Bytes(vec![u8::from(x)])
    }
}

impl From<u32> for Arg {
    fn from(x: u32) -> Self {
        Self::U32(x)
    }
}

impl From<f32> for Arg {
    fn from(x: f32) -> Self {
        Self::F32(x)
    }
}

impl From<u64> for Arg {
    fn from(x: u64) -> Self {
        Self::U64(x)
    }
}

/// The most bytes of static shared memory that a kernel may have.
const MOST_STATIC_SHARED: u32 = 48 << 10;
/// The most threads of a block, in all and along each axis.
const MOST_THREADS: u64 = 1024;
const MOST_THREADS_ALONG: [u32; 3] = [1024, 1024, 64];
/// The most blocks of a grid along each axis.
const MOST_BLOCKS_ALONG: [u32; 3] = [i32::MAX as u32, 65_535, 65_535];

/// Checks a launch against the limits of the kernel and of a GPU whose blocks may have `most_shared` bytes of shared
/// memory. The error says which one it breaks.
pub(crate) fn check_limits(entry: &Entry, launch: Launch, most_shared: u32) -> Result<(), String> {
    let Launch { grid, block, shared } = launch;
    let product = |n: [u32; 3]| n.iter().map(|&n| u64::from(n)).product::<u64>();
    let threads = product(block);
    let over = |n: [u32; 3], most: [u32; 3]| n.iter().zip(most).any(|(&n, most)| n == 0 || n > most);
    if over(grid, MOST_BLOCKS_ALONG) || product(grid) > MOST_NOTED_BLOCKS {
        return Err(format!(
            "grid {grid:?}: sizes go from 1 to {MOST_BLOCKS_ALONG:?}, with at most {MOST_NOTED_BLOCKS} blocks in all"
        ));
    }
    if over(block, MOST_THREADS_ALONG) || threads > MOST_THREADS {
        return Err(format!(
            "block {block:?}: sizes go from 1 to {MOST_THREADS_ALONG:?}, with at most {MOST_THREADS} threads in all"
        ));
    }
    if let Some(most) = entry.max_threads {
        let allowed = product(most);
        if threads > allowed || entry.exact_threads && block != most {
            return Err(format!("block {block:?}: the kernel is compiled for {most:?}"));
        }
    }
    if entry.shared > MOST_STATIC_SHARED {
        return Err(format!(
            "the kernel has {} bytes of static shared memory, where at most {MOST_STATIC_SHARED} are possible",
            entry.shared
        ));
    }
    if u64::from(entry.shared) + u64::from(shared) > u64::from(most_shared) {
        return Err(format!(
            "{} static and {shared} dynamic bytes of shared memory, where at most {most_shared} are possible",
            entry.shared
        ));
    }
    Ok(())
}

/// Lays the arguments out as the kernel's parameter block. The error says which argument does not fit.
pub(crate) fn pack(entry: &Entry, args: &[Arg]) -> Result<Vec<u8>, String> {
    let args: Vec<_> = args.iter().filter_map(Arg::bytes).collect();
    if args.len() != entry.params.len() {
        return Err(format!(
            "{} arguments are given, the kernel has {} parameters",
            args.len(),
            entry.params.len()
        ));
    }
    let size = entry.params.last().map_or(0, |p| p.offset + p.bytes);
    let mut out = vec![0; size as usize];
    for (k, (bytes, param)) in args.iter().zip(&entry.params).enumerate() {
        if bytes.len() != param.bytes as usize {
            return Err(format!("argument {k} has {} bytes, its parameter has {}", bytes.len(), param.bytes));
        }
        let at = param.offset as usize;
        out[at..at + bytes.len()].copy_from_slice(bytes);
    }
    Ok(out)
}
