//! Exponential moving average of a list of tensors, in place: `a += rate (x - a)`, `rate` being 1 less the decay
//! (Polyak, Juditsky 1992; the published program's `ModelEma`).

pub mod cases;
mod cpu;
mod launch;
pub mod reference;

use engine::shape::check_shape;
use engine::{Device, Result, Tensor};

use crate::grad_norm::FINITE;

const OP: &str = "ema";

/// A tensor with its average, of one shape.
pub struct Slot<'a> {
    pub average: &'a mut Tensor,
    pub value: &'a Tensor,
}

/// Moves every average towards its value, unless `health [3]` says that something was not finite (see
/// [`crate::grad_norm`]).
pub fn step(device: &Device, slots: &mut [Slot], rate: f32, health: &Tensor) -> Result<()> {
    check_shape(OP, "health", "[3]", &[3], health.shape())?;
    for slot in &mut *slots {
        check_shape(OP, "average", "as value", slot.value.shape(), slot.average.shape())?;
        slot.average.make_unique(device);
    }
    if let Some(launcher) = device.launcher() {
        return launch::step(device, launcher, slots, rate, health);
    }
    if health.as_slice()[FINITE] == 0.0 {
        return Ok(());
    }
    for slot in slots {
        cpu::step(rate, slot.average.as_mut_slice(), slot.value.as_slice());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grad_norm::healthy;

    #[test]
    fn nothing_moves_once_something_was_not_finite() {
        for device in [Device::cpu(), Device::emulated()] {
            let tensor = |values: &[f32]| Tensor::from_slice(&device, values, &[values.len()]);
            let (mut average, value) = (tensor(&[1.0, 2.0, 3.0]), tensor(&[2.0, 0.0, 3.0]));
            let mut step_with = |health: &Tensor| {
                let slot = Slot { average: &mut average, value: &value };
                step(&device, &mut [slot], 0.25, health).unwrap();
                average.to_host().unwrap()
            };
            assert_eq!(step_with(&tensor(&[0.0, f32::NAN, 0.0])), [1.0, 2.0, 3.0]);
            assert_eq!(step_with(&healthy(&device)), [1.25, 1.5, 3.0]);
        }
    }
}
