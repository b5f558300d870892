//! Modules, functions and launches.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use engine::launch::Limits;
use ptx_emulator::{Access, Arg, Entry, Launch as Size};

use crate::context::Context;
use crate::memory::Memory;
use crate::status::{Answer, Status};
use crate::stream::{Fault, Op};

/// Bytes of shared memory that a block gets where none are asked for.
const SHARED: usize = 48 << 10;
const MOST_THREADS: u32 = 1024;
/// The most registers that a thread can have.
const MOST_REGISTERS: usize = 255;

#[derive(Debug)]
pub struct Module {
    text: ptx_emulator::Module,
    /// Kernels that load 64-bit integers from global memory, which may be addresses.
    follows: HashSet<String>,
    unloaded: AtomicBool,
}

#[derive(Debug)]
pub struct Function {
    module: Arc<Module>,
    kernel: String,
    /// Limit of dynamic shared memory that was asked for, in bytes.
    most_dynamic: usize,
    card: Limits,
}

impl Function {
    fn entry(&self) -> &Entry {
        self.module.text.entry(&self.kernel).expect("looked up when it was made")
    }

    /// Offset and bytes of a parameter.
    pub fn parameter(&self, index: usize) -> Answer<[usize; 2]> {
        let parameter = self.entry().params.get(index).ok_or(Status::INVALID_VALUE)?;
        Ok([parameter.offset, parameter.bytes].map(|n| n as usize))
    }

    pub fn name(&self) -> &str {
        &self.kernel
    }

    /// The value of a `CUfunction_attribute`.
    pub fn attribute(&self, attribute: u32) -> Answer<i32> {
        let entry = self.entry();
        Ok(match attribute {
            0 => self.most_threads() as i32,
            1 => entry.shared as i32,
            2 | 3 | 7 => 0,
            4 => registers(entry, &self.card) as i32,
            5 => 80,
            6 => 90,
            8 => self.most_dynamic as i32,
            _ => return Err(Status::INVALID_VALUE),
        })
    }

    /// Sets an attribute; of those that can be set, only the limit of dynamic shared memory is supported.
    pub fn set_attribute(&mut self, attribute: u32, value: i32) -> Answer {
        let wanted = usize::try_from(value).map_err(|_| Status::INVALID_VALUE)?;
        if attribute != 8 || wanted + self.entry().shared as usize > self.card.shared_per_block {
            return Err(Status::INVALID_VALUE);
        }
        self.most_dynamic = wanted;
        Ok(())
    }

    fn most_threads(&self) -> u32 {
        self.entry().max_threads.map_or(MOST_THREADS, |threads| threads.iter().product())
    }

    fn check(&self, size: &Size) -> Answer {
        let threads = size.block.iter().try_fold(1u32, |n, &k| n.checked_mul(k)).unwrap_or(u32::MAX);
        let over =
            |sizes: [u32; 3], most: [u32; 3]| sizes.iter().zip(most).any(|(&n, most)| n == 0 || n > most);
        let wrong = over(size.grid, [i32::MAX as u32, 65_535, 65_535])
            || over(size.block, [1024, 1024, 64])
            || threads > self.most_threads()
            || size.shared as usize > self.most_dynamic;
        if wrong {
            return Err(Status::INVALID_VALUE);
        }
        // A warp gets registers in steps of 256.
        let warp = (32 * registers(self.entry(), &self.card)).next_multiple_of(256);
        let fits = threads.div_ceil(32) as usize * warp <= self.card.registers_per_multiprocessor;
        if fits { Ok(()) } else { Err(Status::LAUNCH_OUT_OF_RESOURCES) }
    }
}

/// The most registers of a thread that the driver's compiler may use within the bounds of the PTX: those of `.maxnreg`, or
/// as many as leave room for the blocks of `.minnctapersm` with the threads of `.maxntid`. Without bounds it may use all
/// that there are, and launches must not count on fewer.
fn registers(entry: &Entry, card: &Limits) -> usize {
    if let Some(registers) = entry.max_registers {
        return registers as usize;
    }
    let Some(threads) = entry.max_threads else { return MOST_REGISTERS };
    let warps =
        threads.iter().product::<u32>().div_ceil(32) as usize * entry.min_blocks.unwrap_or(1) as usize;
    // Registers of a warp in steps of 256, so those of a thread in steps of 8.
    (card.registers_per_multiprocessor / (256 * warps.max(1)) * 8).min(MOST_REGISTERS)
}

/// A launch with its arguments.
#[derive(Debug)]
pub struct Launch {
    module: Arc<Module>,
    kernel: String,
    size: Size,
    /// The bytes of each argument, in the lowest bits, with their number.
    args: Vec<(u64, usize)>,
}

impl Launch {
    pub fn name(&self) -> &str {
        &self.kernel
    }

