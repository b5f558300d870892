use std::ffi::c_void;
use std::ptr::null_mut;

use cublasComputeType_t::*;
use cublasLtMatmulDescAttributes_t::*;
use cublasLtMatmulPreferenceAttributes_t::*;
use cublasStatus_t::*;
use cudaDataType_t::*;
use cudarc::cublaslt::sys::*;
use cudarc::driver::sys::{
    CUresult::CUDA_SUCCESS, cuMemAlloc_v2, cuMemcpyHtoDAsync_v2, cuStreamEndCapture, cuStreamSynchronize,
};

use crate::child_tests;
use crate::gpu::{device, download, get, ok, open, stream};

fn good(status: cublasStatus_t) {
    assert_eq!(status, CUBLAS_STATUS_SUCCESS);
}

fn make<T>(call: impl FnOnce(*mut T) -> cublasStatus_t) -> T {
    let mut value = std::mem::MaybeUninit::<T>::uninit();
    good(call(value.as_mut_ptr()));
    // SAFETY: the call succeeded, so it wrote the value.
    unsafe { value.assume_init() }
}

/// A product and its matrices, which are column-major with gaps between the columns.
#[derive(Clone, Copy)]
struct Case {
    size: [usize; 3],
    transposed: [bool; 2],
    input: cudaDataType,
    output: cudaDataType,
    alpha: f32,
    beta: f32,
    bias: bool,
    tf32: bool,
}

const CASE: Case = Case {
    size: [5, 7, 9],
    transposed: [false; 2],
    input: CUDA_R_32F,
    output: CUDA_R_32F,
    alpha: 1.0,
    beta: 0.0,
    bias: false,
    tf32: false,
};

/// Rows, columns and column distance of A, B and D.
fn layouts(case: &Case) -> [[usize; 3]; 3] {
    let [m, n, k] = case.size;
    let swap = |r, c, swapped| if swapped { [c, r] } else { [r, c] };
    let sizes = [swap(m, k, case.transposed[0]), swap(k, n, case.transposed[1]), [m, n]];
    sizes.map(|[rows, columns]| [rows, columns, rows + 3])
}

fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 + seed * 11) % 61) as f32 / 16.0 - 1.8).collect()
}

fn bf16(value: f32) -> f32 {
    half::bf16::from_f32(value).to_f32()
}

fn upload(values: &[f32], dtype: cudaDataType) -> u64 {
    if dtype == CUDA_R_32F {
        return device(values);
    }
    let halves: Vec<_> = values.iter().map(|&v| half::bf16::from_f32(v)).collect();
    // SAFETY: memory of as many bytes.
    unsafe {
        let at = get(|at| cuMemAlloc_v2(at, 2 * halves.len()));
        let stream = stream();
        ok(cuMemcpyHtoDAsync_v2(at, halves.as_ptr().cast(), 2 * halves.len(), stream));
        ok(cuStreamSynchronize(stream));
        at
    }
}

struct Plan {
    library: cublasLtHandle_t,
    desc: cublasLtMatmulDesc_t,
    layouts: [cublasLtMatrixLayout_t; 3],
}

fn plan(case: &Case, bias: u64) -> Plan {
    // SAFETY: as cuBLASLt documents them.
    unsafe {
        let compute = if case.tf32 { CUBLAS_COMPUTE_32F_FAST_TF32 } else { CUBLAS_COMPUTE_32F };
        let desc = make(|at| cublasLtMatmulDescCreate(at, compute, CUDA_R_32F));
        let set = |attribute, value: u32| {
            good(cublasLtMatmulDescSetAttribute(desc, attribute, (&raw const value).cast(), 4));
        };
        set(CUBLASLT_MATMUL_DESC_TRANSA, case.transposed[0].into());
        set(CUBLASLT_MATMUL_DESC_TRANSB, case.transposed[1].into());
        if case.bias {
            set(CUBLASLT_MATMUL_DESC_EPILOGUE, cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS as u32);
            let pointer = CUBLASLT_MATMUL_DESC_BIAS_POINTER;
            good(cublasLtMatmulDescSetAttribute(desc, pointer, (&raw const bias).cast(), 8));
        }
        let types = [case.input, case.input, case.output];
        let mut k = 0..;
        let layouts = layouts(case).map(|[rows, columns, ld]| {
            let dtype = types[k.next().unwrap()];
            make(|at| cublasLtMatrixLayoutCreate(at, dtype, rows as u64, columns as u64, ld as i64))
        });
        Plan { library: make(|at| cublasLtCreate(at)), desc, layouts }
    }
}

