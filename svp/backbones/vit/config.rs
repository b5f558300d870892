//! Sizes of a ViT, and what its tensors do not tell.

use std::collections::BTreeMap;

use crate::backbones::family::Pool;
use crate::data::Normalisation;
use crate::pass::Spec;
use crate::{Error, Result};

/// The family's name, in trained files and in the entries of methods.
pub const NAME: &str = "vit";

/// Names that [`VitConfig::named`] takes.
pub(super) const NAMES: &str =
    "vit_tiny, vit_small, vit_base, vit_large, each also with _patch32, or vit_huge";

/// What is added to the variance by every norm of timm's and Google's models.
pub(super) const EPS: f32 = 1e-6;

/// Most pixels on a side of an image.
const MOST_PIXELS: usize = 8192;

/// Sizes of a ViT backbone as in timm's `VisionTransformer`, and what its tensors do not tell (`docs/methods.md`, "ViT").
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VitConfig {
    /// Side of the input images, in pixels.
    pub img_size: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Pixels between patches.
    pub stride: usize,
    /// Channels of a token.
    pub embed_dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// Heads of the attention, each of `embed_dim / heads` channels.
    pub heads: usize,
    /// Channels inside the MLP of a block.
    pub mlp_dim: usize,
    /// Whether each branch of a block is multiplied by a learned factor for each channel (LayerScale), as in DINOv2.
    pub layer_scale: bool,
    /// What the head reads.
    pub pool: Pool,
    /// What is added to the variance in every norm.
    pub eps: f32,
    /// Mean and deviation for normalising images, as in pre-training.
    pub normalisation: Normalisation,
}

impl VitConfig {
    /// A published size, such as `vit_base` or `vit_base_patch32`.
    ///
    /// # Errors
    /// A name that is none of these.
    pub fn named(name: &str) -> Result<Self> {
        let (size, patch) = match name.strip_suffix("_patch32") {
            Some(size) => (size, 32),
            None => (name, 16),
        };
        match (size, patch) {
            ("vit_tiny", _) => Ok(VitConfig::sized(224, patch, 192, 12)),
            ("vit_small", _) => Ok(VitConfig::sized(224, patch, 384, 12)),
            ("vit_base", _) => Ok(VitConfig::sized(224, patch, 768, 12)),
            ("vit_large", _) => Ok(VitConfig::sized(224, patch, 1024, 24)),
            ("vit_huge", 16) => Ok(VitConfig::sized(224, 14, 1280, 32)),
            _ => Err(Error::input("model", format!("unknown model {name:?}"), format!("use {NAMES}"))),
        }
    }

    /// A ViT of these sizes, with everything else as in timm and patches that do not overlap.
    pub fn sized(img_size: usize, patch_size: usize, embed_dim: usize, depth: usize) -> Self {
        VitConfig {
            img_size,
            patch_size,
            stride: patch_size,
            embed_dim,
            depth,
            heads: usual_heads(embed_dim).unwrap_or(1),
            mlp_dim: embed_dim.saturating_mul(4),
            layer_scale: false,
            pool: Pool::Class,
            eps: EPS,
            normalisation: Normalisation::IMAGENET,
        }
    }

    /// Patches on a side of the image.
    pub fn grid(&self) -> usize {
        (self.img_size - self.patch_size) / self.stride + 1
    }

    /// Number of tokens, the class token included.
    pub fn tokens(&self) -> usize {
        self.grid() * self.grid() + 1
    }

