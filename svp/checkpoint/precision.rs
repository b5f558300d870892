//! The float type of the tensors that are written, and what every writer checks.

use std::borrow::Cow;
use std::io::{self, Write};
use std::path::Path;

use engine::Tensor;
use half::f16;

use crate::{Error, Result};

/// Float type of the tensors in a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// Single precision, the values unchanged.
    F32,
    /// Half precision, rounded to nearest. A finite value beyond 65,504 is refused.
    F16,
}

impl Precision {
    /// Bytes of one value.
    pub fn size(self) -> usize {
        match self {
            Precision::F32 => 4,
            Precision::F16 => 2,
        }
    }

    /// Writes values in this type.
    pub(super) fn write(self, file: &mut impl Write, values: &[f32]) -> io::Result<()> {
        match self {
            Precision::F32 => file.write_all(bytemuck::cast_slice(values)),
            Precision::F16 => {
                values.iter().try_for_each(|&v| file.write_all(&f16::from_f32(v).to_le_bytes()))
            }
        }
    }
}

/// A tensor that is to be written: name, shape and values.
pub(super) type Written<'a> = (&'a str, &'a [usize], Cow<'a, [f32]>);

/// The tensors in the order of their names, so that the same tensors give the same bytes.
///
/// # Errors
/// Two tensors of one name, and values that the precision cannot hold.
pub(super) fn in_order<'a>(
    path: &Path,
    tensors: &'a [(String, &Tensor)],
    precision: Precision,
) -> Result<Vec<Written<'a>>> {
    let mut sorted: Vec<Written> = vec![];
    for (name, tensor) in tensors {
        sorted.push((name, tensor.shape(), tensor.values()?));
    }
    sorted.sort_by(|a, b| a.0.cmp(b.0));
    if let Some(pair) = sorted.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(Error::path(path, format!("two tensors are named {}", pair[0].0), "rename one"));
    }
    let too_large = |v: f32| v.is_finite() && f16::from_f32(v).is_infinite();
    if precision == Precision::F16
        && let Some((name, ..)) = sorted.iter().find(|(_, _, values)| values.iter().any(|&v| too_large(v)))
    {
        let what = format!("tensor {name} has values that float16 cannot hold");
        return Err(Error::path(path, what, "keep float32"));
    }
    Ok(sorted)
}
