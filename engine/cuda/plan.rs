//! Products as cuBLASLt wants them described, and the algorithm for each.
//!
//! **Same bits every time.** cuBLASLt promises the same result in every run on the same device and version, for one
//! algorithm and one stream. So the choice of the algorithm must depend on the product alone, never on timings. Where an
//! algorithm splits the sum over `k`, the parts may be added in three ways. Only "out of place, in f32, in a separate step"
//! is allowed: "in place" adds parts to C in the order in which blocks come to it (cuBLASLt's documentation promises that
//! they come one after another, not in which order), and "in the output type" rounds each part to bf16.

use std::ffi::c_int;
use std::fmt::{self, Display};

use cudarc::cublaslt::sys as lt;
use lt::cublasLtMatmulDescAttributes_t as DescAttribute;
use lt::cublasLtMatmulPreferenceAttributes_t as PreferenceAttribute;

use super::context::Handle;
use super::error::BlasError;
use super::functions::BlasLt;
use super::report::About;
use crate::Result;
use crate::launch::{BlasGemm, DType, Region};

/// The properties of a product that decide which algorithm is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// m, n and k.
    size: [usize; 3],
    /// The leading dimensions of A, B and C.
    ld: [usize; 3],
    /// The largest powers of two, up to 256, that divide the addresses of A, B and C.
    aligned: [u32; 3],
    /// Whether A and B are transposed.
    transposed: [bool; 2],
    input: DType,
    output: DType,
    accumulate: bool,
    bias: bool,
    tf32: bool,
}

impl Key {
    /// The key of a product.
    pub(super) fn of(g: &BlasGemm) -> Self {
        assert!(g.beta == 0.0 || g.beta == 1.0, "beta is {}, and must be 0 or 1", g.beta);
        assert!(g.bias.is_none() || g.output == DType::F32, "a product with a bias must have an f32 result");
        Key {
            size: [g.m, g.n, g.k],
            ld: [g.a.ld, g.b.ld, g.ldc],
            aligned: [g.a.region, g.b.region, g.c].map(|region| alignment(region.at)),
            transposed: [g.a.transposed, g.b.transposed],
            input: g.input,
            output: g.output,
            accumulate: g.beta != 0.0,
            bias: g.bias.is_some(),
            tf32: g.tf32 && g.input == DType::F32,
        }
    }

    /// The leading dimensions of A, B and C.
    pub(super) fn ld(&self) -> [usize; 3] {
        self.ld
    }

    /// What products of different sizes have in common.
    pub(super) fn kind(&self) -> Kind {
        let narrow = self.size[..2].contains(&1);
        Kind { input: self.input, output: self.output, transposed: self.transposed, narrow }
    }

    /// The alignment of single elements of A, B and C.
    fn unaligned(&self) -> [u32; 3] {
        [self.input, self.input, self.output].map(|dtype| dtype.size() as u32)
    }

    /// The rows and columns of A, B and C as they lie in memory.
    fn shapes(&self) -> [[usize; 2]; 3] {
        let [m, n, k] = self.size;
        let swap =
            |[rows, columns]: [usize; 2], swapped| if swapped { [columns, rows] } else { [rows, columns] };
        [swap([m, k], self.transposed[0]), swap([k, n], self.transposed[1]), [m, n]]
    }
}

/// Products that cuBLASLt treats alike, for messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Kind {
    input: DType,
    output: DType,
    transposed: [bool; 2],
    /// C is a single row or column.
    narrow: bool,
}

/// What was asked for when an algorithm was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Found {
    /// The alignment that the matrices have, and the workspace.
    AsAsked,
    /// No more alignment than that of an element.
    Unaligned,
    /// No workspace either.
    Bare,
    /// There is none.
    Nothing,
}

/// The end of the message about a product.
impl Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Found::AsAsked => "",
            Found::Unaligned => {
                ", that relies on their alignment; products of this kind take one that does not"
            }
            Found::Bare => ", that may have a workspace; products of this kind take one without",
            Found::Nothing => "; a kernel of this program computes products of this kind, more slowly",
        })
    }
}

