//! Prompt add, residual add and norm on a launched device.

use autograd::{Sink, Sinks};
use engine::launch::{Arg, DType, Grid, Launcher, PtxFile};
use engine::{Error, Result, Tensor};

use super::{Call, MAX_PROMPTS, OP};
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
    /// Generated prompt and scale row, twice.
    fn prompt_args(&self, values: &[Tensor]) -> [Arg; 2 * MAX_PROMPTS] {
        let mut args = [Arg::None; 2 * MAX_PROMPTS];
        for (i, row) in self.rows.iter().enumerate() {
            args[2 * i] = values[3 + 2 * i].arg();
            args[2 * i + 1] = Arg::In(values[4 + 2 * i].region().skip(row * self.row_bytes()));
        }
        args
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
    args.extend([values[2].arg(), optional(call.keep.as_ref()), sum.arg_mut(), out.arg_mut()]);
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
    let mut scales: [Option<Sink>; MAX_PROMPTS] = [None, None];
    for (i, shape_of_scale) in scale_shapes.iter().enumerate() {
        generated[i] = sinks.take_typed(3 + 2 * i, dtype, &shape);
        scales[i] = sinks.take(4 + 2 * i, shape_of_scale);
    }
    let weight = dout.as_ref().and_then(|_| sinks.take(2, &[d.d]));

    let sums = weight.is_some() || scales.iter().any(Option::is_some);
    let blocks = if sums { rows.min(SUM_BLOCKS) } else { rows };
    let partial = |sink: &Option<Sink>| sink.as_ref().map(|_| Tensor::empty(&device, &[blocks, d.d]));
    let mut partials = [partial(&weight), partial(&scales[0]), partial(&scales[1])];

    let mut args = vec![values[0].arg(), optional(dresidual.as_ref()), optional(dout.as_ref())];
    args.extend(call.prompt_args(values));
    args.extend([values[2].arg(), optional(call.keep.as_ref())]);
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

    let [dweight, dscales @ ..] = &partials;
    if let (Some(mut sink), Some(partial)) = (weight, dweight) {
        sum(&device, Rows::of(partial, d.d), sink.tensor.region_mut(), sink.accumulate)?;
        sinks.put(2, sink);
    }
    for (i, (generated, scale)) in generated.into_iter().zip(scales).enumerate() {
        generated.into_iter().for_each(|sink| sinks.put(3 + 2 * i, sink));
        if let (Some(mut sink), Some(partial)) = (scale, &dscales[i]) {
            let row = sink.zeroed_tensor().region_mut().skip(call.rows[i] * call.row_bytes());
            sum(&device, Rows::of(partial, d.d), row, true)?;
            sinks.put(4 + 2 * i, sink);
        }
    }
    if let Some(dh) = dh.or_else(|| dsum.clone().filter(|_| shared)) {
        sinks.give(0, dh);
    }
    dsum.into_iter().for_each(|dsum| sinks.give(1, dsum));
    Ok(())
}
