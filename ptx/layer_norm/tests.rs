use engine::{Device, Tensor};

use super::*;

#[test]
fn misfits_are_refused_by_name() {
    let tape = Tape::inference(&Device::cpu());
    let zeros = |shape: &[usize]| Var::constant(Tensor::zeros(tape.device(), shape));
    let run = |h: &[usize], residual: Option<&[usize]>, weight: &[usize], bias: &[usize], keep: &[usize]| {
        let (weight, bias, residual) = (zeros(weight), zeros(bias), residual.map(zeros));
        let scales = Tensor::zeros(tape.device(), keep);
        let norm = Norm { weight: &weight, bias: &bias, eps: 1e-6 };
        let keep = Keep { scales: &scales, row: 1 };
        add_layer_norm(&tape, &zeros(h), residual.as_ref(), norm, Some(keep))
            .map(|out| out[1].shape().to_vec())
    };
    assert_eq!(run(&[2, 5, 3], None, &[3], &[3], &[2, 2]).unwrap(), [2, 5, 3]);
    let (h, d) = (&[2, 5, 3][..], &[3][..]);
    for (residual, weight, bias, keep, message) in [
        (None, &[4][..], d, &[2, 2][..], "weight must be [d] = [3], got [4]"),
        (None, d, &[3, 1], &[2, 2], "bias must be [d] = [3], got [3, 1]"),
        (Some(&[2, 5][..]), d, d, &[2, 2], "residual must be [b l d] = [2, 5, 3], got [2, 5]"),
        (None, d, d, &[1, 2], "keep must be [rows b] = [2, 2], got [1, 2]"),
    ] {
        let err = run(h, residual, weight, bias, keep).unwrap_err().to_string();
        assert!(err.contains(message), "{err}");
    }
    let err = run(&[2, 3], None, d, d, &[2, 2]).unwrap_err().to_string();
    assert!(err.contains("h must be [b l d]"), "{err}");
}

/// A width that no block takes is refused before anything runs, and nothing is refused on the CPU.
#[test]
fn a_row_beyond_a_block_is_refused_in_words() {
    let run = |device: &Device, d: usize| {
        let tape = Tape::inference(device);
        let of = |shape: &[usize]| Var::constant(Tensor::zeros(device, shape));
        let (weight, bias) = (of(&[d]), of(&[d]));
        let norm = Norm { weight: &weight, bias: &bias, eps: 1e-6 };
        layer_norm(&tape, &of(&[1, d]), norm).map(|out| out.shape().to_vec())
    };
    let err = run(&Device::emulated(), 2052).unwrap_err().to_string();
    assert_eq!(err, "layer_norm: 2052 columns on a launched device: at most 2048, 512 if no multiple of 4");
    assert_eq!(run(&Device::cpu(), 2052).unwrap(), [1, 2052]);
}

#[test]
fn the_bias_alone_costs_a_sum_and_keeps_nothing() {
    let case = crate::spec::Case::new(&[("b", 1), ("l", 3), ("d", 4), ("adds", 1), ("residual", 1)]);
    let kernels = |trained: &[&str]| crate::spec::backward_kernels(&cases::Cases, &case, trained);
    assert_eq!(kernels(&["x"]), ["layer_norm_backward_f32"]);
    let plain = crate::spec::Case::new(&[("b", 1), ("l", 3), ("d", 4)]);
    assert_eq!(crate::spec::backward_kernels(&cases::Cases, &plain, &["bias"]), ["rows_sum_f32"]);
}

/// Rows far from zero lose only what their own rounding loses, since the deviation is taken from the mean.
#[test]
fn a_large_mean_does_not_cancel() {
    for device in [Device::cpu_checked(), Device::emulated()] {
        let tape = Tape::inference(&device);
        let values: Vec<f32> = (0..32).map(|i| 4096.0 + (i % 2) as f32).collect();
        let x = Var::constant(Tensor::from_slice(&device, &values, &[1, 32]));
        let of = |value: f32| Var::constant(Tensor::from_slice(&device, &[value; 32], &[32]));
        let (weight, bias) = (of(1.0), of(0.0));
        let out = layer_norm(&tape, &x, Norm { weight: &weight, bias: &bias, eps: 0.0 }).unwrap();
        for (i, v) in out.value().to_host().unwrap().into_iter().enumerate() {
            let want = if i % 2 == 0 { -1.0 } else { 1.0 };
            assert!((v - want).abs() <= 1e-5, "{v} at {i} on {}", device.name());
        }
    }
}
