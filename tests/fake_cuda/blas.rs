//! Descriptions of products that callers give to cuBLASLt, and the choice of an algorithm.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::gemm::{Layout, Product, Shape, Type};
use crate::status::blas::{INVALID_VALUE, NOT_INITIALIZED, NOT_SUPPORTED};
use crate::status::{Answer, Status};

/// Type for the codes `CUDA_R_32F` and `CUDA_R_16BF`.
fn data_type(dtype: u32) -> Answer<Type> {
    match dtype {
        0 => Ok(Type::F32),
        14 => Ok(Type::Bf16),
        _ => Err(NOT_SUPPORTED),
    }
}

/// Codes of `CUBLAS_COMPUTE_32F` and `CUBLAS_COMPUTE_32F_FAST_TF32`.
const COMPUTE_F32: u32 = 68;
const COMPUTE_TF32: u32 = 77;
/// Codes of `CUBLASLT_EPILOGUE_DEFAULT` and `CUBLASLT_EPILOGUE_BIAS`.
const DEFAULT: u32 = 1;
const BIAS: u32 = 4;

/// Settings of a product.
#[derive(Debug, Clone)]
struct Desc {
    compute: u32,
    transposed: [bool; 2],
    epilogue: u32,
    bias: u64,
}

/// Demands on an algorithm. Alignments are claims about the addresses of A, B, C and D.
#[derive(Debug, Clone)]
struct Preference {
    workspace: usize,
    alignment: [u32; 4],
}

/// An algorithm: the product it was chosen for, in the 64 bytes of the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Algorithm {
    shape: u64,
    alignment: [u32; 4],
    workspace: usize,
}

impl Algorithm {
    const MAGIC: u64 = 0xFA4E_C0DA_B1A5_0001;

    pub fn words(&self) -> [u64; 8] {
        let [a, b, c, d] = self.alignment.map(u64::from);
        [Self::MAGIC, self.shape, a, b, c, d, self.workspace as u64, 0]
    }

    pub fn of(words: &[u64]) -> Answer<Self> {
        let &[Self::MAGIC, shape, a, b, c, d, workspace, 0] = words else { return Err(INVALID_VALUE) };
        Ok(Algorithm { shape, alignment: [a, b, c, d].map(|n| n as u32), workspace: workspace as usize })
    }

    pub fn workspace(&self) -> usize {
        self.workspace
    }
}

/// The handles of this process.
#[derive(Debug, Default)]
pub struct Blas {
    libraries: BTreeMap<usize, ()>,
    descs: BTreeMap<usize, Desc>,
    layouts: BTreeMap<usize, Layout>,
    preferences: BTreeMap<usize, Preference>,
    handles: usize,
}

/// Handles of the layouts of A, B, C and D.
pub type Layouts = [usize; 4];

impl Blas {
    fn handle(&mut self) -> usize {
        self.handles += 1;
        0xB1A5_0000 + (self.handles << 4)
    }

    pub fn create(&mut self) -> usize {
        let handle = self.handle();
        self.libraries.insert(handle, ());
        handle
    }

    pub fn destroy(&mut self, library: usize) -> Answer {
        self.libraries.remove(&library).ok_or(NOT_INITIALIZED)
    }

    pub fn check(&self, library: usize) -> Answer {
        self.libraries.get(&library).copied().ok_or(NOT_INITIALIZED)
    }

    pub fn make_desc(&mut self, compute: u32, scale: u32) -> Answer<usize> {
        if scale != 0 || ![COMPUTE_F32, COMPUTE_TF32].contains(&compute) {
            return Err(NOT_SUPPORTED);
        }
        let handle = self.handle();
        self.descs.insert(handle, Desc { compute, transposed: [false; 2], epilogue: DEFAULT, bias: 0 });
        Ok(handle)
    }

    pub fn end_desc(&mut self, desc: usize) -> Answer {
        self.descs.remove(&desc).map(drop).ok_or(INVALID_VALUE)
    }

