//! What one call gets: learned rows, and where they are added.

use autograd::Var;
use engine::shape::{axes3, check_shape};
use engine::{Device, Error, Result, Tensor};

pub(super) const OP: &str = "add_rows";

/// Positions of the inputs in a recorded call.
pub(super) mod at {
    pub const X: usize = 0;
    pub const VALUES: usize = 1;
    pub const EACH: usize = 2;
}

/// Rows of a sequence are numbered in f32, which holds whole numbers up to here.
const MOST_ROWS: usize = 1 << 24;

/// The learned rows of one call.
#[derive(Clone, Copy)]
pub struct Rows<'a> {
    /// `[k n d]`, f32; this call uses `entry`.
    pub values: &'a Var,
    /// Which of the `k`. The gradient of the others is untouched.
    pub entry: usize,
    /// The factor of the rows.
    pub weight: f32,
}

/// The rows of the sequence that learned rows are added to.
#[derive(Clone, Copy)]
pub enum At<'a> {
    /// These of every image, which rise strictly.
    Same(&'a [usize]),
    /// Those of each image in `[b n]`, f32, as [`salient`](crate::salient) chooses them. They differ from each other.
    Each(&'a Var),
}

/// Sizes, factor and places of one call.
pub(super) struct Call {
    pub b: usize,
    pub l: usize,
    pub d: usize,
    pub n: usize,
    pub entry: usize,
    pub weight: f32,
    /// Row numbers, `[n]` or `[b n]`.
    pub at: Tensor,
    /// Elements of `at` from one image to the next: `n`, or 0 where all have the same.
    pub stride: usize,
}

impl Call {
    pub fn new(device: &Device, x: &Var, rows: Rows, at: At) -> Result<Self> {
        let [b, l, d] = axes3(OP, "x", "[b l d]", x.shape())?;
        let [k, n, _] = axes3(OP, "rows", "[k n d]", rows.values.shape())?;
        check_shape(OP, "rows", "[k n d]", &[k.max(rows.entry + 1), n, d], rows.values.shape())?;
        let refuse = |what| Err(Error::Unsupported { op: OP, what });
        if l > MOST_ROWS {
            return refuse(format!("a sequence of {l} rows: at most {MOST_ROWS}"));
        }
        let (at, stride) = match at {
            At::Same(same) => {
                if same.len() != n || !same.is_sorted_by(|a, b| a < b) || same.last() >= Some(&l) {
                    return refuse(format!("rows {same:?} of {l}: {n} of them, rising, each below {l}"));
                }
                let numbers: Vec<f32> = same.iter().map(|&row| row as f32).collect();
                (Tensor::from_slice(device, &numbers, &[n]), 0)
            }
            At::Each(each) => {
                check_shape(OP, "at", "[b n]", &[b, n], each.shape())?;
                (each.value().clone(), n)
            }
        };
        Ok(Call { b, l, d, n, entry: rows.entry, weight: rows.weight, at, stride })
    }
}
