//! Child processes, and short names for calls that must succeed.

use std::env;
use std::ffi::{CString, c_void};
use std::process::Command;
use std::ptr::null_mut;

use cudarc::driver::sys::*;
use testkit::fake_cuda::folder;

pub const AXPY: &str = include_str!("../../../engine/emulator/examples/axpy.ptx");

/// Runs `body` in a child process that finds the library, with these variables set.
pub fn in_child(test: &str, variables: &[(&str, &str)], body: fn()) {
    const CHILD: &str = "FAKE_CUDA_TEST";
    if env::var_os(CHILD).is_some() {
        return body();
    }
    let mut child = Command::new(env::current_exe().unwrap());
    child.args([test, "--exact", "--nocapture"]).env(CHILD, "1").env("LD_LIBRARY_PATH", folder());
    let output = child.envs(variables.iter().copied()).output().unwrap();
    let [out, err] = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text));
    assert!(output.status.success() && out.contains("1 passed"), "{test}: {out}{err}");
}

/// The arguments of `in_child` for a test of this name in this module.
#[macro_export]
macro_rules! child_tests {
    ($($(#[$doc:meta])* fn $name:ident($($variable:literal = $value:expr),*) $body:block)*) => {$(
        $(#[$doc])*
        #[test]
        fn $name() {
            let test = concat!(module_path!(), "::", stringify!($name));
            let test = test.split_once("::").expect("a module of the crate").1;
            // SAFETY: calls of the driver with arguments as it documents them.
            #[allow(clippy::macro_metavars_in_unsafe, unused_unsafe)]
            $crate::gpu::in_child(test, &[$(($variable, $value)),*], || unsafe { $body });
        }
    )*};
}

pub fn ok(result: CUresult) {
    fails(result, CUresult::CUDA_SUCCESS);
}

#[track_caller]
pub fn fails(result: CUresult, want: CUresult) {
    assert_eq!(result, want);
}

/// Makes a call that writes one value, and returns the value.
pub fn get<T>(call: impl FnOnce(*mut T) -> CUresult) -> T {
    let mut value = std::mem::MaybeUninit::<T>::uninit();
    ok(call(value.as_mut_ptr()));
    // SAFETY: the call succeeded, so it wrote the value.
    unsafe { value.assume_init() }
}

/// Makes the first device's context current on this thread.
pub fn open() -> CUcontext {
    // SAFETY: as the driver documents them.
    unsafe {
        ok(cuInit(0));
        let device = get(|at| cuDeviceGet(at, 0));
        let context = get(|at| cuDevicePrimaryCtxRetain(at, device));
        ok(cuCtxSetCurrent(context));
        context
    }
}

pub fn stream() -> CUstream {
    // SAFETY: writes a handle.
    get(|at| unsafe { cuStreamCreate(at, CUstream_flags::CU_STREAM_NON_BLOCKING as u32) })
}

pub fn event() -> CUevent {
    // SAFETY: writes a handle.
    get(|at| unsafe { cuEventCreate(at, 0) })
}

/// Device memory for all streams with these values.
pub fn device(values: &[f32]) -> u64 {
    // SAFETY: as the driver documents them.
    unsafe {
        let at = get(|at| cuMemAlloc_v2(at, size_of_val(values)));
        let stream = stream();
        ok(cuMemcpyHtoDAsync_v2(at, values.as_ptr().cast(), size_of_val(values), stream));
        ok(cuStreamSynchronize(stream));
        at
    }
}

/// Pinned memory with these values. It belongs to this test alone and is never freed.
pub fn pinned(values: &[f32]) -> &'static mut [f32] {
    // SAFETY: so many bytes are made, and written before they are seen.
    unsafe {
        let at = get(|at| cuMemHostAlloc(at, size_of_val(values), 0)).cast::<f32>();
        at.copy_from_nonoverlapping(values.as_ptr(), values.len());
        std::slice::from_raw_parts_mut(at, values.len())
    }
}

/// The values in memory once the work in the stream is done.
pub fn download(at: u64, count: usize, stream: CUstream) -> Vec<f32> {
    let mut values = vec![0.0f32; count];
    // SAFETY: the vector has so many bytes.
    ok(unsafe { cuMemcpyDtoHAsync_v2(values.as_mut_ptr().cast(), at, 4 * count, stream) });
    values
}

/// A kernel of a PTX text.
pub fn kernel(text: &str, name: &str) -> CUfunction {
    let (text, name) = (CString::new(text).unwrap(), CString::new(name).unwrap());
    // SAFETY: both texts end with a zero byte.
    unsafe {
        let module = get(|at| cuModuleLoadDataEx(at, text.as_ptr().cast(), 0, null_mut(), null_mut()));
        get(|at| cuModuleGetFunction(at, module, name.as_ptr()))
    }
}

/// Launches `y += a x` over `n` elements with `shared` bytes of dynamic shared memory.
pub fn axpy(function: CUfunction, x: u64, y: u64, a: f32, n: u32, shared: u32, stream: CUstream) -> CUresult {
    let mut arguments = [
        (&raw const x).cast::<c_void>(),
        (&raw const y).cast(),
        (&raw const a).cast(),
        (&raw const n).cast(),
    ]
    .map(|at| at.cast_mut());
    let blocks = n.div_ceil(128).max(1);
    // SAFETY: the arguments are those of the kernel.
    unsafe {
        cuLaunchKernel(function, blocks, 1, 1, 128, 1, 1, shared, stream, arguments.as_mut_ptr(), null_mut())
    }
}
