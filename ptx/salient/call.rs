//! The sizes of one call.

use autograd::Var;
use engine::shape::axes3;
use engine::{Error, Result};

pub(super) const OP: &str = "salient";

/// Sizes of one call, and the rows that compete.
pub(super) struct Call<'a> {
    pub b: usize,
    pub heads: usize,
    pub keys: usize,
    pub extra: usize,
    pub rows: &'a [usize],
    pub k: usize,
}

impl<'a> Call<'a> {
    pub fn new(p: &Var, extra: usize, rows: &'a [usize], k: usize) -> Result<Self> {
        let [b, heads, keys] = axes3(OP, "p", "[b heads keys]", p.shape())?;
        let refuse = |what| Err(Error::Unsupported { op: OP, what });
        let l = keys.saturating_sub(extra);
        if !rows.is_sorted_by(|a, b| a < b) || rows.last() >= Some(&l) {
            return refuse(format!("rows {rows:?} of {l}: rising, each below {l}"));
        }
        if !(1..=rows.len()).contains(&k) {
            return refuse(format!("{k} of {} rows", rows.len()));
        }
        Ok(Call { b, heads, keys, extra, rows, k })
    }
}