impl Plan {
    fn choose(&self, alignment: u32) -> Result<cublasLtMatmulHeuristicResult_t, cublasStatus_t> {
        self.choose_with(alignment, 1 << 20)
    }

    fn choose_with(
        &self,
        alignment: u32,
        workspace: u64,
    ) -> Result<cublasLtMatmulHeuristicResult_t, cublasStatus_t> {
        // SAFETY: as cuBLASLt documents them.
        unsafe {
            let preference = make(|at| cublasLtMatmulPreferenceCreate(at));
            let most = CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES;
            good(cublasLtMatmulPreferenceSetAttribute(preference, most, (&raw const workspace).cast(), 8));
            for attribute in [
                CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES,
                CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES,
                CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES,
            ] {
                let claim: *const u32 = &alignment;
                good(cublasLtMatmulPreferenceSetAttribute(preference, attribute, claim.cast(), 4));
            }
            let mut result = std::mem::zeroed();
            let mut found = 7;
            let [a, b, d] = self.layouts;
            let status = cublasLtMatmulAlgoGetHeuristic(
                self.library,
                self.desc,
                a,
                b,
                d,
                d,
                preference,
                1,
                &mut result,
                &mut found,
            );
            good(cublasLtMatmulPreferenceDestroy(preference));
            assert!(found == 0 || status == CUBLAS_STATUS_SUCCESS);
            if found == 1 { Ok(result) } else { Err(status) }
        }
    }

    fn run(
        &self,
        case: &Case,
        algorithm: &cublasLtMatmulAlgo_t,
        at: [u64; 3],
        workspace: (u64, usize),
        stream: cudaStream_t,
    ) -> cublasStatus_t {
        let [a, b, d] = at.map(|at| at as *mut c_void);
        let [a_layout, b_layout, d_layout] = self.layouts;
        let (alpha, beta): (*const f32, *const f32) = (&case.alpha, &case.beta);
        // SAFETY: as cuBLASLt documents them.
        unsafe {
            cublasLtMatmul(
                self.library,
                self.desc,
                alpha.cast(),
                a,
                a_layout,
                b,
                b_layout,
                beta.cast(),
                d,
                d_layout,
                d,
                d_layout,
                algorithm,
                workspace.0 as *mut c_void,
                workspace.1,
                stream,
            )
        }
    }
}

