//! The interface of a head, which turns the tokens of a backbone into logits, a loss and a score.

use autograd::{Tape, Var};
use engine::{Device, Tensor};

use crate::Result;
use crate::params::{Bound, ParamId, Params};
use crate::pass::{Spec, Tokens};
use crate::score::Measure;

/// The labels of a batch, of the kind that the head takes.
#[derive(Debug, Clone, PartialEq)]
pub enum Labels {
    /// The class of each image, in `0..k`.
    Classes(Vec<u32>),
}

impl Labels {
    /// Number of images in the batch.
    pub fn images(&self) -> usize {
        match self {
            Labels::Classes(classes) => classes.len(),
        }
    }

    /// The class of each image.
    pub fn classes(&self) -> &[u32] {
        match self {
            Labels::Classes(classes) => classes,
        }
    }
}

/// What a head computes of features.
pub struct Logits {
    /// `[b k]`
    pub values: Var,
    /// What the step moves without a gradient, in a training step.
    pub moved: Vec<Moved>,
}

/// A parameter that follows a value of each training batch: `p += rate (towards - p)`.
pub struct Moved {
    /// The parameter, which has no gradient and is [found](Params::add_found).
    pub param: ParamId,
    /// The batch's value, of the parameter's shape.
    pub towards: Tensor,
    /// A share in 0..=1.
    pub rate: f32,
}

/// The part of a model that answers the task.
pub trait Head: Send + Sync {
    /// Number of classes that it tells apart.
    fn classes(&self) -> usize;

    /// The features that it reads from the tokens, in f32; `[b d]` for a classifier. They do not depend on the head's
    /// weights, so they can be kept.
    ///
    /// # Errors
    /// Tokens that lack what the head reads, such as a class token.
    fn features(&self, tape: &Tape, tokens: &Tokens) -> Result<Var>;

    /// Logits `[b k]` of features `[b d]`, and what the step moves. A tape that records belongs to a training step.
    ///
    /// # Errors
    /// A batch that the head cannot be trained on, or a fault of the device.
    fn logits(&self, tape: &Tape, params: &Bound, features: &Var) -> Result<Logits>;

    /// The targets `[b k]` of the loss. They are smoothed, and each sample keeps a share `own_share` of its own while
    /// the rest is that of the sample at the mirrored place in the batch.
    ///
    /// # Errors
    /// A label that is not in `0..classes`.
    fn targets(&self, labels: &Labels, classes: usize, smoothing: f32, own_share: f32) -> Result<Vec<f32>>;

    /// The mean loss `[1]` of logits `[b k]`.
    ///
    /// # Errors
    /// A fault of the device.
    fn loss(&self, tape: &Tape, logits: &Var, targets: &Tensor) -> Result<Var>;

    /// The measure that chooses an epoch.
    fn measure(&self) -> Measure;

    /// The parameters of a head that assigns the logits of the backbone's own head to the classes.
    fn counted(&self) -> Option<Assigning> {
        None
    }
}

/// The parameters of a head that assigns the logits of the backbone's own head to the classes of the task.
#[derive(Clone, Copy)]
pub struct Assigning {
    /// Weight `[s d]` of the own head.
    pub weight: ParamId,
    /// Its bias `[s]`.
    pub bias: ParamId,
    /// Share `[k s]` of every logit in the logit of a class, which is found by counting.
    pub shares: ParamId,
}

/// Parameters by name, with their shapes.
pub type NamedShapes = Vec<(String, Vec<usize>)>;

/// The place where a head is built: the backbone whose tokens it reads, and the parameters it adds to.
pub struct Place<'a> {
    /// Device that holds the values.
    pub device: &'a Device,
    /// Sizes of the backbone.
    pub spec: &'a Spec,
    /// Number of classes of the task.
    pub classes: usize,
    /// Parameters of the model so far.
    pub params: &'a mut Params,
    /// The head with which the backbone was trained, where its checkpoint has one: weight `[k d]` and bias `[k]`.
    pub source: Option<&'a [Tensor; 2]>,
    /// Seed of initial values.
    pub seed: u64,
}

/// Adds a head's parameters with initial values, or refuses the place.
pub type Build = fn(&HeadEntry, &mut Place) -> Result<Box<dyn Head>>;

/// A head, as the registry holds it.
pub struct HeadEntry {
    /// Name, as `--head` takes it.
    pub name: &'static str,
    /// Description of one line for `--help`.
    pub about: &'static str,
    /// Names and shapes of its parameters, for the number of values that they are applied to - the backbone's width, or
    /// the logits of its own head - and the number of classes.
    pub shapes: fn(usize, usize) -> NamedShapes,
    /// Adds its parameters with initial values.
    pub build: Build,
}