/// `gemm 192 9456 384 bf16 f32`: m, n and k, the type of A and B, and the type of C.
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
    /// The layouts of A, B and C.
    pub layouts: [Handle<lt::cublasLtMatrixLayoutOpaque_t>; 3],
    pub algo: lt::cublasLtMatmulAlgo_t,
    /// The bytes of workspace that the algorithm needs.
    pub workspace: usize,
}

impl Plan {
    /// Plans a product with up to `workspace` bytes of workspace, and says what was found. Where cuBLASLt has no algorithm
    /// for the product as it is, it is asked for one that demands less.
    pub(super) fn new(
        blas: &'static BlasLt,
        handle: Handle<lt::cublasLtContext>,
        workspace: usize,
        key: &Key,
        bias: Option<Region>,
    ) -> Result<(Option<Self>, Found)> {
        let mut plan = Plan {
            blas,
            desc: Handle::default(),
            layouts: [Handle::default(); 3],
            algo: lt::cublasLtMatmulAlgo_t { data: [0; 8] },
            workspace: 0,
        };
        plan.describe(key, bias).about(|| key)?;
        for (found, aligned, workspace) in [
            (Found::AsAsked, key.aligned, workspace),
            (Found::Unaligned, key.unaligned(), workspace),
            (Found::Bare, key.unaligned(), 0),
        ] {
            if plan.choose(handle, workspace, aligned).about(|| key)? {
                return Ok((Some(plan), found));
            }
        }
        Ok((None, Found::Nothing))
    }

    /// Describes the product and its matrices.
    fn describe(&mut self, key: &Key, bias: Option<Region>) -> Result<(), BlasError> {
        use lt::cublasComputeType_t::{CUBLAS_COMPUTE_32F, CUBLAS_COMPUTE_32F_FAST_TF32};
        // Constants of `cublas_api.h`, which cudarc's module for cuBLASLt does not have.
        const CUBLAS_OP_N: u32 = 0;
        const CUBLAS_OP_T: u32 = 1;
        let compute = if key.tf32 { CUBLAS_COMPUTE_32F_FAST_TF32 } else { CUBLAS_COMPUTE_32F };
        // SAFETY: the call writes a handle.
        unsafe { self.blas.cublasLtMatmulDescCreate(&mut self.desc.0, compute, data_type(DType::F32))? };
        let operation = |transposed| if transposed { CUBLAS_OP_T } else { CUBLAS_OP_N };
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
            // SAFETY: the call writes a handle.
            unsafe { self.blas.cublasLtMatrixLayoutCreate(layout, dtype, rows, columns, ld as i64)? };
        }
        Ok(())
    }

    /// Sets an attribute, which has the size of `T`.
    fn set<T>(&self, attribute: DescAttribute, value: T) -> Result<(), BlasError> {
        let value: *const T = &value;
        // SAFETY: `desc` was created, and the value is read before this returns.
        unsafe {
            self.blas.cublasLtMatmulDescSetAttribute(self.desc.0, attribute, value.cast(), size_of::<T>())
        }
    }

    /// Lets the product add this bias.
    pub(super) fn set_bias(&self, bias: Region) -> Result<(), BlasError> {
        self.set(DescAttribute::CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias.at)
    }

    /// Takes the algorithm that cuBLASLt expects to be the fastest of those that are allowed; false where there is none.
    fn choose(
        &mut self,
        handle: Handle<lt::cublasLtContext>,
        workspace: usize,
        [a, b, c]: [u32; 3],
    ) -> Result<bool, BlasError> {
        use PreferenceAttribute::*;
        let preference = Preference::new(self.blas)?;
        let scheme = lt::cublasLtReductionScheme_t::CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE as u32;
        preference.set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, workspace as u64)?;
        preference.set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, scheme)?;
        preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, a)?;
        preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, b)?;
        preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c)?;
        preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c)?;
        let mut best = lt::cublasLtMatmulHeuristicResult_t {
            algo: self.algo,
            workspaceSize: 0,
            state: lt::cublasStatus_t::CUBLAS_STATUS_NOT_SUPPORTED,
            wavesCount: 0.0,
            reserved: [0; 4],
        };
        let mut count: c_int = 0;
        let [a, b, c] = self.layouts.map(|layout| layout.0);
        // SAFETY: all handles were created, and there is room for the one result that is asked for.
        let asked = unsafe {
            let (handle, desc) = (handle.0, self.desc.0);
            self.blas.cublasLtMatmulAlgoGetHeuristic(
                handle,
                desc,
                a,
                b,
                c,
                c,
                preference.handle.0,
                1,
                &mut best,
                &mut count,
            )
        };
        match asked {
            Err(error) if error.is_not_supported() => return Ok(false),
            asked => asked?,
        }
        if count < 1 || best.state != lt::cublasStatus_t::CUBLAS_STATUS_SUCCESS {
            return Ok(false);
        }
        self.algo = best.algo;
        self.workspace = best.workspaceSize;
        Ok(true)
    }
}

