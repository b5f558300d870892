//! Keeps a trained tensor of any shape within bounds, in place: `x = min(max(x, low), high)`. AutoVP (Tsao et al., ICLR
//! 2024) does so with its scale after each step of the optimizer. NaN stays NaN. It has no gradient.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
pub mod reference;

use engine::{Device, Result, Tensor};

use call::check;

/// Moves what is below `low` or above `high` to that bound; `x` is f32. A shared or mapped tensor is copied first.
///
/// # Errors
/// [`engine::Error::Unsupported`] for bounds that are NaN or the wrong way round, or what the device fails with.
pub fn clamp(device: &Device, x: &mut Tensor, low: f32, high: f32) -> Result<()> {
    check(low, high)?;
    x.make_unique(device);
    if let Some(launcher) = device.launcher() {
        return launch::clamp(launcher, x, low, high);
    }
    cpu::clamp(x.as_mut_slice(), low, high);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_kept_and_so_is_nan() {
        for device in [Device::cpu_checked(), Device::emulated()] {
            let inf = f32::INFINITY;
            let values = [f32::NAN, 0.05, 0.1, 1.5, 5.0, 5.5, -0.0, inf, -inf];
            let mut x = Tensor::from_slice(&device, &values, &[3, 3]);
            let shared = x.clone();
            clamp(&device, &mut x, 0.1, 5.0).unwrap();
            let got = x.to_host().unwrap();
            assert!(got[0].is_nan(), "{}", device.name());
            assert_eq!(got[1..], [0.1, 0.1, 1.5, 5.0, 5.0, 0.1, 5.0, 0.1], "{}", device.name());
            assert_eq!(shared.to_host().unwrap()[1..], values[1..], "a tensor that shares the memory");
            clamp(&device, &mut x, 2.0, 2.0).unwrap();
            assert_eq!(x.to_host().unwrap()[1..], [2.0; 8]);
        }
    }

    #[test]
    fn impossible_bounds_are_refused() {
        let device = Device::cpu();
        let mut x = Tensor::zeros(&device, &[1]);
        let mut refused = |low, high| clamp(&device, &mut x, low, high).unwrap_err().to_string();
        assert_eq!(refused(5.0, 0.1), "clamp: no value is at least 5 and at most 0.1");
        assert_eq!(refused(f32::NAN, 1.0), "clamp: no value is at least NaN and at most 1");
        assert_eq!(refused(0.0, f32::NAN), "clamp: no value is at least 0 and at most NaN");
    }
}
