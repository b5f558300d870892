//! What the files of the op share: the levels.

use engine::{Error, Result};

pub(super) const OP: &str = "quantise";

/// Added to the deviation before it divides.
pub(super) const EPS: f64 = 1e-5;

/// The levels of one number of bits: a standardised value becomes `inner` or, beyond `threshold`, `outer`, with its sign.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Levels {
    pub threshold: f64,
    pub inner: f64,
    pub outer: f64,
}

impl Levels {
    /// The published levels: each is the median of a standard normal variable in its range, and thresholds lie in the
    /// middle between levels. Without any bits, a value stays what it is: `None`.
    pub fn new(bits: usize) -> Result<Option<Self>> {
        match bits {
            0 => Ok(None),
            1 => Ok(Some(Levels {
                threshold: f64::INFINITY,
                inner: 0.674_489_750_196_081_7,
                outer: 0.674_489_750_196_081_7,
            })),
            2 => Ok(Some(Levels {
                threshold: 0.821_737_243_085_728,
                inner: 0.377_754_161_149_450,
                outer: 1.265_720_325_022_005,
            })),
            _ => {
                Err(Error::Unsupported { op: OP, what: format!("{bits} bits: 1 and 2 are known, 0 is none") })
            }
        }
    }
}

/// Refuses what has no deviation.
pub(super) fn check(n: usize) -> Result<()> {
    if n > 1 {
        return Ok(());
    }
    Err(Error::Unsupported { op: OP, what: format!("{n} weights have no deviation: at least 2") })
}
