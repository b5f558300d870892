//! Attention of queries to their neighbours on the grid of patches, between two sequences that lie on the same grid (SA²VP,
//! Pei et al., AAAI 2024).
//!
//! ```text
//! q           the first third of `queries`; k, v the other two of `keys`; each head has c = d / heads channels
//! N(0)     =  all rows: the class token is row 0
//! N(i)     =  the patches at most one row and one column away from patch i on the g x g grid, l = 1 + g^2
//! s[i, j]  =  q_i . k_j / sqrt(c)                 p = softmax of s over N(i)
//! out_i    =  sum_(j in N(i)) p[i, j] v_j
//!
//! ds[i, j] =  p[i, j] (dp[i, j] - sum_j' p[i, j'] dp[i, j']) with dp[i, j] = dout_i . v_j
//! dq_i     =  sum_j ds[i, j] k_j / sqrt(c)        dk_j = sum_i ds[i, j] q_i / sqrt(c)        dv_j = sum_i p[i, j] dout_i
//! ```
//! `queries` and `keys` are both `[b l 3d]`, as the product `qkv` of a ViT's block leaves them, so that what the block computes
//! of both sequences serves here too; what is not named above is not read, and gets no gradient. `out [b l d]` is the input of
//! the output projection. Both inputs are kept, and on a launched device out and of each query the logarithm of its sum of
//! powers. Inputs, out and their gradients have one type, f32 or bf16; all else is f32.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Saved, Sinks, Tape, Var};
use engine::{DType, Result, Tensor};

use crate::launch::{on_type, typed};
use call::{Dims, OP, at};

/// Attention of `queries [b l 3d]` to their neighbours in `keys [b l 3d]`, by the formula above: `[b l d]`.
///
/// # Errors
/// A shape that differs, [`engine::Error::Unsupported`] for rows that are no square grid and a class token, channels that the
/// heads do not share evenly or a head that the kernels do not take, or what the device fails with.
pub fn neighbour_attention(tape: &Tape, queries: &Var, keys: &Var, heads: usize) -> Result<Var> {
    let dims = Dims::new(queries, keys, heads)?;
    let (device, dtype) = (tape.device(), queries.value().dtype());
    let mut out = Tensor::empty_typed(device, dtype, &[dims.b, dims.l, dims.d()]);
    let trained = queries.wants_grad() || keys.wants_grad();
    let mut logs = None;
    match device.launcher() {
        None => on_type!(dtype, E, {
            let inputs = [queries, keys].map(|var| var.value().slice());
            cpu::forward::<E>(dims, inputs, out.slice_mut());
        }),
        Some(launcher) => {
            logs = trained.then(|| Tensor::empty(device, &[dims.b, heads, dims.l]));
            launch::forward(launcher, dims, [queries.value(), keys.value()], &mut out, logs.as_mut())?;
        }
    }
    let kept = logs.map(|logs| [logs, out.clone()]);
    let function = || -> Box<dyn Function> {
        Box::new(NeighbourAttention { dims, dtype, queries: queries.save(), keys: keys.save(), kept })
    };
    let settings = || vec![("heads", vec![heads as f64])];
    Ok(tape.record_with(OP, settings, &[queries, keys], vec![out], function)?.remove(0))
}

struct NeighbourAttention {
    dims: Dims,
    /// Type of the inputs.
    dtype: DType,
    queries: Saved,
    keys: Saved,
    /// On a launched device, of each query the logarithm of its sum of powers, `[b heads l]`, and out.
    kept: Option<[Tensor; 2]>,
}

