//! The scan on a launched device: limits, the size of blocks, arguments.

use autograd::Sinks;
use engine::launch::{Arg, Grid, Kernel, Launcher, PtxFile};
use engine::{DType, Device, Error, Result, Tensor};

use super::{Dims, OP};
use crate::launch::{check_type, entry, grid, ptx_file, run, size, sizes};
use crate::rows::launch::{Rows, sum};

static FILE: PtxFile = ptx_file!("selective_scan");

/// Tokens between kept states, as in scan.cuh.
const CHUNK: usize = 16;
/// Tokens between two barriers of the forward walk, as in forward.cuh.
const TILE: usize = 8;
const WARP: usize = 32;
/// Multiprocessors that a launch is cut for: those of an H100. More or fewer change the time, not the result.
const MULTIPROCESSORS: usize = 132;
/// Shared memory of a block of which two fit a multiprocessor of an H100.
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

/// What the kernels leave for the backward pass.
pub(super) struct Kept {
    /// `[2 b chunks n e]` f32, the state before every chunk in the order of the threads that read it again.
    states: Tensor,
    /// `[b l e]`: y of both directions, summed, before average and gate.
    y: Tensor,
}

impl Kept {
    pub fn new(device: &Device, dims: Dims, dtype: DType) -> Self {
        let Dims { b, l, e, n, .. } = dims;
        let states = Tensor::empty(device, &[2, b, l.div_ceil(CHUNK), n, e]);
        Kept { states, y: Tensor::empty_typed(device, dtype, &[b, l, e]) }
    }
}

/// Refuses what the kernels do not take.
pub(super) fn check(dims: Dims, values: &[Tensor], prompt: bool) -> Result<()> {
    let Dims { b, l, e, n, r } = dims;
    let dtype = values[0].dtype();
    if ![8, 16, 32, 64].contains(&n) || !e.is_multiple_of(8) || l > MAX_LENGTH {
        let what = format!(
            "state {n}, {e} channels, length {l}: on a launched device state 8, 16, 32 or 64, channels in eights, at \
             most {MAX_LENGTH} tokens"
        );
        return Err(Error::Unsupported { op: OP, what });
    }
    size(OP, b * l * 2 * e)?;
    size(OP, b * l * (r + 2 * n))?;
    let names = ["xz", "u", "delta", "x_dbl", "A_log", "D", "delta_bias"];
    for (i, value) in values.iter().enumerate().take(if prompt { 14 } else { 13 }) {
        let (name, parameter) = match i {
            0 => ("xz", false),
            13 => ("prompt", false),
            i => (names[1 + (i - 1) % 6], (i - 1) % 6 >= 3),
        };
        check_type(OP, name, value, if parameter { DType::F32 } else { dtype })?;
    }
    Ok(())
}

/// Channels of a warp.
fn warp_channels(n: usize) -> usize {
    256 / n
}

/// Warps that share their channels' B and C: the first of `sizes`, which fall, that gives the busiest multiprocessor at
/// most a third more warps than the best. Large blocks read B and C least often, and up to a third more warps hide each
/// other's latency. `rows` blocks take the same channels.
fn warps(sizes: &[usize], dims: Dims, rows: usize) -> usize {
    let busiest = |&warps: &usize| {
        let blocks = rows * dims.e.div_ceil(warps * warp_channels(dims.n));
        warps * blocks.div_ceil(MULTIPROCESSORS)
    };
    let best = sizes.iter().map(busiest).min().expect("a size");
    *sizes.iter().find(|size| 3 * busiest(size) <= 4 * best).expect("the best at least")
}

/// `values` in recorded order.
fn inputs(values: &[Tensor], prompt: bool) -> Vec<Arg> {
    let mut args: Vec<Arg> = values[..13].iter().map(Tensor::arg).collect();
    args.push(if prompt { values[13].arg() } else { Arg::None });
    args
}

pub(super) fn forward(
    launcher: &dyn Launcher,
    dims: Dims,
    values: &[Tensor],
    prompt: bool,
    out: &mut Tensor,
    kept: Option<&mut Kept>,
) -> Result<()> {
    let Dims { b, l, e, n, r } = dims;
    let (warps, channels) = (warps(if n == 8 { &[4] } else { &[6, 4] }, dims, b), warp_channels(n));
    // Words: B and C of two tiles in both directions; a tile's tokens and the parameters of 2 x `warps` warps; y of
    // one direction, where it fits.
    let words = 4 * TILE * 2 * n + 2 * warps * (4 * TILE + 2) * channels;
    let sums = l.next_multiple_of(CHUNK) * warps * channels;
    let sums_in_shared = 4 * (words + sums) <= HALF_SHARED;
    let shared = 4 * if sums_in_shared { words + sums } else { words };

    let mut args = inputs(values, prompt);
    // Without room in shared memory the first direction leaves its y in `out`.
    args.push(if sums_in_shared { out.arg_mut() } else { Arg::InOut(out.region_mut()) });
    match kept {
        Some(kept) => args.extend([kept.y.arg_mut(), kept.states.arg_mut()]),
        None => args.extend([Arg::None, Arg::None]),
    }
    args.push(Arg::U32(sums_in_shared.into()));
    args.extend(sizes(OP, [l, e, r])?);
    let blocks = [e.div_ceil(warps * channels), b, usize::from(l > 0)];
    let grid = Grid { shared: shared as u32, ..grid(OP, blocks, 2 * warps * WARP)? };
    run(launcher, entry_of!("selective_scan_forward", n, values[0].dtype()), grid, &args)
}

