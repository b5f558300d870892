//! One backbone, one method and one head together: what is trained, evaluated and saved.

use autograd::{Tape, Var};
use engine::{DType, Device, Tensor};

use crate::Result;
use crate::backbones::Backbone;
use crate::heads::{Head, HeadKind};
use crate::methods::linear::Frozen;
use crate::methods::{Chosen, Site};
use crate::params::{Bound, Params};
use crate::pass::{Method, Noise, Pass, Spec, Tokens, Watch};

/// A backbone that a method adapts, with a head.
pub struct Model {
    /// Where it computes.
    pub device: Device,
    /// All parameters: the backbone's, the method's, the head's.
    pub params: Params,
    /// The network.
    pub backbone: Box<dyn Backbone>,
    /// What adapts it.
    pub method: Box<dyn Method>,
    /// The method's entry and settings.
    pub chosen: Chosen,
    /// What answers the task.
    pub head: Box<dyn Head>,
    /// Whether the input image is reweighted by SimAM (`--input_relu` of the published program).
    pub simam: bool,
    /// Type of the activations up to the features; the residual stream, the head and all that is trained are f32.
    precision: DType,
}

/// What is put on a backbone.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The method with its settings.
    pub method: Chosen,
    /// The head.
    pub head: HeadKind,
    /// Classes of the task.
    pub classes: usize,
    /// Whether the input image is reweighted by SimAM.
    pub simam: bool,
}

/// The result of a forward pass in training.
pub struct Forward {
    /// Normalised tokens `[b l d]`, prompt rows included.
    pub tokens: Tokens,
    /// `[b k]`
    pub logits: Var,
    /// The parameters on the tape: where to ask for gradients.
    pub bound: Bound,
}

impl Model {
    /// Adds a method and a head to a backbone.
    ///
    /// # Errors
    /// A method that does not run on the backbone, or settings that do not fit it.
    pub fn new(
        device: &Device,
        backbone: Box<dyn Backbone>,
        mut params: Params,
        parts: Parts,
        seed: u64,
    ) -> Result<Self> {
        let Parts { method: chosen, head, classes, simam } = parts;
        let spec = backbone.spec();
        let method = chosen.build(&mut Site { device, spec, params: &mut params, seed })?;
        params.train_backbone(|tensor| method.trains(tensor));
        let head = (head.0.build)(head.0, device, spec, classes, &mut params, seed);
        params.replace_all(|_, value, _| value.to_device(device))?;
        let device = device.clone();
        Ok(Model { device, params, backbone, method, chosen, head, simam, precision: DType::F32 })
    }

    /// The model with activations of another type. Frozen weights of matrix products are kept in it; trained ones
    /// stay f32 and are cast when they are used.
    pub fn in_precision(mut self, precision: DType) -> Result<Self> {
        let backbone = &self.backbone;
        self.params.replace_all(|name, value, trained| {
            match backbone.is_product_weight(name) && !trained {
                true => value.cast(precision),
                false => Ok(value.clone()),
            }
        })?;
        Ok(Model { precision, ..self })
    }

    /// Sizes of the backbone.
    pub fn spec(&self) -> &Spec {
        self.backbone.spec()
    }

    /// Classes that the head tells apart.
    pub fn classes(&self) -> usize {
        self.head.classes(&self.params)
    }

    /// Tokens and logits of normalised images `[b 3 s s]`.
    pub fn forward(&self, tape: &Tape, images: Tensor, noise: Noise) -> Result<Forward> {
        let bound = self.params.bind(tape);
        let tokens = self.tokens(tape, &bound, images, noise)?;
        let features = self.head.features(tape, &tokens)?;
        let logits = self.head.logits(tape, &bound, &features)?;
        Ok(Forward { tokens, logits, bound })
    }

    fn tokens(&self, tape: &Tape, params: &Bound, images: Tensor, noise: Noise) -> Result<Tokens> {
        let images = self.input(tape, images)?;
        let mut pass = Pass { tape, params, noise, watch: None };
        self.backbone.forward(&mut pass, &images, &*self.method)
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

    /// Shows what the scans get of images `[b 3 s s]`, with the method or by the backbone alone. Nothing is recorded.
    pub fn observe(&self, images: Tensor, adapted: bool, watch: &mut Watch) -> Result<()> {
        let tape = Tape::inference(&self.device);
        let images = self.input(&tape, images)?;
        let bound = self.params.bind(&tape);
        let mut pass = Pass { tape: &tape, params: &bound, noise: Noise::default(), watch: Some(watch) };
        let method: &dyn Method = if adapted { &*self.method } else { &Frozen };
        self.backbone.forward(&mut pass, &images, method)?;
        Ok(())
    }

    /// Logits `[b k]` and parameters for features `[b d]` that were computed before.
    pub fn classify(&self, tape: &Tape, features: Tensor) -> Result<(Var, Bound)> {
        let bound = self.params.bind(tape);
        let features = Var::constant(features.to_device(&self.device)?);
        let logits = self.head.logits(tape, &bound, &features)?;
        Ok((logits, bound))
    }

    /// Features `[b d]` of images: what the head reads. Nothing is recorded.
    pub fn features(&self, images: Tensor) -> Result<Tensor> {
        let tape = Tape::inference(&self.device);
        let tokens = self.tokens(&tape, &self.params.bind(&tape), images, Noise::default())?;
        Ok(self.head.features(&tape, &tokens)?.into_value())
    }

    /// Logits `[b k]` of images. Nothing is recorded.
    pub fn logits(&self, images: Tensor) -> Result<Tensor> {
        Ok(self.forward(&Tape::inference(&self.device), images, Noise::default())?.logits.into_value())
    }
}

/// Parameters of a part of a model, trained and all.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ParameterCount {
    /// `backbone`, `head`, or a part of the method's.
    pub module: std::borrow::Cow<'static, str>,
    /// Values that training changes.
    pub trained: usize,
    /// All values.
    pub all: usize,
}

/// Counts parameters by part, in the order in which the parts were added.
pub fn count_parameters(params: &Params) -> Vec<ParameterCount> {
    let mut counts: Vec<ParameterCount> = vec![];
    for param in params.iter() {
        let at = counts.iter().position(|count| count.module == param.part).unwrap_or_else(|| {
            counts.push(ParameterCount { module: param.part.into(), trained: 0, all: 0 });
            counts.len() - 1
        });
        let values = param.value.numel();
        counts[at].all += values;
        counts[at].trained += if param.trained { values } else { 0 };
    }
    counts
}
