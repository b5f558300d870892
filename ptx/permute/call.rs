//! The sizes of one call.

use engine::shape::axes;
use engine::{Error, Result};

pub(super) const OP: &str = "permute";

/// An order of three axes and the sizes of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Order {
    /// Which axis of x each axis of y is.
    pub axes: [usize; 3],
    /// Shape of y.
    pub shape: [usize; 3],
    /// Elements of x between neighbours along each axis of y.
    pub strides: [usize; 3],
}

impl Order {
    /// The order of a call whose shape is right.
    pub fn new(x: &[usize], order: [usize; 3]) -> Result<Self> {
        let shape = axes::<3>(OP, "x", "[a b c]", x)?;
        let mut seen = order;
        seen.sort_unstable();
        if seen != [0, 1, 2] {
            return Err(Error::Unsupported { op: OP, what: format!("{order:?} is no order of three axes") });
        }
        let steps = [shape[1] * shape[2], shape[2], 1];
        Ok(Order {
            axes: order,
            shape: order.map(|axis| shape[axis]),
            strides: order.map(|axis| steps[axis]),
        })
    }

    /// The order that takes y back to x.
    pub fn back(&self) -> Self {
        let mut order = [0; 3];
        (0..3).for_each(|axis| order[self.axes[axis]] = axis);
        Order::new(&self.shape, order).expect("the inverse of an order is one")
    }
}
