//! Prompt add, residual add and norm on a launched device.

use autograd::{Sink, Sinks};
use engine::launch::{Arg, DType, Grid, Launcher, PtxFile, Region};
use engine::{Error, Result, Tensor};

use super::{BIAS, Call, GENERATED, MAX_PROMPTS, OP, SCALE, prompt_input};
use crate::launch::{check_type, each, entry, grid, optional, optional_mut, ptx_file, result, run, sizes};
use crate::rows::launch::{Rows, sum};

static FILE: PtxFile = ptx_file!("prompt_add_norm");
const WARP: usize = 32;
const MAX_THREADS: usize = 512;
/// Columns of a thread where d allows.
const EACH: usize = 4;
/// Blocks of a backward pass with column sums: enough to fill a device, few enough that their sums are little.
const SUM_BLOCKS: usize = 1024;

impl Call {
    /// Generated prompt, bias and scale row, twice.
    fn prompt_args(&self, values: &[Tensor]) -> [Arg; 3 * MAX_PROMPTS] {
        let mut args = [Arg::None; 3 * MAX_PROMPTS];
        for (i, row) in self.rows.iter().enumerate() {
            args[3 * i] = values[prompt_input(i, GENERATED)].arg();
            args[3 * i + 1] = values[prompt_input(i, BIAS)].arg();
            let scale = values[prompt_input(i, SCALE)].region();
            args[3 * i + 2] = Arg::In(scale.skip(row * self.row_bytes()));
        }
        args
    }

    /// The row of drop path's factors.
    fn keep_arg(&self) -> Arg {
        let row_bytes = self.dims.b * DType::F32.size();
        let row = |(scales, row): &(Tensor, usize)| Region {
            bytes: row_bytes,
            ..scales.region().skip(row * row_bytes)
        };
        self.keep.as_ref().map_or(Arg::None, |keep| Arg::In(row(keep)))
    }

    fn row_bytes(&self) -> usize {
        self.dims.d * DType::F32.size()
    }

    /// The row without prompts; no row has the largest number.
    fn skip_arg(&self) -> Arg {
        Arg::U32(self.dims.skip.and_then(|skip| u32::try_from(skip).ok()).unwrap_or(u32::MAX))
    }

    /// Blocks that take rows of d columns.
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
    let residual = call.has_residual.then(|| &values[1]);
    let mut args = vec![values[0].arg(), optional(residual)];
    args.extend(call.prompt_args(values));
    args.extend([values[2].arg(), call.keep_arg(), sum.arg_mut(), out.arg_mut()]);
    args.extend(sizes(OP, [d.l, d.d])?);
    args.push(call.skip_arg());
    let kernel = entry!(FILE, "prompt_add_norm_forward", out.dtype());
    run(launcher, kernel, call.grid(d.b * d.l)?, &args)
}

/// Gradients of the inputs that want one, from those of residual and out that arrived. `values` are the tensors in
/// recorded order, the first two the sum.
pub fn backward(
    launcher: &dyn Launcher,
    call: &Call,
    dtype: DType,
    values: &[Tensor],
    [dresidual, dout]: [Option<Tensor>; 2],
    scale_shapes: &[Vec<usize>],
    sinks: &mut Sinks,
) -> Result<()> {
    let (d, device) = (call.dims, sinks.device().clone());
    let shape = [d.b, d.l, d.d];
    let rows = d.b * d.l;
    let mut dsum = (call.has_residual && sinks.wants(1)).then(|| Tensor::empty(&device, &shape));
    // The same as the sum's where nothing is dropped.
    let shared = dsum.is_some() && call.keep.is_none() && dtype == DType::F32;
    let mut dh = (sinks.wants(0) && !shared).then(|| Tensor::empty_typed(&device, dtype, &shape));
    let mut generated = [None, None];
    // What gets column sums, with the input it belongs to: weight, then bias and scale of each prompt.
    let mut sums: [(usize, Option<Sink>); 1 + 2 * MAX_PROMPTS] = Default::default();
    sums[0] = (2, dout.as_ref().and_then(|_| sinks.take(2, &[d.d])));
    for (i, scale_shape) in scale_shapes.iter().enumerate() {
        generated[i] = sinks.take_typed(prompt_input(i, GENERATED), dtype, &shape);
        let (bias, scale) = (prompt_input(i, BIAS), prompt_input(i, SCALE));
        sums[1 + 2 * i] = (bias, sinks.take(bias, &[d.d]));
        sums[2 + 2 * i] = (scale, sinks.take(scale, scale_shape));
    }
    let blocks = if sums.iter().any(|(_, sink)| sink.is_some()) { rows.min(SUM_BLOCKS) } else { rows };
    let partial =
        |(_, sink): &(usize, Option<Sink>)| sink.as_ref().map(|_| Tensor::empty(&device, &[blocks, d.d]));
    let mut partials = sums.each_ref().map(partial);

    let mut args = vec![values[0].arg(), optional(dresidual.as_ref()), optional(dout.as_ref())];
    args.extend(call.prompt_args(values));
    args.extend([values[2].arg(), call.keep_arg()]);
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
    args.extend(
        generated.iter().map(|sink| Arg::U32(sink.as_ref().is_some_and(|sink| sink.accumulate).into())),
    );
    run(launcher, entry!(FILE, "prompt_add_norm_backward", dtype), call.grid(blocks)?, &args)?;

    for (i, sink) in generated.into_iter().enumerate() {
        sink.into_iter().for_each(|sink| sinks.put(prompt_input(i, GENERATED), sink));
    }
    for (i, ((input, sink), partial)) in sums.into_iter().zip(&partials).enumerate() {
        let (Some(mut sink), Some(partial)) = (sink, partial) else { continue };
        // A scale has more rows than the one that gets a gradient.
        let (to, accumulate) = match i {
            2 | 4 => (sink.zeroed_tensor().region_mut().skip(call.rows[i / 2 - 1] * call.row_bytes()), true),
            _ => (sink.tensor.region_mut(), sink.accumulate),
        };
        sum(&device, Rows::of(partial, d.d), to, accumulate)?;
        sinks.put(input, sink);
    }
    if let Some(dh) = dh.or_else(|| dsum.clone().filter(|_| shared)) {
        sinks.give(0, dh);
    }
    dsum.into_iter().for_each(|dsum| sinks.give(1, dsum));
    Ok(())
}
