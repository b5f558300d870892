//! Gated rows on a launched device.

use engine::launch::{Arg, Launcher, PtxFile};
use engine::{DType, Device, Result, Tensor};

use super::call::{Call, OP};
use crate::launch::{
    check_type, each, entry, grid, optional, optional_mut, ptx_file, run, size, sizes, wide,
};
use crate::rows::launch::{Rows, sum};

static FILE: PtxFile = ptx_file!("gate_rows");
const THREADS: usize = 256;
/// Elements of an image's rows that a block of the logit's gradient sums.
const PART: usize = 4096;

impl Call {
    /// The rows, the logit or none, and the constant gate.
    fn gate_args(&self) -> Result<[Arg; 3]> {
        let logit = match &self.logits {
            None => Arg::None,
            Some(logits) => {
                check_type(OP, "logits", logits, DType::F32)?;
                Arg::In(logits.region().skip(self.entry * DType::F32.size()))
            }
        };
        Ok([self.rows.arg(), logit, Arg::F32(self.constant)])
    }

    /// Elements of the rows of an image, rows of a sequence, and channels.
    fn size_args(&self) -> Result<[Arg; 3]> {
        size(OP, self.l * self.d)?;
        sizes(OP, [self.n * self.d, self.l, self.d])
    }
}

/// Gates the rows of y, as [`super::cpu::gate`].
pub fn gate(
    launcher: &dyn Launcher,
    call: &Call,
    z: Option<&Tensor>,
    y: &mut Tensor,
    apart: Option<&mut Tensor>,
) -> Result<()> {
    let (d, dtype) = (call.d, y.dtype());
    let mut args = vec![y.arg_inout(), optional(z)];
    args.extend(call.gate_args()?);
    args.push(optional_mut(apart));
    args.extend(call.size_args()?);
    let blocks = (call.n * d).div_ceil(THREADS * each(d, wide(dtype)));
    run(launcher, entry!(FILE, "gate_rows_gate", dtype), grid(OP, [blocks, call.b, 1], THREADS)?, &args)
}

/// Adds to the gradient of z.
pub fn grad_z(launcher: &dyn Launcher, call: &Call, dy: &Tensor, to: &mut Tensor) -> Result<()> {
    let (d, dtype) = (call.d, dy.dtype());
    check_type(OP, "the gradient of z", to, dtype)?;
    let mut args = vec![dy.arg(), to.arg_inout()];
    args.extend(call.gate_args()?);
    args.extend(call.size_args()?);
    let blocks = (call.n * d).div_ceil(THREADS * each(d, wide(dtype)));
    run(launcher, entry!(FILE, "gate_rows_grad_z", dtype), grid(OP, [blocks, call.b, 1], THREADS)?, &args)
}

/// Adds to the gradient of the logits `[k]`: first the sums of parts, then their sum.
pub fn grad_logit(
    device: &Device,
    launcher: &dyn Launcher,
    call: &Call,
    apart: &Tensor,
    dy: &Tensor,
    to: &mut Tensor,
) -> Result<()> {
    let blocks = (call.n * call.d).div_ceil(PART);
    let mut parts = Tensor::empty(device, &[call.b * blocks, 1]);
    let mut args = vec![dy.arg(), apart.arg(), parts.arg_mut()];
    args.extend(call.gate_args()?);
    args.extend(call.size_args()?);
    let grid = grid(OP, [blocks, call.b, 1], THREADS)?;
    run(launcher, entry!(FILE, "gate_rows_grad_logit", dy.dtype()), grid, &args)?;
    let to = to.region_mut().skip(call.entry * DType::F32.size());
    sum(device, Rows::of(&parts, 1), to, true)
}
