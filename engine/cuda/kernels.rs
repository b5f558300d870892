//! Loads PTX files as modules of the driver, and launches their kernels.

use std::collections::HashMap;
use std::ffi::{CString, c_int, c_void};
use std::fmt::{self, Display};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use cu::CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES as MAX_SHARED;
use cu::CUjit_option::{CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES};
use cudarc::driver::sys as cu;

use super::context::{Context, Handle};
use super::entry;
use super::error::failed;
use super::report::About;
use crate::Result;
use crate::launch::{Arg, Grid, Kernel, PtxFile};

/// The size in bytes of the text in which the driver says what is wrong with a PTX file.
const LOG: usize = 4096;

/// A kernel that can be launched.
#[derive(Debug)]
struct LoadedKernel {
    function: Handle<cu::CUfunc_st>,
    /// The size of each parameter in bytes.
    parameters: Vec<usize>,
    /// The most bytes of dynamic shared memory that it may be launched with.
    most_shared: AtomicU32,
}

/// The kernels of one device that were used so far.
#[derive(Debug)]
pub(super) struct Kernels {
    context: Arc<Context>,
    /// By file name.
    modules: Mutex<HashMap<&'static str, Handle<cu::CUmod_st>>>,
    /// By file name and entry.
    loaded: Mutex<HashMap<(&'static str, &'static str), Arc<LoadedKernel>>>,
}

/// A launch as messages name it.
pub(super) struct LaunchText(pub Kernel, pub Grid);

impl Display for LaunchText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LaunchText(kernel, Grid { blocks, threads, shared }) = self;
        let Kernel { file, entry } = kernel;
        write!(f, "kernel {entry} of {}, blocks {blocks:?}, threads {threads:?}", file.name)?;
        write!(f, ", {shared} bytes of dynamic shared memory")
    }
}

impl Kernels {
    pub(super) fn new(context: &Arc<Context>) -> Self {
        Kernels { context: context.clone(), modules: Mutex::default(), loaded: Mutex::default() }
    }