/// Checks a product against plain loops, in f64 from inputs as they are stored.
fn check(case: &Case) {
    let round: fn(f32) -> f32 = match (case.input == CUDA_R_16BF, case.tf32) {
        (true, _) => bf16,
        (_, true) => |v| f32::from_bits((v.to_bits() + 0x1000) & !0x1FFF),
        _ => |v| v,
    };
    let output: fn(f32) -> f32 = if case.output == CUDA_R_16BF { bf16 } else { |v| v };
    let [a_size, b_size, d_size] = layouts(case);
    let count = |[_, columns, ld]: [usize; 3]| columns * ld;
    let (a, b) = (values(count(a_size), 1), values(count(b_size), 2));
    let (c, bias) = (values(count(d_size), 3), values(case.size[0], 4));
    let at = [upload(&a, case.input), upload(&b, case.input), upload(&c, case.output)];
    let plan = plan(case, if case.bias { device(&bias) } else { 0 });
    let chosen = plan.choose(256).unwrap();
    let stream = stream();
    // SAFETY: writes an address.
    let workspace = get(|at| unsafe { cuMemAlloc_v2(at, chosen.workspaceSize) });
    good(plan.run(case, &chosen.algo, at, (workspace, chosen.workspaceSize), stream.cast()));
    let got = if case.output == CUDA_R_32F {
        download(at[2], c.len(), stream)
    } else {
        let words = download(at[2], c.len() / 2, stream);
        let halves = words.iter().flat_map(|w| [w.to_bits() as u16, (w.to_bits() >> 16) as u16]);
        halves.map(|bits| half::bf16::from_bits(bits).to_f32()).collect()
    };
    let [m, n, k] = case.size;
    let element = |matrix: &[f32], ld, row, column, transposed| {
        let (row, column) = if transposed { (column, row) } else { (row, column) };
        f64::from(round(matrix[column * ld + row]))
    };
    for (i, j) in (0..n).flat_map(|j| (0..m).map(move |i| (i, j))) {
        let term = |p| {
            element(&a, a_size[2], i, p, case.transposed[0])
                * element(&b, b_size[2], p, j, case.transposed[1])
        };
        let place = j * d_size[2] + i;
        let mut want = f64::from(case.alpha) * (0..k).map(term).sum::<f64>();
        want += f64::from(case.beta) * f64::from(output(c[place]));
        want += if case.bias { f64::from(bias[i]) } else { 0.0 };
        let tolerance = if case.output == CUDA_R_16BF { want.abs() / 250.0 + 1e-5 } else { 1e-5 };
        assert!((f64::from(got[place]) - want).abs() <= tolerance, "[{i} {j}]: {} {want}", got[place]);
        assert_eq!(got[j * d_size[2] + m], output(c[j * d_size[2] + m]), "between the columns");
    }
}

