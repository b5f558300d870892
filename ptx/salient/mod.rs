//! The patches that an image's class token attends to most, for prompts that reinforce them (iVPT, arXiv 2404.05207, eq. 14).
//!
//! ```text
//! s[i, r] = mean over the heads of p[i, head, extra + r]
//! y[i, j] = the row with the j-th largest s[i, row] among `rows`, the lower of equal ones first      j = 0..k
//! ```
//! Axes: `p: [b heads keys]`, f32, the probabilities of one query row as [`attention`](crate::attention) gives them: `extra` keys
//! and then those of the rows of the sequence. `rows` are the rows that compete; y is `[b k]`, numbers of rows in f32. NaN is
//! below all other values. A choice has no gradient. A launched device takes at most 8,192 rows.

mod call;
pub(crate) mod cases;
mod cpu;
mod launch;
mod onnx;
pub mod reference;

use autograd::{Tape, Var};
use engine::{Result, Tensor};

use call::{Call, OP};

/// The `k` of `rows`, which rise strictly, that have the largest of the probabilities `p [b heads keys]`, by falling probability:
/// `[b k]`. The first `extra` keys belong to no row.
///
/// # Errors
/// A shape that differs, [`engine::Error::Unsupported`] for rows that are not in order or not there, or fewer than k, or what
/// the device fails with.
pub fn salient(tape: &Tape, p: &Var, extra: usize, rows: &[usize], k: usize) -> Result<Var> {
    let device = tape.device();
    let call = Call::new(p, extra, rows, k)?;
    let mut y = Tensor::empty(device, &[call.b, k]);
    match device.launcher() {
        None => cpu::salient(&call, p.value().as_slice(), y.as_mut_slice()),
        Some(launcher) => launch::salient(device, launcher, &call, p.value(), &mut y)?,
    }
    let settings = || {
        let rows = rows.iter().map(|&row| row as f64).collect();
        vec![("extra", vec![extra as f64]), ("k", vec![k as f64]), ("rows", rows)]
    };
    let numbers: Vec<f32> = rows.iter().map(|&row| row as f32).collect();
    let numbers = Var::constant(Tensor::from_vec(numbers, &[rows.len()]));
    // The probabilities are cut off from the tape, so that nothing is recorded for a backward pass.
    let cut = || unreachable!("no gradient goes through a choice");
    Ok(tape.record_with(OP, settings, &[p, &numbers], vec![y], cut)?.remove(0))
}

#[cfg(test)]
mod tests {
    use engine::Device;

    use super::*;

    /// Of two heads, after one extra key: rows 0 and 4 do not compete.
    #[test]
    fn the_lower_of_equals_comes_first_and_nan_last() {
        for device in [Device::cpu_checked(), Device::emulated()] {
            let tape = Tape::inference(&device);
            let heads = [0.9, 0.9, 0.1, 0.3, 0.2, 0.9, 0.4, f32::NAN, 0.9, 0.9, 0.1, 0.1, 0.2, 0.9, 0.0, 0.1];
            let p = Var::constant(Tensor::from_slice(&device, &heads, &[1, 2, 8]));
            let y = salient(&tape, &p, 1, &[1, 2, 3, 5, 6], 5).unwrap();
            assert_eq!(y.value().to_host().unwrap(), [2.0, 3.0, 5.0, 1.0, 6.0], "{}", device.name());
        }
    }

    #[test]
    fn misfits_are_refused_by_name() {
        let tape = Tape::inference(&Device::cpu());
        let p = Var::constant(Tensor::zeros(tape.device(), &[2, 3, 6]));
        let run =
            |extra, rows: &[usize], k| salient(&tape, &p, extra, rows, k).map_err(|err| err.to_string());
        assert_eq!(run(1, &[0, 4], 2).unwrap().shape(), [2, 2]);
        for (extra, rows, k, message) in [
            (1, &[0, 5][..], 1, "rows [0, 5] of 5: rising, each below 5"),
            (0, &[3, 3], 1, "rows [3, 3] of 6"),
            (7, &[0], 1, "rows [0] of 0"),
            (0, &[1, 2], 3, "3 of 2 rows"),
            (0, &[1, 2], 0, "0 of 2 rows"),
        ] {
            let error = run(extra, rows, k).err().unwrap();
            assert!(error.contains(message), "{error}");
        }
    }
}
