//! One backbone, one method and one head together: the unit that is trained, evaluated and saved.

use autograd::{Tape, Var};
use engine::{DType, Device, Tensor};
use ptx::ema::{Slot, step};
use ptx::linear::added;
use ptx::nearest::nearest;
use ptx::scale_shift::scale_shift;

use crate::backbones::Backbone;
use crate::data::text::{count, first};
use crate::data::{Fit, NoiseForm, Normalisation, PictureNoise, Transform};
use crate::heads::{Head, HeadKind, Logits, Moved, Place};
use crate::methods::linear::Frozen;
use crate::methods::{Chosen, Site};
use crate::params::{BACKBONE, Bound, HEAD, Param, Params};
use crate::pass::{Counted, Method, Noise, Pass, Picture, Spec, Tokens, Watch};
use crate::{Error, Result};

/// A backbone that a method adapts, with a head.
pub struct Model {
    /// The device that computes.
    pub device: Device,
    /// All parameters: those of the backbone, the method and the head.
    pub params: Params,
    /// The network.
    pub backbone: Box<dyn Backbone>,
    /// The method that adapts it.
    pub method: Box<dyn Method>,
    /// The method's entry and settings.
    pub chosen: Chosen,
    /// The head that answers the task.
    pub head: Box<dyn Head>,
    /// Whether the input images are reweighted by SimAM (`--input_relu` of the published program).
    pub simam: bool,
    /// Type of the activations up to the features. The residual stream, the head and all trained parameters are f32.
    precision: DType,
}

/// The parts that are added to a backbone.
#[derive(Debug, Clone)]
pub struct Parts {
    /// The method with its settings.
    pub method: Chosen,
    /// The head.
    pub head: HeadKind,
    /// Number of classes of the task.
    pub classes: usize,
    /// Whether the input images are reweighted by SimAM.
    pub simam: bool,
    /// The head with which the backbone was trained, where its checkpoint has one: weight `[k d]` and bias `[k]`.
    pub source_head: Option<[Tensor; 2]>,
}

impl Parts {
    /// A method with the default head, without SimAM.
    pub fn new(method: Chosen, classes: usize) -> Self {
        Parts { method, head: HeadKind::default(), classes, simam: false, source_head: None }
    }

    /// The head that the method's settings bring, or else the one that is asked for.
    ///
    /// Two different ones.
    fn head(&self) -> Result<HeadKind> {
        let Some(brought) = (self.method.entry.head)(&self.method.settings) else { return Ok(self.head) };
        let brought = HeadKind::named(brought)?;
        if self.head == HeadKind::default() || self.head == brought {
            return Ok(brought);
        }
        let what =
            format!("these settings of --method {} bring the head {brought:?}", self.method.entry.name);
        Err(Error::input("--head", what, "leave it out"))
    }
}

/// The result of a forward pass in training.
pub struct Forward {
    /// Normalised tokens `[b l d]`, prompt rows included.
    pub tokens: Tokens,
    /// Logits `[b k]`.
    pub logits: Var,
    /// The parameters on the tape, by which gradients are looked up.
    pub bound: Bound,
    /// What the step moves without a gradient, for [`Model::follow`].
    pub moved: Vec<Moved>,
}

impl Model {
    /// Adds a method and a head for `classes` classes to a backbone; `seed` draws their initial values.
    ///
    /// A method that does not run on the backbone, settings that do not fit it, or a fault of the device.
    pub fn new(
        device: &Device,
        backbone: Box<dyn Backbone>,
        mut params: Params,
        parts: Parts,
        seed: u64,
    ) -> Result<Self> {
        let head = parts.head()?;
        let Parts { method: chosen, classes, simam, source_head, .. } = parts;
        let spec = backbone.spec();
        let method = chosen.build(&mut Site { device, spec, params: &mut params, seed })?;
        params.train_backbone(|tensor| method.trains(tensor));
        let mut place =
            Place { device, spec, classes, params: &mut params, source: source_head.as_ref(), seed };
        let head = (head.0.build)(head.0, &mut place)?;
        check_counted(&*method, &*head, &params)?;
        params.replace_all(|_, value, _| value.to_device(device))?;
        let device = device.clone();
        Ok(Model { device, params, backbone, method, chosen, head, simam, precision: DType::F32 })
    }

