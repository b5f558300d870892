//! A product as cuBLASLt wants it described, and the algorithm for it.
//!
//! **Same bits every time.** cuBLASLt promises the same result in every run on the same device and version, for one
//! algorithm and one stream; so which algorithm is taken must depend on the product alone, never on timings.
//! Where an algorithm splits the sum over `k`, the parts may be added in three ways. Only "out of place, in f32,
//! in a separate step" is allowed: "in place" adds parts to C in the order in which blocks come to it (cuBLASLt's
//! documentation promises that they come one after another, not in which order), and "in the output type" rounds
//! each part to bf16.

use std::ffi::c_int;
use std::fmt::{self, Display};

use cudarc::cublaslt::sys as lt;
use lt::cublasLtMatmulDescAttributes_t as DescAttribute;
use lt::cublasLtMatmulPreferenceAttributes_t as PreferenceAttribute;

use super::context::Handle;
use super::error::{About, BlasError, failed};
use super::functions::BlasLt;
use crate::Result;
use crate::launch::{BlasGemm, DType, Region};

/// What decides which algorithm is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    size: [usize; 3],
    /// Leading dimensions of A, B and C, and the largest powers of two (up to 256) that divide their addresses.
    ld: [usize; 3],
    aligned: [u32; 3],
    transposed: [bool; 2],
    input: DType,
    output: DType,
    accumulate: bool,
    bias: bool,
    tf32: bool,
}

impl Key {
    pub(super) fn of(g: &BlasGemm) -> Self {
        assert!(g.beta == 0.0 || g.beta == 1.0, "beta {}", g.beta);
        assert!(g.bias.is_none() || g.output == DType::F32, "a bias of a bf16 product");
        Key {
            size: [g.m, g.n, g.k],
            ld: [g.a.1, g.b.1, g.c.1],
            aligned: [g.a.0, g.b.0, g.c.0].map(|region| alignment(region.at)),
            transposed: [g.a.2, g.b.2],
            input: g.input,
            output: g.output,
            accumulate: g.beta != 0.0,
            bias: g.bias.is_some(),
            tf32: g.tf32 && g.input == DType::F32,
        }
    }

    /// Rows and columns of A, B and C as they lie in memory.
    fn shapes(&self) -> [[usize; 2]; 3] {
        let [m, n, k] = self.size;
        let swap =
            |[rows, columns]: [usize; 2], swapped| if swapped { [columns, rows] } else { [rows, columns] };
        [swap([m, k], self.transposed[0]), swap([k, n], self.transposed[1]), [m, n]]
    }
}

/// `gemm 192 9456 384 bf16 f32`: sizes, and the types of A and B, and of C.
impl Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [m, n, k] = self.size;
        let name = |dtype| match dtype {
            DType::F32 if self.tf32 => "tf32",
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
        };
        write!(f, "gemm {m} {n} {k} {} {}", name(self.input), name(self.output))
    }
}

/// The largest power of two, up to 256, that divides an address.
fn alignment(at: u64) -> u32 {
    1 << at.trailing_zeros().min(8)
}

/// A product as cuBLASLt wants it described, and the algorithm for it.
#[derive(Debug)]
pub(super) struct Plan {
    blas: &'static BlasLt,
    pub desc: Handle<lt::cublasLtMatmulDescOpaque_t>,
    /// Of A, B and C.
    pub layouts: [Handle<lt::cublasLtMatrixLayoutOpaque_t>; 3],
    pub algo: lt::cublasLtMatmulAlgo_t,
    pub workspace: usize,
}

impl Plan {
    /// For products with up to so many bytes of workspace.
    pub(super) fn new(
        blas: &'static BlasLt,
        handle: Handle<lt::cublasLtContext>,
        workspace: usize,
        key: &Key,
        bias: Option<Region>,
    ) -> Result<Self> {
        let mut plan = Plan {
            blas,
            desc: Handle::default(),
            layouts: [Handle::default(); 3],
            algo: lt::cublasLtMatmulAlgo_t { data: [0; 8] },
            workspace: 0,
        };
        plan.describe(key, bias).about(|| key)?;
        plan.choose(handle, workspace, key)?;
        Ok(plan)
    }

