//! Prompt rows on a launched device.

use engine::launch::{Arg, Grid, Launcher, PtxFile, Region};
use engine::{DType, Device, Result, Tensor};

use super::call::{self, Mask, OP};
use crate::launch::{check_type, each, entry, grid, ptx_file, result, run, sizes, wide};

static FILE: PtxFile = ptx_file!("prompt_rows");
const THREADS: usize = 256;
/// Columns of a block that sums, and warps that take its samples.
const COLUMNS: usize = 32;

/// The maps of a call, one after the other in one tensor: the same in every step, so that a recorded step can keep it.
pub(super) struct Maps {
    words: Tensor,
    /// Rows of y, rows of x, prompts.
    counts: [usize; 3],
}

impl Maps {
    pub fn new(device: &Device, maps: &call::Maps) -> Self {
        let words = [&maps.y, &maps.x, &maps.rows].into_iter().flatten();
        let bits: Vec<f32> = words.map(|&word| f32::from_bits(word)).collect();
        let words = Tensor::from_slice(device, &bits, &[bits.len()]);
        Maps { words, counts: [maps.y.len(), maps.x.len(), maps.rows.len()] }
    }

    /// One of the three, with its number of rows.
    fn part(&self, which: usize) -> (Region, usize) {
        let word = DType::F32.size();
        let (first, count) = (self.counts[..which].iter().sum::<usize>(), self.counts[which]);
        (Region { bytes: count * word, ..self.words.region().skip(first * word) }, count)
    }

    pub fn y(&self) -> (Region, usize) {
        self.part(0)
    }

    pub fn x(&self) -> (Region, usize) {
        self.part(1)
    }
}

/// Entry `entry` of `prompts [k n d]`.
fn entry_region(prompts: &Tensor, entry: usize) -> Region {
    let bytes = prompts.shape()[1..].iter().product::<usize>() * DType::F32.size();
    Region { bytes, ..prompts.region().skip(entry * bytes) }
}

/// Keys; stream, threshold and scale.
fn mask_args(mask: Option<&Mask>) -> (Arg, [Arg; 3]) {
    match mask {
        Some(mask) => {
            let Mask { keys, threshold, scale, stream } = mask;
            (keys.arg(), [Arg::U32(*stream), Arg::U32(*threshold), Arg::F32(*scale)])
        }
        None => (Arg::None, [Arg::U32(0), Arg::U32(0), Arg::F32(1.0)]),
    }
}

/// Writes every sample of `to [b l d]`, or adds to it when told, as [`super::cpu::place`]; prompts as the tensor and the
/// entry of it.
pub(super) fn place(
    launcher: &dyn Launcher,
    (map, l): (Region, usize),
    from: &Tensor,
    (prompts, mask): (Option<(&Tensor, usize)>, Option<&Mask>),
    to: &mut Tensor,
    accumulate: bool,
) -> Result<()> {
    let (dtype, [b, from_l, d]) = (to.dtype(), [0, 1, 2].map(|axis| from.shape()[axis]));
    let prompt = match prompts {
        Some((values, entry)) => {
            check_type(OP, "prompts", values, DType::F32)?;
            Arg::In(entry_region(values, entry))
        }
        None => Arg::None,
    };
    let (keys, mask) = mask_args(mask);
    let mut args = vec![from.arg(), prompt, keys, Arg::In(map), result(to.region_mut(), accumulate)];
    args.extend(sizes(OP, [l * d, from_l * d, d])?);
    args.extend(mask);
    args.push(Arg::U32(accumulate.into()));
    let blocks = (l * d).div_ceil(THREADS * each(d, wide(dtype)));
    run(launcher, entry!(FILE, "prompt_rows_place", dtype), grid(OP, [blocks, b, 1], THREADS)?, &args)
}

/// Adds to entry `entry` of `to [k n d]` the rows of `dy` that hold the prompts.
pub(super) fn grad_prompts(
    launcher: &dyn Launcher,
    maps: &Maps,
    mask: Option<&Mask>,
    dy: &Tensor,
    to: &mut Tensor,
    entry: usize,
) -> Result<()> {
    let ([b, l, d], (rows, n)) = ([0, 1, 2].map(|axis| dy.shape()[axis]), maps.part(2));
    to.region_mut();
    let (keys, mask) = mask_args(mask);
    let mut args = vec![dy.arg(), keys, Arg::In(rows), Arg::InOut(entry_region(to, entry))];
    args.extend(sizes(OP, [b, l, d])?);
    args.extend(mask);
    let grid = grid(OP, [d.div_ceil(COLUMNS), n, 1], COLUMNS)?;
    let grid = Grid { threads: [COLUMNS as u32, COLUMNS as u32, 1], ..grid };
    run(launcher, entry!(FILE, "prompt_rows_grad", dy.dtype()), grid, &args)
}
