//! Where gradients go during the reverse walk.

use std::collections::HashMap;
use std::ops::Range;

use engine::{DType, Device, Tensor};

/// A gradient being written: whole when it is the first to arrive, added when others came before.
pub struct Sink {
    pub tensor: Tensor,
    pub accumulate: bool,
}

impl Sink {
    /// The tensor, zero where nothing arrived yet: for functions that add to it, or write only a part of it.
    pub fn zeroed_tensor(&mut self) -> &mut Tensor {
        if !self.accumulate {
            self.tensor.fill_zero();
        }
        &mut self.tensor
    }

    /// The elements of [`Sink::zeroed_tensor`] on the CPU.
    pub fn zeroed(&mut self) -> &mut [f32] {
        self.zeroed_tensor().as_mut_slice()
    }
}

/// The gradients during a backward walk, by variable.
pub(crate) struct Arriving {
    grads: Vec<Option<Tensor>>,
    /// The columns that were written, of gradients that are not written whole yet.
    partial: HashMap<usize, Range<usize>>,
}

impl Arriving {
    pub fn new(grads: Vec<Option<Tensor>>) -> Self {
        Arriving { grads, partial: HashMap::new() }
    }

    /// Makes what nothing wrote of a gradient zero.
    fn complete(&mut self, id: usize) {
        if let (Some(columns), Some(grad)) = (self.partial.remove(&id), &mut self.grads[id]) {
            zero_other_columns(grad, &columns);
        }
    }

    /// What arrived for a variable, whole.
    pub fn take_whole(&mut self, id: usize) -> Option<Tensor> {
        self.complete(id);
        self.grads[id].take()
    }

    pub fn into_whole(mut self) -> Vec<Option<Tensor>> {
        let left: Vec<usize> = self.partial.keys().copied().collect();
        left.into_iter().for_each(|id| self.complete(id));
        self.grads
    }
}

/// Of a tensor of the CPU: all columns but these become zero.
fn zero_other_columns(tensor: &mut Tensor, columns: &Range<usize>) {
    let width = *tensor.shape().last().expect("a gradient with columns has axes");
    for row in tensor.as_mut_slice().chunks_exact_mut(width) {
        row[..columns.start].fill(0.0);
        row[columns.end..].fill(0.0);
    }
}

/// Where a function puts the gradients of its inputs, by position in the recorded call.
pub struct Sinks<'a> {
    arriving: &'a mut Arriving,
    inputs: &'a [Option<usize>],
    device: &'a Device,
}

impl<'a> Sinks<'a> {
    pub(crate) fn new(arriving: &'a mut Arriving, inputs: &'a [Option<usize>], device: &'a Device) -> Self {
        Sinks { arriving, inputs, device }
    }

    pub fn device(&self) -> &Device {
        self.device
    }

    pub fn wants(&self, input: usize) -> bool {
        self.inputs[input].is_some()
    }

    /// A buffer to write the gradient of `input` into, f32; hand it back with [`Sinks::put`].
    pub fn take(&mut self, input: usize, shape: &[usize]) -> Option<Sink> {
        self.take_typed(input, DType::F32, shape)
    }

    /// [`Sinks::take`] of a type. A gradient that came before keeps the type it came in.
    pub fn take_typed(&mut self, input: usize, dtype: DType, shape: &[usize]) -> Option<Sink> {
        let id = self.inputs[input]?;
        Some(match self.arriving.take_whole(id) {
            Some(mut tensor) => {
                assert_eq!(tensor.shape(), shape);
                tensor.make_unique(self.device);
                Sink { tensor, accumulate: true }
            }
            None => Sink { tensor: Tensor::empty_typed(self.device, dtype, shape), accumulate: false },
        })
    }