    /// Returns the model with activations of another type. Frozen weights of matrix products are kept in that type;
    /// trained ones stay f32 and are cast when they are used.
    ///
    /// # Errors
    /// A type that the device does not compute in.
    pub fn in_precision(mut self, precision: DType) -> Result<Self> {
        let (backbone, device) = (&self.backbone, &self.device);
        self.params.replace_all(|name, value, trained| {
            match backbone.is_product_weight(name) && !trained {
                true => value.cast(device, precision),
                false => Ok(value.clone()),
            }
        })?;
        Ok(Model { precision, ..self })
    }

    /// Sizes of the backbone.
    pub fn spec(&self) -> &Spec {
        self.backbone.spec()
    }

    /// The transform of evaluation images to the model's input: the backbone's, or that of a method which takes the
    /// images in another form.
    pub fn transform(&self) -> Transform {
        match self.method.picture() {
            None => self.backbone_transform(),
            Some(Picture { side, antialias }) => Transform {
                fit: Fit::Square { antialias },
                ..Transform::eval(side as u32, Normalisation::NONE)
            },
        }
    }

    /// Noise on the images that the model is measured on.
    ///
    /// # Errors
    /// A rate out of 0 to 1.
    pub fn noise(&self, rate: f64, form: NoiseForm, seed: u64) -> Result<PictureNoise> {
        let normalised = self.method.picture().is_none();
        PictureNoise::new(rate, form, seed, normalised, self.spec().normalisation)
    }

    /// The transform of evaluation images to the input of the backbone alone.
    pub fn backbone_transform(&self) -> Transform {
        Transform::eval(self.spec().img_size as u32, self.spec().normalisation)
    }

    /// What a program has to know that loads this model's parameters under their names, a line each.
    pub fn published(&self) -> Vec<String> {
        let own = |part: fn(&Param) -> bool| {
            let params = self.params.iter().filter(|param| part(param));
            params.map(|param| param.name.as_str()).collect::<Vec<_>>()
        };
        let added = own(|param| ![BACKBONE, HEAD].contains(&param.part));
        let mut lines = self.method.published().unwrap_or_else(|| match added.len() {
            0 => vec![],
            n => vec![format!(
                "{} of {} ({}) stand beside the backbone's: no published {} has them; --merge folds them in where \
                 the method allows it",
                count(n, "tensor"),
                self.chosen.entry.name,
                first(added),
                crate::backbones::title(self.spec()),
            )],
        });
        let head = own(|param| param.part == HEAD && !param.name.starts_with("head."));
        if !head.is_empty() {
            lines.push(format!("the head's {} are this project's own", first(head)));
        }
        if self.simam {
            lines.push(
                "images are reweighted by SimAM, which the published program does by --input_relu true"
                    .into(),
            );
        }
        lines
    }

    /// Number of classes that the head tells apart.
    pub fn classes(&self) -> usize {
        self.head.classes()
    }

    /// Computes tokens and logits of images `[b 3 s s]`, as [`Model::transform`] makes them.
    ///
    /// # Errors
    /// Images of another size, and faults of the device.
    pub fn forward(&self, tape: &Tape, images: Tensor, noise: Noise) -> Result<Forward> {
        self.forward_assigned(tape, images, noise, None)
    }

    /// The same with an `assignment [b]` that [`Model::assignment`] has computed of these images; without one it is computed
    /// where the method needs it.
    ///
    /// # Errors
    /// Those of [`Model::forward`].
    pub fn forward_assigned(
        &self,
        tape: &Tape,
        images: Tensor,
        noise: Noise,
        assignment: Option<Tensor>,
    ) -> Result<Forward> {
        let bound = self.params.bind(tape);
        let tokens = self.tokens(tape, &bound, images, noise, assignment)?;
        let features = self.head.features(tape, &tokens)?;
        let Logits { values: logits, moved } = self.head.logits(tape, &bound, &features)?;
        Ok(Forward { tokens, logits, bound, moved })
    }

