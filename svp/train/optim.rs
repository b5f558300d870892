//! The optimizers over the trained parameters.

use autograd::Gradients;
use engine::{Device, Tensor};
use ptx::grad_norm::grad_norm;
use ptx::{adamw, sgd};

use crate::Result;
use crate::methods::OptimizerKind;
use crate::params::{Bound, ParamId, Params};

/// Rates of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Learning rate.
    pub lr: f64,
    /// Weight decay, of the parameters that decay.
    pub weight_decay: f64,
    /// Of SGD.
    pub momentum: f64,
}

impl OptimizerKind {
    /// Whether weight decay applies to a parameter. AdamW as in the published SVP recipe: not to vectors, biases,
    /// position embedding and class token; to the prompts' scale matrices it does. SGD as in the published VPT code:
    /// to everything but the head's biases (`docs/recipe.md`, "Optimizer").
    pub fn decays(self, name: &str, value: &Tensor) -> bool {
        match self {
            OptimizerKind::Adamw => {
                value.shape().len() > 1
                    && !name.ends_with(".bias")
                    && !matches!(name, "pos_embed" | "cls_token")
            }
            OptimizerKind::Sgd => !(name.starts_with("head.") && name.ends_with(".bias")),
            OptimizerKind::Adam => false,
        }
    }

    /// Names of what is kept of each parameter, in files.
    fn kept(self) -> &'static [&'static str] {
        match self {
            OptimizerKind::Adamw => &["adamw.m", "adamw.v"],
            OptimizerKind::Sgd => &["sgd.buffer"],
            OptimizerKind::Adam => &["adam.m", "adam.v"],
        }
    }
}

/// What is kept of one trained parameter between steps.
struct Moments {
    id: ParamId,
    decay: bool,
    /// AdamW and Adam: first and second moment. SGD: the momentum buffer.
    values: Vec<Tensor>,
}

/// An optimizer's state: what it keeps of each trained parameter, and the steps taken.
pub struct Optimizer {
    kind: OptimizerKind,
    moments: Vec<Moments>,
    /// Steps taken.
    pub steps: u64,
}

impl Optimizer {
    /// Starts with zeros for every trained parameter; `decays` tells which ones weight decay applies to.
    pub fn new(
        kind: OptimizerKind,
        device: &Device,
        params: &Params,
        decays: impl Fn(&str, &Tensor) -> bool,
    ) -> Self {
        let moments = |id: ParamId| {
            let value = params.get(id);
            let zeros = |_: &&str| Tensor::zeros(device, value.shape());
            let values = kind.kept().iter().map(zeros).collect();
            Moments { id, decay: decays(params.name(id), value), values }
        };
        let moments = params.trained().into_iter().map(moments).collect();
        Optimizer { kind, moments, steps: 0 }
    }

    /// Counts a step: what its [`Optimizer::step`] needs on the device.
    pub fn next_factors(&mut self, rates: &Rates) -> Result<Vec<f32>> {
        self.steps += 1;
        let &Rates { lr, weight_decay, momentum } = rates;
        Ok(match self.kind {
            OptimizerKind::Adamw | OptimizerKind::Adam => {
                let settings = adamw::Settings { lr, weight_decay, ..adamw::Settings::default() };
                adamw::factors(&settings, self.steps)?.to_vec()
            }
            OptimizerKind::Sgd => sgd::factors(&sgd::Settings { lr, momentum, weight_decay }).to_vec(),
        })
    }

    /// Length of [`Optimizer::next_factors`].
    pub fn factors(&self) -> usize {
        match self.kind {
            OptimizerKind::Adamw | OptimizerKind::Adam => 7,
            OptimizerKind::Sgd => 3,
        }
    }

    /// One update with the values of [`Optimizer::next_factors`], which leaves everything as it is where the loss
    /// `[1]` or a gradient is not finite, or `health [3]` says that one was before (see [`ptx::grad_norm`]).
    ///
    /// A parameter without a gradient (a scale row of a layer that does not exist has zero, but a tensor the loss
    /// does not reach has none) is left as it is. Takes the bound parameters: while they are on a tape, a parameter
    /// has two owners and could only be copied.
    pub fn step(
        &mut self,
        device: &Device,
        params: &mut Params,
        bound: Bound,
        loss: &Tensor,
        grads: &Gradients,
        factors: &Tensor,
        health: &mut Tensor,
    ) -> Result<()> {
        let of: Vec<_> = self.moments.iter().map(|moments| grads.get(&bound[moments.id])).collect();
        drop(bound);
        let all: Vec<&Tensor> = of.iter().flatten().copied().collect();
        grad_norm(device, loss, &all, health)?;
        let trained = self.moments.iter_mut().zip(params.trained_mut()).zip(of);
        let trained = trained.filter_map(|((moments, param), grad)| Some((moments, param, grad?)));
        match self.kind {
            OptimizerKind::Adamw | OptimizerKind::Adam => {
                let mut slots = vec![];
                for (Moments { decay, values, .. }, param, grad) in trained {
                    let [m, v] = values.as_mut_slice() else { unreachable!("two moments") };
                    slots.push(adamw::Slot { param, grad, m, v, decay: *decay });
                }
                Ok(adamw::step(device, &mut slots, factors, health)?)
            }
            OptimizerKind::Sgd => {
                let mut slots = vec![];
                for (Moments { decay, values, .. }, param, grad) in trained {
                    slots.push(sgd::Slot { param, grad, buffer: &mut values[0], decay: *decay });
                }
                Ok(sgd::step(device, &mut slots, factors, health)?)
            }
        }
    }

    /// What is kept, by names that say of which parameter: `adamw.m.NAME`.
    pub fn state<'a>(&'a self, params: &'a Params) -> impl Iterator<Item = (String, &'a Tensor)> {
        self.moments.iter().flat_map(|moments| {
            let names = self.kind.kept().iter();
            names
                .zip(&moments.values)
                .map(|(kept, value)| (format!("{kept}.{}", params.name(moments.id)), value))
        })
    }

    /// Replaces what is kept by `value(name, shape)`, with the names of [`Optimizer::state`].
    pub fn restore(
        &mut self,
        params: &Params,
        steps: u64,
        mut value: impl FnMut(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<()> {
        for moments in &mut self.moments {
            for (kept, tensor) in self.kind.kept().iter().zip(&mut moments.values) {
                *tensor = value(&format!("{kept}.{}", params.name(moments.id)), tensor.shape())?;
            }
        }
        self.steps = steps;
        Ok(())
    }
}
