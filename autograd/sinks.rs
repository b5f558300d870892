//! Where gradients go during the backward walk.

use std::collections::HashMap;
use std::ops::Range;

use engine::{DType, Device, Element, Tensor, bf16};

/// A gradient that a function writes.
pub struct Sink {
    /// The memory to write to, in the shape of the input.
    pub tensor: Tensor,
    /// Others came before: the function adds to `tensor`. Else it writes all of it.
    pub accumulate: bool,
}

impl Sink {
    /// The tensor, made zero where nothing arrived yet. This is for functions that add to it or write only a part of it.
    pub fn zeroed_tensor(&mut self) -> &mut Tensor {
        if !self.accumulate {
            self.tensor.fill_zero();
        }
        &mut self.tensor
    }

    /// The elements of [`Sink::zeroed_tensor`] on the CPU, of a gradient in f32.
    pub fn zeroed(&mut self) -> &mut [f32] {
        self.zeroed_tensor().as_mut_slice()
    }
}

/// The gradients that have arrived during a backward walk, by variable.
pub(crate) struct Arrived {
    grads: Vec<Option<Tensor>>,
    /// For gradients that are not written whole yet, the columns that were written.
    partial: HashMap<usize, Range<usize>>,
}

impl Arrived {
    /// Starts a walk with the gradients of earlier ones.
    pub fn new(grads: Vec<Option<Tensor>>) -> Self {
        Arrived { grads, partial: HashMap::new() }
    }

    /// Makes the part of a gradient that nothing wrote zero.
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

    /// All gradients, whole.
    pub fn into_whole(mut self) -> Vec<Option<Tensor>> {
        let left: Vec<usize> = self.partial.keys().copied().collect();
        left.into_iter().for_each(|id| self.complete(id));
        self.grads
    }
}

/// Makes all columns of a tensor of the CPU zero, except these.
fn zero_other_columns(tensor: &mut Tensor, columns: &Range<usize>) {
    let width = *tensor.shape().last().expect("a gradient with columns has axes");
    match tensor.dtype() {
        DType::F32 => zero::<f32>(tensor.slice_mut(), width, columns),
        DType::Bf16 => zero::<bf16>(tensor.slice_mut(), width, columns),
    }
}

fn zero<E: Element>(elements: &mut [E], width: usize, columns: &Range<usize>) {
    for row in elements.chunks_exact_mut(width) {
        row[..columns.start].fill(E::ZERO);
        row[columns.end..].fill(E::ZERO);
    }
}

/// Where a function puts the gradients of its inputs, by position in the recorded call.
pub struct Sinks<'a> {
    arrived: &'a mut Arrived,
    /// The variable of each input; none for inputs that want no gradient.
    inputs: &'a [Option<usize>],
    device: &'a Device,
}

impl<'a> Sinks<'a> {
    pub(crate) fn new(arrived: &'a mut Arrived, inputs: &'a [Option<usize>], device: &'a Device) -> Self {
        Sinks { arrived, inputs, device }
    }

    /// The device on which the tape computes.
    pub fn device(&self) -> &Device {
        self.device
    }

    /// Whether `input` wants a gradient.
    pub fn wants(&self, input: usize) -> bool {
        self.inputs[input].is_some()
    }

    /// Takes f32 memory for the gradient of `input`, whose shape is `shape`; hand it back with [`Sinks::put`]. Returns
    /// `None` for an input that wants no gradient.
    pub fn take(&mut self, input: usize, shape: &[usize]) -> Option<Sink> {
        self.take_typed(input, DType::F32, shape)
    }

    /// [`Sinks::take`] of a type. A gradient that came before keeps the type in which it came.
    pub fn take_typed(&mut self, input: usize, dtype: DType, shape: &[usize]) -> Option<Sink> {
        let id = self.inputs[input]?;
        Some(match self.arrived.take_whole(id) {
            Some(mut tensor) => {
                assert_eq!(tensor.shape(), shape);
                tensor.make_unique(self.device);
                Sink { tensor, accumulate: true }
            }
            None => Sink { tensor: Tensor::empty_typed(self.device, dtype, shape), accumulate: false },
        })
    }

