//! PTX files as the driver's modules, and launches of their kernels.

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
use super::error::{About, INVALID_VALUE, failed};
use crate::Result;
use crate::launch::{Arg, Grid, Kernel, PtxFile};

/// Bytes of the text in which the driver says what is wrong with a PTX file.
const LOG: usize = 4096;

/// A kernel that can be launched.
#[derive(Debug)]
struct Function {
    function: Handle<cu::CUfunc_st>,
    /// Bytes of each parameter.
    parameters: Vec<usize>,
    /// Bytes of dynamic shared memory that it may be launched with.
    most_shared: AtomicU32,
}

#[derive(Debug)]
pub(super) struct Kernels {
    context: Arc<Context>,
    /// By file name.
    modules: Mutex<HashMap<&'static str, Handle<cu::CUmod_st>>>,
    /// By file name and entry.
    functions: Mutex<HashMap<(&'static str, &'static str), Arc<Function>>>,
}

/// A launch, for messages.
pub(super) struct Launch(pub Kernel, pub Grid);

impl Display for Launch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Launch(kernel, Grid { blocks, threads, shared }) = self;
        let Kernel { file, entry } = kernel;
        write!(f, "kernel {entry} of {}, blocks {blocks:?}, threads {threads:?}", file.name)?;
        write!(f, ", {shared} bytes of dynamic shared memory")
    }
}

impl Kernels {
    pub(super) fn new(context: &Arc<Context>) -> Self {
        Kernels { context: context.clone(), modules: Mutex::default(), functions: Mutex::default() }
    }

    pub(super) fn launch(&self, kernel: Kernel, grid: Grid, args: &[Arg]) -> Result<()> {
        let function = self.function(kernel)?;
        let mut values = values(args).collect::<Vec<_>>();
        check(kernel, &function.parameters, &values)?;
        self.allow_shared(kernel, grid, &function)?;
        let mut pointers: Vec<*mut c_void> =
            values.iter_mut().map(|(value, _)| (&raw mut *value).cast()).collect();
        let (Grid { blocks, threads, shared }, stream) = (grid, self.context.compute);
        // SAFETY: number and width of the values are those of the parameters; the driver has copied them when
        // it returns. What the kernel does with its pointers is for the kernel's tests to see.
        unsafe {
            self.context.enter()?.cuLaunchKernel(
                function.function.0,
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
        .about(|| Launch(kernel, grid))
    }

    /// More than 48 KiB of shared memory have to be asked for.
    fn allow_shared(&self, kernel: Kernel, grid: Grid, function: &Function) -> Result<()> {
        if grid.shared <= function.most_shared.load(Ordering::Relaxed) {
            return Ok(());
        }
        // SAFETY: a function of this context, and an attribute that can be set.
        unsafe {
            self.context.enter()?.cuFuncSetAttribute(function.function.0, MAX_SHARED, grid.shared as c_int)
        }
        .about(|| {
            let limit = cu::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
            let limit = self.context.attribute(limit).map_or("?".into(), |limit| limit.to_string());
            format!("{}; a block can have {limit} bytes on this device", Launch(kernel, grid))
        })?;
        function.most_shared.store(grid.shared, Ordering::Relaxed);
        Ok(())
    }

    fn function(&self, kernel: Kernel) -> Result<Arc<Function>> {
        let mut functions = self.functions.lock().unwrap();
        let key = (kernel.file.name, kernel.entry);
        if let Some(function) = functions.get(&key) {
            return Ok(function.clone());
        }
        let function = Arc::new(self.load_function(kernel)?);
        functions.insert(key, function.clone());
        Ok(function)
    }

    fn load_function(&self, kernel: Kernel) -> Result<Function> {
        let (driver, module) = (self.context.enter()?, self.module(kernel.file)?);
        let about = || format!("kernel {} of {}", kernel.entry, kernel.file.name);
        let name = CString::new(kernel.entry).expect("a name of PTX");
        let mut function = Handle::default();
        let mut shared: c_int = 0;
        // SAFETY: the first call writes a handle to a function of a loaded module, the second an integer.
        unsafe {
            driver
                .cuModuleGetFunction(&mut function.0, module.0, name.as_ptr())
                .and_then(|()| driver.cuFuncGetAttribute(&mut shared, MAX_SHARED, function.0))
        }
        .about(about)?;
        let mut parameters = vec![];
        loop {
            let [mut offset, mut bytes] = [0; 2];
            // SAFETY: writes two numbers. The first index beyond the last parameter is an invalid value.
            match unsafe { driver.cuFuncGetParamInfo(function.0, parameters.len(), &mut offset, &mut bytes) }
            {
                Ok(()) => parameters.push(bytes),
                Err(error) if error.code == INVALID_VALUE => break,
                error => error.about(about)?,
            }
        }
        Ok(Function { function, parameters, most_shared: AtomicU32::new(shared as u32) })
    }

    fn module(&self, file: &'static PtxFile) -> Result<Handle<cu::CUmod_st>> {
        let mut modules = self.modules.lock().unwrap();
        if let Some(module) = modules.get(file.name) {
            return Ok(*module);
        }
        let text = CString::new(file.text).map_err(|_| failed(format!("{}: a zero byte", file.name)))?;
        let mut log = vec![0u8; LOG];
        let mut options = [CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        // The size is given in the place of a pointer.
        let mut values = [log.as_mut_ptr().cast::<c_void>(), LOG as *mut c_void];
        let mut module = Handle::default();
        // SAFETY: the text ends with a zero byte; two options with their values; the driver writes the log up to
        // its size, and a handle.
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
            // SAFETY: loaded by `module`; its functions go with `self`, and the driver waits for those that run.
            let _ = unsafe { driver.cuModuleUnload(module.0) };
        }
    }
}

/// The value of each argument in the lowest bytes, and how many bytes it has.
fn values(args: &[Arg]) -> impl Iterator<Item = (u64, usize)> {
    args.iter().filter_map(|arg| match *arg {
        Arg::In(region) | Arg::Out(region) | Arg::InOut(region) => Some((region.at, 8)),
        Arg::None => Some((0, 8)),
        Arg::U32(value) => Some((value.into(), 4)),
        Arg::F32(value) => Some((value.to_bits().into(), 4)),
        Arg::ReachedIn(_) | Arg::ReachedInOut(_) => None,
    })
}

/// The driver reads as many bytes as a parameter has, from as many arguments as there are parameters.
fn check(kernel: Kernel, parameters: &[usize], values: &[(u64, usize)]) -> Result<()> {
    let Kernel { file, entry } = kernel;
    if parameters.len() != values.len() {
        let [takes, given] = [parameters.len(), values.len()];
        return Err(failed(format!(
            "kernel {entry} of {} takes {takes} arguments, {given} were given",
            file.name
        )));
    }
    match parameters.iter().zip(values).position(|(want, (_, bytes))| want != bytes) {
        None => Ok(()),
        Some(at) => Err(failed(format!(
            "kernel {entry} of {}: argument {at} has {} bytes, {} were given",
            file.name, parameters[at], values[at].1
        ))),
    }
}

/// Of the driver's log.
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
        assert_eq!(values, [(0x1_0000_0000, 8), (7, 4), (0, 8), (0x3F80_0000, 4)]);
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