/// All gradients; those of A_log and D only when one of them is asked for. That of delta_bias alone is a sum of ddelta.
pub(super) fn backward(
    launcher: &dyn Launcher,
    dims: Dims,
    values: &[Tensor],
    prompt: bool,
    kept: &Kept,
    dout: &Tensor,
    sinks: &mut Sinks,
) -> Result<()> {
    let Dims { b, l, e, n, r } = dims;
    let (dtype, device) = (values[0].dtype(), sinks.device().clone());
    let empty = |shape: &[usize]| Tensor::empty_typed(&device, dtype, shape);
    let trained = [4, 5, 10, 11].into_iter().any(|i| sinks.wants(i));
    let plan = Backward::new(dims, dtype, prompt, trained);

    let mut dxz = empty(&[b, l, 2 * e]);
    let mut du = [empty(&[b, l, e]), empty(&[b, l, e])];
    let mut ddelta = [empty(&[b, l, e]), empty(&[b, l, e])];
    let mut dbc = Tensor::empty(&device, &[plan.blocks, 2, b, l, 2 * n]);
    let mut args = inputs(values, prompt);
    args.extend([kept.y.arg(), kept.states.arg(), dout.arg(), dxz.arg_mut()]);
    args.extend(du.iter_mut().chain(&mut ddelta).map(Tensor::arg_mut));
    args.push(dbc.arg_mut());
    // Of A_log, D and delta_bias, per image.
    let mut parameters: Vec<Tensor> = match trained {
        true => [n, 1, 1].map(|each| Tensor::empty(&device, &[2, b, e * each])).into(),
        false => vec![],
    };
    args.extend(parameters.iter_mut().map(Tensor::arg_mut));
    args.extend(sizes(OP, [l, e, r])?);
    let blocks = [plan.blocks, if l > 0 { b } else { 0 }, 2];
    let grid = Grid { shared: plan.shared as u32, ..grid(OP, blocks, plan.warps * WARP)? };
    run(launcher, plan.kernel, grid, &args)?;

    for (i, partial) in parameters.iter().enumerate() {
        for dir in 0..2 {
            let (at, width) = (4 + i + 6 * dir, partial.shape()[2]);
            let Some(mut sink) = sinks.take(at, values[at].shape()) else { continue };
            let rows = Rows { tensor: partial, first: dir * b * width, rows: b, width, stride: width };
            sum(&device, rows, sink.tensor.region_mut(), sink.accumulate)?;
            sinks.put(at, sink);
        }
    }
    for (dir, ddelta) in ddelta.iter().enumerate().filter(|_| !trained) {
        if let Some(mut sink) = sinks.take(6 + 6 * dir, &[e]) {
            sum(&device, Rows::of(ddelta, e), sink.tensor.region_mut(), sink.accumulate)?;
            sinks.put(6 + 6 * dir, sink);
        }
    }
    for du in du.iter().take(if prompt { 2 } else { 0 }) {
        sinks.give(13, du.clone());
    }
    let dx_dbl = sum_bc(launcher, dims, &dbc, [empty(&[b, l, r + 2 * n]), empty(&[b, l, r + 2 * n])])?;
    sinks.give(0, dxz);
    for (dir, ((du, ddelta), dx_dbl)) in du.into_iter().zip(ddelta).zip(dx_dbl).enumerate() {
        sinks.give(1 + 6 * dir, du);
        sinks.give(2 + 6 * dir, ddelta);
        sinks.give(3 + 6 * dir, dx_dbl);
    }
    Ok(())
}

/// How a backward launch is cut.
struct Backward {
    kernel: Kernel,
    warps: usize,
    /// Of channels.
    blocks: usize,
    /// Bytes.
    shared: usize,
}

impl Backward {
    fn new(dims: Dims, dtype: DType, prompt: bool, trained: bool) -> Self {
        let Dims { b, e, n, .. } = dims;
        // The words of a warp, as in backward.cuh: a chunk's tokens, states within the chunk, parts of dB and dC, bias;
        // and the inputs of the next chunk in their own type.
        let row = (4 * warp_channels(n)).max(2 * n);
        let parts = 4 * (4 * WARP + if n < 32 { n } else { 0 });
        let words = CHUNK * row + 3 * 8 * WARP + parts + warp_channels(n).next_multiple_of(32);
        let staged = (5 + usize::from(prompt)) * CHUNK * warp_channels(n) * dtype.size();
        let bc = 4 * CHUNK * 2 * n;
        let shared = |warps: usize| bc + warps * (4 * words + staged);
        let largest = match (trained, n) {
            (_, 64) | (true, 32) => 4,
            (true, _) | (_, 32) => 6,
            (false, _) => 8,
        };
        let candidates: Vec<usize> =
            [8, 6, 4].into_iter().filter(|&w| w == 4 || w <= largest && shared(w) <= HALF_SHARED).collect();
        let warps = warps(&candidates, dims, 2 * b);
        let kernel = match trained {
            true => entry_of!("selective_scan_backward_trained", n, dtype),
            false => entry_of!("selective_scan_backward", n, dtype),
        };
        Backward { kernel, warps, blocks: e.div_ceil(warps * warp_channels(n)), shared: shared(warps) }
    }
}

/// dB and dC summed over blocks of channels, as the last columns of dx_dbl.
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
