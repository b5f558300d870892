//! One forward pass: what a backbone, a method and a head hand to each other.
//!
//! A backbone drives the pass and calls the method's hooks on the way ([`Method`]); both know only what stands here,
//! not each other.

use std::fmt;

use autograd::{Tape, Var};
use engine::{DType, Tensor};
use ptx::prompt_add_norm::{Keep, Prompt};
use ptx::selective_scan::Direction;

use crate::data::Normalisation;
use crate::params::{Bound, ParamId, Params};
use crate::report::html::Section;
use crate::{Error, Result};

/// What a backbone is, for methods, heads, data and tables: its sizes, and how its images are prepared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spec {
    /// Name of the family in the registry: `vim`.
    pub family: &'static str,
    /// Side of the input images, in pixels.
    pub img_size: usize,
    /// Side of a patch, in pixels.
    pub patch_size: usize,
    /// Pixels between patches.
    pub stride: usize,
    /// Patches on a side of the image.
    pub grid: usize,
    /// Channels of a token.
    pub width: usize,
    /// Channels that the selective scan of a block works on, `2 width` in Vim; `None` without a scan.
    pub scan_width: Option<usize>,
    /// Number of blocks.
    pub depth: usize,
    /// Row of the class token among the tokens that the stem makes; `None` without one.
    pub class_row: Option<usize>,
    /// Mean and deviation that the images of its pre-training were normalised with.
    pub normalisation: Normalisation,
}

impl Spec {
    /// Patches of an image.
    pub fn patches(&self) -> usize {
        self.grid * self.grid
    }

    /// Tokens that the stem makes of an image, class token included.
    pub fn tokens(&self) -> usize {
        self.patches() + usize::from(self.class_row.is_some())
    }
}

/// `24 layers, 384 wide, 224 px`: the sizes in a sentence.
impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} layers, {} wide, {} px", self.depth, self.width, self.img_size)
    }
}

/// A sequence between blocks. A method that inserts rows moves `class_row` and lists its rows in `prompt_rows`.
#[derive(Clone)]
pub struct Tokens {
    /// `[b l d]`: what enters the next block, or after the last one the normalised tokens.
    pub h: Var,
    /// `[b l d]`, f32: the stream that `h` has not been added to yet; `None` before the first block, and in backbones
    /// that keep no such pair.
    pub residual: Option<Var>,
    /// The class token's row.
    pub class_row: Option<usize>,
    /// Rows that are prompts, rising.
    pub prompt_rows: Vec<usize>,
}

impl Tokens {
    /// The class token's row `[b d]`, in f32.
    ///
    /// # Errors
    /// Where the sequence has no class token.
    pub fn class_features(&self, tape: &Tape) -> Result<Var> {
        let row = self.class_row.ok_or_else(|| {
            Error::input("head", "this backbone has no class token", "use a head that pools the tokens")
        })?;
        Ok(tape.cast(&ptx::token_rows::select(tape, &self.h, row)?, DType::F32)?)
    }
}

/// What a training step draws at random; nothing of it at evaluation.
#[derive(Clone, Copy, Default)]
pub struct Noise<'a> {
    /// Stochastic depth: the factor of every residual addition, `[depth b]`. Row `i` is for the output of block `i`.
    pub drop_path: Option<&'a Tensor>,
    /// Keys of prompt dropout, `[b 2]` (see [`ptx::prompt_rows::Dropout`]).
    pub dropout: Option<&'a Tensor>,
}

impl<'a> Noise<'a> {
    /// The factors of the addition of block `i`'s output.
    pub fn keep(&self, i: usize) -> Option<Keep<'a>> {
        self.drop_path.map(|scales| Keep { scales, row: i })
    }
}

/// The scan of one block, as a watcher sees it.
pub struct Scanned<'a> {
    /// Number of the block, from 0.
    pub layer: usize,
    /// What the scan gets, forward first.
    pub directions: [Direction<'a>; 2],
    /// Prompts that the scan adds to `u` of each direction, `[b l e]`.
    pub prompts: Option<&'a [Var; 2]>,
    /// The class token's row in the sequence.
    pub class_row: Option<usize>,
    /// Rows that are prompts.
    pub prompt_rows: &'a [usize],
}

/// Is shown the scan of each block, block by block.
pub type Watch<'a> = dyn FnMut(Scanned) -> Result<()> + 'a;

/// One forward pass.
pub struct Pass<'a> {
    /// Records what gradients need; says on which device the pass runs.
    pub tape: &'a Tape,
    /// The model's parameters on the tape.
    pub params: &'a Bound,
    /// What is random in this pass.
    pub noise: Noise<'a>,
    /// Who watches the scans.
    pub watch: Option<&'a mut Watch<'a>>,
}

/// A prompt that a method generated and a block adds as it adds its residual and normalises: `scale silu(value +
/// bias)`, to every row but the class token's (SVP, AAAI 2025, eq. 3-5).
pub struct Generated {
    /// `[b l d]`, before bias and SiLU.
    pub value: Var,
    /// `[d]`
    pub bias: ParamId,
    /// `[rows d]`
    pub scale: ParamId,
    /// The row of `scale` that is used.
    pub row: usize,
}

impl Generated {
    /// As the op takes it.
    pub fn as_prompt<'a>(&'a self, params: &'a Bound) -> Prompt<'a> {
        Prompt { generated: &self.value, bias: &params[self.bias], scale: &params[self.scale], row: self.row }
    }
}

/// A way to adapt a backbone: hooks into its forward pass. Every hook does nothing unless a method overrides it.
pub trait Method: Send + Sync {
    /// Whether this tensor of the backbone, by its state-dict name, is trained.
    fn trains(&self, _tensor: &str) -> bool {
        false
    }

    /// Whether training drops parts of the prompts at random, so that [`Noise::dropout`] is needed.
    fn drops(&self) -> bool {
        false
    }

    /// What enters the first block in place of the stem's tokens.
    fn stem(&self, _pass: &mut Pass, tokens: Tokens) -> Result<Tokens> {
        Ok(tokens)
    }

    /// What enters block `layer` in place of `tokens`; and prompts, of which there may be
    /// [`MAX_PROMPTS`](ptx::prompt_add_norm::MAX_PROMPTS), that the block adds as it adds its residual and normalises.
    fn block(&self, _pass: &mut Pass, _layer: usize, tokens: Tokens) -> Result<(Tokens, Vec<Generated>)> {
        Ok((tokens, vec![]))
    }

    /// Prompts `[b l e]` that the scan of block `layer` adds to its input `u [b l e]` of each direction, forward
    /// first, where the backbone has a scan.
    fn scan(
        &self,
        _pass: &mut Pass,
        _layer: usize,
        _u: [&Var; 2],
        _class_row: Option<usize>,
    ) -> Result<Option<[Var; 2]>> {
        Ok(None)
    }

    /// The method's own section in a run's page, after training.
    fn section(&self, _params: &Params, _spec: &Spec) -> Result<Option<Section>> {
        Ok(None)
    }
}