    /// Launches a kernel, whose file is loaded when it is first used.
    pub(super) fn launch(&self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<()> {
        let loaded = self.loaded(kernel)?;
        let mut values = values(args).collect::<Vec<_>>();
        check(kernel, &loaded.parameters, &values)?;
        self.allow_shared(kernel, grid, &loaded)?;
        let mut pointers: Vec<*mut c_void> =
            values.iter_mut().map(|value| (&raw mut value.bits).cast()).collect();
        let (Grid { blocks, threads, shared }, stream) = (grid, self.context.compute);
        // SAFETY: number and width of the values are those of the parameters, and the driver has copied them when it
        // returns. That the kernel stays within its pointers is what the tests of the kernel check.
        unsafe {
            self.context.enter()?.cuLaunchKernel(
                loaded.function.0,
                blocks[0],
                blocks[1],
                blocks[2],
                threads[0],
                threads[1],
                threads[2],
                shared,
                stream.0,
                pointers.as_mut_ptr(),
                null_mut(),
            )
        }
        .about(|| LaunchText(kernel, grid))
    }

    /// Asks for the shared memory of a launch, as is needed above 48 KiB.
    fn allow_shared(&self, kernel: Kernel, grid: Grid, loaded: &LoadedKernel) -> Result<()> {
        if grid.shared <= loaded.most_shared.load(Ordering::Relaxed) {
            return Ok(());
        }
        // SAFETY: it is a function of this context, and an attribute that can be set.
        unsafe {
            self.context.enter()?.cuFuncSetAttribute(loaded.function.0, MAX_SHARED, grid.shared as c_int)
        }
        .about(|| {
            let limit = cu::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
            let limit = self.context.attribute(limit).map_or("?".into(), |limit| limit.to_string());
            format!("{}; a block can have {limit} bytes on this device", LaunchText(kernel, grid))
        })?;
        loaded.most_shared.store(grid.shared, Ordering::Relaxed);
        Ok(())
    }

    /// A kernel, which is loaded when it is first asked for.
    fn loaded(&self, kernel: Kernel) -> Result<Arc<LoadedKernel>> {
        let mut all = self.loaded.lock().unwrap();
        let key = (kernel.file.name, kernel.entry);
        if let Some(loaded) = all.get(&key) {
            return Ok(loaded.clone());
        }
        let loaded = Arc::new(self.load(kernel)?);
        all.insert(key, loaded.clone());
        Ok(loaded)
    }

    fn load(&self, kernel: Kernel) -> Result<LoadedKernel> {
        let (driver, module) = (self.context.enter()?, self.module(kernel.file)?);
        let about = || format!("kernel {} of {}", kernel.entry, kernel.file.name);
        let name = CString::new(kernel.entry).expect("names in PTX have no zero byte");
        let mut function = Handle::default();
        let mut shared: c_int = 0;
        // SAFETY: the first call writes a handle of a loaded module's function, the second an integer.
        unsafe {
            driver
                .cuModuleGetFunction(&mut function.0, module.0, name.as_ptr())
                .and_then(|()| driver.cuFuncGetAttribute(&mut shared, MAX_SHARED, function.0))
        }
        .about(about)?;
        let parameters = entry::parameters(kernel.file.text, kernel.entry)
            .ok_or_else(|| failed(format!("{}: its parameters are not understood", about())))?;
        Ok(LoadedKernel { function, parameters, most_shared: AtomicU32::new(shared as u32) })
    }

    /// The module of a file, which is loaded when it is first asked for.
    fn module(&self, file: &'static PtxFile) -> Result<Handle<cu::CUmod_st>> {
        let mut modules = self.modules.lock().unwrap();
        if let Some(module) = modules.get(file.name) {
            return Ok(*module);
        }
        let text = CString::new(file.text)
            .map_err(|_| failed(format!("{}: the text has a zero byte", file.name)))?;
        let mut log = vec![0u8; LOG];
        let mut options = [CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        // The size is given in place of a pointer.
        let mut values = [log.as_mut_ptr().cast::<c_void>(), LOG as *mut c_void];
        let mut module = Handle::default();
        // SAFETY: the text ends with a zero byte, and there are two options with their values. The driver writes the log
        // up to its size, and a handle.
        unsafe {
            self.context.enter()?.cuModuleLoadDataEx(
                &mut module.0,
                text.as_ptr().cast(),
                options.len() as u32,
                options.as_mut_ptr(),
                values.as_mut_ptr(),
            )
        }
        .about(|| format!("{}: {}", file.name, first_line(&log)))?;
        modules.insert(file.name, module);
        Ok(module)
    }
}

impl Drop for Kernels {
    fn drop(&mut self) {
        let Ok(driver) = self.context.enter() else { return };
        for module in self.modules.get_mut().unwrap().values() {
            // SAFETY: `module` loaded it; its functions go with `self`, and the driver waits for those that run.
            let _ = unsafe { driver.cuModuleUnload(module.0) };
        }
    }
}

/// An argument as the driver reads it.
#[derive(Debug, PartialEq)]
struct Value {
    /// The value, in the lowest bytes.
    bits: u64,
    /// The number of bytes that it has.
    bytes: usize,
}

/// The arguments as the driver reads them.
fn values(args: &[Arg]) -> impl Iterator<Item = Value> {
    args.iter().filter_map(|arg| match *arg {
        Arg::In(region) | Arg::Out(region) | Arg::InOut(region) => Some(Value { bits: region.at, bytes: 8 }),
        Arg::None => Some(Value { bits: 0, bytes: 8 }),
        Arg::U32(value) => Some(Value { bits: value.into(), bytes: 4 }),
        Arg::F32(value) => Some(Value { bits: value.to_bits().into(), bytes: 4 }),
        Arg::ReachedIn(_) | Arg::ReachedInOut(_) => None,
    })
}

/// Checks the arguments against the kernel's parameters: the driver reads as many bytes as each parameter has, from as many
/// arguments as there are parameters.
fn check(kernel: Kernel, parameters: &[usize], values: &[Value]) -> Result<()> {
    let Kernel { file, entry } = kernel;
    if parameters.len() != values.len() {
        let [takes, given] = [parameters.len(), values.len()];
        return Err(failed(format!(
            "kernel {entry} of {} takes {takes} arguments, {given} were given",
            file.name
        )));
    }
    match parameters.iter().zip(values).position(|(want, value)| *want != value.bytes) {
        None => Ok(()),
        Some(at) => Err(failed(format!(
            "kernel {entry} of {}: argument {at} has {} bytes, {} were given",
            file.name, parameters[at], values[at].bytes
        ))),
    }
}

/// The first line of the driver's log that says something.
fn first_line(log: &[u8]) -> String {
    let text = String::from_utf8_lossy(log.split(|&byte| byte == 0).next().unwrap_or_default());
    let line = text.lines().map(str::trim).find(|line| !line.is_empty());
    line.unwrap_or("the driver does not say why").into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::Region;

    static FILE: PtxFile = PtxFile { name: "op/kernel.ptx", text: "" };
    const KERNEL: Kernel = Kernel { file: &FILE, entry: "forward" };

    #[test]
    fn arguments_must_be_those_of_the_kernel() {
        let region = Region { at: 0x1_0000_0000, bytes: 4 };
        let args = [Arg::In(region), Arg::ReachedIn(region), Arg::U32(7), Arg::None, Arg::F32(1.0)];
        let values: Vec<_> = values(&args).collect();
        let of = |bits, bytes| Value { bits, bytes };
        assert_eq!(values, [of(0x1_0000_0000, 8), of(7, 4), of(0, 8), of(0x3F80_0000, 4)]);
        check(KERNEL, &[8, 4, 8, 4], &values).unwrap();
        for (parameters, want) in [
            (&[8, 4, 8][..], "kernel forward of op/kernel.ptx takes 3 arguments, 4 were given"),
            (&[8, 8, 8, 4], "kernel forward of op/kernel.ptx: argument 1 has 8 bytes, 4 were given"),
        ] {
            let error = check(KERNEL, parameters, &values).unwrap_err();
            assert_eq!(error.to_string(), format!("cuda device: {want}"));
        }
    }

    #[test]
    fn the_first_line_of_a_log_is_told() {
        assert_eq!(
            first_line(b"\n  ptxas application ptx input, line 7; error\nmore\0old"),
            "ptxas application ptx input, line 7; error"
        );
        assert_eq!(first_line(&[0; 16]), "the driver does not say why");
    }
}
