//! The optimisers of the trained parameters.

use autograd::Gradients;
use engine::{Device, Tensor};
use ptx::clamp::clamp;
use ptx::grad_norm::grad_norm;
use ptx::{adamw, sgd};

use crate::Result;
use crate::methods::OptimizerKind;
use crate::params::{Bound, HEAD, ParamId, Params};

/// Rates of one step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rates {
    /// Learning rate.
    pub lr: f64,
    /// Weight decay of the parameters that decay.
    pub weight_decay: f64,
    /// Momentum of SGD.
    pub momentum: f64,
}

/// How the rates of the head differ from those of all else that is trained.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HeadRates {
    /// The head's learning rate over that of the rest.
    pub lr_scale: f64,
    /// Weight decay of the parameters of the head that decay.
    pub weight_decay: f64,
}

impl OptimizerKind {
    /// Whether weight decay applies to a parameter. With AdamW, as in the published SVP recipe, it leaves out vectors,
    /// biases, the position embedding and the class token, but includes the prompts' scale matrices (`docs/recipe.md`,
    /// "Optimiser"). With SGD, as in the published VPT code, it leaves out only the head's biases (`docs/methods.md`,
    /// "Optimisers of the methods"). Adam does not decay.
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

    /// Names, in files, of the tensors kept for each parameter.
    fn kept(self) -> &'static [&'static str] {
        match self {
            OptimizerKind::Adamw => &["adamw.m", "adamw.v"],
            OptimizerKind::Sgd => &["sgd.buffer"],
            OptimizerKind::Adam => &["adam.m", "adam.v"],
        }
    }
}

/// The tensors kept for one trained parameter between steps.
struct Moments {
    id: ParamId,
    decay: bool,
    /// Whether it belongs to the head.
    head: bool,
    /// First and second moment for AdamW and Adam, the momentum buffer for SGD.
    values: Vec<Tensor>,
}

/// An optimiser with its state: the tensors kept for each trained parameter, and the steps taken.
pub struct Optimizer {
    kind: OptimizerKind,
    moments: Vec<Moments>,
    /// Steps taken.
    pub steps: u64,
}

impl Optimizer {
    /// Starts with zeros for every trained parameter. `decays(name, value)` says whether weight decay applies to a
    /// parameter.
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
            let (decay, head) = (decays(params.name(id), value), params.part(id) == HEAD);
            Moments { id, decay, head, values }
        };
        let moments = params.trained().into_iter().map(moments).collect();
        Optimizer { kind, moments, steps: 0 }
    }

    /// Counts a step and returns the numbers that [`Optimizer::step`] needs on the device.
    ///
    /// # Errors
    /// Those of [`ptx::adamw::factors`].
    pub fn next_factors(&mut self, rates: &Rates) -> Result<Vec<f32>> {
        self.steps += 1;
        self.factors_of(rates)
    }

    /// The same numbers at other rates, for the step that was counted last.
    ///
    /// # Errors
    /// Those of [`ptx::adamw::factors`].
    pub fn factors_of(&self, rates: &Rates) -> Result<Vec<f32>> {
        let &Rates { lr, weight_decay, momentum } = rates;
        Ok(match self.kind {
            OptimizerKind::Adamw | OptimizerKind::Adam => {
                let settings = adamw::Settings { lr, weight_decay, ..adamw::Settings::default() };
                adamw::factors(&settings, self.steps)?.to_vec()
            }
            OptimizerKind::Sgd => sgd::factors(&sgd::Settings { lr, momentum, weight_decay }).to_vec(),
        })
    }

    /// Length of what [`Optimizer::next_factors`] returns.
    pub fn factors(&self) -> usize {
        match self.kind {
            OptimizerKind::Adamw | OptimizerKind::Adam => 7,
            OptimizerKind::Sgd => 3,
        }
    }

    /// Makes one update with the `factors` of [`Optimizer::next_factors`]. Nothing changes where the loss `[1]` or a
    /// gradient is not finite, or where `health [3]` says that an earlier one was not (see [`ptx::grad_norm`]). Parameters
    /// with bounds are then brought back between them.
    ///
    /// A parameter that the loss does not reach has no gradient and is left as it is. The bound parameters are taken by
    /// value, because a parameter that is still on a tape has two owners and would have to be copied.
    ///
    /// # Errors
    /// A fault of the device.
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
        self.step_apart(device, params, bound, loss, grads, [factors, factors], health)
    }

    /// [`Optimizer::step`] with factors for all but the head, and for the head.
    ///
    /// # Errors
    /// A fault of the device.
    pub fn step_apart(
        &mut self,
        device: &Device,
        params: &mut Params,
        bound: Bound,
        loss: &Tensor,
        grads: &Gradients,
        factors: [&Tensor; 2],
        health: &mut Tensor,
    ) -> Result<()> {
        let of: Vec<_> = self.moments.iter().map(|moments| grads.get(&bound[moments.id])).collect();
        drop(bound);
        let all: Vec<&Tensor> = of.iter().flatten().copied().collect();
        grad_norm(device, loss, &all, health)?;
        let trained = self.moments.iter_mut().zip(params.trained_mut()).zip(of);
        let trained = trained.filter_map(|((moments, param), grad)| Some((moments, param, grad?)));
        // One launch where the factors are the same.
        let apart = !std::ptr::eq(factors[0], factors[1]);
        let mut groups = [vec![], vec![]];
        trained.for_each(|slot| groups[usize::from(apart && slot.0.head)].push(slot));
        for (group, factors) in groups.into_iter().zip(factors).filter(|(group, _)| !group.is_empty()) {
            match self.kind {
                OptimizerKind::Adamw | OptimizerKind::Adam => {
                    let mut slots = vec![];
                    for (Moments { decay, values, .. }, param, grad) in group {
                        let [m, v] = values.as_mut_slice() else { unreachable!("two moments") };
                        slots.push(adamw::Slot { param, grad, m, v, decay: *decay });
                    }
                    adamw::step(device, &mut slots, factors, health)?;
                }
                OptimizerKind::Sgd => {
                    let mut slots = vec![];
                    for (Moments { decay, values, .. }, param, grad) in group {
                        slots.push(sgd::Slot { param, grad, buffer: &mut values[0], decay: *decay });
                    }
                    sgd::step(device, &mut slots, factors, health)?;
                }
            }
        }
        for (param, [low, high]) in params.bounded_mut() {
            clamp(device, param, low, high)?;
        }
        Ok(())
    }

    /// The tensors kept, named by kind and parameter: `adamw.m.NAME`.
    pub fn state<'a>(&'a self, params: &'a Params) -> impl Iterator<Item = (String, &'a Tensor)> {
        self.moments.iter().flat_map(|moments| {
            let names = self.kind.kept().iter();
            names
                .zip(&moments.values)
                .map(|(kept, value)| (format!("{kept}.{}", params.name(moments.id)), value))
        })
    }

    /// Replaces the kept tensors by `value(name, shape)`, with the names of [`Optimizer::state`], and sets the steps
    /// taken.
    ///
    /// # Errors
    /// Those of `value`.
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
