//! The scan on a launched device: its limits, the size of blocks, the arguments.

use autograd::Sinks;
use engine::launch::{Arg, Grid, Kernel, Launcher, PtxFile};
use engine::{DType, Error, Result, Tensor};

use super::call::{Dims, Kept, OP, at};
use crate::launch::{check_type, entry, grid, ptx_file, run, size, sizes};
use crate::rows::launch::{Rows, sum};

static FILE: PtxFile = ptx_file!("selective_scan");

/// Tokens between two kept states, as in scan.cuh.
pub(super) const CHUNK: usize = 16;
/// Tokens between two barriers of the forward walk, as in forward.cuh.
const TILE: usize = 8;
const WARP: usize = 32;
/// Multiprocessors that a launch is cut for, those of an H100. Another number changes the time, not the result.
const MULTIPROCESSORS: usize = 132;
/// Shared memory of a block, so that two blocks share a multiprocessor of an H100.
const HALF_SHARED: usize = 113 << 10;
/// Longest sequence.
const MAX_LENGTH: usize = 16_384;

/// The entry of a kernel for a state and a type.
macro_rules! entry_of {
    ($name:literal, $n:expr, $dtype:expr) => {
        match $n {
            8 => entry!(FILE, concat!($name, "_n8"), $dtype),
            16 => entry!(FILE, concat!($name, "_n16"), $dtype),
            32 => entry!(FILE, concat!($name, "_n32"), $dtype),
            _ => entry!(FILE, concat!($name, "_n64"), $dtype),
        }
    };
}

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

/// Channels of a warp of the backward pass.
fn backward_channels(n: usize) -> usize {
    512 / n
}

/// Channels of a warp.
fn warp_channels(n: usize) -> usize {
    256 / n
}

/// Warps of a block, which share B and C: the first of the falling `sizes` that gives the busiest multiprocessor at
/// most a third more warps than the best size does. Large blocks read B and C least often, and up to a third more warps
/// still hide each other's latency. A warp has `channels`; `rows` blocks take the same channels.
fn warps(sizes: &[usize], dims: Dims, channels: usize, rows: usize) -> usize {
    let busiest = |&warps: &usize| {
        let blocks = rows * dims.e.div_ceil(warps * channels);
        warps * blocks.div_ceil(MULTIPROCESSORS)
    };
    let best = sizes.iter().map(busiest).min().expect("a size");
    *sizes.iter().find(|size| 3 * busiest(size) <= 4 * best).expect("the best at least")
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
    let Dims { b, l, e, n, r, .. } = dims;
    let channels = warp_channels(n);
    let warps = warps(if n == 8 { &[4] } else { &[6, 4] }, dims, channels, b);
    // Words of shared memory: B and C of two tiles in both directions; a tile's tokens and the parameters of 2 x
    // `warps` warps; and y of one direction, where it fits.
    let words = 4 * TILE * 2 * n + 2 * warps * (4 * TILE + 2) * channels;
    let sums = l.next_multiple_of(CHUNK) * warps * channels;
    let sums_in_shared = 4 * (words + sums) <= HALF_SHARED;
    let shared = 4 * if sums_in_shared { words + sums } else { words };

    let mut args = inputs(dims, values);
    // Where y does not fit, the direction that comes to a token first leaves it in `out`.
    args.push(if sums_in_shared { out.arg_mut() } else { Arg::InOut(out.region_mut()) });
    match kept {
        Some(kept) => args.extend([kept.y.arg_mut(), kept.states.arg_mut()]),
        None => args.extend([Arg::None, Arg::None]),
    }
    args.push(Arg::U32(sums_in_shared.into()));
    args.extend(sizes(OP, [l, e, r])?);
    let blocks = [e.div_ceil(warps * channels), b, usize::from(l > 0)];
    let grid = Grid { shared: shared as u32, ..grid(OP, blocks, 2 * warps * WARP)? };
    run(launcher, entry_of!("selective_scan_forward", n, values[at::XZ].dtype()), grid, &args)
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
    let plan = Backward::new(dims, dtype, trained);

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
    let grid = Grid { shared: plan.shared as u32, ..grid(OP, blocks, plan.warps * WARP)? };
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

/// How a backward launch is cut.
struct Backward {
    kernel: Kernel,
    warps: usize,
    /// Blocks of channels.
    blocks: usize,
    /// Bytes of shared memory of a block.
    shared: usize,
}

impl Backward {
    fn new(dims: Dims, dtype: DType, trained: bool) -> Self {
        let Dims { b, e, n, prompts, .. } = dims;
        // The words of a warp, as in backward.cuh: a chunk's tokens, states within the chunk, parts of sums over states,
        // parts of dB and dC, and two parameters. Beside them are the next chunk's inputs in their own type.
        let channels = backward_channels(n);
        let row = (4 * channels).max(2 * n) + 4;
        let kept = if trained { 3 } else { 2 } * WARP * 16;
        let padding = match n {
            8 => 16,
            16 => 8,
            _ => 4,
        };
        let parts = 8 * (n / 4) * (channels + padding);
        let words = CHUNK * row + kept + parts + 4 * channels * n / 2 + 2 * channels;
        let staged = (5 + usize::from(prompts)) * CHUNK * channels * dtype.size();
        let bc = CHUNK * 2 * n * (4 + dtype.size());
        let shared = |warps: usize| bc + warps * (4 * words + staged);
        let candidates: Vec<usize> =
            [4, 3, 2, 1].into_iter().filter(|&w| w == 1 || shared(w) <= HALF_SHARED).collect();
        let warps = warps(&candidates, dims, channels, 2 * b);
        let kernel = match trained {
            true => entry_of!("selective_scan_backward_trained", n, dtype),
            false => entry_of!("selective_scan_backward", n, dtype),
        };
        Backward { kernel, warps, blocks: e.div_ceil(warps * channels), shared: shared(warps) }
    }
}

/// Writes dB and dC, summed over the blocks of channels, as the last columns of dx_dbl.
fn sum_bc(launcher: &dyn Launcher, dims: Dims, dbc: &Tensor, mut dx_dbl: [Tensor; 2]) -> Result<[Tensor; 2]> {
    const THREADS: usize = 256;
    let (rows, columns) = (dims.b * dims.l, 2 * dims.n);
    let mut args = vec![dbc.arg()];
    let kernel = entry!(FILE, "selective_scan_sum_bc", dx_dbl[0].dtype());
    args.extend(dx_dbl.iter_mut().map(Tensor::arg_mut));
    args.extend(sizes(OP, [dbc.shape()[0], rows, columns, dims.r])?);
    let blocks = (rows * (dims.r + columns)).div_ceil(THREADS);
    run(launcher, kernel, grid(OP, [blocks, 2, 1], THREADS)?, &args)?;
    Ok(dx_dbl)
}
