//! What one call gets: its sizes, its rows and its gate.

use autograd::Var;
use engine::shape::{axes3, check_shape};
use engine::{Device, Error, Result, Tensor};

pub(super) const OP: &str = "gate_rows";

/// Positions of the inputs in a recorded call.
pub(super) mod at {
    pub const X: usize = 0;
    pub const Z: usize = 1;
    pub const LOGITS: usize = 2;
    pub const ROWS: usize = 3;
}

/// Rows of a sequence are numbered in f32, which holds whole numbers up to here.
const MOST_ROWS: usize = 1 << 24;

/// What x weighs; z weighs the rest.
#[derive(Clone, Copy)]
pub enum Gate<'a> {
    /// This, which is not trained.
    Constant(f32),
    /// The sigmoid of one of the logits `[k]`.
    Logit(&'a Var, usize),
}

impl<'a> Gate<'a> {
    pub(super) fn logits(self) -> Option<&'a Var> {
        match self {
            Gate::Constant(_) => None,
            Gate::Logit(logits, _) => Some(logits),
        }
    }
}

/// Sizes, rows and gate of one call.
pub(super) struct Call {
    pub b: usize,
    pub l: usize,
    pub d: usize,
    pub n: usize,
    /// Row numbers `[n]`.
    pub rows: Tensor,
    /// `[k]`, and the one that is used.
    pub logits: Option<Tensor>,
    pub entry: usize,
    /// The gate without logits.
    pub constant: f32,
}

impl Call {
    pub fn new(device: &Device, x: &Var, z: Option<&Var>, gate: Gate, rows: &[usize]) -> Result<Self> {
        let [b, l, d] = axes3(OP, "x", "[b l d]", x.shape())?;
        let refuse = |what| Err(Error::Unsupported { op: OP, what });
        if let Some(z) = z {
            check_shape(OP, "z", "[b l d]", &[b, l, d], z.shape())?;
            let types = [x, z].map(|var| var.value().dtype());
            if types[0] != types[1] {
                return refuse(format!("x is {:?} and z is {:?}", types[0], types[1]));
            }
        }
        let (constant, entry) = match gate {
            Gate::Constant(constant) => (constant, 0),
            Gate::Logit(logits, entry) => {
                let k = logits.value().numel().max(entry + 1);
                check_shape(OP, "logits", "[k]", &[k], logits.shape())?;
                (0.0, entry)
            }
        };
        if rows.is_empty() || !rows.is_sorted_by(|a, b| a < b) || rows.last() >= Some(&l) || l > MOST_ROWS {
            return refuse(format!("rows {rows:?} of {l}: one or more, rising, each below {l}"));
        }
        let numbers: Vec<f32> = rows.iter().map(|&row| row as f32).collect();
        let n = rows.len();
        let rows = Tensor::from_slice(device, &numbers, &[n]);
        let logits = gate.logits().map(|logits| logits.value().clone());
        Ok(Call { b, l, d, n, rows, logits, entry, constant })
    }
}
