//! The scan on a launched device: its limits and the arguments of its launches.

use autograd::Sinks;
use engine::launch::{Arg, Grid, Launcher, PtxFile};
use engine::{DType, Error, Result, Tensor};

use super::call::{Dims, Kept, OP, at};
use super::plan::Plan;
use crate::launch::{check_type, entry, grid, ptx_file, run, size, sizes};
use crate::rows::launch::{Rows, sum};

pub(super) static FILE: PtxFile = ptx_file!("selective_scan");

/// Tokens between two kept states, as in scan.cuh.
pub(super) const CHUNK: usize = 16;
/// Longest sequence.
const MAX_LENGTH: usize = 16_384;

/// The entry of a kernel for a state and a type.
macro_rules! entry_of {
    ($name:literal, $n:expr, $dtype:expr) => {
        match $n {
            8 => crate::launch::entry!(super::launch::FILE, concat!($name, "_n8"), $dtype),
            16 => crate::launch::entry!(super::launch::FILE, concat!($name, "_n16"), $dtype),
            32 => crate::launch::entry!(super::launch::FILE, concat!($name, "_n32"), $dtype),
            _ => crate::launch::entry!(super::launch::FILE, concat!($name, "_n64"), $dtype),
        }
    };
}
pub(super) use entry_of;

/// Refuses sizes and types that the kernels do not take, with [`Error::Unsupported`].
pub(super) fn check(dims: Dims, values: &[Tensor]) -> Result<()> {
    let Dims { b, l, e, n, r, prompts } = dims;
    let dtype = values[at::XZ].dtype();
    if ![8, 16, 32, 64].contains(&n) || !e.is_multiple_of(8) || l > MAX_LENGTH {
        let what = format!(
            "state {n}, {e} channels, length {l}: on a launched device state 8, 16, 32 or 64, channels in eights, at \
             most {MAX_LENGTH} tokens"
        );
        return Err(Error::Unsupported { op: OP, what });
    }
    size(OP, b * l * 2 * e)?;
    size(OP, b * l * (r + 2 * n))?;
    check_type(OP, "xz", &values[at::XZ], dtype)?;
    for dir in 0..2 {
        check_type(OP, "u", &values[at::u(dir)], dtype)?;
        check_type(OP, "delta", &values[at::delta(dir)], dtype)?;
        check_type(OP, "x_dbl", &values[at::x_dbl(dir)], dtype)?;
        check_type(OP, "A_log", &values[at::a_log(dir)], DType::F32)?;
        check_type(OP, "D", &values[at::d(dir)], DType::F32)?;
        check_type(OP, "delta_bias", &values[at::delta_bias(dir)], DType::F32)?;
        if prompts {
            check_type(OP, "prompt", &values[at::prompt(dir)], dtype)?;
        }
    }
    Ok(())
}

/// `values` in recorded order, which is the kernels'.
fn inputs(dims: Dims, values: &[Tensor]) -> Vec<Arg> {
    let mut args: Vec<Arg> = values.iter().map(Tensor::arg).collect();
    if !dims.prompts {
        args.extend([Arg::None; 2]);
    }
    args
}

/// Writes `out`, and what is kept when there is room for it.
pub(super) fn forward(
    launcher: &dyn Launcher,
    dims: Dims,
    values: &[Tensor],
    out: &mut Tensor,
    kept: Option<&mut Kept<Tensor>>,
) -> Result<()> {
    let Dims { b, l, e, r, .. } = dims;
    let Plan { kernel, blocks, block } = Plan::forward(dims, values[at::XZ].dtype(), &launcher.limits())?;

    let mut args = inputs(dims, values);
    // Where y does not fit, the direction that comes to a token first leaves it in `out`.
    args.push(if block.sums_in_shared { out.arg_mut() } else { Arg::InOut(out.region_mut()) });
    match kept {
        Some(kept) => args.extend([kept.y.arg_mut(), kept.states.arg_mut()]),
        None => args.extend([Arg::None, Arg::None]),
    }
    args.push(Arg::U32(block.sums_in_shared.into()));
    args.extend(sizes(OP, [l, e, r])?);
    let blocks = [blocks, b, usize::from(l > 0)];
    let grid = Grid { shared: block.shared as u32, ..grid(OP, blocks, block.threads)? };
    run(launcher, kernel, grid, &args)
}

/// Positions of the parameters whose gradients the `trained` kernels compute.
const PARAMETERS: [fn(usize) -> usize; 3] = [at::a_log, at::d, at::delta_bias];

