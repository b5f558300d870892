//! The shapes of Vim-S training, and the small ones that stand for them.
//!
//! A count of a kernel is a sum of products of its sizes: so many for a block, for a token of a block, for a channel.
//! Such a function is known everywhere from its values at two sizes along each axis. The small sizes are large enough
//! for kernels to be cut as they are in training, their tokens leave the same remainder in chunks of 16, and one further
//! shape, away from both, checks that the function is of that kind.

/// One size that is extrapolated.
pub struct Axis {
    pub name: &'static str,
    /// At 0 there is nothing to do.
    pub low: usize,
    pub high: usize,
    /// In the shape that checks the extrapolation.
    pub check: usize,
    /// In training.
    pub target: usize,
}

const fn axis(name: &'static str, [low, high, check, target]: [usize; 4]) -> Axis {
    Axis { name, low, high, check, target }
}

/// Images of a training step in the published recipe.
const BATCH: usize = 96;
/// Patches of 224 px and the class token.
const TOKENS: [usize; 4] = [21, 37, 53, 197];

/// The axes of the bench cases of an op; `None` for an op that launches no kernel of its own.
pub fn axes(op: &str) -> Option<Vec<Axis>> {
    let batch = |small: [usize; 3]| axis("b", [small[0], small[1], small[2], BATCH]);
    Some(match op {
        // From 12 images on blocks are as large as they get.
        "selective_scan" => vec![batch([0, 12, 13]), axis("l", TOKENS)],

        // From 1024 rows on the backward pass takes that many blocks.
        "prompt_add_norm" => vec![batch([8, 16, 12])],
        "causal_conv1d" | "drop_path" | "patch_embed" | "prompt_rows" | "simam" | "token_rows" => {
            vec![batch([1, 2, 3])]
        }
        // Small enough to run as it is.
        "cross_entropy" | "grad_norm" => vec![],
        "silu" => vec![axis("n", [1 << 15, 1 << 16, 1 << 17, BATCH * 197 * 384])],
        "adamw" | "ema" | "sgd" => vec![axis("n", [1 << 15, 1 << 16, 1 << 17, 1_644_288])],
        "linear" => vec![axis("rows", [2048, 4096, 3072, BATCH * 197])],
        _ => return None,
    })
}

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
    let axes = [axis("b", [1, 2, 3, 96]), axis("l", TOKENS)];
    let count = |b: usize, l: usize| (7 + 3 * b + 5 * l + 2 * b * l) as f64;
    let guess: f64 = corners(&axes, |axis| axis.target).iter().map(|(s, w)| w * count(s[0], s[1])).sum();
    assert_eq!(guess, count(96, 197));
}
