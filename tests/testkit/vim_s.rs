//! The SVP step of Vim-S on random images, made as the training loop makes it.

use engine::{DType, Device};
use svp::Result;
use svp::backbones::vim::{Vim, VimConfig};
use svp::cost::Trial;
use svp::heads::HeadKind;
use svp::methods::{Chosen, OptimizerKind};
use svp::model::{Model, Parts};
use svp::params::Params;
use svp::train::{StepSettings, Submitted};

/// Classes of the task.
pub const CLASSES: usize = 100;

/// A model in training, and the batch that every step sees.
pub struct Step(Trial);

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
        Trial::of(model, settings, batch).map(Step)
    }

    /// Starts a step.
    pub fn submit(&mut self) -> Result<Submitted> {
        self.0.submit()
    }
}

/// Waits for a step, which must be finite.
pub fn finish(submitted: Submitted) -> Result<()> {
    Trial::finish(submitted)
}
