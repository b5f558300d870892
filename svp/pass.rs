//! One forward pass: the types that a backbone, a method and a head exchange.
//!
//! A backbone drives the pass and calls the method's hooks on the way ([`Method`]). Both know only the types here, not
//! each other.

use std::fmt;

use autograd::{Tape, Var};
use engine::{DType, Tensor};
use ptx::prompt_add_norm::{Keep, Prompt};
use ptx::selective_scan::Direction;

use crate::data::Normalisation;
use crate::params::{Bound, ParamId, Params};
use crate::report::html::Section;
use crate::{Error, Result};

/// Channels of a token in the narrowest published backbones (Vim-Ti, ViT-Ti).
const NARROWEST_PUBLISHED: usize = 192;

/// The sizes of a backbone and how its images are prepared, for methods, heads, data and tables.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spec {
    /// Name of the family in the registry, such as `vim`.
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
    /// Channels that the selective scan of a block works on; `2 width` in Vim, and `None` without a scan.
    pub scan_width: Option<usize>,
    /// Number of blocks.
    pub depth: usize,
    /// Additions of a block to the residual stream: 1 in Vim, 2 in ViT.
    pub additions: usize,
    /// Heads of a block's attention; `None` without attention.
    pub heads: Option<usize>,
    /// Channels between both products of a block's MLP; `None` without an MLP.
    pub mlp_width: Option<usize>,
    /// Row of the class token among the stem's tokens; `None` without one.
    pub class_row: Option<usize>,
    /// Mean and deviation for normalising images, as in pre-training.
    pub normalisation: Normalisation,
}

impl Spec {
    /// Number of patches of an image.
    pub fn patches(&self) -> usize {
        self.grid * self.grid
    }

    /// Whether it is narrower than any published backbone, as the built-in one is. Such a backbone has defaults of its own,
    /// which were measured on the built-in one (`docs/manual.md`, "Defaults").
    pub fn is_narrow(&self) -> bool {
        self.width < NARROWEST_PUBLISHED
    }

    /// Number of tokens that the stem makes of an image, the class token included.
    pub fn tokens(&self) -> usize {
        self.patches() + usize::from(self.class_row.is_some())
    }
}

/// Writes the sizes for a sentence: `24 layers, 384 wide, 224 px`.
impl fmt::Display for Spec {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} layers, {} wide, {} px", self.depth, self.width, self.img_size)
    }
}

/// The sequence between two blocks. A method that inserts rows moves `class_row` and lists its rows in `prompt_rows`.
#[derive(Clone)]
pub struct Tokens {
    /// Tokens `[b l d]` that enter the next block, or those after the last one: normalised, or as they are where the
    /// backbone pools otherwise than by the class token's row.
    pub h: Var,
    /// Residual stream `[b l d]`, f32, that `h` has not been added to yet; `None` before the first block, and in
    /// backbones that keep no such pair.
    pub residual: Option<Var>,
    /// Row of the class token; `None` without one.
    pub class_row: Option<usize>,
    /// Rows that are prompts, in rising order.
    pub prompt_rows: Vec<usize>,
    /// Features `[b d]` of a backbone, or of a method, that pools otherwise than by the class token's row, after the last
    /// block.
    pub pooled: Option<Var>,
    /// Probabilities `[b heads keys]`, f32, of the class token's row in the attention of the block before, where the method
    /// has asked for them ([`Attending::class_row`]). Keys are the method's extra rows and then the sequence. No gradient
    /// goes through them.
    pub attention: Option<Var>,
    /// Further sequences that go through the same blocks beside this one, where a method has them and the backbone takes
    /// them along. Each is normalised after the last block as this one is.
    pub beside: Vec<Tokens>,
}

impl Tokens {
    /// The stem's tokens `h [b l d]`, before any method.
    pub fn stem(h: Var, class_row: Option<usize>) -> Self {
        let (residual, prompt_rows, pooled, attention, beside) = (None, vec![], None, None, vec![]);
        Tokens { h, residual, class_row, prompt_rows, pooled, attention, beside }
    }

