//! The op in plain loops.

/// `x` of this shape with its axes in this order.
pub fn forward<T: Copy>(x: &[T], shape: [usize; 3], order: [usize; 3]) -> Vec<T> {
    let mut y = vec![];
    let ends = order.map(|axis| shape[axis]);
    for i in 0..ends[0] {
        for j in 0..ends[1] {
            for k in 0..ends[2] {
                let mut at = [0; 3];
                [at[order[0]], at[order[1]], at[order[2]]] = [i, j, k];
                y.push(x[(at[0] * shape[1] + at[1]) * shape[2] + at[2]]);
            }
        }
    }
    y
}

/// The gradient of x of this shape.
pub fn backward<T: Copy>(dy: &[T], shape: [usize; 3], order: [usize; 3]) -> Vec<T> {
    let ends = order.map(|axis| shape[axis]);
    let mut dx = dy.to_vec();
    for (i, &dy) in dy.iter().enumerate() {
        let mut at = [0; 3];
        let place = [i / (ends[1] * ends[2]), i / ends[2] % ends[1], i % ends[2]];
        (0..3).for_each(|axis| at[order[axis]] = place[axis]);
        dx[(at[0] * shape[1] + at[1]) * shape[2] + at[2]] = dy;
    }
    dx
}
