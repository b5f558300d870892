//! The functions of `cublasLt.h`.

use std::sync::Arc;

use crate::blas::{Algorithm, of_driver};
use crate::ffi::{In, Out, exports};
use crate::gemm::Product;
use crate::process::process;
use crate::status::blas::INVALID_VALUE;
use crate::status::{Answer, Status};
use crate::stream::Op;

/// The layout of `cublasLtMatmulHeuristicResult_t`.
#[repr(C)]
pub struct Found {
    algorithm: [u64; 8],
    workspace: usize,
    state: u32,
    waves: f32,
    reserved: [i32; 4],
}

/// Translates the driver's "invalid argument", which has another code here.
fn blas<T>(answer: Answer<T>) -> Answer<T> {
    answer.map_err(|status| if status == Status::INVALID_VALUE { INVALID_VALUE } else { status })
}

/// # Safety
/// Takes nothing.
#[unsafe(no_mangle)]
#[allow(non_snake_case)]
pub unsafe extern "C" fn cublasLtGetVersion() -> usize {
    let version = process().config.version as usize;
    version / 1000 * 10_000 + version % 1000 / 10 * 100
}

exports! {
    cublasLtCreate(library: Out<usize>) "" => |p| {
        p.context().map_err(of_driver)?;
        blas(library.set(p.blas.create()))
    };
    cublasLtDestroy(library: usize) "{library:#x}" => |p| p.blas.destroy(library);

    cublasLtMatmulDescCreate(desc: Out<usize>, compute: u32, scale: u32) "compute {compute}" => |p| {
        blas(desc.set(p.blas.make_desc(compute, scale)?))
    };
    cublasLtMatmulDescDestroy(desc: usize) "{desc:#x}" => |p| p.blas.end_desc(desc);
    cublasLtMatmulDescSetAttribute(desc: usize, attribute: u32, value: In<u8>, bytes: usize)
        "{desc:#x} attribute {attribute}" => |p| {
        let value = blas(value.take(bytes))?;
        p.blas.set_desc(desc, attribute, &value)
    };

    cublasLtMatrixLayoutCreate(layout: Out<usize>, dtype: u32, rows: u64, columns: u64, ld: i64)
        "type {dtype} {rows} x {columns} ld {ld}" => |p| {
        blas(layout.set(p.blas.make_layout(dtype, rows, columns, ld)?))
    };
    cublasLtMatrixLayoutDestroy(layout: usize) "{layout:#x}" => |p| p.blas.end_layout(layout);
    cublasLtMatrixLayoutSetAttribute(layout: usize, attribute: u32, value: In<u8>, bytes: usize)
        "{layout:#x} attribute {attribute}" => |p| {
        let value = blas(value.take(bytes))?;
        p.blas.set_layout(layout, attribute, &value)
    };

    cublasLtMatmulPreferenceCreate(preference: Out<usize>) "" => |p| {
        blas(preference.set(p.blas.make_preference()))
    };
    cublasLtMatmulPreferenceDestroy(preference: usize) "{preference:#x}" => |p| {
        p.blas.end_preference(preference)
    };
    cublasLtMatmulPreferenceSetAttribute(
        preference: usize, attribute: u32, value: In<u8>, bytes: usize
    ) "{preference:#x} attribute {attribute}" => |p| {
        let value = blas(value.take(bytes))?;
        p.blas.set_preference(preference, attribute, &value)
    };

    cublasLtMatmulAlgoGetHeuristic(
        library: usize, desc: usize, a: usize, b: usize, c: usize, d: usize, preference: usize,
        most: i32, results: Out<Found>, found: Out<i32>
    ) "{desc:#x}" => |p| {
        blas(found.set(0))?;
        p.blas.check(library)?;
        if most < 1 {
            return Err(INVALID_VALUE);
        }
        let shape = p.blas.shape(desc, [a, b, c, d])?;
        let Some(chosen) = p.blas.choose(&shape, preference)? else { return Ok(()) };
        let (algorithm, workspace) = (chosen.words(), chosen.workspace());
        blas(results.set(Found { algorithm, workspace, state: 0, waves: 1.0, reserved: [0; 4] }))?;
        blas(found.set(1))
    };

    cublasLtMatmul(
        library: usize, desc: usize, alpha: In<f32>, a: u64, a_layout: usize, b: u64, b_layout: usize,
        beta: In<f32>, c: u64, c_layout: usize, d: u64, d_layout: usize, algorithm: In<u64>,
        workspace: u64, workspace_bytes: usize, stream: usize
    ) "stream {stream:#x} workspace {workspace_bytes}" => |p| {
        p.blas.check(library)?;
        let shape = p.blas.shape(desc, [a_layout, b_layout, c_layout, d_layout])?;
        p.note = format!("{} ", shape.name());
        let (alpha, beta) = (blas(alpha.get())?, blas(beta.get())?);
        let algorithm = match algorithm.is_null() {
            true => None,
            false => Some(Algorithm::of(&algorithm.take(8)?)?),
        };
        let mut product =
            Product { shape, a, b, c, d, alpha, beta, bias: None, workspace: (workspace, workspace_bytes) };
        p.blas.complete(&mut product, desc, algorithm)?;
        let context = p.context().map_err(of_driver)?;
        context.enqueue(stream, Op::Product(Arc::new(product))).map_err(of_driver)
    };
}
