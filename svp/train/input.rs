//! Sends batches to the device.

use engine::{Device, Tensor};

use crate::Result;

/// The device tensor that batches are sent to; it is reused while the shape stays the same.
#[derive(Default)]
pub(super) struct Input(Option<Tensor>);

impl Input {
    /// Returns the batch on the device; on the CPU that is `batch` itself.
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