    pub fn run(&self, memory: &Memory) -> Result<(), Fault> {
        if self.module.unloaded.load(Ordering::Relaxed) {
            return Err(format!("kernel {}: its module was unloaded before it ran", self.kernel));
        }
        let mut reached = vec![];
        for (k, &(at, _)) in self.args.iter().enumerate().filter(|(_, (_, bytes))| *bytes == 8) {
            let around = memory.around(at);
            reached.extend(around.map_err(|why| format!("kernel {}, argument {k}: {why}", self.kernel))?);
        }
        if self.module.follows.contains(&self.kernel) {
            let found: Vec<_> = reached.iter().flat_map(|&buffer| addressed(memory, buffer)).collect();
            reached.extend(found);
        }
        reached.sort_unstable();
        reached.dedup();
        let values = self.args.iter().map(|&(value, bytes)| match bytes {
            8 => Arg::U64(value),
            _ => Arg::U32(value as u32),
        });
        let reached =
            reached.iter().map(|&(at, bytes)| Arg::Reached { at, bytes, access: Access::ReadWrite });
        let args: Vec<_> = values.chain(reached).collect();
        let done = memory.machine.launch(&self.module.text, &self.kernel, self.size, &args);
        done.map(drop).map_err(|fault| {
            let freed = fault.address.and_then(|at| memory.around(at).err());
            freed.map_or_else(|| fault.to_string(), |freed| format!("{fault}; {freed}"))
        })
    }
}

/// The allocations that the words of an allocation point into. A word that nothing wrote, or that points to freed
/// memory, is not an address of this launch.
fn addressed(memory: &Memory, (at, bytes): (u64, usize)) -> Vec<(u64, usize)> {
    let word = |at| {
        let mut word = [0; 8];
        memory.read(at, &mut word).ok().map(|()| u64::from_le_bytes(word))
    };
    let words = (at..at + bytes as u64).step_by(8).filter_map(word);
    words.filter_map(|address| memory.around(address).ok().flatten()).collect()
}

/// The CUDA version that a PTX version needs; 8.4 needs 12.4.
fn needed(text: &str) -> Option<i32> {
    let version = text.lines().find_map(|line| line.trim().strip_prefix(".version"))?;
    let (major, minor) = version.trim().split_once('.')?;
    let (major, minor): (i32, i32) = (major.parse().ok()?, minor.parse().ok()?);
    Some((major + 4) * 1000 + minor * 10)
}

impl Context {
    /// # Errors
    /// The status, and a text for the log of the compiler.
    pub fn load(&mut self, text: &str) -> Result<usize, (Status, String)> {
        let Some(needed) = needed(text) else {
            return Err((Status::INVALID_IMAGE, "no .version: not PTX".into()));
        };
        if needed > self.version {
            let what = format!("the PTX needs CUDA {needed}, the driver knows {}", self.version);
            return Err((Status::UNSUPPORTED_PTX_VERSION, what));
        }
        let module = ptx_emulator::Module::parse_whole("ptx", text);
        let module = module.map_err(|why| (Status::INVALID_PTX, why.to_string()))?;
        let follows = text.split(".entry").skip(1).filter(|body| {
            let mut loads = body.lines().filter(|line| line.contains("ld.global"));
            loads.any(|line| [".u64", ".b64", ".s64"].iter().any(|kind| line.contains(kind)))
        });
        let name = |body: &str| body.trim_start().split(['(', '\n', ' ']).next().map(String::from);
        let follows = follows.filter_map(name).collect();
        let handle = self.handle();
        let module = Module { text: module, follows, unloaded: AtomicBool::new(false) };
        self.modules.insert(handle, Arc::new(module));
        Ok(handle)
    }

    pub fn unload(&mut self, module: usize) -> Answer {
        let module = self.modules.remove(&module).ok_or(Status::INVALID_HANDLE)?;
        module.unloaded.store(true, Ordering::Relaxed);
        self.functions.retain(|_, function| !Arc::ptr_eq(&function.module, &module));
        Ok(())
    }

    pub fn find(&mut self, module: usize, name: &str) -> Answer<usize> {
        let module = self.modules.get(&module).ok_or(Status::INVALID_HANDLE)?.clone();
        let shared = module.text.entry(name).ok_or(Status::NOT_FOUND)?.shared as usize;
        let card = self.card;
        let handle = self.handle();
        let most_dynamic = SHARED.saturating_sub(shared);
        self.functions.insert(handle, Function { module, kernel: name.into(), most_dynamic, card });
        Ok(handle)
    }

    pub fn function(&mut self, function: usize) -> Answer<&mut Function> {
        self.functions.get_mut(&function).ok_or(Status::INVALID_HANDLE)
    }

    /// Prepares a launch; `argument` reads the given number of bytes of an argument.
    pub fn launch(
        &mut self,
        function: usize,
        size: Size,
        stream: usize,
        argument: impl Fn(usize, usize) -> Answer<u64>,
    ) -> Answer {
        self.stream(stream)?;
        let function = self.function(function)?;
        function.check(&size)?;
        let bytes = function.entry().params.iter().map(|p| p.bytes as usize);
        let args = bytes.enumerate().map(|(k, bytes)| match bytes {
            4 | 8 => Ok((argument(k, bytes)?, bytes)),
            _ => Err(Status::NOT_SUPPORTED),
        });
        let args = args.collect::<Answer<Vec<_>>>()?;
        let launch = Launch { module: function.module.clone(), kernel: function.kernel.clone(), size, args };
        self.enqueue(stream, Op::Launch(Arc::new(launch)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ptx_version_needs_its_cuda() {
        assert_eq!(needed("//\n.version 8.4\n.target sm_80"), Some(12_040));
        assert_eq!(needed(".version 9.0\n"), Some(13_000));
        assert_eq!(needed("\u{7f}ELF"), None);
    }
}