    /// Sets an attribute of `cublasLtMatmulDescAttributes_t`.
    pub fn set_desc(&mut self, desc: usize, attribute: u32, value: &[u8]) -> Answer {
        let desc = self.descs.get_mut(&desc).ok_or(INVALID_VALUE)?;
        let word = || value.try_into().map(u32::from_le_bytes).map_err(|_| INVALID_VALUE);
        match attribute {
            // The pointer mode must be that of factors on the host.
            2 if word()? == 0 => {}
            3 | 4 => {
                // For real numbers `CUBLAS_OP_C` is `CUBLAS_OP_T`.
                let transposed = *[false, true, true].get(word()? as usize).ok_or(INVALID_VALUE)?;
                desc.transposed[attribute as usize - 3] = transposed;
            }
            7 if [DEFAULT, BIAS].contains(&word()?) => desc.epilogue = word()?,
            8 => desc.bias = value.try_into().map(u64::from_le_bytes).map_err(|_| INVALID_VALUE)?,
            _ => return Err(NOT_SUPPORTED),
        }
        Ok(())
    }

    pub fn make_layout(&mut self, dtype: u32, rows: u64, columns: u64, ld: i64) -> Answer<usize> {
        let dtype = data_type(dtype)?;
        let sizes = [rows, columns, ld as u64].map(|n| i32::try_from(n).ok().filter(|n| *n > 0));
        let [Some(rows), Some(columns), Some(ld)] = sizes else { return Err(INVALID_VALUE) };
        if ld < rows {
            return Err(INVALID_VALUE);
        }
        let [rows, columns, ld] = [rows, columns, ld].map(|n| n as usize);
        let handle = self.handle();
        self.layouts.insert(handle, Layout { dtype, rows, columns, ld });
        Ok(handle)
    }

    pub fn end_layout(&mut self, layout: usize) -> Answer {
        self.layouts.remove(&layout).map(drop).ok_or(INVALID_VALUE)
    }

    /// Sets an attribute of `cublasLtMatrixLayoutAttribute_t`; only the order by columns and a single matrix are
    /// accepted.
    pub fn set_layout(&mut self, layout: usize, attribute: u32, value: &[u8]) -> Answer {
        self.layouts.get(&layout).ok_or(INVALID_VALUE)?;
        let word = value.try_into().map(u32::from_le_bytes).map_err(|_| INVALID_VALUE)?;
        match (attribute, word) {
            (1, 0) | (5, 1) => Ok(()),
            _ => Err(NOT_SUPPORTED),
        }
    }

    pub fn make_preference(&mut self) -> usize {
        let handle = self.handle();
        self.preferences.insert(handle, Preference { workspace: 0, alignment: [256; 4] });
        handle
    }

    pub fn end_preference(&mut self, preference: usize) -> Answer {
        self.preferences.remove(&preference).map(drop).ok_or(INVALID_VALUE)
    }

    /// Sets an attribute of `cublasLtMatmulPreferenceAttributes_t`.
    pub fn set_preference(&mut self, preference: usize, attribute: u32, value: &[u8]) -> Answer {
        let preference = self.preferences.get_mut(&preference).ok_or(INVALID_VALUE)?;
        let word = || value.try_into().map(u32::from_le_bytes).map_err(|_| INVALID_VALUE);
        match attribute {
            1 => {
                let bytes = value.try_into().map(u64::from_le_bytes).map_err(|_| INVALID_VALUE)?;
                preference.workspace = bytes as usize;
            }
            // The search mode and the ways of adding parts are ignored, because the one algorithm adds in one way.
            0 | 3 => drop(word()?),
            5..=8 => preference.alignment[attribute as usize - 5] = word()?,
            _ => return Err(NOT_SUPPORTED),
        }
        Ok(())
    }

    /// The shape of a product, if its operands fit together.
    pub fn shape(&self, desc: usize, layouts: Layouts) -> Answer<Shape> {
        let desc = self.descs.get(&desc).ok_or(INVALID_VALUE)?;
        let mut found = [None; 4];
        for (place, handle) in found.iter_mut().zip(layouts) {
            *place = self.layouts.get(&handle).copied();
        }
        let [Some(a), Some(b), Some(c), Some(d)] = found else { return Err(INVALID_VALUE) };
        let size = |l: Layout, swap| if swap { [l.columns, l.rows] } else { [l.rows, l.columns] };
        let ([m, k], [k_b, n]) = (size(a, desc.transposed[0]), size(b, desc.transposed[1]));
        if k != k_b || [m, n] != [d.rows, d.columns] || [m, n] != [c.rows, c.columns] {
            return Err(INVALID_VALUE);
        }
        let (tf32, bias) = (desc.compute == COMPUTE_TF32, desc.epilogue == BIAS);
        let types = a.dtype == b.dtype && (a.dtype, d.dtype) != (Type::F32, Type::Bf16);
        if c != d || !types || tf32 && a.dtype != Type::F32 || bias && d.dtype != Type::F32 {
            return Err(NOT_SUPPORTED);
        }
        Ok(Shape { a, b, d, transposed: desc.transposed, tf32, bias })
    }