    /// What the head reads, `[b d]`, in f32: what the backbone has pooled, or else the class token's row.
    ///
    /// A sequence without either.
    pub fn features(&self, tape: &Tape) -> Result<Var> {
        if let Some(pooled) = &self.pooled {
            return Ok(tape.cast(pooled, DType::F32)?);
        }
        let row = self.class_row.ok_or_else(|| {
            Error::input("head", "this backbone has no class token", "use a head that pools the tokens")
        })?;
        Ok(tape.cast(&ptx::token_rows::select(tape, &self.h, row)?, DType::F32)?)
    }
}

/// The random numbers of a training step; evaluation has none.
#[derive(Clone, Copy, Default)]
pub struct Noise<'a> {
    /// Factor of every residual addition in stochastic depth, `[depth * additions b]`, in the order of the additions.
    pub drop_path: Option<&'a Tensor>,
    /// Keys of prompt dropout, `[b 2]` (see [`ptx::prompt_rows::Dropout`]).
    pub dropout: Option<&'a Tensor>,
}

impl<'a> Noise<'a> {
    /// The factors of addition `i`; in a Vim that of the output of block `i`.
    pub fn keep(&self, i: usize) -> Option<Keep<'a>> {
        self.drop_path.map(|scales| Keep { scales, row: i })
    }
}

/// The scan of one block, as a watcher sees it.
pub struct Scanned<'a> {
    /// Number of the block, counted from 0.
    pub layer: usize,
    /// Inputs of the scan in each direction, forward first.
    pub directions: [Direction<'a>; 2],
    /// Prompts `[b l e]` that the scan adds to `u` of each direction.
    pub prompts: Option<&'a [Var; 2]>,
    /// Row of the class token in the sequence.
    pub class_row: Option<usize>,
    /// Rows that are prompts.
    pub prompt_rows: &'a [usize],
}

/// The attention of one block, as a watcher sees it.
pub struct Attended<'a> {
    /// Number of the block, counted from 0.
    pub layer: usize,
    /// Probabilities `[b heads keys]`, f32, of the class token's row. Keys are the extra rows and then the sequence.
    pub class_attention: &'a Var,
    /// Rows that stand before the keys of the sequence.
    pub extra: usize,
    /// Row of the class token in the sequence.
    pub class_row: usize,
    /// Rows of the sequence that are prompts.
    pub prompt_rows: &'a [usize],
}

/// The rows that a method has chosen by the attention of one block, as a watcher sees them.
pub struct ChosenRows<'a> {
    /// Number of the block, counted from 0.
    pub layer: usize,
    /// Numbers `[b k]` of rows of the sequence, f32, for each image.
    pub rows: &'a Var,
}

/// What a watcher sees of a block.
pub enum Seen<'a> {
    /// The scan of a Vim's block.
    Scan(Scanned<'a>),
    /// The attention of a ViT's block.
    Attention(Attended<'a>),
    /// Rows that the method has chosen by that attention.
    Rows(ChosenRows<'a>),
}

/// A function that is called with what there is to see of each block, in order.
pub type Watch<'a> = dyn FnMut(Seen) -> Result<()> + 'a;

/// The context of one forward pass.
pub struct Pass<'a> {
    /// Records what gradients need, and says on which device the pass runs.
    pub tape: &'a Tape,
    /// The model's parameters on the tape.
    pub params: &'a Bound,
    /// The random numbers of this pass.
    pub noise: Noise<'a>,
    /// Watcher of the scans and the attention.
    pub watch: Option<&'a mut Watch<'a>>,
    /// Type of the activations up to the features.
    pub precision: DType,
    /// Number `[b]` of the prototype that each image is nearest to, where the method has prototypes.
    pub assignment: Option<Tensor>,
    /// Which sequence the hooks are called for: 0 for that of the images, and from 1 on those of [`Tokens::beside`].
    pub sequence: usize,
    /// What hooks of the method leave for its later hooks in this pass.
    pub kept: Vec<Var>,
}

impl<'a> Pass<'a> {
    /// A pass without noise, which nobody watches.
    pub fn new(tape: &'a Tape, params: &'a Bound, precision: DType) -> Self {
        let (noise, watch, assignment) = (Noise::default(), None, None);
        Pass { tape, params, noise, watch, precision, assignment, sequence: 0, kept: vec![] }
    }
}

/// A prompt that a method generated, which a block adds together with its residual before normalising: `scale
/// silu(value + bias)`, to every row but the class token's (SVP, AAAI 2025, eq. 3-5).
pub struct Generated {
    /// Output `[b l d]` of the generator, before bias and SiLU.
    pub value: Var,
    /// Bias `[d]`.
    pub bias: ParamId,
    /// Scales `[rows d]`.
    pub scale: ParamId,
    /// The row of `scale` that applies.
    pub row: usize,
}

impl Generated {
    /// The prompt in the form that the op takes.
    pub fn as_prompt<'a>(&'a self, params: &'a Bound) -> Prompt<'a> {
        Prompt { generated: &self.value, bias: &params[self.bias], scale: &params[self.scale], row: self.row }
    }
}

/// A branch of a ViT's block: what it computes of the normalised stream is added to the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Branch {
    /// Attention, the first one.
    Attention,
    /// The MLP, the second one.
    Mlp,
}