/// Computes all gradients, but those of A_log and D only when one of them is asked for. That of delta_bias alone is a
/// sum of the gradient of delta.
pub(super) fn backward(
    launcher: &dyn Launcher,
    dims: Dims,
    values: &[Tensor],
    kept: &Kept<Tensor>,
    dout: &Tensor,
    sinks: &mut Sinks,
) -> Result<()> {
    let Dims { b, l, e, n, r, .. } = dims;
    let (dtype, device) = (values[at::XZ].dtype(), sinks.device().clone());
    let empty = |shape: &[usize]| Tensor::empty_typed(&device, dtype, shape);
    let trained = [at::a_log, at::d].iter().any(|at| sinks.wants(at(0)) || sinks.wants(at(1)));
    let plan = Plan::backward(dims, dtype, trained, &launcher.limits())?;

    let mut dxz = empty(&[b, l, 2 * e]);
    let mut du = [empty(&[b, l, e]), empty(&[b, l, e])];
    let mut ddelta = [empty(&[b, l, e]), empty(&[b, l, e])];
    let mut dbc = Tensor::empty(&device, &[plan.blocks, 2, b, l, 2 * n]);
    let mut args = inputs(dims, values);
    args.extend([kept.y.arg(), kept.states.arg(), dout.arg(), dxz.arg_mut()]);
    args.extend(du.iter_mut().chain(&mut ddelta).map(Tensor::arg_mut));
    args.push(dbc.arg_mut());
    // The parameters' gradients, image by image.
    let mut parameters: Vec<Tensor> = match trained {
        true => [n, 1, 1].map(|each| Tensor::empty(&device, &[2, b, e * each])).into(),
        false => vec![],
    };
    args.extend(parameters.iter_mut().map(Tensor::arg_mut));
    args.extend(sizes(OP, [l, e, r])?);
    let blocks = [plan.blocks, if l > 0 { b } else { 0 }, 2];
    let grid = Grid { shared: plan.block.shared as u32, ..grid(OP, blocks, plan.block.threads)? };
    run(launcher, plan.kernel, grid, &args)?;

    for (at, partial) in PARAMETERS.iter().zip(&parameters) {
        for dir in 0..2 {
            let (at, width) = (at(dir), partial.shape()[2]);
            let Some(mut sink) = sinks.take(at, values[at].shape()) else { continue };
            let rows = Rows { tensor: partial, first: dir * b * width, rows: b, width, stride: width };
            sum(&device, rows, sink.tensor.region_mut(), sink.accumulate)?;
            sinks.put(at, sink);
        }
    }
    for (dir, ddelta) in ddelta.iter().enumerate().filter(|_| !trained) {
        if let Some(mut sink) = sinks.take(at::delta_bias(dir), &[e]) {
            sum(&device, Rows::of(ddelta, e), sink.tensor.region_mut(), sink.accumulate)?;
            sinks.put(at::delta_bias(dir), sink);
        }
    }
    let dx_dbl = sum_bc(launcher, dims, &dbc, [empty(&[b, l, r + 2 * n]), empty(&[b, l, r + 2 * n])])?;
    sinks.give(at::XZ, dxz);
    for (dir, ((du, ddelta), dx_dbl)) in du.into_iter().zip(ddelta).zip(dx_dbl).enumerate() {
        if dims.prompts {
            sinks.give(at::prompt(dir), du.clone());
        }
        sinks.give(at::u(dir), du);
        sinks.give(at::delta(dir), ddelta);
        sinks.give(at::x_dbl(dir), dx_dbl);
    }
    Ok(())
}

/// Writes dB and dC, summed over the blocks of channels, as the last columns of dx_dbl.
fn sum_bc(launcher: &dyn Launcher, dims: Dims, dbc: &Tensor, mut dx_dbl: [Tensor; 2]) -> Result<[Tensor; 2]> {
    const THREADS: usize = 256;
    let (rows, columns) = (dims.b * dims.l, 2 * dims.n);
    let mut args = vec![dbc.arg()];
    let kernel = entry!(FILE, "selective_scan_sum_bc", dx_dbl[0].dtype());
    args.extend(dx_dbl.iter_mut().map(Tensor::arg_mut));
    args.extend(sizes(OP, [dbc.shape()[0], rows, columns, dims.r])?);
    let blocks = (rows * (dims.r.div_ceil(4) + columns / 4)).div_ceil(THREADS);
    run(launcher, kernel, grid(OP, [blocks, 2, 1], THREADS)?, &args)?;
    Ok(dx_dbl)
}