    /// A pass without noise, which nobody watches.
    fn pass<'a>(&self, tape: &'a Tape, params: &'a Bound) -> Pass<'a> {
        Pass::new(tape, params, self.precision)
    }

    fn tokens(
        &self,
        tape: &Tape,
        params: &Bound,
        images: Tensor,
        noise: Noise,
        assignment: Option<Tensor>,
    ) -> Result<Tokens> {
        let images = self.input(tape, images, &*self.method)?;
        let assignment =
            assignment.map_or_else(|| self.assigned(&*self.method, &images), |known| Ok(Some(known)))?;
        let mut pass = Pass { noise, assignment, ..self.pass(tape, params) };
        let images = self.method.pixels(&mut pass, images)?;
        self.backbone.forward(&mut pass, &images, &*self.method)
    }

    /// The number `[b]` of the prototype that each image `[b 3 s s]` is nearest to; `None` where the method has none. No
    /// gradients are recorded.
    ///
    /// # Errors
    /// Those of [`Model::forward`].
    pub fn assignment(&self, images: Tensor) -> Result<Option<Tensor>> {
        let images = self.input(&Tape::inference(&self.device), images, &*self.method)?;
        self.assigned(&*self.method, &images)
    }

    /// The assignment of the backbone's input.
    fn assigned(&self, method: &dyn Method, images: &Var) -> Result<Option<Tensor>> {
        let Some(prototypes) = method.prototypes() else { return Ok(None) };
        let tape = Tape::inference(&self.device);
        let params = self.params.bind(&tape);
        let mut pass = self.pass(&tape, &params);
        let features = self.backbone.forward(&mut pass, images, &Frozen)?.features(&tape)?;
        Ok(Some(nearest(&self.device, features.value(), self.params.get(prototypes))?))
    }

    /// The input of a method's [`pixels`](Method::pixels) for normalised images, or for those that the method takes.
    fn input(&self, tape: &Tape, images: Tensor, method: &dyn Method) -> Result<Var> {
        let mut images = Var::constant(images.to_device(&self.device)?);
        if self.simam {
            tape.scope("input");
            images = ptx::simam::simam(tape, &images)?;
        }
        // A method that makes the backbone's input does it in f32 and narrows the result.
        let dtype = if method.picture().is_some() { DType::F32 } else { self.precision };
        Ok(tape.cast(&images, dtype)?)
    }

