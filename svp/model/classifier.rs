//! Backbone, prompts and head together: what is trained, evaluated and saved.

use autograd::{Tape, Var};
use engine::{DType, Device, Tensor};

use super::{Bound, DropPath, Head, HeadKind, Observer, Params, Prompts, SvpConfig, Vim};
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
    /// Type of the activations up to the features; the residual stream, the head and all that is trained are f32.
    precision: DType,
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
        params.replace_all(|_, value, _| value.to_device(device))?;
        let (device, precision) = (device.clone(), DType::F32);
        Ok(Classifier { device, params, vim, prompts, head, simam: parts.simam, precision })
    }

    /// The model with activations of another type. Frozen weights of matrix products are kept in it; trained ones
    /// stay f32 and are cast when they are used.
    pub fn in_precision(mut self, precision: DType) -> Result<Self> {
        self.params.replace_all(|name, value, trained| match Vim::is_product_weight(name) && !trained {
            true => value.cast(precision),
            false => Ok(value.clone()),
        })?;
        Ok(Classifier { precision, ..self })
    }

    /// Classes that the head tells apart.
    pub fn classes(&self) -> usize {
        self.head.classes(&self.params)
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
        let images = self.input(tape, images)?;
        self.vim.forward(tape, bound, &images, self.prompts.as_ref(), drop_path, None)
    }

    /// What the backbone gets of normalised images.
    fn input(&self, tape: &Tape, images: Tensor) -> Result<Var> {
        let mut images = Var::constant(images.to_device(&self.device)?);
        if self.simam {
            tape.scope("input");
            images = ptx::simam::simam(tape, &images)?;
        }
        Ok(tape.cast(&images, self.precision)?)
    }

    /// Shows what the scans get of images `[b 3 s s]`, with the prompts or by the backbone alone. Nothing is
    /// recorded.
    pub fn observe(&self, images: Tensor, prompted: bool, observer: &mut Observer) -> Result<()> {
        let tape = Tape::inference(&self.device);
        let images = self.input(&tape, images)?;
        let prompts = self.prompts.as_ref().filter(|_| prompted);
        self.vim.forward(&tape, &self.params.bind(&tape), &images, prompts, None, Some(observer))?;
        Ok(())
    }

    /// Logits `[b k]` and parameters for features `[b d]` that were computed before.
    pub fn classify(&self, tape: &Tape, features: Tensor) -> Result<(Var, Bound)> {
        let bound = self.params.bind(tape);
        let features = Var::constant(features.to_device(&self.device)?);
        let logits = self.head.forward(tape, &bound, &features)?;
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
