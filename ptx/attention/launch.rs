//! Attention on a launched device.

use autograd::Sinks;
use engine::launch::{Arg, Grid, Kernel, Launcher, PtxFile, Region};
use engine::{DType, Error, Result, Tensor};

use super::call::{Call, Dims, OP, at};
use crate::launch::{check_type, grid, optional_mut, ptx_file, result, run, size, sizes};
use crate::rows::launch::{Rows, sum as sum_rows};

static FILE: PtxFile = ptx_file!("attention");
const THREADS: usize = 128;
const WARP: usize = 32;

/// The kernels for heads of at most so many channels, in one type.
struct Kernels {
    channels: usize,
    dtype: DType,
    /// The entries `[forward, queries, keys]`, and the rows that a block of each keeps.
    entries: [&'static str; 3],
    rows: [usize; 3],
}

macro_rules! kernels {
    ($channels:literal, $dtype:ident, $suffix:literal, $rows:expr) => {
        Kernels {
            channels: $channels,
            dtype: DType::$dtype,
            entries: [
                concat!("attention_forward_", $channels, "_", $suffix),
                concat!("attention_queries_", $channels, "_", $suffix),
                concat!("attention_keys_", $channels, "_", $suffix),
            ],
            rows: $rows,
        }
    };
}

static KERNELS: [Kernels; 6] = [
    kernels!(64, F32, "f32", [64, 32, 32]),
    kernels!(128, F32, "f32", [32, 16, 16]),
    kernels!(32, Bf16, "bf16", [128, 128, 128]),
    kernels!(64, Bf16, "bf16", [128, 128, 128]),
    kernels!(80, Bf16, "bf16", [128, 128, 64]),
    kernels!(128, Bf16, "bf16", [64, 64, 64]),
];

/// Which kernel of a set.
const FORWARD: usize = 0;
const QUERIES: usize = 1;
const KEYS: usize = 2;

impl Kernels {
    /// Those for a call; wider heads are refused.
    fn of(dims: Dims, dtype: DType) -> Result<&'static Self> {
        let mut of_type = KERNELS.iter().filter(|kernels| kernels.dtype == dtype);
        of_type.clone().find(|kernels| dims.c <= kernels.channels).ok_or_else(|| {
            let most = of_type.next_back().map_or(0, |kernels| kernels.channels);
            let what = format!("{} channels a head on a launched device: at most {most}", dims.c);
            Error::Unsupported { op: OP, what }
        })
    }

    fn kernel(&self, which: usize) -> Kernel {
        Kernel { file: &FILE, entry: self.entries[which] }
    }

    /// A block for each tile of `rows` rows of each head of each image. In bf16 each warp has rows of its own, and blocks
    /// have as few warps as share the rows evenly.
    fn grid(&self, dims: Dims, which: usize, rows: usize) -> Result<Grid> {
        let blocks = rows.div_ceil(self.rows[which]);
        let warps = rows.div_ceil(self.rows[which] / (THREADS / WARP)).div_ceil(blocks.max(1));
        let threads = if self.dtype == DType::Bf16 { WARP * warps } else { THREADS };
        grid(OP, [blocks, dims.heads, dims.b], threads)
    }
}

impl Call {
    /// qkv, the extra rows and the temperature.
    fn input_args(&self, qkv: &Tensor) -> Result<[Arg; 3]> {
        let extra = self.extra.as_ref();
        extra.map_or(Ok(()), |extra| check_type(OP, "extra", extra, DType::F32))?;
        let temperature = self.dims.temperature.zip(self.temperature.as_ref());
        let temperature = match temperature {
            None => Arg::None,
            Some((entry, temperatures)) => {
                check_type(OP, "temperature", temperatures, DType::F32)?;
                let region = temperatures.region().skip(entry * DType::F32.size());
                Arg::In(Region { bytes: DType::F32.size(), ..region })
            }
        };
        // A tensor without rows has no address.
        let extra = extra.filter(|_| self.dims.n > 0);
        Ok([qkv.arg(), crate::launch::optional(extra), temperature])
    }

    /// The sizes and the factor of a score.
    fn size_args(&self) -> Result<Vec<Arg>> {
        let Dims { b, l, heads, c, n, .. } = self.dims;
        // Kernels count the elements of one image, and blocks, in 32 bits.
        size(OP, 3 * l * self.dims.d())?;
        size(OP, b * heads * self.dims.keys())?;
        let mut args = sizes(OP, [l, heads, c, n])?.to_vec();
        args.push(Arg::F32(self.dims.scale()));
        Ok(args)
    }
}

