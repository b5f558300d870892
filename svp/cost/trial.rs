//! A model in training on random images.

use std::time::Instant;

use autograd::noted;
use engine::{Device, Rng, Tensor};

use crate::data::Dataset;
use crate::heads::Labels;
use crate::model::{Model, count_parameters};
use crate::params::HEAD;
use crate::train::{FeedBatch, StepSettings, Stepper, Submitted, TrainConfig, assemble, backbone};
use crate::{Error, Result};

/// Learning rate of the steps, too low to matter.
const LR: f64 = 1e-3;
/// Steps before the clock runs. A launched device records the third one.
const WARM_UP: [usize; 2] = [1, 3];
/// Classes of a released backbone's own head, for one that is made with initial values.
const OWN_CLASSES: usize = 1000;
/// The drawn task and the number of its images that a method with a survey looks at.
const SURVEYED: (&str, usize) = ("orientation", 128);

/// A model in training, and the batch that every step sees.
pub struct Trial {
    /// The backbone with method and head.
    pub model: Model,
    stepper: Stepper,
    images: Tensor,
    batch: [FeedBatch; 1],
}

/// What a model has and does, independent of the clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Count {
    /// Trained parameters.
    pub trained: usize,
    /// Trained parameters that are not the head's.
    pub without_head: usize,
    /// Additions and multiplications of the evaluation of a batch.
    pub evaluation_flop: f64,
    /// The same of the forward and the backward pass of a step, without what it computes again to save memory and
    /// without the optimizer.
    pub step_flop: f64,
    /// Most bytes of tensors and weights in an evaluation.
    pub evaluation_bytes: usize,
    /// Most bytes of tensors and weights in a step, the optimizer's state included.
    pub step_bytes: usize,
}

impl Trial {
    /// Builds the model of a config for `classes` classes. A survey looks at drawn images; what it noted is returned.
    ///
    /// # Errors
    /// [`Error::Interrupted`] once `stop` returns true during a survey; a backbone that cannot be loaded, settings that
    /// do not fit it, and faults of the device.
    pub fn new(
        config: &TrainConfig,
        classes: usize,
        device: &Device,
        stop: &dyn Fn() -> bool,
    ) -> Result<(Self, Vec<String>)> {
        config.precision.check(device)?;
        let mut loaded = backbone(config)?;
        if config.model.is_some() {
            let zeros = |shape: &[usize]| Tensor::from_vec(vec![0.0; shape.iter().product()], shape);
            let width = loaded.backbone.spec().width;
            loaded.head = Some([zeros(&[OWN_CLASSES, width]), zeros(&[OWN_CLASSES])]);
        }
        let names: Vec<String> = (0..classes).map(|class| class.to_string()).collect();
        let mut drawn = Dataset::builtin(SURVEYED.0)?.train;
        drawn.truncate(SURVEYED.1);
        let (model, _, notes) = assemble(config, device, loaded, (&drawn, &names), None, stop)?;
        let trial = Trial::of(model, config.step_settings(), config.batch_size)?;
        Ok((trial, notes))
    }

    /// A model with `batch` random images of its size.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn of(model: Model, settings: StepSettings, batch: usize) -> Result<Self> {
        let (side, classes) = (model.transform().size as usize, model.classes() as u32);
        let mut rng = Rng::keyed(0, 0, 0, 0);
        let values = (0..batch * 3 * side * side).map(|_| rng.normal() as f32).collect();
        let images = Tensor::from_vec(values, &[batch, 3, side, side]);
        let indices: Vec<u32> = (0..batch as u32).collect();
        let labels = Labels::Classes(indices.iter().map(|i| i % classes).collect());
        let input = match settings.features {
            true => {
                let features = model.features(images.clone())?;
                let shape = features.shape().to_vec();
                Tensor::from_vec(features.to_host()?, &shape)
            }
            false => images.clone(),
        };
        Ok(Trial {
            stepper: Stepper::new(&model, settings),
            model,
            images,
            batch: [FeedBatch {
                input,
                labels,
                keys: indices.clone(),
                indices,
                assignment: None,
                own_share: 1.0,
            }],
        })
    }

    /// Starts a step.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn submit(&mut self) -> Result<Submitted> {
        self.stepper.submit(&mut self.model, &self.batch, 0, LR)
    }

    /// Waits for a step, which must be finite.
    ///
    /// # Errors
    /// A loss that is not finite, and a fault of the device.
    pub fn finish(submitted: Submitted) -> Result<()> {
        let health = submitted.wait()?;
        match health.finite {
            true => Ok(()),
            false => {
                Err(engine::Error::NonFinite { at: "the step".into(), index: 0, value: health.loss }.into())
            }
        }
    }

    /// Evaluates the batch and waits for its logits.
    fn evaluate(&self) -> Result<()> {
        self.model.logits(self.images.clone())?.receive()?.wait()?;
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        Self::finish(self.submit()?)
    }

    /// Counts by an evaluation and a step, which must be the first ones.
    ///
    /// # Errors
    /// An op that does not say what it costs, and those of a step.
    pub fn count(&mut self) -> Result<Count> {
        let flop = |calls: &[autograd::Noted]| {
            ptx::registry::flop(calls).map_err(|op| {
                let hint = "write Op::noted for it, as docs/adding-an-op.md says";
                Error::input(op, "this op does not say what its calls cost", hint)
            })
        };
        let parts = count_parameters(&self.model.params);
        let trained = |head: bool| -> usize {
            parts.iter().filter(|part| head || part.module != HEAD).map(|part| part.trained).sum()
        };
        // Weights that the device does not count lie in a mapped file, or were made before there was a device.
        let values = self.model.params.iter().map(|param| &param.value).filter(|value| !value.is_counted());
        let weights: usize = values.map(|value| value.numel() * value.dtype().size()).sum();
        let (evaluated, evaluation) = noted(|| self.evaluate());
        evaluated?;
        let evaluation_bytes = self.model.device.memory().0 + weights;
        let (stepped, step) = noted(|| self.step());
        stepped?;
        Ok(Count {
            trained: trained(true),
            without_head: trained(false),
            evaluation_flop: flop(&evaluation)?,
            step_flop: flop(&step)?,
            evaluation_bytes,
            step_bytes: self.model.device.memory().0 + weights,
        })
    }

    /// Evaluates and steps until neither does anything for the first time.
    ///
    /// # Errors
    /// Those of a step.
    pub fn warm_up(&mut self) -> Result<()> {
        self.evaluate()?;
        let steps = WARM_UP[usize::from(self.model.device.launcher().is_some())];
        (0..steps).try_for_each(|_| self.step())
    }

    /// Seconds of the evaluation of the batch, from host memory to logits in host memory.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn evaluation_seconds(&self) -> Result<f64> {
        let begun = Instant::now();
        self.evaluate()?;
        Ok(begun.elapsed().as_secs_f64())
    }

    /// Seconds of a step among `steps` in a row, made as training makes them: each is started before the loss of the
    /// last one is read.
    ///
    /// # Errors
    /// Those of a step.
    pub fn step_seconds(&mut self, steps: usize) -> Result<f64> {
        let begun = Instant::now();
        let mut on_its_way = self.submit()?;
        for _ in 1..steps {
            Self::finish(std::mem::replace(&mut on_its_way, self.submit()?))?;
        }
        Self::finish(on_its_way)?;
        Ok(begun.elapsed().as_secs_f64() / steps as f64)
    }
}
