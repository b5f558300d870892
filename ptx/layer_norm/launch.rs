//! Add and norm on a launched device.

use autograd::Sinks;
use engine::launch::{Arg, Grid, Launcher, PtxFile, Region};
use engine::{DType, Error, Result, Tensor};

use super::call::{Call, OP, at};
use crate::launch::{check_type, each, entry, grid, optional, optional_mut, ptx_file, run, sizes};
use crate::rows::launch::{Rows, sum as sum_rows};

static FILE: PtxFile = ptx_file!("layer_norm");
const WARP: usize = 32;
const MAX_THREADS: usize = 512;
/// Columns of a thread where d is a multiple of that, else one.
const EACH: usize = 4;
/// Most blocks of a backward pass with column sums: enough to fill a device, and so few that adding their sums is
/// little work.
const SUM_BLOCKS: usize = 1024;

impl Call {
    /// The used row of drop path's factors.
    fn keep_arg(&self) -> Arg {
        let row_bytes = self.rows / self.l.max(1) * DType::F32.size();
        let row = |(scales, row): &(Tensor, usize)| Region {
            bytes: row_bytes,
            ..scales.region().skip(row * row_bytes)
        };
        self.keep.as_ref().map_or(Arg::None, |keep| Arg::In(row(keep)))
    }

    /// A grid of blocks that each take rows of d columns.
    fn grid(&self, blocks: usize) -> Result<Grid> {
        let d = self.d;
        let threads = d.div_ceil(each(d, EACH)).next_multiple_of(WARP);
        if threads > MAX_THREADS {
            let most = MAX_THREADS * EACH;
            let what = format!(
                "{d} columns on a launched device: at most {most}, {MAX_THREADS} if no multiple of {EACH}"
            );
            return Err(Error::Unsupported { op: OP, what });
        }
        grid(OP, [blocks, 1, 1], threads)
    }
}

/// Writes the norm, and the sum where it is asked for.
pub fn forward(
    launcher: &dyn Launcher,
    call: &Call,
    x: &Tensor,
    residual: Option<&Tensor>,
    [weight, bias]: [&Tensor; 2],
    sum: Option<&mut Tensor>,
    out: &mut Tensor,
) -> Result<()> {
    check_type(OP, "weight", weight, DType::F32)?;
    check_type(OP, "bias", bias, DType::F32)?;
    residual.map_or(Ok(()), |residual| check_type(OP, "residual", residual, DType::F32))?;
    let mut args = vec![x.arg(), optional(residual), weight.arg(), bias.arg(), call.keep_arg()];
    args.extend([optional_mut(sum), out.arg_mut()]);
    args.extend(sizes(OP, [call.l, call.d])?);
    args.push(Arg::F32(call.eps));
    run(launcher, entry!(FILE, "layer_norm_forward", call.dtype), call.grid(call.rows)?, &args)
}

/// Computes the gradients of the inputs that want one, from those of the sum and of the norm that arrived. `sum` is what was
/// normalised, in f32; the bias alone does without it.
pub fn backward(
    launcher: &dyn Launcher,
    call: &Call,
    [sum, weight]: [Option<&Tensor>; 2],
    [dsum_in, dout]: [Option<Tensor>; 2],
    sinks: &mut Sinks,
) -> Result<()> {
    let (d, device) = (call.d, sinks.device().clone());
    let Some(sum) = sum else {
        // Nothing but the bias is trained.
        let Some(dout) = &dout else { return Ok(()) };
        if let Some(mut sink) = sinks.take(at::BIAS, &[d]) {
            sum_rows(&device, Rows::of(dout, d), sink.tensor.region_mut(), sink.accumulate)?;
            sinks.put(at::BIAS, sink);
        }
        return Ok(());
    };
    let mut dsum =
        (call.has_residual && sinks.wants(at::RESIDUAL)).then(|| Tensor::empty(&device, &call.shape));
    // Where nothing is dropped, h and the residual get the same gradient.
    let dh_is_dsum = dsum.is_some() && call.keep.is_none() && call.dtype == DType::F32;
    let mut dh =
        (sinks.wants(at::X) && !dh_is_dsum).then(|| Tensor::empty_typed(&device, call.dtype, &call.shape));
    // The parameters get gradients only through the norm.
    let mut take = |at| dout.as_ref().and_then(|_| sinks.take(at, &[d]));
    let parameters = [(at::WEIGHT, take(at::WEIGHT)), (at::BIAS, take(at::BIAS))];
    let summed = parameters.iter().any(|(_, sink)| sink.is_some());
    let blocks = if summed { call.rows.min(SUM_BLOCKS) } else { call.rows };
    let mut partials =
        parameters.each_ref().map(|(_, sink)| sink.as_ref().map(|_| Tensor::empty(&device, &[blocks, d])));

    let mut args = vec![sum.arg(), optional(dsum_in.as_ref()), optional(dout.as_ref())];
    args.extend([optional(weight), call.keep_arg(), optional_mut(dsum.as_mut()), optional_mut(dh.as_mut())]);
    args.extend(partials.iter_mut().map(|partial| optional_mut(partial.as_mut())));
    args.extend(sizes(OP, [call.rows, call.l, d])?);
    args.push(Arg::F32(call.eps));
    run(launcher, entry!(FILE, "layer_norm_backward", call.dtype), call.grid(blocks)?, &args)?;

    for ((at, sink), partial) in parameters.into_iter().zip(&partials) {
        if let (Some(mut sink), Some(partial)) = (sink, partial) {
            sum_rows(&device, Rows::of(partial, d), sink.tensor.region_mut(), sink.accumulate)?;
            sinks.put(at, sink);
        }
    }
    if let Some(dh) = dh.or_else(|| dsum.clone().filter(|_| dh_is_dsum)) {
        sinks.give(at::X, dh);
    }
    dsum.into_iter().for_each(|dsum| sinks.give(at::RESIDUAL, dsum));
    Ok(())
}
