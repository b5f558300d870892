//! SGD with momentum and decay in the gradient, in place over a list of tensors, as PyTorch computes it (no dampening,
//! no Nesterov step): `g += wd p` where a tensor decays, `buf = momentum buf + g`, `p -= lr buf`.
//!
//! The buffer is all the state there is. It is zero before the first step, which then makes it the first gradient.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
pub mod reference;

use engine::{Device, Result, Tensor};

pub use call::{Settings, Slot};

use crate::grad_norm::FINITE;
use call::check;

/// [`Settings`] as the elements need them: `[3]`, sent to the device before each step so that a recorded step stays
/// the same.
pub fn factors(settings: &Settings) -> [f32; 3] {
    let Settings { lr, momentum, weight_decay } = *settings;
    [lr, momentum, weight_decay].map(|factor| factor as f32)
}

/// One update of every slot with the values of [`factors`], unless `health [3]` says that something was not finite
/// (see [`crate::grad_norm`]). A shared or mapped parameter is copied first.
pub fn step(device: &Device, slots: &mut [Slot], factors: &Tensor, health: &Tensor) -> Result<()> {
    check(slots, factors, health)?;
    slots.iter_mut().for_each(|slot| slot.param.make_unique(device));
    if let Some(launcher) = device.launcher() {
        return launch::step(device, launcher, slots, factors, health);
    }
    if health.as_slice()[FINITE] == 0.0 {
        return Ok(());
    }
    let [lr, momentum, decay] = factors.as_slice()[..] else { unreachable!("checked: three") };
    for slot in slots {
        let factors = [lr, momentum, if slot.decay { decay } else { 0.0 }];
        let (param, buffer) = (slot.param.as_mut_slice(), slot.buffer.as_mut_slice());
        cpu::step(factors, param, slot.grad.as_slice(), buffer);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::grad_norm::healthy;

    #[test]
    fn a_step_that_is_not_finite_changes_nothing() {
        let settings = Settings { lr: 0.5, momentum: 0.5, weight_decay: 0.25 };
        for device in [Device::cpu(), Device::emulated()] {
            let tensor = |values: &[f32]| Tensor::from_slice(&device, values, &[values.len()]);
            let (mut param, grad, mut buffer) =
                (tensor(&[4.0, -8.0]), tensor(&[1.0, 2.0]), tensor(&[0.0; 2]));
            let factors = tensor(&factors(&settings));
            let mut step_with = |health: &Tensor| {
                let slot = Slot { param: &mut param, grad: &grad, buffer: &mut buffer, decay: true };
                step(&device, &mut [slot], &factors, health).unwrap();
                [&param, &buffer].map(|tensor| tensor.to_host().unwrap())
            };
            assert_eq!(step_with(&tensor(&[1.0, f32::NAN, 0.0])), [vec![4.0, -8.0], vec![0.0; 2]]);
            // The first step makes the buffer the decayed gradient; the second adds half of it.
            assert_eq!(step_with(&healthy(&device)), [vec![3.0, -8.0], vec![2.0, 0.0]]);
            assert_eq!(step_with(&healthy(&device)), [vec![1.625, -8.0], vec![2.75, 0.0]]);
        }
    }

    #[test]
    fn a_slot_of_several_shapes_is_refused() {
        let device = Device::cpu();
        let zeros = |n| Tensor::zeros(&device, &[n]);
        let (mut param, grad, mut buffer) = (zeros(2), zeros(2), zeros(3));
        let slot = Slot { param: &mut param, grad: &grad, buffer: &mut buffer, decay: false };
        let err = step(&device, &mut [slot], &zeros(3), &healthy(&device)).unwrap_err();
        assert_eq!(err.to_string(), "sgd: buffer must be as param = [2], got [3]");
    }
}
