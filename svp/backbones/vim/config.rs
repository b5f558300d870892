//! Sizes of a Vim.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::data::Normalisation;
use crate::pass::Spec;
use crate::{Error, Result};

/// Sizes of a Vim backbone, as in `hustvl/Vim` (`docs/methods.md`, "Sizes of Vim").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VimConfig {
    /// Side of the input images, in pixels.
    pub img_size: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Pixels between patches; fewer than `patch_size` in the stride-8 models.
    pub stride: usize,
    /// Width of the residual stream: channels of a token.
    pub embed_dim: usize,
    /// Number of blocks.
    pub depth: usize,
    /// States of each channel of the scan.
    pub d_state: usize,
    /// Width of the causal convolution, in tokens.
    pub d_conv: usize,
    /// Ratio `d_inner / embed_dim`.
    pub expand: usize,
    /// Width of the low-rank step-size projection; `ceil(embed_dim / 16)` in the published models.
    pub dt_rank: usize,
}

/// The family's name, in trained files and in the entries of methods.
pub const NAME: &str = "vim";

/// Names that [`VimConfig::named`] takes.
pub(super) const NAMES: &str = "vim_tiny, vim_small, vim_base, vim_nano, or a size with _stride8";

impl VimConfig {
    /// A published size (`vim_small`, `vim_tiny_stride8`, ...), or `vim_nano`, whose images of 32 px in patches of 4
    /// train on two CPU cores.
    ///
    /// # Errors
    /// A name that is none of these.
    pub fn named(name: &str) -> Result<Self> {
        let (size, stride) = match name.strip_suffix("_stride8") {
            Some(size) => (size, 8),
            None => (name, 16),
        };
        let published = |embed_dim| Ok(VimConfig { stride, ..VimConfig::sized(224, 16, embed_dim, 24) });
        match size {
            "vim_tiny" => published(192),
            "vim_small" => published(384),
            "vim_base" => published(768),
            "vim_nano" if name == size => Ok(VimConfig::sized(32, 4, 128, 8)),
            _ => Err(Error::input("model", format!("unknown model {name:?}"), format!("use {NAMES}"))),
        }
    }

    /// A Vim of these sizes, with everything else as published and patches that do not overlap.
    pub fn sized(img_size: usize, patch_size: usize, embed_dim: usize, depth: usize) -> Self {
        VimConfig {
            img_size,
            patch_size,
            stride: patch_size,
            embed_dim,
            depth,
            d_state: 16,
            d_conv: 4,
            expand: 2,
            dt_rank: embed_dim.div_ceil(16),
        }
    }

    /// Channels inside a mixer: `expand * embed_dim`.
    pub fn d_inner(&self) -> usize {
        self.expand * self.embed_dim
    }

    /// Patches on a side of the image.
    pub fn grid(&self) -> usize {
        (self.img_size - self.patch_size) / self.stride + 1
    }

    /// Number of tokens, the class token included.
    pub fn tokens(&self) -> usize {
        self.grid() * self.grid() + 1
    }

    /// Row of the class token, which stands in the middle of the patches.
    pub fn class_row(&self) -> usize {
        self.grid() * self.grid() / 2
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
            scan_width: Some(self.d_inner()),
            depth: self.depth,
            additions: 1,
            heads: None,
            mlp_width: None,
            class_row: Some(self.class_row()),
            normalisation: Normalisation::IMAGENET,
        }
    }

    /// Checks the sizes.
    ///
    /// # Errors
    /// Sizes that no model can have, or that the kernels do not take.
    pub fn check(&self) -> Result<()> {
        let positive = [self.patch_size, self.stride, self.embed_dim, self.depth, self.d_state, self.expand];
        let wrong = if positive.contains(&0) || self.dt_rank == 0 {
            "a size is 0"
        } else if self.img_size < self.patch_size {
            "the image is smaller than a patch"
        } else if self.img_size > 8192 {
            "the image size is above 8192 pixels"
        } else if !(2..=ptx::causal_conv1d::MAX_WIDTH).contains(&self.d_conv) {
            "d_conv is not 2 to 4"
        } else if self.d_state > ptx::selective_scan::MAX_STATE {
            "d_state is above 64"
        } else {
            return Ok(());
        };
        Err(Error::input("model", format!("{wrong}: {self:?}"), "check the sizes"))
    }

    /// Infers the sizes from the shapes of a state dict; `None` where they are not those of a Vim. A grid of patches
    /// does not tell which image size and stride it came from, so `stride` decides, or else 224 px at stride 8 where
    /// that fits.
    pub fn of_shapes(shapes: &BTreeMap<&str, &[usize]>, stride: Option<usize>) -> Option<Self> {
        // A tensor without values can claim any size, the others at most that of their file.
        let held = |name: &str| shapes.get(name).filter(|shape| !shape.contains(&0));
        let dim = |name: &str, axis: usize| held(name)?.get(axis).copied();
        let embed_dim = dim("cls_token", 2)?;
        let patch_size = dim("patch_embed.proj.weight", 2)?;
        let patches = dim("pos_embed", 1)?.checked_sub(1)?;
        let grid = patches.isqrt();
        if grid * grid != patches || grid == 0 || embed_dim == 0 || patch_size == 0 {
            return None;
        }
        let stride = stride.unwrap_or_else(|| {
            let stride8 = patch_size == 16 && (grid - 1) * 8 + patch_size == 224;
            if stride8 { 8 } else { patch_size }
        });
        let depth =
            (0..).take_while(|i| shapes.contains_key(format!("layers.{i}.norm.weight").as_str())).count();
        let mixer = |name: &str, axis| dim(&format!("layers.0.mixer.{name}"), axis);
        Some(VimConfig {
            img_size: (grid - 1).saturating_mul(stride).saturating_add(patch_size),
            patch_size,
            stride,
            embed_dim,
            depth,
            d_state: mixer("A_log", 1)?,
            d_conv: mixer("conv1d.weight", 2)?,
            expand: mixer("A_log", 0)? / embed_dim,
            dt_rank: mixer("dt_proj.weight", 1)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_sizes_and_names() {
        let small = VimConfig::named("vim_small").unwrap();
        assert_eq!((small.tokens(), small.class_row(), small.dt_rank), (197, 98, 24));
        assert_eq!(VimConfig::named("vim_tiny_stride8").unwrap().tokens(), 27 * 27 + 1);
        let err = VimConfig::named("vim_huge").unwrap_err().to_string();
        assert!(err.contains("vim_huge") && err.contains("vim_small"), "{err}");
    }
}
