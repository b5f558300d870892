//! The convolution on a launched device.

use autograd::{Sink, Sinks};
use engine::launch::{Arg, Grid, Launcher, PtxFile};
use engine::{Result, Tensor};

use super::call::{Dims, OP, at};
use crate::launch::{check_type, each, entry, grid, optional, optional_mut, ptx_file, result, run, sizes};
use crate::rows::launch::{Rows, sum};

static FILE: PtxFile = ptx_file!("causal_conv1d");
const THREADS: usize = 64;
/// Channels of a thread where e allows, forward and backward.
const FORWARD: usize = 4;
const BACKWARD: usize = 2;
/// Most tokens that a thread walks, without and with gradients of the filters. Longer runs read fewer tokens twice and
/// leave fewer partial sums of the filters' gradients; shorter runs make more threads.
const TOKENS: usize = 32;
const FILTER_TOKENS: usize = 64;

/// Writes both outputs, from the inputs in recorded order, which is the kernel's.
pub fn forward(launcher: &dyn Launcher, d: Dims, values: &[Tensor], u: [&mut Tensor; 2]) -> Result<()> {
    let mut args: Vec<Arg> = values.iter().map(Tensor::arg).collect();
    args.extend(u.map(Tensor::arg_mut));
    let tokens = run_length(d, TOKENS);
    args.extend(sizes(OP, [d.l, d.e, d.k, tokens])?);
    let kernel = entry!(FILE, "causal_conv1d_forward", values[at::XZ].dtype());
    run(launcher, kernel, walks(d, FORWARD, tokens)?, &args)
}

/// Positions of the filters' tensors, in the kernel's order.
const FILTERS: [usize; 4] = [at::weight(0), at::bias(0), at::weight(1), at::bias(1)];

/// Computes the gradients of the inputs that want one, from those of the outputs that got one.
pub fn backward(
    launcher: &dyn Launcher,
    d: Dims,
    values: &[Tensor],
    du: [Option<Tensor>; 2],
    sinks: &mut Sinks,
) -> Result<()> {
    let (dtype, device) = (values[at::XZ].dtype(), sinks.device().clone());
    let mut dxz = sinks.take_typed(at::XZ, dtype, &[d.b, d.l, 2 * d.e]);
    let filters = FILTERS.map(|at| sinks.take(at, values[at].shape()));
    let [weights, biases] = [0, 1].map(|i| filters[i].is_some() || filters[i + 2].is_some());
    let tokens = run_length(d, if weights { FILTER_TOKENS } else { TOKENS });

    let rows = d.b * d.l.div_ceil(tokens);
    let partial = |sink: &Sink| Tensor::empty(&device, &[rows, sink.tensor.numel()]);
    let mut partials = filters.each_ref().map(|sink| sink.as_ref().map(partial));
    let mut args: Vec<Arg> = values.iter().map(Tensor::arg).collect();
    args.extend(du.iter().map(|du| optional(du.as_ref())));
    let accumulate = dxz.as_ref().is_some_and(|sink| sink.accumulate);
    args.push(match &mut dxz {
        Some(sink) => {
            check_type(OP, "the gradient of xz", &sink.tensor, dtype)?;
            result(sink.tensor.region_mut(), accumulate)
        }
        None => Arg::None,
    });
    // Without a weight to train, biases cost a sum and nothing else.
    let (kernel, partial_args) = match (weights, biases) {
        (true, _) => (entry!(FILE, "causal_conv1d_backward_filters", dtype), &[0, 1, 2, 3][..]),
        (false, true) => (entry!(FILE, "causal_conv1d_backward_biases", dtype), &[1, 3][..]),
        (false, false) => (entry!(FILE, "causal_conv1d_backward", dtype), &[][..]),
    };
    args.extend(partial_args.iter().map(|&i| optional_mut(partials[i].as_mut())));
    args.extend(sizes(OP, [d.l, d.e, d.k, tokens, usize::from(accumulate)])?);
    run(launcher, kernel, walks(d, BACKWARD, tokens)?, &args)?;

    dxz.into_iter().for_each(|sink| sinks.put(at::XZ, sink));
    for (at, (sink, partial)) in FILTERS.into_iter().zip(filters.into_iter().zip(&partials)) {
        if let (Some(mut sink), Some(partial)) = (sink, partial) {
            let width = sink.tensor.numel();
            sum(&device, Rows::of(partial, width), sink.tensor.region_mut(), sink.accumulate)?;
            sinks.put(at, sink);
        }
    }
    Ok(())
}

/// Tokens of a run: the runs are as few as `most` allows, and of equal length but for the last.
fn run_length(d: Dims, most: usize) -> usize {
    d.l.div_ceil(d.l.div_ceil(most).max(1)).max(1)
}

/// A grid of blocks of channels along x, runs of tokens along y and images along z.
fn walks(d: Dims, channels: usize, tokens: usize) -> Result<Grid> {
    let threads = d.e.div_ceil(each(d.e, channels));
    grid(OP, [threads.div_ceil(THREADS), d.l.div_ceil(tokens), d.b], THREADS)
}
