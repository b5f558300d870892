//! The SVP step of Vim-S on random images, made as the training loop makes it.

use engine::{DType, Device, Rng, Tensor};
use svp::Result;
use svp::backbones::vim::{Vim, VimConfig};
use svp::heads::{HeadKind, Labels};
use svp::methods::{Chosen, OptimizerKind};
use svp::model::{Model, Parts};
use svp::params::Params;
use svp::train::{FeedBatch, StepSettings, Stepper, Submitted};

/// Classes of the task.
pub const CLASSES: usize = 100;

/// A model in training, and the batch that every step sees.
pub struct Step {
    /// Vim with prompts and a head.
    pub model: Model,
    stepper: Stepper,
    batch: [FeedBatch; 1],
}

impl Step {
    /// A model with initial values on `device`, its activations in `dtype`, and `batch` random images of its size.
    pub fn new(device: &Device, config: VimConfig, batch: usize, dtype: DType) -> Result<Self> {
        let mut params = Params::default();
        let vim = Vim::init(config, &mut params, 0)?;
        let (method, head) = (Chosen::named("svp")?, HeadKind::default());
        let parts = Parts { head, ..Parts::new(method, CLASSES) };
        let model = Model::new(device, Box::new(vim), params, parts, 0)?.in_precision(dtype)?;
        let settings = StepSettings {
            features: false,
            optimizer: OptimizerKind::Adamw,
            momentum: 0.0,
            smoothing: 0.1,
            drop_path: 0.0,
            seed: 0,
            weight_decay: 1e-4,
            head: None,
            ema_decay: 0.0,
            accumulate: 1,
        };
        let side = config.img_size;
        let mut rng = Rng::keyed(0, 0, 0, 0);
        let images = (0..batch * 3 * side * side).map(|_| rng.normal() as f32).collect();
        let input = Tensor::from_vec(images, &[batch, 3, side, side]);
        let indices: Vec<u32> = (0..batch as u32).collect();
        let labels = Labels::Classes(indices.iter().map(|i| i % CLASSES as u32).collect());
        Ok(Step {
            stepper: Stepper::new(&model, settings),
            model,
            batch: [FeedBatch { input, labels, indices, assignment: None, own_share: 1.0 }],
        })
    }

    /// Starts a step.
    pub fn submit(&mut self) -> Result<Submitted> {
        self.stepper.submit(&mut self.model, &self.batch, 0, 1e-3)
    }
}

/// Waits for a step, which must be finite.
pub fn finish(submitted: Submitted) -> Result<()> {
    let health = submitted.wait()?;
    match health.finite {
        true => Ok(()),
        false => Err(engine::Error::NonFinite { at: "the step".into(), index: 0, value: health.loss }.into()),
    }
}