    /// Returns the only algorithm, for a product; `None` or `NOT_SUPPORTED` where there is none.
    ///
    /// Which products the real library has none for is not documented, so a caller must cope with every kind. Here bf16
    /// operands with an odd distance between columns are refused where their addresses are claimed to be aligned to more
    /// than an element, a single row or column where there may be a workspace, and both together always.
    pub fn choose(&self, shape: &Shape, preference: usize) -> Answer<Option<Algorithm>> {
        const WORKSPACE: usize = 1 << 16;
        let preference = self.preferences.get(&preference).ok_or(INVALID_VALUE)?;
        let types = [shape.a, shape.b, shape.d, shape.d].map(|layout| layout.dtype.bytes());
        let aligned = |(&claim, bytes): (&u32, usize)| claim.is_power_of_two() && claim as usize >= bytes;
        if !preference.alignment.iter().zip(types).all(aligned) {
            return Err(NOT_SUPPORTED);
        }
        let odd = shape.a.dtype == Type::Bf16 && [shape.a, shape.b].iter().any(|layout| layout.ld % 2 == 1);
        let narrow = shape.d.rows == 1 || shape.d.columns == 1;
        if narrow && (odd || preference.workspace > 0) {
            return Err(NOT_SUPPORTED);
        }
        if odd && preference.alignment.iter().zip(types).any(|(&claim, bytes)| claim as usize > bytes) {
            return Ok(None);
        }
        let workspace = if preference.workspace >= WORKSPACE { WORKSPACE } else { 0 };
        Ok(Some(Algorithm { shape: number(shape), alignment: preference.alignment, workspace }))
    }

    /// Checks that an algorithm is for this product, its addresses and its workspace. The bias comes from `desc`.
    pub fn complete(&self, product: &mut Product, desc: usize, algorithm: Option<Algorithm>) -> Answer {
        let shape = &product.shape;
        if shape.bias {
            let bias = self.descs.get(&desc).map_or(0, |desc| desc.bias);
            if bias == 0 || !bias.is_multiple_of(4) {
                return Err(INVALID_VALUE);
            }
            product.bias = Some(bias);
        }
        let types = [shape.a, shape.b, shape.d, shape.d].map(|layout| layout.dtype.bytes() as u32);
        let algorithm =
            algorithm.unwrap_or(Algorithm { shape: number(shape), alignment: types, workspace: 0 });
        let addresses = [product.a, product.b, if product.beta == 0.0 { 0 } else { product.c }, product.d];
        let aligned = addresses.iter().zip(algorithm.alignment).all(|(at, by)| at % u64::from(by) == 0);
        let (at, bytes) = product.workspace;
        let works = bytes >= algorithm.workspace && (algorithm.workspace == 0 || at != 0 && at % 256 == 0);
        if algorithm.shape != number(shape) || !aligned || !works {
            return Err(INVALID_VALUE);
        }
        product.workspace.1 = algorithm.workspace;
        Ok(())
    }
}

/// A number that identifies the product.
fn number(shape: &Shape) -> u64 {
    let mut hasher = DefaultHasher::new();
    shape.hash(&mut hasher);
    hasher.finish()
}

/// Turns a status of the driver into one of cuBLASLt.
pub fn of_driver(status: Status) -> Status {
    match status {
        Status::INVALID_CONTEXT | Status::NOT_INITIALIZED => NOT_INITIALIZED,
        Status::INVALID_HANDLE | Status::INVALID_VALUE => INVALID_VALUE,
        _ => crate::status::blas::EXECUTION_FAILED,
    }
}
