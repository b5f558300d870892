//! How a batch gets to the device.

use engine::{Device, Tensor};

use crate::Result;

/// The tensor that batches are sent to.
#[derive(Default)]
pub(super) struct Input(Option<Tensor>);

impl Input {
    /// The batch on the device; on the CPU, itself.
    pub fn send(&mut self, device: &Device, batch: Tensor) -> Result<Tensor> {
        if device.launcher().is_none() {
            return Ok(batch);
        }
        let mut kept = self.0.take().filter(|kept| kept.shape() == batch.shape());
        let tensor = kept.get_or_insert_with(|| Tensor::empty(device, batch.shape()));
        tensor.send(batch.as_slice())?;
        self.0 = kept;
        Ok(self.0.clone().expect("just sent to"))
    }
}