child_tests! {
    fn products_are_those_of_plain_loops() {
        open();
        for transposed in [[false, false], [true, false], [false, true], [true, true]] {
            for (input, output) in
                [(CUDA_R_32F, CUDA_R_32F), (CUDA_R_16BF, CUDA_R_32F), (CUDA_R_16BF, CUDA_R_16BF)]
            {
                for (alpha, beta) in [(1.0, 0.0), (1.0, 1.0), (0.5, 1.0), (2.0, 0.25)] {
                    check(&Case { transposed, input, output, alpha, beta, ..CASE });
                }
            }
            check(&Case { transposed, bias: true, beta: 1.0, ..CASE });
            check(&Case { transposed, bias: true, tf32: true, size: [33, 65, 17], ..CASE });
        }
    }

    fn what_there_is_no_kernel_for_is_refused() {
        open();
        for case in [
            Case { input: CUDA_R_32F, output: CUDA_R_16BF, ..CASE },
            Case { input: CUDA_R_16BF, tf32: true, ..CASE },
            Case { input: CUDA_R_16BF, output: CUDA_R_16BF, bias: true, ..CASE },
        ] {
            assert_eq!(plan(&case, 256).choose(256).err(), Some(CUBLAS_STATUS_NOT_SUPPORTED));
        }
        let plan = plan(&CASE, 0);
        for claim in [0, 2, 12] {
            assert_eq!(plan.choose(claim).err(), Some(CUBLAS_STATUS_NOT_SUPPORTED), "{claim}");
        }
        let mut layout = null_mut();
        let f16 = cublasLtMatrixLayoutCreate(&mut layout, CUDA_R_16F, 4, 4, 4);
        assert_eq!(f16, CUBLAS_STATUS_NOT_SUPPORTED);
        let narrow = cublasLtMatrixLayoutCreate(&mut layout, CUDA_R_32F, 4, 4, 3);
        assert_eq!(narrow, CUBLAS_STATUS_INVALID_VALUE);
    }

    /// A caller must ask again, and be able to do without.
    fn some_products_have_no_algorithm() {
        open();
        // Nothing was found, and the call says that all is well.
        let none = Some(CUBLAS_STATUS_SUCCESS);
        let refused = Some(CUBLAS_STATUS_NOT_SUPPORTED);
        let bf16 = Case { input: CUDA_R_16BF, output: CUDA_R_16BF, ..CASE };
        for (size, [aligned, unaligned, bare]) in [
            ([5, 7, 9], [None, None, None]),
            ([4, 7, 9], [none, None, None]),
            ([1, 7, 9], [refused, refused, None]),
            ([1, 7, 8], [refused; 3]),
        ] {
            let plan = plan(&Case { size, ..bf16 }, 0);
            let got = [(256, 1 << 20), (2, 1 << 20), (2, 0)].map(|(a, w)| plan.choose_with(a, w).err());
            assert_eq!(got, [aligned, unaligned, bare], "{size:?}");
        }
    }

    fn an_algorithm_is_for_what_it_was_chosen_for() {
        open();
        let case = Case { beta: 1.0, ..CASE };
        let (first, other) = (plan(&case, 0), plan(&Case { size: [5, 7, 10], ..case }, 0));
        let chosen = first.choose(16).unwrap();
        let [a, b, d] = [values(200, 1), values(200, 2), values(200, 3)].map(|values| device(&values));
        let workspace = get(|at| cuMemAlloc_v2(at, chosen.workspaceSize));
        let works = (workspace, chosen.workspaceSize);
        let stream = stream();
        let run = |plan: &Plan, at, workspace| plan.run(&case, &chosen.algo, at, workspace, stream.cast());
        for (what, status) in [
            ("another product", run(&other, [a, b, d], works)),
            ("less alignment", run(&first, [a + 4, b, d], works)),
            ("less workspace", run(&first, [a, b, d], (workspace, works.1 - 1))),
            ("no workspace", run(&first, [a, b, d], (0, works.1))),
        ] {
            assert_eq!(status, CUBLAS_STATUS_INVALID_VALUE, "{what}");
        }
        good(run(&first, [a + 16, b, d], works));
        ok(cuStreamSynchronize(stream));
        use cudarc::driver::sys::{CUstreamCaptureMode::*, cuStreamBeginCapture_v2};
        ok(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL));
        let before = download(d, 200, crate::gpu::stream());
        good(run(&first, [a, b, d], works));
        assert_eq!(download(d, 200, crate::gpu::stream()), before, "kept, not run");
        let mut graph = null_mut();
        assert_eq!(cuStreamEndCapture(stream, &mut graph), CUDA_SUCCESS);
        let [a, b, d] = first.layouts;
        for layout in [a, b, d] {
            good(cublasLtMatrixLayoutDestroy(layout));
        }
        assert_eq!(cublasLtMatrixLayoutDestroy(a), CUBLAS_STATUS_INVALID_VALUE);
        good(cublasLtMatmulDescDestroy(first.desc));
        good(cublasLtDestroy(first.library));
        assert_eq!(cublasLtDestroy(first.library), CUBLAS_STATUS_NOT_INITIALIZED);
    }

    fn a_product_on_a_broken_device_fails("FAKE_CUDA_FAIL" = "cuStreamDestroy:214@1,cublasLtDestroy:14@1") {
        open();
        let stream = stream();
        let (plan, case) = (plan(&CASE, 0), CASE);
        let chosen = plan.choose(4).unwrap();
        cudarc::driver::sys::cuStreamDestroy_v2(stream);
        let at = [256, 256, 256];
        let ran = plan.run(&case, &chosen.algo, at, (256, chosen.workspaceSize), stream.cast());
        assert_eq!(ran, CUBLAS_STATUS_EXECUTION_FAILED);
        assert_eq!(cublasLtDestroy(plan.library), CUBLAS_STATUS_INTERNAL_ERROR);
        good(cublasLtDestroy(plan.library));
    }
}
