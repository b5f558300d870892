//! A moving average of what is trained, kept beside it on the device.

use engine::{Device, Tensor};
use ptx::ema::{Slot, step};

use crate::Result;
use crate::params::{ParamId, Params};

/// `average = decay * average + (1 - decay) * value` after every step, from the initial values on. As in the published
/// program it is saved, and does not choose an epoch.
pub struct Average {
    rate: f32,
    values: Vec<(ParamId, Tensor)>,
}

impl Average {
    pub fn new(device: &Device, params: &Params, decay: f64) -> Self {
        let values =
            params.trained().into_iter().map(|id| (id, params.get(id).to_owned_on(device))).collect();
        Average { rate: (1.0 - decay) as f32, values }
    }

    /// After an update of `params`; nothing where `health [3]` says that it was none.
    pub fn step(&mut self, device: &Device, params: &Params, health: &Tensor) -> Result<()> {
        let values = self.values.iter_mut();
        let mut slots: Vec<Slot> =
            values.map(|(id, average)| Slot { average, value: params.get(*id) }).collect();
        Ok(step(device, &mut slots, self.rate, health)?)
    }

    /// The averages by the names of their parameters.
    pub fn state<'a>(&'a self, params: &'a Params) -> impl Iterator<Item = (&'a str, &'a Tensor)> {
        self.values.iter().map(|(id, average)| (params.name(*id), average))
    }

    /// Replaces every average by `value(name, shape)`.
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
