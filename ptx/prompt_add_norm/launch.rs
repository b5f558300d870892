//! Prompt add, residual add and norm on a launched device.

use autograd::{Sink, Sinks};
use engine::launch::{Arg, Grid, Launcher, PtxFile, Region};
use engine::{DType, Device, Error, Result, Tensor};

use super::call::{Call, MAX_PROMPTS, OP, at};
use crate::launch::{check_type, each, entry, grid, optional, optional_mut, ptx_file, result, run, sizes};
use crate::rows::launch::{Rows, sum};

static FILE: PtxFile = ptx_file!("prompt_add_norm");
const WARP: usize = 32;
const MAX_THREADS: usize = 512;
/// Columns of a thread where d is a multiple of that, else one.
const EACH: usize = 4;
/// Most blocks of a backward pass with column sums: enough to fill a device, and so few that adding their sums is
/// little work.
const SUM_BLOCKS: usize = 1024;

impl Call {
    /// Generated prompt, bias and scale row, for each prompt that there may be.
    fn prompt_args(&self, values: &[Tensor]) -> [Arg; 3 * MAX_PROMPTS] {
        let mut args = [Arg::None; 3 * MAX_PROMPTS];
        for (i, row) in self.rows.iter().enumerate() {
            let scale = values[at::scale(i)].region().skip(row * self.row_bytes());
            let prompt = [values[at::generated(i)].arg(), values[at::bias(i)].arg(), Arg::In(scale)];
            args[3 * i..][..3].copy_from_slice(&prompt);
        }
        args
    }

    /// The used row of drop path's factors.
    fn keep_arg(&self) -> Arg {
        let row_bytes = self.dims.b * DType::F32.size();
        let row = |(scales, row): &(Tensor, usize)| Region {
            bytes: row_bytes,
            ..scales.region().skip(row * row_bytes)
        };
        self.keep.as_ref().map_or(Arg::None, |keep| Arg::In(row(keep)))
    }

    /// Bytes of a row of a scale.
    fn row_bytes(&self) -> usize {
        self.dims.d * DType::F32.size()
    }

    /// The token without prompts. No token has the largest number.
    fn skip_arg(&self) -> Arg {
        Arg::U32(self.dims.skip.and_then(|skip| u32::try_from(skip).ok()).unwrap_or(u32::MAX))
    }

    /// A grid of blocks that each take rows of d columns.
    fn grid(&self, blocks: usize) -> Result<Grid> {
        let d = self.dims.d;
        let threads = d.div_ceil(each(d, EACH)).next_multiple_of(WARP);
        if threads > MAX_THREADS {
            let most = MAX_THREADS * EACH;
            let what = format!(
                "{d} columns on a launched device: at most {most}, {MAX_THREADS} if no multiple of 4"
            );
            return Err(Error::Unsupported { op: OP, what });
        }
        grid(OP, [blocks, 1, 1], threads)
    }
}

/// Writes the sum and the normalised sum, from the tensors in recorded order.
pub fn forward(
    launcher: &dyn Launcher,
    call: &Call,
    values: &[Tensor],
    sum: &mut Tensor,
    out: &mut Tensor,
) -> Result<()> {
    let d = call.dims;
    let residual = call.has_residual.then(|| &values[at::RESIDUAL]);
    let mut args = vec![values[at::H].arg(), optional(residual)];
    args.extend(call.prompt_args(values));
    args.extend([values[at::WEIGHT].arg(), call.keep_arg(), sum.arg_mut(), out.arg_mut()]);
    args.extend(sizes(OP, [d.l, d.d])?);
    args.push(call.skip_arg());
    let kernel = entry!(FILE, "prompt_add_norm_forward", out.dtype());
    run(launcher, kernel, call.grid(d.b * d.l)?, &args)
}

/// The gradient of a parameter, a sum over all rows of the call.
struct RowSum {
    /// The parameter's position.
    input: usize,
    sink: Sink,
    /// The row of a scale that gets the sum; other parameters have one row.
    row: Option<usize>,
}

impl RowSum {
    /// `None` where nobody wants it.
    fn take(sinks: &mut Sinks, values: &[Tensor], input: usize, row: Option<usize>) -> Option<Self> {
        Some(RowSum { input, sink: sinks.take(input, values[input].shape())?, row })
    }