    /// The sizes in the form that methods, heads and data need.
    pub fn spec(&self) -> Spec {
        Spec {
            family: NAME,
            img_size: self.img_size,
            patch_size: self.patch_size,
            stride: self.stride,
            grid: self.grid(),
            width: self.embed_dim,
            scan_width: None,
            depth: self.depth,
            additions: 2,
            heads: Some(self.heads),
            mlp_width: Some(self.mlp_dim),
            class_row: Some(0),
            normalisation: self.normalisation,
        }
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// Sizes that no model can have.
    pub fn check(&self) -> Result<()> {
        let positive = [self.patch_size, self.stride, self.embed_dim, self.depth, self.heads, self.mlp_dim];
        let wrong = if positive.contains(&0) {
            "a size is 0".into()
        } else if self.img_size < self.patch_size {
            "the image is smaller than a patch".into()
        } else if self.img_size > MOST_PIXELS {
            format!("the image size is above {MOST_PIXELS} pixels")
        } else if !self.embed_dim.is_multiple_of(self.heads) {
            format!("{} channels are no multiple of {} heads", self.embed_dim, self.heads)
        } else if !(self.eps > 0.0 && self.eps < 1.0) {
            format!("an eps of {} is not between 0 and 1", self.eps)
        } else {
            return Ok(());
        };
        let VitConfig { img_size, patch_size, stride, embed_dim, depth, heads, .. } = self;
        let sizes = format!(
            "{img_size} px in patches of {patch_size}, {stride} apart, {embed_dim} wide, {depth} blocks, {heads} heads"
        );
        Err(Error::input("model", format!("{wrong}: {sizes}"), "check the sizes, and --heads"))
    }

    /// Infers the sizes from the shapes of a state dict with timm's names; `None` where they are not those of a ViT with
    /// a class token and a square grid. Heads, eps and normalisation, which no shape tells, are the usual ones; `None` in
    /// the second place where the width has no usual number of heads. The image is the one in which patches lie `stride`
    /// apart, or side by side.
    pub fn of_shapes(
        shapes: &BTreeMap<&str, &[usize]>,
        stride: Option<usize>,
    ) -> Option<(Self, Option<usize>)> {
        // A tensor without values can claim any size, the others at most that of their file.
        let held = |name: &str| shapes.get(name).copied().filter(|shape| !shape.contains(&0));
        let &[1, 1, embed_dim] = held("cls_token")? else { return None };
        let &[_, 3, patch_size, _] = held("patch_embed.proj.weight")? else { return None };
        let &[1, rows, _] = held("pos_embed")? else { return None };
        let &[mlp_dim, _] = held("blocks.0.mlp.fc1.weight")? else { return None };
        held("blocks.0.attn.qkv.weight")?;
        let (patches, stride) = (rows - 1, stride.unwrap_or(patch_size));
        let grid = patches.isqrt();
        if grid * grid != patches || grid == 0 || stride == 0 {
            return None;
        }
        let depth =
            (0..).take_while(|i| shapes.contains_key(format!("blocks.{i}.norm1.weight").as_str())).count();
        let img_size = (grid - 1).saturating_mul(stride).saturating_add(patch_size);
        let sized = VitConfig::sized(img_size, patch_size, embed_dim, depth);
        let layer_scale = shapes.contains_key("blocks.0.ls1.gamma");
        let own_norm = shapes.contains_key("fc_norm.weight");
        let pool = if own_norm { Pool::Mae } else { Pool::Class };
        Some((VitConfig { stride, mlp_dim, layer_scale, pool, ..sized }, usual_heads(embed_dim)))
    }
}

/// The number of heads of published models of a width: of 64 channels each, and of 80 in ViT-H.
pub(super) fn usual_heads(width: usize) -> Option<usize> {
    match width {
        1280 => Some(16),
        _ => (width.is_multiple_of(64) && width > 0).then_some(width / 64),
    }
}

#[cfg(test)]
mod tests {
    use super::super::weights;
    use super::*;

    /// Parameters without a head (`docs/methods.md`, "ViT"); those of Ti and H follow from the same formula.
    #[test]
    fn published_sizes_have_the_published_parameters() {
        let count = |name: &str| -> usize {
            let config = VitConfig::named(name).unwrap();
            config.check().unwrap();
            weights::shapes(&config).iter().map(|(_, shape)| shape.iter().product::<usize>()).sum()
        };
        assert_eq!(count("vit_small"), 21_665_664);
        assert_eq!(count("vit_base"), 85_798_656);
        assert_eq!(count("vit_large"), 303_301_632);
        assert_eq!(count("vit_tiny"), 5_717_416 - 193_000, "the whole model has 1,000 classes");
        let huge = VitConfig::named("vit_huge").unwrap();
        assert_eq!((huge.tokens(), huge.embed_dim / huge.heads), (257, 80));
        assert_eq!(VitConfig::named("vit_base_patch32").unwrap().tokens(), 50);
        for name in ["vit_giant", "vit_huge_patch32", "vit", "vim_tiny"] {
            let err = VitConfig::named(name).unwrap_err().to_string();
            assert!(err.contains(name) && err.contains("vit_small"), "{err}");
        }
    }

    #[test]
    fn sizes_that_cannot_be_are_named() {
        let base = VitConfig::named("vit_base").unwrap();
        for (wrong, part) in [
            (VitConfig { heads: 5, ..base }, "768 channels are no multiple of 5 heads"),
            (VitConfig { heads: 0, ..base }, "a size is 0"),
            (VitConfig { img_size: 8, ..base }, "smaller than a patch"),
            (VitConfig { img_size: 9000, ..base }, "above 8192"),
            (VitConfig { eps: f32::NAN, ..base }, "an eps of NaN"),
        ] {
            let told = wrong.check().unwrap_err().to_string();
            assert!(told.contains(part), "{told}");
        }
    }

    #[test]
    fn sizes_follow_from_shapes() {
        let want = VitConfig { mlp_dim: 96, layer_scale: true, ..VitConfig::sized(12, 4, 24, 2) };
        let list = weights::shapes(&want);
        let mut shapes: BTreeMap<&str, &[usize]> =
            list.iter().map(|(name, shape)| (name.as_str(), shape.as_slice())).collect();
        assert_eq!(
            VitConfig::of_shapes(&shapes, None),
            Some((want, None)),
            "24 channels have no usual heads"
        );
        let overlapping = VitConfig { img_size: 8, stride: 2, ..want };
        assert_eq!(VitConfig::of_shapes(&shapes, Some(2)).map(|found| found.0), Some(overlapping));
        shapes.insert("pos_embed", &[1, 9, 24]);
        assert!(VitConfig::of_shapes(&shapes, None).is_none(), "8 patches are no square");
        shapes.insert("pos_embed", &[1, 10, 0]);
        assert!(VitConfig::of_shapes(&shapes, None).is_none(), "no values");
        assert_eq!([192, 384, 1280, 100].map(usual_heads), [Some(3), Some(6), Some(16), None]);
    }
}
