//! Exponential moving average of a list of tensors of any shapes, in place: `a = a + rate (x - a)`, where `rate` is one
//! less the decay (Polyak, Juditsky 1992; the published program's `ModelEma`). It has no gradient.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
pub mod reference;

use engine::{Device, Result, Tensor};

pub use call::Slot;

use crate::grad_norm::FINITE;
use call::check;

/// Moves every average towards its value, unless `health [3]` says that something was not finite (see
/// [`crate::grad_norm`]). A shared or mapped average is copied first.
///
/// # Errors
/// A shape that differs, or what the device fails with.
pub fn step(device: &Device, slots: &mut [Slot], rate: f32, health: &Tensor) -> Result<()> {
    check(slots, health)?;
    slots.iter_mut().for_each(|slot| slot.average.make_unique(device));
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
