use std::ffi::{CStr, CString, c_void};
use std::ptr::null_mut;

use CUfunction_attribute::*;
use CUresult::*;
use cudarc::driver::sys::*;

use crate::child_tests;
use crate::gpu::*;

/// Stores 7 through an address that it finds in a table.
const THROUGH: &str = "
.version 8.4
.target sm_80
.address_size 64
.visible .entry through(.param .u64 table)
{
	.reg .b64 %rd<4>;
	.reg .f32 %f<2>;
	ld.param.u64 %rd1, [table];
	cvta.to.global.u64 %rd2, %rd1;
	ld.global.u64 %rd3, [%rd2+8];
	mov.f32 %f1, 0f40E00000;
	st.global.f32 [%rd3+4], %f1;
	ret;
}
";

fn launch(function: CUfunction, blocks: [u32; 3], threads: [u32; 3], argument: u64) -> CUresult {
    let stream = stream();
    let mut argument = [(&raw const argument).cast::<c_void>().cast_mut()];
    let ([x, y, z], [tx, ty, tz]) = (blocks, threads);
    // SAFETY: kernels of one parameter, or launches that are refused.
    unsafe {
        let argument = argument.as_mut_ptr();
        let launched = cuLaunchKernel(function, x, y, z, tx, ty, tz, 0, stream, argument, null_mut());
        if launched == CUDA_SUCCESS { cuStreamSynchronize(stream) } else { launched }
    }
}

