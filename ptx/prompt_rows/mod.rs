//! Learned rows in a token sequence, the prompts of visual prompt tuning (Jia et al. 2022, eq. 4-7).
//!
//! ```text
//! insert:   y[i, rows[j]] = keep[i, j] prompt[j], the rows of x around them in order      y: [b l+n d]
//! replace:  y[i, rows[j]] = keep[i, j] prompt[j], or 0; elsewhere y = x                   y: [b l d]
//! backward: dx is dy without the rows (insert) or with zeros there (replace);
//!           dprompt[j] = sum_i keep[i, j] dy[i, rows[j]]
//! ```
//! Axes: `x: [b l d]`; `prompt: [n d]` is one entry of `prompts: [k n d]`, so that the layers of a model share one
//! tensor; `keep: [b n d]` is dropout's factor of each element, 0 or `1 / (1 - rate)`, 1 without dropout. It is never
//! stored: both passes draw it again. x, y and their gradients are f32 or bf16, prompts are f32.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Function, Sinks, Tape, Var};
use engine::shape::{axes3, check_shape};
use engine::{DType, Result, Rng, Tensor};

pub use call::Dropout;

use crate::launch::on_type;
use call::{Maps, Mask, OP};

/// The prompts of one call.
#[derive(Clone, Copy)]
pub struct Prompts<'a> {
    /// `[k n d]`, f32; this call uses `entry`.
    pub values: &'a Var,
    /// Which of the `k`. The gradient of the others is untouched.
    pub entry: usize,
    /// Dropout of the prompts, in training.
    pub dropout: Option<Dropout<'a>>,
}

/// The keys of a step, `[b 2]`: 48 bits for each sample, drawn by its number in the data set, so that a sample's mask
/// depends neither on its place in a batch nor on its neighbours. `stream` is the use's stream of [`Rng`].
pub fn dropout_keys(seed: u64, epoch: u32, samples: &[u32], stream: u32) -> Vec<f32> {
    let key = |&sample: &u32| {
        let mut rng = Rng::keyed(seed, epoch, sample, stream);
        [(); 2].map(|()| (rng.next_u32() >> 8) as f32)
    };
    samples.iter().flat_map(key).collect()
}

/// `y [b l+n d]`: the prompts at the rows `rows` of the result, which rise strictly, and the rows of `x [b l d]` around
/// them in order.
pub fn insert(tape: &Tape, x: &Var, prompts: &Prompts, rows: &[usize]) -> Result<Var> {
    let [_, l, _] = axes3(OP, "x", "[b l d]", x.shape())?;
    record(tape, x, Some(prompts), rows, Maps::insert(l, rows)?)
}

/// `y [b l d]`: `x` with the prompts, or zeros, at the rows `rows`, which rise strictly.
pub fn replace(tape: &Tape, x: &Var, prompts: Option<&Prompts>, rows: &[usize]) -> Result<Var> {
    let [_, l, _] = axes3(OP, "x", "[b l d]", x.shape())?;
    record(tape, x, prompts, rows, Maps::replace(l, rows)?)
}

fn record(tape: &Tape, x: &Var, prompts: Option<&Prompts>, rows: &[usize], maps: Maps) -> Result<Var> {
    let [b, l, d] = axes3(OP, "x", "[b l d]", x.shape())?;
    let mut mask = None;
    if let Some(Prompts { values, entry, dropout }) = prompts {
        let k = values.shape().first().copied().unwrap_or(0).max(entry + 1);
        check_shape(OP, "prompts", "[k n d]", &[k, maps.rows.len(), d], values.shape())?;
        mask = dropout.as_ref().map(|dropout| Mask::new(dropout, b)).transpose()?;
    }
    let (device, dtype) = (tape.device(), x.value().dtype());
    let mut y = Tensor::empty_typed(device, dtype, &[b, maps.y.len(), d]);
    let from = prompts.map(|prompts| (prompts.values.value(), prompts.entry));
    let mut on_device = None;
    match device.launcher() {
        None => {
            let size = maps.rows.len() * d;
            let prompt = from.map(|(values, entry)| &values.as_slice()[entry * size..][..size]);
            on_type!(dtype, E, {
                cpu::place::<E>(&maps.y, d, x.value().slice(), (prompt, mask.as_ref()), y.slice_mut(), false);
            });
        }
        Some(launcher) => {
            let maps = on_device.insert(launch::Maps::new(device, &maps));
            launch::place(launcher, maps.y(), x.value(), (from, mask.as_ref()), &mut y, false)?;
        }
    }
    let function = || -> Box<dyn Function> {
        let wanted = prompts.filter(|prompts| prompts.values.wants_grad());
        let prompts =
            wanted.map(|p| Trained { shape: p.values.shape().to_vec(), entry: p.entry, mask: mask.clone() });
        Box::new(PromptRows { shape: [b, l, d], dtype, maps, on_device, prompts })
    };
    let inputs = [Some(x), prompts.map(|prompts| prompts.values)];
    let inputs: Vec<&Var> = inputs.into_iter().flatten().collect();
    let settings = || {
        let entry = prompts.map(|prompts| prompts.entry as f64);
        let rows = rows.iter().map(|&row| row as f64).collect();
        vec![("rows", rows), ("entry", Vec::from_iter(entry))]
    };
    Ok(tape.record_with(OP, settings, &inputs, vec![y], function)?.remove(0))
}

/// Prompts that want a gradient.
struct Trained {
    /// `[k n d]`
    shape: Vec<usize>,
    entry: usize,
    mask: Option<Mask>,
}

struct PromptRows {
    /// Of x, and its type.
    shape: [usize; 3],
    dtype: DType,
    maps: Maps,
    on_device: Option<launch::Maps>,
    prompts: Option<Trained>,
}

impl Function for PromptRows {
    fn backward(&self, mut grads: Vec<Option<Tensor>>, sinks: &mut Sinks) -> Result<()> {
        let (dy, device) = (grads.remove(0).expect("the only output"), sinks.device().clone());
        let d = self.shape[2];
        let launched = device.launcher().zip(self.on_device.as_ref());
        if let Some(mut sink) = sinks.take_typed(0, self.dtype, &self.shape) {
            let (to, accumulate) = (&mut sink.tensor, sink.accumulate);
            let dy = dy.cast(sinks.device(), to.dtype())?;
            match launched {
                None => on_type!(to.dtype(), E, {
                    let none = (None, None);
                    cpu::place::<E>(&self.maps.x, d, dy.slice(), none, to.slice_mut(), accumulate);
                }),
                Some((launcher, maps)) => {
                    launch::place(launcher, maps.x(), &dy, (None, None), to, accumulate)?
                }
            }
            sinks.put(0, sink);
        }
        let Some(Trained { shape, entry, mask }) = &self.prompts else { return Ok(()) };
        if let Some(mut sink) = sinks.take(1, shape) {
            // The other entries belong to other calls: zero until those write.
            let (to, size) = (sink.zeroed_tensor(), self.maps.rows.len() * d);
            match launched {
                None => {
                    let to = &mut to.as_mut_slice()[entry * size..][..size];
                    on_type!(dy.dtype(), E, {
                        cpu::grad_prompts::<E>(&self.maps, d, mask.as_ref(), dy.slice(), to);
                    });
                }
                Some((launcher, maps)) => {
                    launch::grad_prompts(launcher, maps, mask.as_ref(), &dy, to, *entry)?
                }
            }
            sinks.put(1, sink);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
