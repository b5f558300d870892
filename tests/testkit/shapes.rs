//! Extrapolates counts at small shapes to the shapes of training.
//!
//! A count of a kernel is a sum of products of its sizes: so much for a block, for a token of a block, for a channel.
//! Its values at two sizes along each axis determine such a function everywhere. One further shape, away from both,
//! checks that the count is of that form. An op's `cases.rs` names the axes and their sizes.

use ptx::spec::Axis;

/// The corners of small shapes, as sizes along the axes, and the weight of each in the extrapolation to `to`.
pub fn corners(axes: &[Axis], to: impl Fn(&Axis) -> usize) -> Vec<(Vec<usize>, f64)> {
    let corner = |bits: usize| {
        let (mut sizes, mut weight) = (vec![], 1.0);
        for (i, axis) in axes.iter().enumerate() {
            let along = (to(axis) as f64 - axis.low as f64) / (axis.high - axis.low) as f64;
            let high = bits >> i & 1 == 1;
            sizes.push(if high { axis.high } else { axis.low });
            weight *= if high { along } else { 1.0 - along };
        }
        (sizes, weight)
    };
    (0..1 << axes.len()).map(corner).collect()
}

#[test]
fn corners_give_products_of_sizes_exactly() {
    let axes = [Axis::new("b", [1, 2, 3], 96), Axis::new("l", [21, 37, 53], 197)];
    let count = |b: usize, l: usize| (7 + 3 * b + 5 * l + 2 * b * l) as f64;
    let guess: f64 = corners(&axes, |axis| axis.target).iter().map(|(s, w)| w * count(s[0], s[1])).sum();
    assert_eq!(guess, count(96, 197));
}
