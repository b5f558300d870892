//! Chosen channels of a sequence (SCT, Zhao et al., IJCV 2023): [`gather`] reads them, and [`add`] adds to them.
//!
//! ```text
//! gather:  y[r, j] = x[r, c[j]]                                   y: [.. n]
//!          dx[r, c[j]] += dy[r, j]
//! add:     y = x, and y[r, c[j]] = x[r, c[j]] + s[r, j]           y: [.. d]
//!          dx = dy      ds[r, j] = dy[r, c[j]]
//! ```
//! `x [.. d]` has channels last. `c [n]` holds the numbers of the channels as f32, whole, each below d and no two alike; a
//! number beyond d stands for the last channel. Numbers have no gradient. Only they are kept. x, y, s
//! and their gradients have one type, f32 or bf16.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Saved, Sinks, Tape, Var};
use engine::{DType, Result, Tensor};

use crate::launch::{on_type, typed};
use call::{Dims, OP, at, check, chosen};

/// The channels `c [n]` of `x [.. d]`: `[.. n]`.
///
/// # Errors
/// Numbers of another shape, or what the device fails with.
pub fn gather(tape: &Tape, x: &Var, channels: &Var) -> Result<Var> {
    let (dims, dtype) = (check(x, channels, None)?, x.value().dtype());
    let mut y = Tensor::empty_typed(tape.device(), dtype, &chosen(x.shape(), dims.n));
    match tape.device().launcher() {
        None => on_type!(dtype, E, {
            cpu::gather::<E>(dims, x.value().slice(), channels.value().as_slice(), y.slice_mut(), false);
        }),
        Some(launcher) => launch::gather(launcher, dims, x.value(), channels.value(), &mut y, false)?,
    }
    let function = || -> Box<dyn Function> {
        Box::new(Gather { dims, dtype, shape: x.shape().to_vec(), channels: channels.save() })
    };
    Ok(tape.record(OP, &[x, channels], vec![y], function)?.remove(0))
}

/// `x [.. d]` plus `s [.. n]` at the channels `c [n]`. The sum takes the memory of x unless somebody else holds it.
///
/// # Errors
/// A shape that differs, or what the device fails with.
pub fn add(tape: &Tape, mut x: Var, channels: &Var, s: &Var) -> Result<Var> {
    let dims = check(&x, channels, Some(s))?;
    let dtype = x.value().dtype();
    let s = tape.cast(s, dtype)?;
    let (device, shape, mut y) = (tape.device(), x.shape().to_vec(), x.take());
    y.make_unique(device);
    match device.launcher() {
        None => on_type!(dtype, E, {
            cpu::add::<E>(dims, s.value().slice(), channels.value().as_slice(), y.slice_mut());
        }),
        Some(launcher) => launch::add(launcher, dims, s.value(), channels.value(), &mut y)?,
    }
    let function =
        || -> Box<dyn Function> { Box::new(Add { dims, dtype, shape, channels: channels.save() }) };
    Ok(tape.record(OP, &[&x, channels, &s], vec![y], function)?.remove(0))
}

struct Gather {
    dims: Dims,
    /// Type and shape of x.
    dtype: DType,
    shape: Vec<usize>,
    channels: Saved,
}

impl Function for Gather {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let dy = typed(sinks.device(), grads.remove(0).expect("the only output"), self.dtype)?;
        let (device, channels) = (sinks.device().clone(), self.channels.get()?);
        let Some(mut sink) = sinks.take_typed(at::X, self.dtype, &self.shape) else { return Ok(()) };
        let dx = sink.zeroed_tensor();
        match device.launcher() {
            None => on_type!(self.dtype, E, {
                cpu::add::<E>(self.dims, dy.slice(), channels.as_slice(), dx.slice_mut());
            }),
            Some(launcher) => launch::add(launcher, self.dims, &dy, &channels, dx)?,
        }
        sinks.put(at::X, sink);
        Ok(())
    }
}

struct Add {
    dims: Dims,
    /// Type and shape of x.
    dtype: DType,
    shape: Vec<usize>,
    channels: Saved,
}

impl Function for Add {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let dy = typed(sinks.device(), grads.remove(0).expect("the only output"), self.dtype)?;
        let (device, channels) = (sinks.device().clone(), self.channels.get()?);
        if let Some(mut sink) = sinks.take_typed(at::ADDED, self.dtype, &chosen(&self.shape, self.dims.n)) {
            let (ds, add) = (&mut sink.tensor, sink.accumulate);
            match device.launcher() {
                None => on_type!(self.dtype, E, {
                    cpu::gather::<E>(self.dims, dy.slice(), channels.as_slice(), ds.slice_mut(), add);
                }),
                Some(launcher) => launch::gather(launcher, self.dims, &dy, &channels, ds, add)?,
            }
            sinks.put(at::ADDED, sink);
        }
        if sinks.wants(at::X) {
            sinks.give(at::X, dy);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engine::Device;

    use super::*;

    #[test]
    fn misfits_are_refused_by_name_and_numbers_beyond_stay_inside() {
        for device in [Device::cpu_checked(), Device::emulated()] {
            let tape = Tape::inference(&device);
            let tensor =
                |values: &[f32], shape: &[usize]| Var::constant(Tensor::from_slice(&device, values, shape));
            let (x, s) = (tensor(&[1.0, 2.0, 3.0], &[1, 3]), tensor(&[5.0, 7.0], &[1, 2]));
            let far = tensor(&[0.0, 1e9], &[2]);
            assert_eq!(gather(&tape, &x, &far).unwrap().value().to_host().unwrap(), [1.0, 3.0]);
            assert_eq!(add(&tape, x.clone(), &far, &s).unwrap().value().to_host().unwrap(), [6.0, 2.0, 10.0]);
            let message = gather(&tape, &x, &s).err().expect("refused").to_string();
            assert!(message.contains("channels must be [n] = [2], got [1, 2]"), "{message}");
            let message = add(&tape, s.clone(), &far, &x).err().expect("refused").to_string();
            assert!(message.contains("the addend must be [.. n] = [1, 2], got [1, 3]"), "{message}");
        }
    }
}