    /// [`Sinks::take_typed`] for a function that writes, or adds to, only these columns of the last axis. What no function
    /// writes becomes zero. On the CPU, columns that others write need not be made zero first.
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
        let arrived = &mut *self.arrived;
        let written = match (&arrived.grads[id], arrived.partial.get(&id)) {
            (None, _) => columns,
            (Some(_), Some(before)) if before.end == columns.start => before.start..columns.end,
            (Some(_), Some(before)) if columns.end == before.start => columns.start..before.end,
            (Some(_), _) => return self.take_typed(input, dtype, shape),
        };
        arrived.partial.remove(&id);
        let tensor = arrived.grads[id].take();
        if written != (0..width) {
            arrived.partial.insert(id, written);
        }
        let mut tensor = tensor.unwrap_or_else(|| Tensor::empty_typed(self.device, dtype, shape));
        assert_eq!(tensor.shape(), shape);
        tensor.make_unique(self.device);
        Some(Sink { tensor, accumulate: false })
    }

    /// Hands back what was taken for `input`, now written.
    pub fn put(&mut self, input: usize, sink: Sink) {
        if let Some(id) = self.inputs[input] {
            self.arrived.grads[id] = Some(sink.tensor);
        }
    }

    /// Hands over a whole gradient that is computed already. It is moved when it is the first, else added.
    pub fn give(&mut self, input: usize, grad: Tensor) {
        let Some(id) = self.inputs[input] else { return };
        self.arrived.complete(id);
        match &mut self.arrived.grads[id] {
            Some(sum) => sum.add_assign(self.device, &grad),
            slot => *slot = Some(grad),
        }
    }

    /// [`Sinks::give`] for a tensor of the CPU of which only these columns of the last axis were written.
    pub fn give_columns(&mut self, input: usize, mut grad: Tensor, columns: Range<usize>) {
        let Some(id) = self.inputs[input] else { return };
        if self.arrived.grads[id].is_none() && Some(&columns.len()) < grad.shape().last() {
            self.arrived.partial.insert(id, columns);
            self.arrived.grads[id] = Some(grad);
        } else {
            zero_other_columns(&mut grad, &columns);
            self.give(input, grad);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One part of a gradient.
    struct Part {
        /// The columns are given; else they are taken, written and put.
        give: bool,
        columns: Range<usize>,
        value: f32,
    }

    fn give(columns: Range<usize>, value: f32) -> Part {
        Part { give: true, columns, value }
    }

    fn take(columns: Range<usize>, value: f32) -> Part {
        Part { give: false, columns, value }
    }

    /// The first row of the gradient of a variable `[2 4]` whose parts arrive in turn; both rows get the same.
    fn sum_of(parts: &[Part]) -> Vec<f32> {
        let device = Device::cpu_checked();
        let mut arrived = Arrived::new(vec![None]);
        let mut sinks = Sinks::new(&mut arrived, &[Some(0)], &device);
        for Part { give, columns, value } in parts {
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
        let whole = arrived.into_whole().remove(0).unwrap();
        let (first, second) = whole.as_slice().split_at(4);
        assert_eq!(first, second);
        first.to_vec()
    }

    #[test]
    fn columns_that_meet_become_a_whole_gradient() {
        for part in [give, take] {
            assert_eq!(sum_of(&[part(2..4, 1.0), take(0..2, 2.0)]), [2.0, 2.0, 1.0, 1.0]);
            assert_eq!(sum_of(&[part(0..2, 1.0), take(2..3, 2.0)]), [1.0, 1.0, 2.0, 0.0]);
            // A gradient that became whole is added to like any other.
            let parts = [part(2..4, 1.0), take(0..2, 2.0), part(1..3, 4.0), take(0..4, 8.0)];
            assert_eq!(sum_of(&parts), [10.0, 14.0, 13.0, 9.0]);
        }
    }

    #[test]
    fn what_nothing_wrote_is_zero() {
        for part in [give, take] {
            assert_eq!(sum_of(&[part(1..2, 3.0)]), [0.0, 3.0, 0.0, 0.0]);
            // These are columns that do not meet, and the same columns again.
            assert_eq!(sum_of(&[part(0..1, 3.0), take(2..3, 1.0)]), [3.0, 0.0, 1.0, 0.0]);
            assert_eq!(sum_of(&[part(1..3, 3.0), part(1..3, 1.0)]), [0.0, 4.0, 4.0, 0.0]);
        }
    }
}
