//! The rows and the dropout of a call of prompt rows.

use engine::shape::check_shape;
use engine::{Error, Result, Tensor};

pub(super) const OP: &str = "prompt_rows";

/// Rows of a map from here on are prompts, counted from 0.
pub(super) const PROMPT: u32 = 1 << 31;

/// Keyed dropout of prompt elements. Element (sample i, prompt j, channel c) is dropped where word `c % 4` of
/// [`engine::rng::philox`] with key `keys[i]` and counter `[c / 4, j, stream, 0]` is below `rate 2^32`; kept elements
/// are scaled by `1 / (1 - rate)`. The mask is the same on every device.
#[derive(Clone, Copy)]
pub struct Dropout<'a> {
    /// `[b 2]`, f32: each an integer below 2^24, from [`dropout_keys`].
    pub keys: &'a Tensor,
    /// Probability, in [0, 1).
    pub rate: f32,
    /// Tells uses of the same keys apart: the layer.
    pub stream: u32,
}

/// Where rows come from. A row of a map is a row of the other tensor, or `PROMPT + j` for prompt j.
pub(super) struct Maps {
    /// Of each row of y: a row of x.
    pub y: Vec<u32>,
    /// Of each row of dx: a row of dy.
    pub x: Vec<u32>,
    /// The rows of y that hold the prompts.
    pub rows: Vec<u32>,
}

impl Maps {
    pub fn insert(l: usize, rows: &[usize]) -> Result<Self> {
        let y = Self::mark(l + rows.len(), rows)?;
        // The rows of x stand in y in their order.
        let (mut all, mut x) = (y, vec![]);
        for (at, row) in all.iter_mut().enumerate().filter(|(_, row)| **row < PROMPT) {
            *row = x.len() as u32;
            x.push(at as u32);
        }
        Ok(Maps { y: all, x, rows: rows.iter().map(|&row| row as u32).collect() })
    }

    pub fn replace(l: usize, rows: &[usize]) -> Result<Self> {
        let y = Self::mark(l, rows)?;
        Ok(Maps { x: y.clone(), y, rows: rows.iter().map(|&row| row as u32).collect() })
    }

    /// `0..l`, but for the prompts at `rows`.
    fn mark(l: usize, rows: &[usize]) -> Result<Vec<u32>> {
        let refuse = |what| Err(Error::Unsupported { op: OP, what });
        if l >= PROMPT as usize {
            return refuse(format!("a result of {l} rows: below {PROMPT}"));
        }
        if rows.is_empty() || !rows.is_sorted_by(|a, b| a < b) || rows.last() >= Some(&l) {
            return refuse(format!("rows {rows:?} of {l}: one or more, rising, each below {l}"));
        }
        let mut map: Vec<u32> = (0..l as u32).collect();
        for (j, &row) in rows.iter().enumerate() {
            map[row] = PROMPT + j as u32;
        }
        Ok(map)
    }
}

/// Dropout as both passes need it.
#[derive(Clone)]
pub(super) struct Mask {
    pub keys: Tensor,
    /// Words below it are dropped.
    pub threshold: u32,
    /// Of what is kept.
    pub scale: f32,
    pub stream: u32,
}

impl Mask {
    pub fn new(dropout: &Dropout, b: usize) -> Result<Self> {
        let Dropout { keys, rate, stream } = *dropout;
        if !(0.0..1.0).contains(&rate) {
            return Err(Error::Unsupported { op: OP, what: format!("dropout rate {rate} is not in [0, 1)") });
        }
        check_shape(OP, "keys", "[b 2]", &[b, 2], keys.shape())?;
        let rate = f64::from(rate);
        let (threshold, scale) = ((rate * 2f64.powi(32)) as u32, (1.0 / (1.0 - rate)) as f32);
        Ok(Mask { keys: keys.clone(), threshold, scale, stream })
    }
}
