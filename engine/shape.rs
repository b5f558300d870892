//! Shapes with named axes in error messages.

use crate::{Error, Result};

/// Elements of a shape.
pub fn numel(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Refuses a tensor whose shape is not `want`; `axes` names the axes, as in `[b l e]`.
pub fn check_shape(op: &'static str, name: &str, axes: &str, want: &[usize], got: &[usize]) -> Result<()> {
    if want == got {
        return Ok(());
    }
    Err(Error::Shape { op, name: name.into(), want: format!("{axes} = {want:?}"), got: got.to_vec() })
}

/// The axes of a tensor that must have `N` of them; `names` names them, as in `[b l e]`.
pub fn axes<const N: usize>(op: &'static str, name: &str, names: &str, got: &[usize]) -> Result<[usize; N]> {
    <[usize; N]>::try_from(got).map_err(|_| Error::Shape {
        op,
        name: name.into(),
        want: format!("{names} ({N} axes)"),
        got: got.to_vec(),
    })
}

/// The three axes of a `[batch length channel]` tensor.
pub fn axes3(op: &'static str, name: &str, names: &str, got: &[usize]) -> Result<[usize; 3]> {
    axes(op, name, names, got)
}