    /// The mean loss `[1]` of training, for the targets `[b k]` of the head: that of the logits, and a share of it that of
    /// those of a sequence beside, where the method says so.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn loss(&self, tape: &Tape, forward: &Forward, targets: &Tensor) -> Result<Var> {
        let loss = self.head.loss(tape, &forward.logits, targets)?;
        let share = self.method.beside_share() as f32;
        let Some(logits) = self.logits_beside(tape, forward)?.filter(|_| share > 0.0) else {
            return Ok(loss);
        };
        let beside = self.head.loss(tape, &logits, targets)?;
        let number = |x: f32, shape: &[usize]| Var::constant(Tensor::from_slice(&self.device, &[x], shape));
        let own = scale_shift(tape, &tape.reshape(&loss, &[1, 1])?, &number(1.0 - share, &[1]), None)?;
        let beside = tape.reshape(&beside, &[1, 1])?;
        Ok(tape.reshape(&added(tape, own, &beside, &number(share, &[1, 1]), None)?, &[1])?)
    }

    /// The logits `[b k]` of the first sequence beside that of the images, where there is one.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn logits_beside(&self, tape: &Tape, forward: &Forward) -> Result<Option<Var>> {
        let Some(beside) = forward.tokens.beside.first() else { return Ok(None) };
        let features = self.head.features(tape, beside)?;
        Ok(Some(self.head.logits(tape, &forward.bound, &features)?.values))
    }

    /// Passes what a watcher sees of each block for images `[b 3 s s]` to `watch`, with the method or with the backbone alone. No
    /// gradients are recorded.
    ///
    /// # Errors
    /// Those of [`Model::forward`] and of `watch`.
    pub fn observe(&self, images: Tensor, adapted: bool, watch: &mut Watch) -> Result<()> {
        self.walk(images, if adapted { &*self.method } else { &Frozen }, Some(watch))
    }

    /// Runs images `[b 3 s s]` through the backbone with the hooks of `method` in place of the model's own, so that these
    /// see the tokens. No gradients are recorded.
    ///
    /// # Errors
    /// Those of [`Model::forward`], of the hooks and of `watch`.
    pub fn walk(&self, images: Tensor, method: &dyn Method, watch: Option<&mut Watch>) -> Result<()> {
        let tape = Tape::inference(&self.device);
        let images = self.input(&tape, images, method)?;
        let bound = self.params.bind(&tape);
        let watch = watch.map(|watch| watch as &mut Watch);
        let assignment = self.assigned(method, &images)?;
        let mut pass = Pass { watch, assignment, ..self.pass(&tape, &bound) };
        let images = method.pixels(&mut pass, images)?;
        self.backbone.forward(&mut pass, &images, method)?;
        Ok(())
    }

    /// Logits `[b k]` of features `[b d]` that were computed before, and the parameters on the tape.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn classify(&self, tape: &Tape, features: Tensor) -> Result<(Logits, Bound)> {
        let bound = self.params.bind(tape);
        let features = Var::constant(features.to_device(&self.device)?);
        let logits = self.head.logits(tape, &bound, &features)?;
        Ok((logits, bound))
    }

    /// Moves what a training step moves without a gradient, unless `health [3]` says that a step was not finite (see
    /// [`ptx::grad_norm`]). Nothing else may hold the parameters, so that they keep their addresses.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn follow(&mut self, moved: &[Moved], health: &Tensor) -> Result<()> {
        for Moved { param, towards, rate } in moved {
            let slot = Slot { average: self.params.get_mut(*param), value: towards };
            step(&self.device, &mut [slot], *rate, health)?;
        }
        Ok(())
    }

    /// Features `[b d]` of images `[b 3 s s]`, which the head reads. No gradients are recorded.
    ///
    /// # Errors
    /// Those of [`Model::forward`].
    pub fn features(&self, images: Tensor) -> Result<Tensor> {
        let tape = Tape::inference(&self.device);
        let tokens = self.tokens(&tape, &self.params.bind(&tape), images, Noise::default(), None)?;
        Ok(self.head.features(&tape, &tokens)?.into_value())
    }

    /// Logits `[b k]` of [`features`](Model::features). No gradients are recorded.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn logits_of(&self, features: Tensor) -> Result<Tensor> {
        Ok(self.classify(&Tape::inference(&self.device), features)?.0.values.into_value())
    }

    /// Logits `[b k]` of images `[b 3 s s]`. No gradients are recorded.
    ///
    /// # Errors
    /// Those of [`Model::forward`].
    pub fn logits(&self, images: Tensor) -> Result<Tensor> {
        Ok(self.forward(&Tape::inference(&self.device), images, Noise::default())?.logits.into_value())
    }
}

/// Checks that the backbone's own head has enough logits for every class to be assigned as many as the method wants.
fn check_counted(method: &dyn Method, head: &dyn Head, params: &Params) -> Result<()> {
    let (Some(Counted { logits, .. }), Some(counted)) = (method.counted(), head.counted()) else {
        return Ok(());
    };
    let (own, classes) = (params.get(counted.bias).numel(), head.classes());
    if logits.saturating_mul(classes) <= own {
        return Ok(());
    }
    let what = format!(
        "{logits} logits for each of {classes} classes are more than the {own} of the backbone's own head"
    );
    let hint = match own / classes {
        0 => "use --mapping full".into(),
        most => format!("use at most {most}, or --mapping full"),
    };
    Err(Error::input("--mapped-logits", what, hint))
}

/// Number of parameters in one part of a model.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct ParameterCount {
    /// Name of the part: `backbone`, `head`, or a part that the method adds.
    pub module: std::borrow::Cow<'static, str>,
    /// Number of values that training changes.
    pub trained: usize,
    /// Number of all values.
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
