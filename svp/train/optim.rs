//! AdamW over the trained parameters.

use autograd::Gradients;
use engine::{Device, Tensor};
use ptx::adamw::{Settings, Slot, factors, step};
use ptx::grad_norm::grad_norm;

use crate::Result;
use crate::model::{Bound, ParamId, Params};

/// Whether weight decay applies to a parameter in the published recipe (section 6): not to vectors, biases,
/// position embedding and class token; to the prompts' scale matrices it does.
pub fn recipe_decays(name: &str, value: &Tensor) -> bool {
    value.shape().len() > 1 && !name.ends_with(".bias") && !matches!(name, "pos_embed" | "cls_token")
}

struct Moments {
    id: ParamId,
    decay: bool,
    m: Tensor,
    v: Tensor,
}

/// AdamW's state: two moments per trained parameter, and the steps taken.
pub struct Optimizer {
    moments: Vec<Moments>,
    pub steps: u64,
}

impl Optimizer {
    /// Zero moments for every trained parameter; `decays` tells which ones weight decay applies to.
    pub fn new(device: &Device, params: &Params, decays: impl Fn(&str, &Tensor) -> bool) -> Self {
        let moments = |id: ParamId| {
            let value = params.get(id);
            let zeros = || Tensor::zeros(device, value.shape());
            Moments { id, decay: decays(params.name(id), value), m: zeros(), v: zeros() }
        };
        Optimizer { moments: params.trained().into_iter().map(moments).collect(), steps: 0 }
    }

    /// Counts a step: what its [`Optimizer::step`] needs on the device, `[7]`.
    pub fn next_factors(&mut self, settings: &Settings) -> Result<[f32; 7]> {
        self.steps += 1;
        Ok(factors(settings, self.steps)?)
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
        let mut slots = vec![];
        for ((moments, param), grad) in self.moments.iter_mut().zip(params.trained_mut()).zip(of) {
            let Some(grad) = grad else { continue };
            let Moments { decay, m, v, .. } = moments;
            slots.push(Slot { param, grad, m, v, decay: *decay });
        }
        Ok(step(device, &mut slots, factors, health)?)
    }

    /// The moments by the names of their parameters: `(name, m, v)`.
    pub fn state<'a>(
        &'a self,
        params: &'a Params,
    ) -> impl Iterator<Item = (&'a str, &'a Tensor, &'a Tensor)> {
        self.moments.iter().map(|moments| (params.name(moments.id), &moments.m, &moments.v))
    }

    /// Replaces the moments of every parameter by `value(name, first, shape)`, `first` telling m from v.
    pub fn restore(
        &mut self,
        params: &Params,
        steps: u64,
        mut value: impl FnMut(&str, bool, &[usize]) -> Result<Tensor>,
    ) -> Result<()> {
        for moments in &mut self.moments {
            let name = params.name(moments.id);
            moments.m = value(name, true, moments.m.shape())?;
            moments.v = value(name, false, moments.v.shape())?;
        }
        self.steps = steps;
        Ok(())
    }
}
