//! Backbone, prompts and head together: what is trained, evaluated and saved.

use autograd::{Tape, Var};
use engine::{Device, Tensor};

use super::{Bound, DropPath, Head, HeadKind, Params, Prompts, SvpConfig, Vim};
use crate::Result;

/// A classifier on a Vim.
pub struct Classifier {
    pub device: Device,
    pub params: Params,
    pub vim: Vim,
    pub prompts: Option<Prompts>,
    pub head: Head,
    /// Reweights the input image (`--input_relu` of the published program).
    pub simam: bool,
}

/// What is put on a backbone.
#[derive(Debug, Clone, Copy)]
pub struct Parts {
    /// `None`: no prompts.
    pub svp: Option<SvpConfig>,
    pub head: HeadKind,
    pub classes: usize,
    pub simam: bool,
    /// Train the backbone too.
    pub full: bool,
}

impl Classifier {
    /// Adds prompts and head to a backbone; they are trained, and the backbone only when `full`.
    pub fn new(device: &Device, vim: Vim, mut params: Params, parts: Parts, seed: u64) -> Result<Self> {
        params.train_all(parts.full);
        let config = vim.config;
        let prompts = match parts.svp {
            Some(svp) => Some(Prompts::init(device, svp, &config, &mut params, seed)?),
            None => None,
        };
        let head = Head::init(device, parts.head, &config, parts.classes, &mut params, seed);
        Ok(Classifier { device: device.clone(), params, vim, prompts, head, simam: parts.simam })
    }

    /// Hidden tokens `[b l d]` and logits `[b k]` of normalised images `[b 3 s s]`. The returned parameters are
    /// where to ask for gradients.
    pub fn forward(
        &self,
        tape: &Tape,
        images: Tensor,
        drop_path: Option<DropPath>,
    ) -> Result<(Var, Var, Bound)> {
        let bound = self.params.bind(tape);
        let hidden = self.hidden(tape, &bound, images, drop_path)?;
        let features = Head::features(tape, &self.vim.config, &hidden)?;
        let logits = self.head.forward(tape, &bound, &features)?;
        Ok((hidden, logits, bound))
    }

    fn hidden(&self, tape: &Tape, bound: &Bound, images: Tensor, drop_path: Option<DropPath>) -> Result<Var> {
        let mut images = Var::constant(images);
        if self.simam {
            tape.scope("input");
            images = ptx::simam::simam(tape, &images)?;
        }
        self.vim.forward(tape, bound, &images, self.prompts.as_ref(), drop_path)
    }

    /// Logits `[b k]` and parameters for features `[b d]` that were computed before.
    pub fn classify(&self, tape: &Tape, features: Tensor) -> Result<(Var, Bound)> {
        let bound = self.params.bind(tape);
        let logits = self.head.forward(tape, &bound, &Var::constant(features))?;
        Ok((logits, bound))
    }

    /// Features `[b d]` of images: the class token after the final norm. Nothing is recorded.
    pub fn features(&self, images: Tensor) -> Result<Tensor> {
        let tape = Tape::inference(&self.device);
        let hidden = self.hidden(&tape, &self.params.bind(&tape), images, None)?;
        Ok(Head::features(&tape, &self.vim.config, &hidden)?.into_value())
    }

    /// Logits `[b k]` of images. Nothing is recorded.
    pub fn logits(&self, images: Tensor) -> Result<Tensor> {
        let (_, logits, _) = self.forward(&Tape::inference(&self.device), images, None)?;
        Ok(logits.into_value())
    }
}