    fn describe(&mut self, key: &Key, bias: Option<Region>) -> Result<(), BlasError> {
        use lt::cublasComputeType_t::{CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32};
        let compute = if key.tf32 { CUBLAS_COMPUTE_32F_FAST_TF32 } else { CUBLAS_COMPUTE_32F };
        // SAFETY: writes a handle.
        unsafe { self.blas.cublasLtMatmulDescCreate(&mut self.desc.0, compute, data_type(DType::F32))? };
        // `CUBLAS_OP_N` and `CUBLAS_OP_T` of `cublas_api.h`.
        let operation = |transposed| if transposed { 1u32 } else { 0 };
        self.set(DescAttribute::CUBLASLT_MATMUL_DESC_TRANSA, operation(key.transposed[0]))?;
        self.set(DescAttribute::CUBLASLT_MATMUL_DESC_TRANSB, operation(key.transposed[1]))?;
        if let Some(bias) = bias {
            let epilogue = lt::cublasLtEpilogue_t::CUBLASLT_EPILOGUE_BIAS as u32;
            self.set(DescAttribute::CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue)?;
            self.set_bias(bias)?;
        }
        let types = [key.input, key.input, key.output];
        for (i, [rows, columns]) in key.shapes().into_iter().enumerate() {
            let [rows, columns, ld] = [rows, columns, key.ld[i]].map(|size| size as u64);
            let (layout, dtype) = (&mut self.layouts[i].0, data_type(types[i]));
            // SAFETY: writes a handle.
            unsafe { self.blas.cublasLtMatrixLayoutCreate(layout, dtype, rows, columns, ld as i64)? };
        }
        Ok(())
    }

    /// Sets an attribute of `T`'s size.
    fn set<T>(&self, attribute: DescAttribute, value: T) -> Result<(), BlasError> {
        let value: *const T = &value;
        // SAFETY: `desc` was created; the value is read before this returns.
        unsafe {
            self.blas.cublasLtMatmulDescSetAttribute(self.desc.0, attribute, value.cast(), size_of::<T>())
        }
    }

    pub(super) fn set_bias(&self, bias: Region) -> Result<(), BlasError> {
        self.set(DescAttribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias.at)
    }

    /// Takes the algorithm that cuBLASLt thinks the fastest of those that are allowed.
    fn choose(&mut self, handle: Handle<lt::cublasLtContext>, workspace: usize, key: &Key) -> Result<()> {
        use PreferenceAttribute::*;
        let preference = Preference::new(self.blas).about(|| key)?;
        let scheme = lt::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
        let [a, b, c] = key.aligned;
        preference
            .set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace as u64)
            .and_then(|()| preference.set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, scheme))
            .and_then(|()| preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, a))
            .and_then(|()| preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, b))
            .and_then(|()| preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c))
            .and_then(|()| preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c))
            .about(|| key)?;
        let mut best = lt::cublasLtMatmulHeuristicResult_t {
            algo: self.algo,
            workspaceSize: 0,
            state: lt::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED,
            wavesCount: 0.0,
            reserved: [0; 4],
        };
        let mut found: c_int = 0;
        let [a, b, c] = self.layouts.map(|layout| layout.0);
        // SAFETY: everything was created; there is room for the one result that is asked for.
        unsafe {
            let (handle, desc) = (handle.0, self.desc.0);
            self.blas.cublasLtMatmulAlgoGetHeuristic(
                handle,
                desc,
                a,
                b,
                c,
                c,
                preference.0.0,
                1,
                &mut best,
                &mut found,
            )
        }
        .about(|| key)?;
        if found < 1 || best.state != lt::cublasStatus_t::CUBLAS_STATUS_SUCCESS {
            let what = format!("cuBLASLt has no algorithm for {key}, leading dimensions {:?}", key.ld);
            return Err(failed(what));
        }
        self.algo = best.algo;
        self.workspace = best.workspaceSize;
        Ok(())
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        for layout in self.layouts.into_iter().filter(|layout| !layout.0.is_null()) {
            // SAFETY: made by `describe`, used by this plan alone.
            let _ = unsafe { self.blas.cublasLtMatrixLayoutDestroy(layout.0) };
        }
        if !self.desc.0.is_null() {
            // SAFETY: as above.
            let _ = unsafe { self.blas.cublasLtMatmulDescDestroy(self.desc.0) };
        }
    }
}

