//! Nodes that are used often, as functions of their operands.

use std::ops::Range;

use crate::graph::{Attribute, Graph, Name};

use Attribute::{Int, Ints};

/// The number of the type of floats.
const FLOAT: i64 = 1;

/// The end of an axis, whatever its length, as operators understand it.
const END: i64 = i64::MAX;

impl<'a> Graph<'a> {
    /// `a + b`, broadcast.
    pub fn add(&mut self, a: &Name, b: &Name) -> Name {
        self.node("Add", &[a, b], vec![])
    }

    /// `a - b`, broadcast.
    pub fn sub(&mut self, a: &Name, b: &Name) -> Name {
        self.node("Sub", &[a, b], vec![])
    }

    /// `a b`, broadcast.
    pub fn mul(&mut self, a: &Name, b: &Name) -> Name {
        self.node("Mul", &[a, b], vec![])
    }

    /// `a / b`, broadcast.
    pub fn div(&mut self, a: &Name, b: &Name) -> Name {
        self.node("Div", &[a, b], vec![])
    }

    /// The matrix product over the last two axes.
    pub fn matmul(&mut self, a: &Name, b: &Name) -> Name {
        self.node("MatMul", &[a, b], vec![])
    }

    /// A function of every value, by its operator.
    pub fn each(&mut self, op: &'static str, x: &Name) -> Name {
        self.node(op, &[x], vec![])
    }

    /// Truth values or whole numbers as floats.
    pub fn to_floats(&mut self, x: &Name) -> Name {
        self.node("Cast", &[x], vec![("to", Int(FLOAT))])
    }

    /// `x sigmoid(x)`
    pub fn silu(&mut self, x: &Name) -> Name {
        let gate = self.each("Sigmoid", x);
        self.mul(x, &gate)
    }

    /// The axes in another order.
    pub fn transpose(&mut self, x: &Name, order: &[i64]) -> Name {
        self.node("Transpose", &[x], vec![("perm", Ints(order.to_vec()))])
    }

    /// Another shape; 0 keeps an axis, and one of -1 takes what is left.
    pub fn reshape(&mut self, x: &Name, shape: &[i64]) -> Name {
        let shape = self.ints(shape);
        self.node("Reshape", &[x, &shape], vec![])
    }

    /// An axis of length 1 more, at `axis` of the result.
    pub fn unsqueeze(&mut self, x: &Name, axis: i64) -> Name {
        let axis = self.ints(&[axis]);
        self.node("Unsqueeze", &[x, &axis], vec![])
    }

    /// Without the axis `axis` of length 1.
    pub fn squeeze(&mut self, x: &Name, axis: i64) -> Name {
        let axis = self.ints(&[axis]);
        self.node("Squeeze", &[x, &axis], vec![])
    }

    /// A part of one axis.
    pub fn slice(&mut self, x: &Name, axis: i64, part: Range<usize>) -> Name {
        let [start, end, axis] = [part.start as i64, part.end as i64, axis].map(|value| self.ints(&[value]));
        self.node("Slice", &[x, &start, &end, &axis], vec![])
    }

    /// One axis in the opposite order.
    pub fn reversed(&mut self, x: &Name, axis: i64) -> Name {
        let [start, end, axis, step] = [-1, -END, axis, -1].map(|value| self.ints(&[value]));
        self.node("Slice", &[x, &start, &end, &axis, &step], vec![])
    }

    /// Values side by side along an axis.
    pub fn concat(&mut self, parts: &[&Name], axis: i64) -> Name {
        self.node("Concat", parts, vec![("axis", Int(axis))])
    }

    /// The entry `index` of an axis, which goes.
    pub fn select(&mut self, x: &Name, axis: i64, index: usize) -> Name {
        let index = self.int(index as i64);
        self.node("Gather", &[x, &index], vec![("axis", Int(axis))])
    }

    /// The entries of an axis in another order; they may repeat.
    pub fn gather(&mut self, x: &Name, axis: i64, indices: &[i64]) -> Name {
        let indices = self.ints(indices);
        self.node("Gather", &[x, &indices], vec![("axis", Int(axis))])
    }

    /// The mean over axes, which stay with length 1.
    pub fn mean(&mut self, x: &Name, axes: &[i64]) -> Name {
        self.node("ReduceMean", &[x], vec![("axes", Ints(axes.to_vec())), ("keepdims", Int(1))])
    }

    /// The length of the first axis, followed by `rest`, as a shape.
    fn shape_like(&mut self, x: &Name, rest: &[usize]) -> Name {
        let first = self.node("Shape", &[x], vec![("start", Int(0)), ("end", Int(1))]);
        let rest: Vec<i64> = rest.iter().map(|&length| length as i64).collect();
        let rest = self.ints(&rest);
        self.concat(&[&first, &rest], 0)
    }

    /// Zeros `[b ..shape]`, where b is the length of the first axis of x.
    pub fn zeros_like(&mut self, x: &Name, shape: &[usize]) -> Name {
        let shape = self.shape_like(x, shape);
        self.node("ConstantOfShape", &[&shape], vec![])
    }

    /// `rows [1 n d]` for each sample of `x [b ..]`: `[b n d]`.
    pub fn for_each_sample(&mut self, rows: &Name, x: &Name) -> Name {
        let shape = self.shape_like(x, &[1, 1]);
        self.node("Expand", &[rows, &shape], vec![])
    }
}
