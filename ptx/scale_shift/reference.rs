//! The op in plain loops. `x` is `[rows d]`, where d is the length of `scale`.

use num_traits::Float;

/// `y [rows d]`. An empty `shift` stands for none.
pub fn forward<T: Float>(x: &[T], scale: &[T], shift: &[T]) -> Vec<T> {
    let mut y = vec![];
    for row in x.chunks(scale.len()) {
        for c in 0..scale.len() {
            let shift = if shift.is_empty() { T::zero() } else { shift[c] };
            y.push(scale[c] * row[c] + shift);
        }
    }
    y
}

/// `(dx, dscale, dshift)`.
pub fn backward<T: Float>(x: &[T], scale: &[T], dy: &[T]) -> (Vec<T>, Vec<T>, Vec<T>) {
    let d = scale.len();
    let (mut dx, mut dscale, mut dshift) = (vec![], vec![T::zero(); d], vec![T::zero(); d]);
    for (x, dy) in x.chunks(d).zip(dy.chunks(d)) {
        for c in 0..d {
            dx.push(scale[c] * dy[c]);
            dscale[c] = dscale[c] + dy[c] * x[c];
            dshift[c] = dshift[c] + dy[c];
        }
    }
    (dx, dscale, dshift)
}
