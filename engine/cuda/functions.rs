//! The functions of the driver and of cuBLASLt that the engine calls, found by name when a library is loaded.
//!
//! Types and constants are those of cudarc. Its functions are not used: they panic when a library or a function is missing,
//! know no library name of CUDA 13, and return enumerations that the codes of a newer driver are not part of.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulonglong, c_void};
use std::fmt;

use cudarc::cublaslt::sys as lt;
use cudarc::driver::sys as cu;
use libloading::Library;

use super::error::{BlasError, CuError};

/// Declares a table of C functions that return a status.
macro_rules! functions {
    ($(#[$doc:meta])* $table:ident, $error:ident { $($name:ident($($arg:ident: $type:ty),*);)* }) => {
        $(#[$doc])*
        #[allow(non_snake_case)]
        pub(super) struct $table { $($name: unsafe extern "C" fn($($type),*) -> c_uint,)* }

        impl fmt::Debug for $table {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(stringify!($table))
            }
        }

        #[allow(non_snake_case)]
        impl $table {
            /// Finds the functions of a library. The error is the name of one that it does not have.
            pub(super) fn of(library: &'static Library) -> Result<Self, &'static str> {
                $(
                    // SAFETY: the type is that of the C header, and the library stays loaded.
                    let $name = unsafe { library.get(concat!(stringify!($name), "\0").as_bytes()) };
                    let $name = *$name.map_err(|_| stringify!($name))?;
                )*
                Ok($table { $($name),* })
            }

            $(
                /// # Safety
                /// The arguments must be as NVIDIA's documentation of the function asks for them.
                pub(super) unsafe fn $name(&self, $($arg: $type),*) -> Result<(), $error> {
                    // SAFETY: the caller vouches for the arguments.
                    match unsafe { (self.$name)($($arg),*) } {
                        0 => Ok(()),
                        code => Err($error { call: stringify!($name), code }),
                    }
                }
            )*
        }
    };
}

functions! {
    /// The functions that drivers of all ages have, and that are needed to say that one is too old.
    Basics, CuError {
        cuInit(flags: c_uint);
        cuDriverGetVersion(version: *mut c_int);
        cuDeviceGetCount(count: *mut c_int);
        cuGetErrorName(code: c_uint, name: *mut *const c_char);
        cuGetErrorString(code: c_uint, text: *mut *const c_char);
    }
}

impl Basics {
    /// A failed call with the driver's words for it: `cuInit: CUDA_ERROR_NO_DEVICE (no CUDA-capable device is detected)`.
    pub(super) fn describe(&self, error: CuError) -> String {
        let call = error.function();
        match self.texts(error.code) {
            Some([name, text]) => format!("{call}: {name} ({text})"),
            None => format!("{call}: error {}", error.code),
        }
    }

    /// The name and the text of a code, where the driver knows it.
    fn texts(&self, code: u32) -> Option<[String; 2]> {
        let [mut name, mut text] = [std::ptr::null::<c_char>(); 2];
        // SAFETY: both calls write the address of a text that is never freed.
        unsafe {
            self.cuGetErrorName(code, &mut name).ok()?;
            self.cuGetErrorString(code, &mut text).ok()?;
            (!name.is_null() && !text.is_null())
                .then(|| [name, text].map(|text| CStr::from_ptr(text).to_string_lossy().into_owned()))
        }
    }
}

functions! {
    /// The functions of the driver.
    Driver, CuError {
        cuDeviceGet(device: *mut cu::CUdevice, ordinal: c_int);
        cuDeviceGetName(name: *mut c_char, bytes: c_int, device: cu::CUdevice);
        cuDeviceGetAttribute(value: *mut c_int, attribute: cu::CUdevice_attribute, device: cu::CUdevice);
        cuDeviceTotalMem_v2(bytes: *mut usize, device: cu::CUdevice);
        cuDevicePrimaryCtxRetain(context: *mut cu::CUcontext, device: cu::CUdevice);
        cuDevicePrimaryCtxRelease_v2(device: cu::CUdevice);
        cuCtxSetCurrent(context: cu::CUcontext);
        cuStreamCreate(stream: *mut cu::CUstream, flags: c_uint);
        cuStreamDestroy_v2(stream: cu::CUstream);
        cuStreamSynchronize(stream: cu::CUstream);
        cuStreamWaitEvent(stream: cu::CUstream, event: cu::CUevent, flags: c_uint);
        cuStreamBeginCapture_v2(stream: cu::CUstream, mode: cu::CUstreamCaptureMode);
        cuStreamEndCapture(stream: cu::CUstream, graph: *mut cu::CUgraph);
        cuGraphInstantiateWithFlags(exec: *mut cu::CUgraphExec, graph: cu::CUgraph, flags: c_ulonglong);
        cuGraphLaunch(exec: cu::CUgraphExec, stream: cu::CUstream);
        cuGraphExecDestroy(exec: cu::CUgraphExec);
        cuGraphDestroy(graph: cu::CUgraph);
        cuEventCreate(event: *mut cu::CUevent, flags: c_uint);
        cuEventDestroy_v2(event: cu::CUevent);
        cuEventRecord(event: cu::CUevent, stream: cu::CUstream);
        cuEventSynchronize(event: cu::CUevent);
        cuEventElapsedTime(milliseconds: *mut f32, start: cu::CUevent, end: cu::CUevent);
        cuDeviceGetDefaultMemPool(pool: *mut cu::CUmemoryPool, device: cu::CUdevice);
        cuMemPoolSetAttribute(
            pool: cu::CUmemoryPool, attribute: cu::CUmemPool_attribute, value: *mut c_void
        );
        cuMemPoolTrimTo(pool: cu::CUmemoryPool, keep: usize);
        cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
        cuMemAllocAsync(at: *mut cu::CUdeviceptr, bytes: usize, stream: cu::CUstream);
        cuMemFreeAsync(at: cu::CUdeviceptr, stream: cu::CUstream);
        cuMemHostAlloc(at: *mut *mut c_void, bytes: usize, flags: c_uint);
        cuMemFreeHost(at: *mut c_void);
        cuMemcpyHtoDAsync_v2(
            to: cu::CUdeviceptr, from: *const c_void, bytes: usize, stream: cu::CUstream
        );
        cuMemcpyDtoHAsync_v2(to: *mut c_void, from: cu::CUdeviceptr, bytes: usize, stream: cu::CUstream);
        cuMemcpyDtoDAsync_v2(
            to: cu::CUdeviceptr, from: cu::CUdeviceptr, bytes: usize, stream: cu::CUstream
        );
        cuMemsetD8Async(to: cu::CUdeviceptr, value: u8, bytes: usize, stream: cu::CUstream);
        cuModuleLoadDataEx(
            module: *mut cu::CUmodule, image: *const c_void, options: c_uint,
            names: *mut cu::CUjit_option, values: *mut *mut c_void
        );
        cuModuleUnload(module: cu::CUmodule);
        cuModuleGetFunction(function: *mut cu::CUfunction, module: cu::CUmodule, name: *const c_char);
        cuFuncGetAttribute(
            value: *mut c_int, attribute: cu::CUfunction_attribute, function: cu::CUfunction
        );
        cuFuncSetAttribute(function: cu::CUfunction, attribute: cu::CUfunction_attribute, value: c_int);
        cuLaunchKernel(
            function: cu::CUfunction, blocks_x: c_uint, blocks_y: c_uint, blocks_z: c_uint,
            threads_x: c_uint, threads_y: c_uint, threads_z: c_uint, shared: c_uint,
            stream: cu::CUstream, parameters: *mut *mut c_void, extra: *mut *mut c_void
        );
    }
}

functions! {
    /// The functions of cuBLASLt.
    BlasLt, BlasError {
        cublasLtCreate(handle: *mut lt::cublasLtHandle_t);
        cublasLtDestroy(handle: lt::cublasLtHandle_t);
        cublasLtMatmulDescCreate(
            desc: *mut lt::cublasLtMatmulDesc_t, compute: lt::cublasComputeType_t, scale: lt::cudaDataType
        );
        cublasLtMatmulDescDestroy(desc: lt::cublasLtMatmulDesc_t);
        cublasLtMatmulDescSetAttribute(
            desc: lt::cublasLtMatmulDesc_t, attribute: lt::cublasLtMatmulDescAttributes_t,
            value: *const c_void, bytes: usize
        );
        cublasLtMatrixLayoutCreate(
            layout: *mut lt::cublasLtMatrixLayout_t, dtype: lt::cudaDataType, rows: u64, columns: u64, ld: i64
        );
        cublasLtMatrixLayoutDestroy(layout: lt::cublasLtMatrixLayout_t);
        cublasLtMatmulPreferenceCreate(preference: *mut lt::cublasLtMatmulPreference_t);
        cublasLtMatmulPreferenceDestroy(preference: lt::cublasLtMatmulPreference_t);
        cublasLtMatmulPreferenceSetAttribute(
            preference: lt::cublasLtMatmulPreference_t, attribute: lt::cublasLtMatmulPreferenceAttributes_t,
            value: *const c_void, bytes: usize
        );
        cublasLtMatmulAlgoGetHeuristic(
            handle: lt::cublasLtHandle_t, desc: lt::cublasLtMatmulDesc_t, a: lt::cublasLtMatrixLayout_t,
            b: lt::cublasLtMatrixLayout_t, c: lt::cublasLtMatrixLayout_t, d: lt::cublasLtMatrixLayout_t,
            preference: lt::cublasLtMatmulPreference_t, most: c_int,
            results: *mut lt::cublasLtMatmulHeuristicResult_t, found: *mut c_int
        );
        cublasLtMatmul(
            handle: lt::cublasLtHandle_t, desc: lt::cublasLtMatmulDesc_t, alpha: *const c_void,
            a: *const c_void, a_layout: lt::cublasLtMatrixLayout_t,
            b: *const c_void, b_layout: lt::cublasLtMatrixLayout_t, beta: *const c_void,
            c: *const c_void, c_layout: lt::cublasLtMatrixLayout_t,
            d: *mut c_void, d_layout: lt::cublasLtMatrixLayout_t,
            algo: *const lt::cublasLtMatmulAlgo_t,
            workspace: *mut c_void, workspace_bytes: usize, stream: cu::CUstream
        );
    }
}
