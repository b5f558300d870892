//! The parameters and sizes of a call of patch embedding.

use autograd::Var;
use engine::shape::{axes, check_shape};
use engine::{Error, Result};

pub(super) const OP: &str = "patch_embed";

/// The parameters, with the shapes of the published state dict; `p` is the number of patches.
pub struct Weights<'a> {
    /// The patches' projection, `[d c patch patch]`.
    pub weight: &'a Var,
    /// The projection's bias, `[d]`.
    pub bias: &'a Var,
    /// The class token, `[1 1 d]`.
    pub cls: &'a Var,
    /// Position embeddings, `[1 p+1 d]`.
    pub pos: &'a Var,
}

/// Sizes of one call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dims {
    pub b: usize,
    pub c: usize,
    /// Pixels of a side of an image, and of a patch.
    pub size: usize,
    pub patch: usize,
    pub stride: usize,
    /// Patches on a side of an image.
    pub grid: usize,
    pub d: usize,
    /// The row of the class token.
    pub class_row: usize,
}

impl Dims {
    /// Tokens of an image, class token included.
    pub fn tokens(&self) -> usize {
        self.grid * self.grid + 1
    }

    /// Values of a patch.
    pub fn k(&self) -> usize {
        self.c * self.patch * self.patch
    }

    /// The shape of the images.
    pub fn images(&self) -> [usize; 4] {
        [self.b, self.c, self.size, self.size]
    }

    /// The shape of the weight.
    pub fn weight(&self) -> [usize; 4] {
        [self.d, self.c, self.patch, self.patch]
    }

    /// The shape of the patches of all images as rows.
    pub fn columns(&self) -> [usize; 2] {
        [self.b * self.tokens(), self.k()]
    }
}

pub(super) fn check(images: &Var, weights: &Weights, stride: usize, class_row: usize) -> Result<Dims> {
    let [b, c, size, _] = axes(OP, "images", "[b c s s]", images.shape())?;
    let [d, _, patch, _] = axes(OP, "weight", "[d c patch patch]", weights.weight.shape())?;
    if stride == 0 || patch == 0 || patch > size {
        let what = format!("patches of {patch} pixels, {stride} apart, do not fit images of {size} pixels");
        return Err(Error::Unsupported { op: OP, what });
    }
    let dims = Dims { b, c, size, patch, stride, grid: (size - patch) / stride + 1, d, class_row };
    if class_row >= dims.tokens() {
        let what = format!("class row {class_row} of {} tokens", dims.tokens());
        return Err(Error::Unsupported { op: OP, what });
    }
    check_shape(OP, "images", "[b c s s]", &dims.images(), images.shape())?;
    check_shape(OP, "weight", "[d c patch patch]", &dims.weight(), weights.weight.shape())?;
    check_shape(OP, "bias", "[d]", &[d], weights.bias.shape())?;
    check_shape(OP, "cls", "[1 1 d]", &[1, 1, d], weights.cls.shape())?;
    check_shape(OP, "pos", "[1 p+1 d]", &[1, dims.tokens(), d], weights.pos.shape())?;
    Ok(dims)
}