    /// [`Sinks::take_typed`] for a function that writes, or adds to, only these columns of the last axis. What no
    /// function writes becomes zero; columns that others write need not be zero first (on the CPU).
    pub fn take_columns(
        &mut self,
        input: usize,
        dtype: DType,
        shape: &[usize],
        columns: Range<usize>,
    ) -> Option<Sink> {
        let id = self.inputs[input]?;
        let width = *shape.last().expect("a gradient with columns has axes");
        if columns == (0..width) {
            return self.take_typed(input, dtype, shape);
        }
        if self.device.launcher().is_some() {
            let mut sink = self.take_typed(input, dtype, shape)?;
            sink.zeroed_tensor();
            return Some(Sink { accumulate: true, ..sink });
        }
        let arriving = &mut *self.arriving;
        let written = match (&arriving.grads[id], arriving.partial.get(&id)) {
            (None, _) => columns,
            (Some(_), Some(before)) if before.end == columns.start => before.start..columns.end,
            (Some(_), Some(before)) if columns.end == before.start => columns.start..before.end,
            (Some(_), _) => return self.take_typed(input, dtype, shape),
        };
        arriving.partial.remove(&id);
        let tensor = arriving.grads[id].take();
        if written != (0..width) {
            arriving.partial.insert(id, written);
        }
        let mut tensor = tensor.unwrap_or_else(|| Tensor::empty_typed(self.device, dtype, shape));
        assert_eq!(tensor.shape(), shape);
        tensor.make_unique(self.device);
        Some(Sink { tensor, accumulate: false })
    }

    pub fn put(&mut self, input: usize, sink: Sink) {
        if let Some(id) = self.inputs[input] {
            self.arriving.grads[id] = Some(sink.tensor);
        }
    }

    /// Hands over a whole gradient that is already computed: moved when first, else added.
    pub fn give(&mut self, input: usize, grad: Tensor) {
        let Some(id) = self.inputs[input] else { return };
        self.arriving.complete(id);
        match &mut self.arriving.grads[id] {
            Some(sum) => sum.add_assign(self.device, &grad),
            slot => *slot = Some(grad),
        }
    }

    /// [`Sinks::give`] of a tensor of the CPU in which only these columns of the last axis were written.
    pub fn give_columns(&mut self, input: usize, mut grad: Tensor, columns: Range<usize>) {
        let Some(id) = self.inputs[input] else { return };
        if self.arriving.grads[id].is_none() && Some(&columns.len()) < grad.shape().last() {
            self.arriving.partial.insert(id, columns);
            self.arriving.grads[id] = Some(grad);
        } else {
            zero_other_columns(&mut grad, &columns);
            self.give(input, grad);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The gradient of one variable `[2 4]`, of columns that are given or taken in turn.
    fn sum_of(parts: &[(bool, Range<usize>, f32)]) -> Vec<f32> {
        let device = Device::cpu_checked();
        let mut arriving = Arriving::new(vec![None]);
        let mut sinks = Sinks::new(&mut arriving, &[Some(0)], &device);
        for (give, columns, value) in parts {
            let write = |to: &mut Tensor, add: bool| {
                for row in to.as_mut_slice().chunks_exact_mut(4) {
                    row[columns.clone()].iter_mut().for_each(|v| *v = if add { *v + value } else { *value });
                }
            };
            if *give {
                let mut grad = Tensor::empty(&device, &[2, 4]);
                write(&mut grad, false);
                sinks.give_columns(0, grad, columns.clone());
            } else {
                let mut sink = sinks.take_columns(0, DType::F32, &[2, 4], columns.clone()).unwrap();
                write(&mut sink.tensor, sink.accumulate);
                sinks.put(0, sink);
            }
        }
        let whole = arriving.into_whole().remove(0).unwrap();
        let (first, second) = whole.as_slice().split_at(4);
        assert_eq!(first, second);
        first.to_vec()
    }

    #[test]
    fn columns_that_meet_become_a_whole_gradient() {
        for give in [true, false] {
            assert_eq!(sum_of(&[(give, 2..4, 1.0), (false, 0..2, 2.0)]), [2.0, 2.0, 1.0, 1.0]);
            assert_eq!(sum_of(&[(give, 0..2, 1.0), (false, 2..3, 2.0)]), [1.0, 1.0, 2.0, 0.0]);
            // Afterwards it is added to like any other.
            let parts = [(give, 2..4, 1.0), (false, 0..2, 2.0), (give, 1..3, 4.0), (false, 0..4, 8.0)];
            assert_eq!(sum_of(&parts), [10.0, 14.0, 13.0, 9.0]);
        }
    }

    #[test]
    fn what_nothing_wrote_is_zero() {
        for give in [true, false] {
            assert_eq!(sum_of(&[(give, 1..2, 3.0)]), [0.0, 3.0, 0.0, 0.0]);
            // Columns apart, and the same columns again.
            assert_eq!(sum_of(&[(give, 0..1, 3.0), (false, 2..3, 1.0)]), [3.0, 0.0, 1.0, 0.0]);
            assert_eq!(sum_of(&[(give, 1..3, 3.0), (give, 1..3, 1.0)]), [0.0, 4.0, 4.0, 0.0]);
        }
    }
}