/// What an algorithm has to be.
struct Preference(Handle<lt::cublasLtMatmulPreferenceOpaque_t>, &'static BlasLt);

impl Preference {
    fn new(blas: &'static BlasLt) -> Result<Self, BlasError> {
        let mut preference = Handle::default();
        // SAFETY: writes a handle.
        unsafe { blas.cublasLtMatmulPreferenceCreate(&mut preference.0)? };
        Ok(Preference(preference, blas))
    }

    /// Sets an attribute of `T`'s size.
    fn set<T>(&self, attribute: PreferenceAttribute, value: T) -> Result<(), BlasError> {
        let (value, bytes): (*const T, _) = (&value, size_of::<T>());
        // SAFETY: created by `new`; the value is read before this returns.
        unsafe { self.1.cublasLtMatmulPreferenceSetAttribute(self.0.0, attribute, value.cast(), bytes) }
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: created by `new`.
        let _ = unsafe { self.1.cublasLtMatmulPreferenceDestroy(self.0.0) };
    }
}

fn data_type(dtype: DType) -> lt::cudaDataType {
    match dtype {
        DType::F32 => lt::cudaDataType::CUDA_R_32F,
        DType::Bf16 => lt::cudaDataType::CUDA_R_16BF,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(at: u64) -> Region {
        Region { at, bytes: 1 << 20 }
    }

    fn product() -> BlasGemm {
        BlasGemm {
            m: 5,
            n: 7,
            k: 3,
            a: (region(256), 6, true),
            b: (region(512 + 8), 4, false),
            c: (region(1024 + 4), 9),
            input: DType::Bf16,
            output: DType::F32,
            beta: 1.0,
            bias: None,
            tf32: true,
        }
    }

    #[test]
    fn addresses_are_aligned_up_to_256() {
        assert_eq!([0, 1, 2, 12, 0x7F00_0000_0100, 1 << 40].map(alignment), [256, 1, 2, 4, 256, 256]);
    }

    #[test]
    fn a_plan_is_for_what_the_algorithm_may_depend_on() {
        let g = product();
        let key = Key::of(&g);
        assert_eq!(key.shapes(), [[3, 5], [3, 7], [5, 7]]);
        assert_eq!((key.aligned, key.ld), ([256, 8, 4], [6, 4, 9]));
        assert!(!key.tf32, "bf16 operands are rounded already");
        assert_eq!(key.to_string(), "gemm 5 7 3 bf16 f32");
        assert_eq!(
            Key::of(&BlasGemm { a: (region(4096), 6, true), ..g }),
            key,
            "another place, aligned as well"
        );
        for other in [
            BlasGemm { a: (region(256 + 2), 6, true), ..g },
            BlasGemm { b: (region(512 + 8), 5, false), ..g },
            BlasGemm { b: (region(512 + 8), 7, true), ..g },
            BlasGemm { beta: 0.0, ..g },
            BlasGemm { bias: Some(region(64)), ..g },
            BlasGemm { n: 8, ..g },
            BlasGemm { input: DType::F32, ..g },
        ] {
            assert_ne!(Key::of(&other), key, "{other:?}");
        }
    }
}