    /// Adds up what the blocks left, a row each in `partial [blocks d]`.
    fn finish(mut self, device: &Device, call: &Call, partial: &Tensor, sinks: &mut Sinks) -> Result<()> {
        let (to, accumulate) = match self.row {
            // The other rows of the scale get nothing, which must be zeros.
            Some(row) => (self.sink.zeroed_tensor().region_mut().skip(row * call.row_bytes()), true),
            None => (self.sink.tensor.region_mut(), self.sink.accumulate),
        };
        sum(device, Rows::of(partial, call.dims.d), to, accumulate)?;
        sinks.put(self.input, self.sink);
        Ok(())
    }
}

/// The sums that are asked for, in the kernel's order: the weight's, then bias and scale of each prompt. The weight
/// gets one only through `out`.
fn row_sums(
    call: &Call,
    values: &[Tensor],
    through_out: bool,
    sinks: &mut Sinks,
) -> [Option<RowSum>; 1 + 2 * MAX_PROMPTS] {
    let mut sums: [Option<RowSum>; 1 + 2 * MAX_PROMPTS] = Default::default();
    if through_out {
        sums[0] = RowSum::take(sinks, values, at::WEIGHT, None);
    }
    for (i, &row) in call.rows.iter().enumerate() {
        sums[1 + 2 * i] = RowSum::take(sinks, values, at::bias(i), None);
        sums[2 + 2 * i] = RowSum::take(sinks, values, at::scale(i), Some(row));
    }
    sums
}

/// Computes the gradients of the inputs that want one, from those of residual and out that arrived. `values` are the
/// inputs in recorded order, with the sum that was normalised in the place of h.
pub fn backward(
    launcher: &dyn Launcher,
    call: &Call,
    values: &[Tensor],
    [dresidual, dout]: [Option<Tensor>; 2],
    sinks: &mut Sinks,
) -> Result<()> {
    let (d, dtype, device) = (call.dims, call.dtype, sinks.device().clone());
    let (shape, rows) = ([d.b, d.l, d.d], d.b * d.l);
    let mut dsum = (call.has_residual && sinks.wants(at::RESIDUAL)).then(|| Tensor::empty(&device, &shape));
    // Where nothing is dropped, h and the residual get the same gradient.
    let dh_is_dsum = dsum.is_some() && call.keep.is_none() && dtype == DType::F32;
    let mut dh = (sinks.wants(at::H) && !dh_is_dsum).then(|| Tensor::empty_typed(&device, dtype, &shape));
    let mut generated: [Option<Sink>; MAX_PROMPTS] = Default::default();
    for (i, sink) in generated.iter_mut().enumerate().take(call.rows.len()) {
        *sink = sinks.take_typed(at::generated(i), dtype, &shape);
    }
    let sums = row_sums(call, values, dout.is_some(), sinks);
    let blocks = if sums.iter().any(Option::is_some) { rows.min(SUM_BLOCKS) } else { rows };
    let mut partials =
        sums.each_ref().map(|sum| sum.as_ref().map(|_| Tensor::empty(&device, &[blocks, d.d])));

    let mut args = vec![values[at::H].arg(), optional(dresidual.as_ref()), optional(dout.as_ref())];
    args.extend(call.prompt_args(values));
    args.extend([values[at::WEIGHT].arg(), call.keep_arg()]);
    args.extend([optional_mut(dsum.as_mut()), optional_mut(dh.as_mut())]);
    for sink in &mut generated {
        args.push(match sink {
            Some(sink) => {
                check_type(OP, "the gradient of a prompt", &sink.tensor, dtype)?;
                result(sink.tensor.region_mut(), sink.accumulate)
            }
            None => Arg::None,
        });
    }
    args.extend(partials.iter_mut().map(|partial| optional_mut(partial.as_mut())));
    args.extend(sizes(OP, [rows, d.l, d.d])?);
    args.push(call.skip_arg());
    let accumulates =
        |sink: &Option<Sink>| Arg::U32(sink.as_ref().is_some_and(|sink| sink.accumulate).into());
    args.extend(generated.iter().map(accumulates));
    run(launcher, entry!(FILE, "prompt_add_norm_backward", dtype), call.grid(blocks)?, &args)?;

    for (i, sink) in generated.into_iter().enumerate() {
        sink.into_iter().for_each(|sink| sinks.put(at::generated(i), sink));
    }
    for (sum, partial) in sums.into_iter().zip(&partials) {
        if let (Some(sum), Some(partial)) = (sum, partial) {
            sum.finish(&device, call, partial, sinks)?;
        }
    }
    if let Some(dh) = dh.or_else(|| dsum.clone().filter(|_| dh_is_dsum)) {
        sinks.give(at::H, dh);
    }
    dsum.into_iter().for_each(|dsum| sinks.give(at::RESIDUAL, dsum));
    Ok(())
}
