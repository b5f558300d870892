//! The mean of the rows of token sequences `[b l d]`, of all or of all but one: the features of a ViT that is pooled over its
//! patches, as MAE is fine-tuned (He et al., CVPR 2022), which leaves out the class token's row.
//!
//! ```text
//! y[i] = 1/(l-1) sum_(j != skip) x[i, j]      x: [b l d], y: [b d]; 1/l and all rows where none is skipped
//! dx[i, j] = dy[i] / (l-1), and 0 for j = skip
//! ```
//! Sums are f32, rows in an order that depends on sizes only. Only sizes are kept. On a launched device y and dx have the
//! type of x.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Sinks, Tape, Var};
use engine::{DType, Result, Tensor};

use crate::launch::typed;
use call::{Dims, OP};

/// The mean `[b d]` of all rows of `x [b l d]` but row `skip`, where there is one to be left out.
///
/// # Errors
/// A shape of other than three axes, [`engine::Error::Unsupported`] where there is no such row or none is left, or what the
/// device fails with.
pub fn mean_rows(tape: &Tape, x: &Var, skip: Option<usize>) -> Result<Var> {
    let (dims, dtype) = (Dims::new(x, skip)?, x.value().dtype());
    let mut y = Tensor::empty_typed(tape.device(), dtype, &[dims.b, dims.d]);
    match tape.device().launcher() {
        None => cpu::forward(dims, x.value().as_slice(), y.as_mut_slice()),
        Some(launcher) => launch::forward(launcher, dims, x.value(), &mut y)?,
    }
    let settings = || vec![("skip", skip.iter().map(|&row| row as f64).collect())];
    let function = || -> Box<dyn Function> { Box::new(MeanRows { dims, dtype }) };
    Ok(tape.record_with(OP, settings, &[x], vec![y], function)?.remove(0))
}

struct MeanRows {
    dims: Dims,
    /// Type of x.
    dtype: DType,
}

impl Function for MeanRows {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (d, dy) =
            (self.dims, typed(sinks.device(), grads.remove(0).expect("the only output"), self.dtype)?);
        let device = sinks.device().clone();
        let Some(mut sink) = sinks.take_typed(0, self.dtype, &[d.b, d.l, d.d]) else { return Ok(()) };
        let (dx, add) = (&mut sink.tensor, sink.accumulate);
        match device.launcher() {
            None => cpu::backward(d, dy.as_slice(), dx.as_mut_slice(), add),
            Some(launcher) => launch::backward(launcher, d, &dy, dx, add)?,
        }
        sinks.put(0, sink);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engine::Device;

    use super::*;

    #[test]
    fn what_has_no_mean_is_refused() {
        let tape = Tape::inference(&Device::cpu());
        let run = |shape: &[usize], skip| {
            let x = Var::constant(Tensor::zeros(tape.device(), shape));
            mean_rows(&tape, &x, skip).map(|y| y.shape().to_vec()).map_err(|e| e.to_string())
        };
        assert_eq!(run(&[2, 5, 3], Some(4)), Ok(vec![2, 3]));
        assert_eq!(run(&[2, 1, 3], None), Ok(vec![2, 3]));
        assert_eq!(run(&[2, 5, 3], Some(5)), Err("mean_rows: all rows but row 5 of a sequence of 5".into()));
        assert_eq!(run(&[2, 1, 3], Some(0)), Err("mean_rows: all rows but row 0 of a sequence of 1".into()));
        assert_eq!(run(&[2, 0, 3], None), Err("mean_rows: a sequence without rows".into()));
        assert!(run(&[5, 3], None).unwrap_err().contains("x must be [b l d]"));
    }
}
