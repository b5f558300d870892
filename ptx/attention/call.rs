//! What one call gets: its settings, its sizes, and its inputs by position.

use autograd::Var;
use engine::shape::{axes3, check_shape};
use engine::{DType, Device, Error, Result, Tensor};

pub(super) const OP: &str = "attention";

/// The settings of one call.
#[derive(Clone, Copy)]
pub struct Settings<'a> {
    /// Number of heads, of which each has an equal part of the channels.
    pub heads: usize,
    /// `[heads n c]`: rows that stand before the keys of each head and, as well, before its values (E2VPT).
    pub extra: Option<&'a Var>,
    /// Temperatures `[k]` and the one by which this call divides its scores (GaPT).
    pub temperature: Option<(&'a Var, usize)>,
    /// The query row whose probabilities are wanted.
    pub class_row: Option<usize>,
}

impl Settings<'_> {
    /// Attention of this many heads and nothing else.
    pub fn heads(heads: usize) -> Self {
        Settings { heads, extra: None, temperature: None, class_row: None }
    }
}

/// Positions of the inputs in a recorded call.
pub(super) mod at {
    pub const QKV: usize = 0;
    pub const EXTRA: usize = 1;
    pub const TEMPERATURE: usize = 2;
}

/// Sizes of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dims {
    pub b: usize,
    pub l: usize,
    pub heads: usize,
    /// Channels of a head.
    pub c: usize,
    /// Extra rows of keys and values.
    pub n: usize,
    /// The temperature that is used.
    pub temperature: Option<usize>,
    pub class_row: Option<usize>,
}

impl Dims {
    /// The sizes of a call whose shapes are right.
    pub fn new(qkv: &Var, settings: Settings) -> Result<Self> {
        let [b, l, width] = axes3(OP, "qkv", "[b l 3d]", qkv.shape())?;
        let heads = settings.heads;
        if heads == 0 || width == 0 || !width.is_multiple_of(3 * heads) {
            let what = format!("{width} channels of qkv are no {heads} heads of queries, keys and values");
            return Err(Error::Unsupported { op: OP, what });
        }
        let c = width / 3 / heads;
        let n = match settings.extra {
            None => 0,
            Some(extra) => {
                let [_, n, _] = axes3(OP, "extra", "[heads n c]", extra.shape())?;
                check_shape(OP, "extra", "[heads n c]", &[heads, n, c], extra.shape())?;
                n
            }
        };
        if let Some((temperatures, entry)) = settings.temperature {
            let k = temperatures.value().numel().max(entry + 1);
            check_shape(OP, "temperature", "[k]", &[k], temperatures.shape())?;
        }
        if let Some(row) = settings.class_row.filter(|&row| row >= l) {
            let what = format!("class row {row} of {l} rows");
            return Err(Error::Unsupported { op: OP, what });
        }
        let temperature = settings.temperature.map(|(_, entry)| entry);
        Ok(Dims { b, l, heads, c, n, temperature, class_row: settings.class_row })
    }

    /// Channels of all heads.
    pub fn d(self) -> usize {
        self.heads * self.c
    }

    /// Keys of a query, the extra ones among them.
    pub fn keys(self) -> usize {
        self.n + self.l
    }

    /// `1 / sqrt(c)`, the factor of a score before the temperature.
    pub fn scale(self) -> f32 {
        1.0 / (self.c as f32).sqrt()
    }
}

/// What a call is beside qkv.
pub(super) struct Call {
    pub dims: Dims,
    /// `[heads n c]`
    pub extra: Option<Tensor>,
    /// `[k]`
    pub temperature: Option<Tensor>,
}

impl Call {
    /// The extra rows in the type of qkv.
    pub fn extra(&self, device: &Device, dtype: DType) -> Result<Option<Tensor>> {
        self.extra.as_ref().map(|extra| extra.cast(device, dtype)).transpose()
    }
}