impl Drop for Plan {
    fn drop(&mut self) {
        for layout in self.layouts.into_iter().filter(|layout| !layout.0.is_null()) {
            // SAFETY: `describe` made the layout, and only this plan uses it.
            let _ = unsafe { self.blas.cublasLtMatrixLayoutDestroy(layout.0) };
        }
        if !self.desc.0.is_null() {
            // SAFETY: `describe` made the description, and only this plan uses it.
            let _ = unsafe { self.blas.cublasLtMatmulDescDestroy(self.desc.0) };
        }
    }
}

/// The properties that an algorithm must have.
struct Preference {
    blas: &'static BlasLt,
    handle: Handle<lt::cublasLtMatmulPreferenceOpaque_t>,
}

impl Preference {
    fn new(blas: &'static BlasLt) -> Result<Self, BlasError> {
        let mut handle = Handle::default();
        // SAFETY: the call writes a handle.
        unsafe { blas.cublasLtMatmulPreferenceCreate(&mut handle.0)? };
        Ok(Preference { blas, handle })
    }

    /// Sets an attribute, which has the size of `T`.
    fn set<T>(&self, attribute: PreferenceAttribute, value: T) -> Result<(), BlasError> {
        let (value, bytes): (*const T, _) = (&value, size_of::<T>());
        let handle = self.handle.0;
        // SAFETY: `new` created the handle, and the value is read before this returns.
        unsafe { self.blas.cublasLtMatmulPreferenceSetAttribute(handle, attribute, value.cast(), bytes) }
    }
}

impl Drop for Preference {
    fn drop(&mut self) {
        // SAFETY: `new` created the handle.
        let _ = unsafe { self.blas.cublasLtMatmulPreferenceDestroy(self.handle.0) };
    }
}

/// A type as cuBLASLt names it.
fn data_type(dtype: DType) -> lt::cudaDataType {
    match dtype {
        DType::F32 => lt::cudaDataType::CUDA_R_32F,
        DType::Bf16 => lt::cudaDataType::CUDA_R_16BF,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::launch::ColumnMajor;

    fn region(at: u64) -> Region {
        Region { at, bytes: 1 << 20 }
    }

    fn product() -> BlasGemm {
        BlasGemm {
            m: 5,
            n: 7,
            k: 3,
            a: ColumnMajor { region: region(256), ld: 6, transposed: true },
            b: ColumnMajor { region: region(512 + 8), ld: 4, transposed: false },
            c: region(1024 + 4),
            ldc: 9,
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
            Key::of(&BlasGemm { a: ColumnMajor { region: region(4096), ..g.a }, ..g }),
            key,
            "another address with the same alignment"
        );
        for other in [
            BlasGemm { a: ColumnMajor { region: region(256 + 2), ..g.a }, ..g },
            BlasGemm { b: ColumnMajor { ld: 5, ..g.b }, ..g },
            BlasGemm { b: ColumnMajor { ld: 7, transposed: true, ..g.b }, ..g },
            BlasGemm { beta: 0.0, ..g },
            BlasGemm { bias: Some(region(64)), ..g },
            BlasGemm { n: 8, ..g },
            BlasGemm { input: DType::F32, ..g },
        ] {
            assert_ne!(Key::of(&other), key, "{other:?}");
        }
    }
}
