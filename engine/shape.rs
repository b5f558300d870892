//! Shapes with named axes in error messages.

use crate::{Error, Result};

/// The number of elements of a shape.
pub fn numel(shape: &[usize]) -> usize {
    shape.iter().product()
}

/// Checks that a tensor has the shape `want`; `axes` names its axes, as in `[b l e]`.
///
/// # Errors
/// [`Error::Shape`] with the op, the name of the tensor and both shapes.
pub fn check_shape(op: &'static str, name: &str, axes: &str, want: &[usize], got: &[usize]) -> Result<()> {
    if want == got {
        return Ok(());
    }
    Err(Error::Shape { op, name: name.into(), want: format!("{axes} = {want:?}"), got: got.to_vec() })
}

/// The sizes of the axes of a tensor that must have `N` of them; `names` names them, as in `[b l e]`.
///
/// # Errors
/// [`Error::Shape`] when the tensor has another number of axes.
pub fn axes<const N: usize>(op: &'static str, name: &str, names: &str, got: &[usize]) -> Result<[usize; N]> {
    <[usize; N]>::try_from(got).map_err(|_| Error::Shape {
        op,
        name: name.into(),
        want: format!("{names} ({N} axes)"),
        got: got.to_vec(),
    })
}

/// The sizes of the three axes of a `[batch length channel]` tensor.
///
/// # Errors
/// Those of [`axes`].
pub fn axes3(op: &'static str, name: &str, names: &str, got: &[usize]) -> Result<[usize; 3]> {
    axes(op, name, names, got)
}
