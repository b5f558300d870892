//! Attention to neighbours on a launched device.

use autograd::Sink;
use engine::launch::{Arg, Grid, Kernel, Launcher, PtxFile, Region};
use engine::{DType, Device, Error, Result, Tensor};

use super::call::{Dims, OP};
use crate::launch::{check_type, grid, optional_mut, ptx_file, result, run, size, sizes};

static FILE: PtxFile = ptx_file!("neighbour_attention");
const THREADS: usize = 128;
/// Rows of a block.
const ROWS: usize = 4;

/// Heads of at most so many channels, and the entries `[forward, queries, keys]` in f32 and in bf16.
struct Kernels {
    channels: usize,
    entries: [[&'static str; 3]; 2],
}

macro_rules! kernels {
    ($channels:literal) => {
        Kernels {
            channels: $channels,
            entries: [
                [
                    concat!("neighbour_attention_forward_", $channels, "_f32"),
                    concat!("neighbour_attention_queries_", $channels, "_f32"),
                    concat!("neighbour_attention_keys_", $channels, "_f32"),
                ],
                [
                    concat!("neighbour_attention_forward_", $channels, "_bf16"),
                    concat!("neighbour_attention_queries_", $channels, "_bf16"),
                    concat!("neighbour_attention_keys_", $channels, "_bf16"),
                ],
            ],
        }
    };
}

static KERNELS: [Kernels; 2] = [kernels!(64), kernels!(256)];

const FORWARD: usize = 0;
const QUERIES: usize = 1;
const KEYS: usize = 2;

impl Dims {
    /// A kernel for these heads; wider ones are refused.
    fn kernel(self, which: usize, dtype: DType) -> Result<Kernel> {
        let of_width = KERNELS.iter().find(|kernels| self.c <= kernels.channels);
        let of_width = of_width.ok_or_else(|| {
            let most = KERNELS[KERNELS.len() - 1].channels;
            let what = format!("{} channels a head on a launched device: at most {most}", self.c);
            Error::Unsupported { op: OP, what }
        })?;
        let of_type = usize::from(dtype == DType::Bf16);
        Ok(Kernel { file: &FILE, entry: of_width.entries[of_type][which] })
    }

    /// The sizes and the factor of a score.
    fn size_args(self) -> Result<Vec<Arg>> {
        // Kernels count the elements of one image in 32 bits.
        size(OP, 3 * self.l * self.d())?;
        let mut args = sizes(OP, [self.l, self.heads, self.c, self.grid])?.to_vec();
        args.push(Arg::F32(self.scale()));
        Ok(args)
    }

    /// A warp for each row of each head of each image.
    fn grid(self) -> Result<Grid> {
        grid(OP, [self.l.div_ceil(ROWS), self.heads, self.b], THREADS)
    }
}

/// Writes `out [b l d]`, and the binary logarithms of the sums of powers `[b heads l]` where they are asked for.
pub fn forward(
    launcher: &dyn Launcher,
    dims: Dims,
    [queries, keys]: [&Tensor; 2],
    out: &mut Tensor,
    logs: Option<&mut Tensor>,
) -> Result<()> {
    let kernel = dims.kernel(FORWARD, queries.dtype())?;
    let mut args = vec![queries.arg(), keys.arg(), out.arg_mut(), optional_mut(logs)];
    args.extend(dims.size_args()?);
    run(launcher, kernel, dims.grid()?, &args)
}

/// Writes or adds the gradient of the queries, and returns delta, which that of the keys needs.
pub fn grad_queries(
    device: &Device,
    launcher: &dyn Launcher,
    dims: Dims,
    [queries, keys, dout]: [&Tensor; 3],
    [logs, out]: &[Tensor; 2],
    sink: Option<&mut Sink>,
) -> Result<Tensor> {
    let kernel = dims.kernel(QUERIES, queries.dtype())?;
    let mut delta = Tensor::empty(device, logs.shape());
    let adds = sink.as_ref().is_some_and(|sink| sink.accumulate);
    let mut args = vec![queries.arg(), keys.arg(), logs.arg(), out.arg(), dout.arg(), delta.arg_mut()];
    if let Some(sink) = &sink {
        check_type(OP, "the gradient of the queries", &sink.tensor, queries.dtype())?;
    }
    // Of each row the kernel writes the first third, so it does not reach the last two of the last row.
    let thirds = 2 * dims.heads * dims.c * queries.dtype().size();
    let queries_of = |region: Region| Region { bytes: region.bytes - thirds, ..region };
    args.push(sink.map_or(Arg::None, |sink| result(queries_of(sink.tensor.region_mut()), adds)));
    args.extend(dims.size_args()?);
    args.push(Arg::U32(adds.into()));
    run(launcher, kernel, dims.grid()?, &args)?;
    Ok(delta)
}

/// Writes or adds the gradients of keys and values.
pub fn grad_keys(
    device: &Device,
    launcher: &dyn Launcher,
    dims: Dims,
    [queries, keys, dout]: [&Tensor; 3],
    kept: &[Tensor; 2],
    sink: &mut Sink,
) -> Result<()> {
    let delta = grad_queries(device, launcher, dims, [queries, keys, dout], kept, None)?;
    check_type(OP, "the gradient of the keys", &sink.tensor, queries.dtype())?;
    let (adds, logs) = (sink.accumulate, &kept[0]);
    let mut args = vec![queries.arg(), keys.arg(), logs.arg(), dout.arg(), delta.arg()];
    args.push(result(sink.tensor.region_mut(), adds));
    args.extend(dims.size_args()?);
    args.push(Arg::U32(adds.into()));
    run(launcher, dims.kernel(KEYS, queries.dtype())?, dims.grid()?, &args)
}