/// What a method wants of the attention of a block.
#[derive(Default)]
pub struct Attending {
    /// Rows `[heads n c]` that stand before the keys of each head and, as well, before its values.
    pub extra: Option<Var>,
    /// Temperatures `[k]`, and the one by which the scores are divided.
    pub temperature: Option<(Var, usize)>,
    /// Whether [`Tokens::attention`] is to hold the probabilities of the class token's row.
    pub class_row: bool,
}

/// The form in which a method takes images: the whole picture as a square of values in 0..=1, not normalised. The method
/// makes the backbone's input of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Picture {
    /// Side of the square in pixels.
    pub side: usize,
    /// Whether the resampling kernel widens where a picture shrinks.
    pub antialias: bool,
}

/// How the logits of the backbone's own head are assigned to the classes of the task: by counting which of them is the
/// largest for the images of each class.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Counted {
    /// Logits for each class.
    pub logits: usize,
    /// Whether they are counted again before every epoch, or only before the first.
    pub every_epoch: bool,
}

/// A way to adapt a backbone, by hooks into its forward pass. Every hook does nothing unless a method overrides it
/// (`docs/adding-a-method.md`, "The hooks").
pub trait Method: Send + Sync {
    /// Whether a tensor of the backbone, by its state-dict name, is trained.
    fn trains(&self, _tensor: &str) -> bool {
        false
    }

    /// Whether training drops parts of the prompts at random, which needs [`Noise::dropout`].
    fn drops(&self) -> bool {
        false
    }

    /// Prototypes `[m d]` by which images are told apart: each gets the number of the one nearest to the class row that the
    /// frozen backbone computes of it, in [`Pass::assignment`].
    fn prototypes(&self) -> Option<ParamId> {
        None
    }

    /// The form in which the method takes images, where that is not the backbone's own.
    fn picture(&self) -> Option<Picture> {
        None
    }

    /// How the head's logits are assigned, where its values are found by counting.
    fn counted(&self) -> Option<Counted> {
        None
    }

    /// Replaces the images before they enter the stem: normalised ones `[b 3 s s]`, or those of [`Method::picture`].
    ///
    /// # Errors
    /// A fault of the device.
    fn pixels(&self, _pass: &mut Pass, images: Var) -> Result<Var> {
        Ok(images)
    }

    /// Whether the stem is to stop at the embedded patches for [`Method::patches`], which costs it a few copies.
    fn adapts_patches(&self) -> bool {
        false
    }

    /// Replaces the embedded patches `[b p d]` before class token and position embedding join them. It is called where
    /// [`Method::adapts_patches`] says so and the backbone is a ViT.
    ///
    /// # Errors
    /// A fault of the device.
    fn patches(&self, _pass: &mut Pass, patches: Var) -> Result<Var> {
        Ok(patches)
    }

    /// Replaces the stem's tokens before they enter the first block.
    ///
    /// # Errors
    /// A fault of the device.
    fn stem(&self, _pass: &mut Pass, tokens: Tokens) -> Result<Tokens> {
        Ok(tokens)
    }