impl Function for NeighbourAttention {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (dims, device) = (self.dims, sinks.device().clone());
        let dout = typed(sinks.device(), grads.remove(0).expect("the only output"), self.dtype)?;
        let (queries, keys) = (self.queries.get()?, self.keys.get()?);
        let (d, shape) = (dims.d(), [dims.b, dims.l, 3 * dims.d()]);
        // One after the other, because both inputs may be one variable.
        if let Some(mut sink) = sinks.take_columns(at::QUERIES, self.dtype, &shape, 0..d) {
            match (device.launcher(), &self.kept) {
                (Some(launcher), Some(kept)) => {
                    let inputs = [&queries, &keys, &dout];
                    launch::grad_queries(&device, launcher, dims, inputs, kept, Some(&mut sink))?;
                }
                _ => on_type!(self.dtype, E, {
                    let inputs = [&queries, &keys, &dout].map(Tensor::slice);
                    cpu::grad_queries::<E>(dims, inputs, sink.tensor.slice_mut(), sink.accumulate);
                }),
            }
            sinks.put(at::QUERIES, sink);
        }
        if let Some(mut sink) = sinks.take_columns(at::KEYS, self.dtype, &shape, d..3 * d) {
            match (device.launcher(), &self.kept) {
                (Some(launcher), Some(kept)) => {
                    launch::grad_keys(&device, launcher, dims, [&queries, &keys, &dout], kept, &mut sink)?;
                }
                _ => on_type!(self.dtype, E, {
                    let inputs = [&queries, &keys, &dout].map(Tensor::slice);
                    cpu::grad_keys::<E>(dims, inputs, sink.tensor.slice_mut(), sink.accumulate);
                }),
            }
            sinks.put(at::KEYS, sink);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use engine::Device;

    use super::*;

    #[test]
    fn misfits_are_refused_by_name() {
        let tape = Tape::inference(&Device::cpu());
        let zeros = |shape: &[usize]| Var::constant(Tensor::zeros(tape.device(), shape));
        let run = |queries: &[usize], keys: &[usize], heads| {
            let out = neighbour_attention(&tape, &zeros(queries), &zeros(keys), heads);
            out.map(|out| out.shape().to_vec()).map_err(|e| e.to_string())
        };
        assert_eq!(run(&[2, 5, 24], &[2, 5, 24], 2), Ok(vec![2, 5, 8]));
        for (queries, keys, heads, message) in [
            (&[2, 24][..], &[2, 5, 24][..], 2, "queries must be [b l 3d]"),
            (&[2, 5, 24], &[1, 5, 24], 2, "keys must be [b l 3d] = [2, 5, 24], got [1, 5, 24]"),
            (&[2, 5, 24], &[2, 5, 24], 3, "24 channels are no 3 heads of queries, keys and values"),
            (&[2, 5, 24], &[2, 5, 24], 0, "24 channels are no 0 heads of queries, keys and values"),
            (&[2, 7, 24], &[2, 7, 24], 2, "7 rows are no class token and a square of patches"),
            (&[2, 0, 24], &[2, 0, 24], 2, "0 rows are no class token and a square of patches"),
        ] {
            let error = run(queries, keys, heads).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }

    /// A query that is not a number spoils its own row and head alone.
    #[test]
    fn a_row_that_is_not_a_number_stays_alone() {
        for device in [Device::cpu_checked(), Device::emulated()] {
            let tape = Tape::inference(&device);
            let (l, d) = (10, 8);
            let mut values: Vec<f32> = (0..l * 3 * d).map(|i| (i % 7) as f32 - 3.0).collect();
            let keys = Var::constant(Tensor::from_slice(&device, &values, &[1, l, 3 * d]));
            values[3 * 3 * d] = f32::NAN;
            let queries = Var::constant(Tensor::from_slice(&device, &values, &[1, l, 3 * d]));
            let out = neighbour_attention(&tape, &queries, &keys, 2).unwrap().value().to_host().unwrap();
            for (i, value) in out.iter().enumerate() {
                assert_eq!(value.is_nan(), i / d == 3 && i % d < d / 2, "{i} on {}", device.name());
            }
        }
    }

    #[test]
    fn only_the_gradients_that_are_asked_for_are_computed() {
        let sizes = [("b", 1), ("grid", 2), ("heads", 2), ("c", 4)];
        let case = crate::spec::Case::new(&sizes);
        let kernels = |trained: &[&str]| crate::spec::backward_kernels(&cases::Cases, &case, trained);
        let (queries, keys) = ("neighbour_attention_queries_64_f32", "neighbour_attention_keys_64_f32");
        assert_eq!(kernels(&["queries"]), [queries]);
        assert_eq!(kernels(&["keys"]), [keys, queries]);
    }
}
