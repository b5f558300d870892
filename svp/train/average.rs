//! A moving average of the trained parameters, kept beside them on the device.

use engine::{Device, Tensor};
use ptx::ema::{Slot, step};

use crate::Result;
use crate::params::{ParamId, Params};

/// Follows `average = decay * average + (1 - decay) * value` after every step, from the initial values on
/// (`docs/recipe.md`, "Moving average"). As in the published program it is saved but does not choose the epoch.
pub struct Average {
    rate: f32,
    values: Vec<(ParamId, Tensor)>,
}

impl Average {
    /// Starts from a copy on `device` of every trained parameter; `decay` is a share in 0..1.
    pub fn new(device: &Device, params: &Params, decay: f64) -> Self {
        let values =
            params.trained().into_iter().map(|id| (id, params.get(id).to_owned_on(device))).collect();
        Average { rate: (1.0 - decay) as f32, values }
    }

    /// Moves the averages towards `params` after an update. Changes nothing where `health [3]` says that the step was
    /// not finite (see [`ptx::grad_norm`]).
    ///
    /// # Errors
    /// A fault of the device.
    pub fn step(&mut self, device: &Device, params: &Params, health: &Tensor) -> Result<()> {
        let values = self.values.iter_mut();
        let mut slots: Vec<Slot> =
            values.map(|(id, average)| Slot { average, value: params.get(*id) }).collect();
        Ok(step(device, &mut slots, self.rate, health)?)
    }

    /// The averages, each with the name of its parameter.
    pub fn state<'a>(&'a self, params: &'a Params) -> impl Iterator<Item = (&'a str, &'a Tensor)> {
        self.values.iter().map(|(id, average)| (params.name(*id), average))
    }

    /// Replaces every average by `value(name, shape)`.
    ///
    /// # Errors
    /// Those of `value`.
    pub fn restore(
        &mut self,
        params: &Params,
        mut value: impl FnMut(&str, &[usize]) -> Result<Tensor>,
    ) -> Result<()> {
        for (id, average) in &mut self.values {
            *average = value(params.name(*id), average.shape())?;
        }
        Ok(())
    }
}
