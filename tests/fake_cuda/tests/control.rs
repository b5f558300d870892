use std::ffi::CStr;

use CUresult::*;
use cudarc::driver::sys::*;

use crate::child_tests;
use crate::gpu::*;

const LOG: &str = concat!(env!("CARGO_TARGET_TMPDIR"), "/fake_cuda.log");

child_tests! {
    fn the_device_is_an_h100_by_numbers("FAKE_CUDA_VERSION" = "13010", "FAKE_CUDA_DEVICES" = "2") {
        fails(cuDeviceGet(&mut 0, 0), CUDA_ERROR_NOT_INITIALIZED);
        open();
        assert_eq!((get(|at| cuDriverGetVersion(at)), get(|at| cuDeviceGetCount(at))), (13_010, 2));
        fails(cuDeviceGet(&mut 0, 2), CUDA_ERROR_INVALID_DEVICE);
        let mut name = [1u8; 64];
        ok(cuDeviceGetName(name.as_mut_ptr().cast(), 64, 1));
        assert_eq!(CStr::from_bytes_until_nul(&name).unwrap(), c"Fake GPU (PTX emulator)");
        use CUdevice_attribute::*;
        for (attribute, want) in [
            (CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 9),
            (CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0),
            (CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 132),
            (CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 227 << 10),
            (CU_DEVICE_ATTRIBUTE_WARP_SIZE, 32),
            (CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, 1),
        ] {
            assert_eq!(get(|at| cuDeviceGetAttribute(at, attribute, 0)), want, "{attribute:?}");
        }
        assert_eq!(cudarc::cublaslt::sys::cublasLtGetVersion(), 130_100);
    }

    fn a_device_plays_a_card("FAKE_CUDA_CARD" = "rtx4090", "FAKE_CUDA_CAPABILITY" = "120") {
        open();
        use CUdevice_attribute::*;
        for (attribute, want) in [
            (CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, 12),
            (CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, 0),
            (CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 128),
            (CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 99 << 10),
            (CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR, 100 << 10),
            (CU_DEVICE_ATTRIBUTE_RESERVED_SHARED_MEMORY_PER_BLOCK, 1 << 10),
            (CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR, 65_536),
            (CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR, 1536),
            (CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR, 24),
        ] {
            assert_eq!(get(|at| cuDeviceGetAttribute(at, attribute, 0)), want, "{attribute:?}");
        }
        let add = kernel(AXPY, "axpy");
        let most = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        fails(cuFuncSetAttribute(add, most, (99 << 10) + 1), CUDA_ERROR_INVALID_VALUE);
        ok(cuFuncSetAttribute(add, most, 99 << 10));
        ok(axpy(add, device(&[1.0]), device(&[1.0]), 1.0, 1, 99 << 10, stream()));
    }

    fn there_may_be_no_device("FAKE_CUDA_DEVICES" = "0") {
        fails(cuInit(0), CUDA_ERROR_NO_DEVICE);
        let text = CStr::from_ptr(get(|at| cuGetErrorName(CUDA_ERROR_NO_DEVICE, at)));
        assert_eq!(text, c"CUDA_ERROR_NO_DEVICE");
    }

    fn an_old_driver_refuses_new_ptx("FAKE_CUDA_VERSION" = "12030") {
        open();
        let text = std::ffi::CString::new(AXPY).unwrap();
        let (null, nulls) = (std::ptr::null_mut(), std::ptr::null_mut());
        let loaded = cuModuleLoadDataEx(&mut std::ptr::null_mut(), text.as_ptr().cast(), 0, null, nulls);
        fails(loaded, CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
    }

    fn calls_fail_where_they_are_asked_to("FAKE_CUDA_FAIL" = "cuMemAlloc:2@2,cuStreamSynchronize:719@3") {
        open();
        let stream = stream();
        ok(cuMemAlloc_v2(&mut 0, 8));
        fails(cuMemAlloc_v2(&mut 0, 8), CUDA_ERROR_OUT_OF_MEMORY);
        ok(cuMemAlloc_v2(&mut 0, 8));
        ok(cuStreamSynchronize(stream));
        ok(cuStreamSynchronize(stream));
        fails(cuStreamSynchronize(stream), CUDA_ERROR_LAUNCH_FAILED);
        fails(cuMemAlloc_v2(&mut 0, 8), CUDA_ERROR_LAUNCH_FAILED);
    }

    fn calls_and_faults_are_logged("FAKE_CUDA_LOG" = LOG) {
        std::fs::write(LOG, "").unwrap();
        open();
        let (stream, add) = (stream(), kernel(AXPY, "axpy"));
        let (x, y) = (device(&[1.0]), device(&[1.0]));
        ok(axpy(add, x, y, 1.0, 300, 0, stream));
        fails(cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
        let log = std::fs::read_to_string(LOG).unwrap();
        let line = |start: &str| log.lines().rfind(|line| line.starts_with(start)).unwrap();
        let launch = line("cuLaunchKernel axpy [3 1 1] [128 1 1] shared 0 stream ");
        assert!(launch.ends_with(" -> 0"), "{log}");
        assert!(line("fault: ").contains("out of bounds in axpy"), "{log}");
        assert!(line("cuStreamSynchronize ").ends_with(" -> 700"), "{log}");
    }

    /// Without checks, a load of memory that nothing wrote is allowed.
    fn checks_can_be_turned_off("FAKE_CUDA_CHECKS" = "0") {
        open();
        let (stream, add) = (stream(), kernel(AXPY, "axpy"));
        let (x, y) = (get(|at| cuMemAlloc_v2(at, 8)), device(&[1.0; 2]));
        ok(axpy(add, x, y, 0.0, 2, 0, stream));
        ok(cuStreamSynchronize(stream));
    }
}