    /// Replaces `tokens` before they enter block `layer`, and returns up to
    /// [`MAX_PROMPTS`](ptx::prompt_add_norm::MAX_PROMPTS) prompts that the block adds together with its residual before
    /// normalising.
    ///
    /// # Errors
    /// A fault of the device.
    fn block(&self, _pass: &mut Pass, _layer: usize, tokens: Tokens) -> Result<(Tokens, Vec<Generated>)> {
        Ok((tokens, vec![]))
    }

    /// Returns prompts `[b l e]` that the scan of block `layer` adds to its input `u [b l e]` of each direction,
    /// forward first. It is called only where the backbone has a scan.
    ///
    /// # Errors
    /// A fault of the device.
    fn scan(
        &self,
        _pass: &mut Pass,
        _layer: usize,
        _u: [&Var; 2],
        _class_row: Option<usize>,
    ) -> Result<Option<[Var; 2]>> {
        Ok(None)
    }

    /// What the method wants of the attention of block `layer`. It is called only where the backbone has attention.
    ///
    /// # Errors
    /// A fault of the device.
    fn attention(&self, _pass: &mut Pass, _layer: usize) -> Result<Attending> {
        Ok(Attending::default())
    }

    /// Replaces `h [b l d]`, which a branch of block `layer` has computed and which is to be added to `stream [b l d]`, the
    /// residual stream, f32, that the branch's norm has read. It is called only where blocks have branches.
    ///
    /// # Errors
    /// A fault of the device.
    fn branch(&self, _pass: &mut Pass, _at: (usize, Branch), _stream: &Var, h: Var) -> Result<Var> {
        Ok(h)
    }

    /// Replaces the residual stream `[b l d]`, f32, around a branch of block `layer`, after the branch's norm has read it. It
    /// is called only where blocks have branches.
    ///
    /// # Errors
    /// A fault of the device.
    fn shortcut(&self, _pass: &mut Pass, _at: (usize, Branch), stream: Var) -> Result<Var> {
        Ok(stream)
    }

    /// Replaces the tokens that block `layer` has computed, those of sequences beside them among them. In a block these come
    /// first. It is called only where the backbone takes such sequences along.
    ///
    /// # Errors
    /// A fault of the device.
    fn after(&self, _pass: &mut Pass, _layer: usize, tokens: Tokens) -> Result<Tokens> {
        Ok(tokens)
    }

    /// Share of the loss in training that is that of the logits which the head makes of the first sequence beside that of the
    /// images. Evaluation does not see them.
    fn beside_share(&self) -> f64 {
        0.0
    }

    /// Replaces the tokens after the last block, normalised where the class token's row is read, before the head reads
    /// them.
    ///
    /// # Errors
    /// A fault of the device.
    fn ended(&self, _pass: &mut Pass, tokens: Tokens) -> Result<Tokens> {
        Ok(tokens)
    }

    /// Replaces the output `y [b l n]` of a product or a norm of the backbone, whose input was `x [b l k]`. `weight` is the
    /// weight of that product or norm.
    ///
    /// # Errors
    /// A fault of the device.
    fn site(&self, _pass: &mut Pass, _weight: ParamId, _x: &Var, y: Var) -> Result<Var> {
        Ok(y)
    }

    /// Folds what the method has trained into the backbone's own tensors in `params`, so that the backbone alone computes
    /// what it computed with the method.
    ///
    /// # Errors
    /// Changes that the backbone's tensors cannot hold, with the reason; a method that does not override this says so.
    fn merge(&self, _params: &mut Params) -> Result<()> {
        Err(Error::input(
            "--merge",
            "what this method adds depends on the image, so no tensor of the backbone can hold it",
            "leave out --merge",
        ))
    }

    /// What the published program, where it has this method on this backbone, makes of the trained tensors otherwise: a
    /// line each. `None` where no published program has them.
    fn published(&self) -> Option<Vec<String>> {
        None
    }

    /// The method's own section in the page of a trained run.
    ///
    /// # Errors
    /// Values that cannot be read back from the device.
    fn section(&self, _params: &Params, _spec: &Spec) -> Result<Option<Section>> {
        Ok(None)
    }
}