child_tests! {
    fn parameters_are_those_of_the_ptx() {
        open();
        let add = kernel(AXPY, "axpy");
        let mut size = 0;
        let all: Vec<_> = (0..4).map(|k| (get(|at| cuFuncGetParamInfo(add, k, at, &mut size)), size)).collect();
        assert_eq!(all, [(0, 8), (8, 8), (16, 4), (20, 4)]);
        fails(cuFuncGetParamInfo(add, 4, &mut 0, &mut 0), CUDA_ERROR_INVALID_VALUE);
        let text = CString::new(AXPY).unwrap();
        let module = get(|at| cuModuleLoadDataEx(at, text.as_ptr().cast(), 0, null_mut(), null_mut()));
        fails(cuModuleGetFunction(&mut null_mut(), module, c"axpz".as_ptr()), CUDA_ERROR_NOT_FOUND);
    }

    fn pointers_may_be_inside_an_allocation() {
        open();
        let (stream, add) = (stream(), kernel(AXPY, "axpy"));
        let (x, y) = (device(&[1.0, 2.0, 3.0]), device(&[0.0; 300]));
        ok(axpy(add, x + 4, y + 1192, 10.0, 2, 0, stream));
        assert_eq!(download(y + 1188, 3, stream), [0.0, 20.0, 30.0]);
    }

    fn addresses_in_a_table_are_followed() {
        open();
        let to = device(&[0.0; 2]);
        let words = [0, 0, to as u32, (to >> 32) as u32].map(f32::from_bits);
        ok(launch(kernel(THROUGH, "through"), [1; 3], [1; 3], device(&words)));
        assert_eq!(download(to, 2, stream()), [0.0, 7.0]);
    }

    fn sizes_beyond_the_limits_are_refused() {
        open();
        let (stream, add) = (stream(), kernel(AXPY, "axpy"));
        let (x, y) = (device(&[1.0]), device(&[1.0]));
        for (blocks, threads) in [
            ([1, 65_536, 1], [32, 1, 1]),
            ([0, 1, 1], [32, 1, 1]),
            ([1, 1, 1], [0, 1, 1]),
            ([1, 1, 1], [129, 1, 1]),
            ([1, 1, 1], [1, 1, 65]),
        ] {
            fails(launch(add, blocks, threads, 0), CUDA_ERROR_INVALID_VALUE);
        }
        assert_eq!(get(|at| cuFuncGetAttribute(at, CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK, add)), 128);
        let most = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
        assert_eq!(get(|at| cuFuncGetAttribute(at, most, add)), 48 << 10);
        ok(axpy(add, x, y, 1.0, 1, 48 << 10, stream));
        fails(axpy(add, x, y, 1.0, 1, (48 << 10) + 1, stream), CUDA_ERROR_INVALID_VALUE);
        fails(cuFuncSetAttribute(add, most, (227 << 10) + 1), CUDA_ERROR_INVALID_VALUE);
        ok(cuFuncSetAttribute(add, most, 227 << 10));
        ok(axpy(add, x, y, 1.0, 1, 227 << 10, stream));
        assert_eq!(download(y, 1, stream), [3.0]);
    }

    /// The bounds of a kernel say how many registers it may have, and so how many threads.
    fn registers_are_shared_by_the_threads() {
        open();
        let registers = |function| get(|at| cuFuncGetAttribute(at, CU_FUNC_ATTRIBUTE_NUM_REGS, function));
        let bounded = |bounds: &str| kernel(&THROUGH.replace(".param .u64 table)\n", &format!(".param .u64 table)\n{bounds}\n")), "through");
        for (bounds, threads, most) in [
            ("", 255, 256),
            (".maxnreg 64", 64, 1024),
            (".maxnreg 128", 128, 512),
            (".maxntid 384, 1, 1\n.minnctapersm 2", 80, 384),
            (".maxntid 1024, 1, 1", 64, 1024),
        ] {
            let through = bounded(bounds);
            assert_eq!(registers(through), threads, "{bounds}");
            let to = device(&[0.0; 2]);
            let words = [0, 0, to as u32, (to >> 32) as u32].map(f32::from_bits);
            ok(launch(through, [1; 3], [most, 1, 1], device(&words)));
            if most < 1024 {
                let more = launch(through, [1; 3], [most + 1, 1, 1], device(&words));
                let bound = bounds.contains(".maxntid");
                fails(more, if bound { CUDA_ERROR_INVALID_VALUE } else { CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES });
            }
        }
    }

    fn a_fault_stays() {
        open();
        let (stream, add) = (stream(), kernel(AXPY, "axpy"));
        let (x, y) = (device(&[1.0; 4]), device(&[1.0; 5]));
        ok(axpy(add, x, y, 1.0, 5, 0, stream));
        ok(cuMemAlloc_v2(&mut 0, 8));
        fails(cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
        fails(axpy(add, x, y, 1.0, 4, 0, stream), CUDA_ERROR_ILLEGAL_ADDRESS);
        fails(cuMemFree_v2(x), CUDA_ERROR_ILLEGAL_ADDRESS);
    }

    fn a_module_must_stay_until_its_kernels_ran() {
        open();
        let (stream, text) = (stream(), CString::new(AXPY).unwrap());
        let module = get(|at| cuModuleLoadDataEx(at, text.as_ptr().cast(), 0, null_mut(), null_mut()));
        let add = get(|at| cuModuleGetFunction(at, module, c"axpy".as_ptr()));
        ok(axpy(add, device(&[1.0]), device(&[1.0]), 1.0, 1, 0, stream));
        ok(cuModuleUnload(module));
        fails(cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    }

    fn the_log_of_the_compiler_says_what_is_wrong() {
        open();
        let mut log = [1u8; 64];
        let mut names =
            [CUjit_option::CU_JIT_ERROR_LOG_BUFFER, CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        let mut values = [log.as_mut_ptr().cast::<c_void>(), log.len() as *mut c_void];
        let mut load = |text: &str| {
            let text = CString::new(text).unwrap();
            cuModuleLoadDataEx(
                &mut null_mut(), text.as_ptr().cast(), 2, names.as_mut_ptr(), values.as_mut_ptr()
            )
        };
        fails(load(&AXPY.replace("fma.rn.f32", "mma.rn.f32")), CUDA_ERROR_INVALID_PTX);
        let text = CStr::from_bytes_until_nul(&log).unwrap().to_string_lossy().into_owned();
        assert!(text.starts_with("ptx:") && text.contains("mma"), "{text}");
        fails(load(&AXPY.replace(".version 8.4", ".version 9.0")), CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
        fails(load("no kernel"), CUDA_ERROR_INVALID_IMAGE);
    }
}