/// Writes `out [b l d]`, and where they are asked for the binary logarithms of the sums of powers `[b heads l]` and the
/// probabilities `[b heads n+l]` of the class row.
pub fn forward(
    launcher: &dyn Launcher,
    call: &Call,
    qkv: &Tensor,
    out: &mut Tensor,
    sums: Option<&mut Tensor>,
    probabilities: Option<&mut Tensor>,
) -> Result<()> {
    let kernels = Kernels::of(call.dims, qkv.dtype())?;
    let mut args = call.input_args(qkv)?.to_vec();
    args.extend([out.arg_mut(), optional_mut(sums), optional_mut(probabilities)]);
    args.extend(call.size_args()?);
    args.push(Arg::U32(size(OP, call.dims.class_row.unwrap_or(0))?));
    run(launcher, kernels.kernel(FORWARD), kernels.grid(call.dims, FORWARD, call.dims.l)?, &args)
}

/// Computes the gradients of the inputs that want one: first those of queries and temperature, with the numbers of each
/// query that those of keys and values need.
pub fn backward(
    launcher: &dyn Launcher,
    call: &Call,
    [qkv, logs, out, dout]: [&Tensor; 4],
    sinks: &mut Sinks,
) -> Result<()> {
    let (kernels, device) = (Kernels::of(call.dims, qkv.dtype())?, sinks.device().clone());
    let Dims { b, l, heads, c, n, .. } = call.dims;
    let mut dqkv = sinks.take_typed(at::QKV, qkv.dtype(), qkv.shape());
    if let Some(sink) = &dqkv {
        check_type(OP, "the gradient of qkv", &sink.tensor, qkv.dtype())?;
    }
    let dextra = call.extra.as_ref().and_then(|extra| sinks.take(at::EXTRA, extra.shape()));
    let dtemperature = call.temperature.as_ref().and_then(|all| sinks.take(at::TEMPERATURE, all.shape()));
    let mut delta = Tensor::empty(&device, &[b, heads, l]);
    let queries = kernels.grid(call.dims, QUERIES, l)?;
    let blocks = queries.blocks.iter().map(|&blocks| blocks as usize).product();
    let mut parts = dtemperature.as_ref().map(|_| Tensor::empty(&device, &[blocks, 1]));

    let accumulate = dqkv.as_ref().is_some_and(|sink| sink.accumulate);
    let mut args = call.input_args(qkv)?.to_vec();
    args.extend([logs.arg(), out.arg(), dout.arg(), delta.arg_mut()]);
    args.push(dqkv.as_mut().map_or(Arg::None, |sink| result(sink.tensor.region_mut(), accumulate)));
    args.push(optional_mut(parts.as_mut()));
    args.extend(call.size_args()?);
    args.push(Arg::U32(accumulate.into()));
    run(launcher, kernels.kernel(QUERIES), queries, &args)?;

    if dqkv.is_some() || dextra.is_some() {
        let mut of_images = dextra.as_ref().map(|_| Tensor::empty(&device, &[b, heads * n * c]));
        let mut args = call.input_args(qkv)?.to_vec();
        args.extend([logs.arg(), dout.arg(), delta.arg()]);
        // The gradient of the queries is there already.
        args.push(dqkv.as_mut().map_or(Arg::None, |sink| sink.tensor.arg_inout()));
        args.push(of_images.as_mut().filter(|_| n > 0).map_or(Arg::None, Tensor::arg_mut));
        args.extend(call.size_args()?);
        args.push(Arg::U32(accumulate.into()));
        run(launcher, kernels.kernel(KEYS), kernels.grid(call.dims, KEYS, call.dims.keys())?, &args)?;
        if let (Some(mut sink), Some(of_images)) = (dextra, of_images) {
            let rows = Rows::of(&of_images, heads * n * c);
            sum_rows(&device, rows, sink.tensor.region_mut(), sink.accumulate)?;
            sinks.put(at::EXTRA, sink);
        }
    }
    dqkv.into_iter().for_each(|sink| sinks.put(at::QKV, sink));
    if let (Some(mut sink), Some(parts), Some(entry)) = (dtemperature, parts, call.dims.temperature) {
        // The other temperatures get nothing, which must be zeros.
        let to = sink.zeroed_tensor().region_mut().skip(entry * DType::F32.size());
        sum_rows(&device, Rows::of(&parts, 1), to, true)?;
        sinks.put(at::TEMPERATURE, sink);
    }
    Ok(())
}
