//! What a head is: from the tokens of a backbone to logits, loss and score.

use autograd::{Tape, Var};
use engine::{Device, Tensor};

use crate::Result;
use crate::params::{Bound, Params};
use crate::pass::{Spec, Tokens};
use crate::score::Measure;

/// The labels of a batch: a value of the head's kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Labels {
    /// The class of each image.
    Classes(Vec<u32>),
}

impl Labels {
    /// Images of the batch.
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

/// What sits on a backbone and answers the task.
pub trait Head: Send + Sync {
    /// Classes that it tells apart.
    fn classes(&self, params: &Params) -> usize;

    /// What it reads of the tokens, in f32: the same for every set of its weights, so that it can be kept. `[b d]` for
    /// a classifier.
    fn features(&self, tape: &Tape, tokens: &Tokens) -> Result<Var>;

    /// Logits `[b k]` of features `[b d]`.
    fn logits(&self, tape: &Tape, params: &Bound, features: &Var) -> Result<Var>;

    /// What the loss compares logits with: targets `[b k]`, smoothed, and blended with those of the sample at the
    /// mirrored place of the batch, of which each sample keeps `own_share`.
    fn targets(&self, labels: &Labels, classes: usize, smoothing: f32, own_share: f32) -> Result<Vec<f32>>;

    /// The mean loss `[1]` of logits.
    fn loss(&self, tape: &Tape, logits: &Var, targets: &Tensor) -> Result<Var>;

    /// What chooses an epoch.
    fn measure(&self) -> Measure;
}

/// A head in the registry.
pub struct HeadEntry {
    /// As `--head` names it.
    pub name: &'static str,
    /// One line for `--help`.
    pub about: &'static str,
    /// Names and shapes of its parameters, by the backbone's width and the number of classes.
    pub shapes: fn(usize, usize) -> Vec<(String, Vec<usize>)>,
    /// Adds its parameters, trained, with initial values.
    pub build: fn(&HeadEntry, &Device, &Spec, usize, &mut Params, u64) -> Box<dyn Head>,
}
