//! The nearest of several prototypes (DAM-VP, Huang et al., CVPR 2023): which frame an image gets.
//!
//! ```text
//! a[i] = the j with the smallest |x[i] - p[j]|, the smallest of several such j
//! ```
//! `x [b d]`, `p [m d]` with m at least 1, and `a [b]` is an f32, as [`frame`](crate::frame) takes it; all are f32. The
//! distance is Euclidean; its square is compared. A choice has no gradient. Where x is not finite, a is still one of
//! the prototypes.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
pub mod reference;

use engine::{Device, Result, Tensor};

use call::check;

/// The number `[b]` of the prototype in `prototypes [m d]` that is nearest to each row of `x [b d]`.
///
/// # Errors
/// A shape that differs, no prototype, or what the device fails with.
pub fn nearest(device: &Device, x: &Tensor, prototypes: &Tensor) -> Result<Tensor> {
    let dims = check(x, prototypes)?;
    let mut numbers = Tensor::empty(device, &[dims.b]);
    match device.launcher() {
        None => cpu::nearest(dims.d, x.as_slice(), prototypes.as_slice(), numbers.as_mut_slice()),
        Some(launcher) => launch::nearest(launcher, dims, x, prototypes, &mut numbers)?,
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn devices() -> [Device; 2] {
        [Device::cpu_checked(), Device::emulated()]
    }

    /// Eleven prototypes, so that a warp has several of its own and equals meet between warps.
    #[test]
    fn the_smallest_of_equals_is_taken() {
        for device in devices() {
            let line = [9.0, 9.0, 2.0, 4.0, 9.0, 9.0, 2.0, 4.0, 2.0, -2.0, 4.0];
            let prototypes = Tensor::from_slice(&device, &line, &[11, 1]);
            let x = Tensor::from_slice(&device, &[2.0, 4.5, 3.0, 0.0, 8.0, -1.0], &[6, 1]);
            let numbers = nearest(&device, &x, &prototypes).unwrap().to_host().unwrap();
            assert_eq!(numbers, [2.0, 3.0, 2.0, 2.0, 0.0, 9.0], "{}", device.name());
        }
    }

    #[test]
    fn what_is_not_finite_still_gets_a_prototype() {
        for device in devices() {
            let prototypes = Tensor::from_slice(&device, &[1.0, 2.0, 3.0, 4.0, 5.0], &[5, 1]);
            let x = Tensor::from_slice(&device, &[f32::NAN, f32::INFINITY], &[2, 1]);
            assert_eq!(nearest(&device, &x, &prototypes).unwrap().to_host().unwrap(), [0.0, 0.0]);
        }
    }

    #[test]
    fn misfits_are_refused_by_name() {
        let zeros = |shape: &[usize]| Tensor::zeros(&Device::cpu(), shape);
        let run = |x: &[usize], prototypes: &[usize]| {
            nearest(&Device::cpu(), &zeros(x), &zeros(prototypes)).unwrap_err().to_string()
        };
        assert_eq!(run(&[2, 3], &[4, 5]), "nearest: prototypes must be [m d] = [4, 3], got [4, 5]");
        assert_eq!(run(&[2, 3], &[0, 3]), "nearest: there is no prototype");
        assert!(run(&[2], &[4, 5]).contains("[b d]"));
    }
}
