use engine::Device;

use super::*;

/// One prompt row of ones before one row of zeros, for samples and a stream, on a device.
fn masks(device: &Device, samples: &[u32], stream: u32, rate: f32, d: usize) -> Vec<f32> {
    let tape = Tape::inference(device);
    let constant = |values: &[f32], shape: &[usize]| Var::constant(Tensor::from_slice(device, values, shape));
    let x = constant(&vec![0.0; samples.len() * d], &[samples.len(), 1, d]);
    let values = constant(&vec![1.0; d], &[1, 1, d]);
    let keys = Tensor::from_slice(device, &dropout_keys(7, 3, samples, 9), &[samples.len(), 2]);
    let prompts = Prompts { values: &values, entry: 0, dropout: Some(Dropout { keys: &keys, rate, stream }) };
    let y = insert(&tape, &x, &prompts, &[0]).unwrap().into_value().to_host().unwrap();
    y.chunks_exact(2 * d).flat_map(|sample| sample[..d].to_vec()).collect()
}

#[test]
fn a_sample_keeps_its_mask_wherever_it_stands_and_on_every_device() {
    let d = 1001;
    let samples: Vec<u32> = (0..20).collect();
    let cpu = Device::cpu();
    let all = masks(&cpu, &samples, 5, 0.25, d);
    let of = |sample: usize| all[sample * d..(sample + 1) * d].to_vec();
    assert_eq!(masks(&cpu, &[17, 4], 5, 0.25, d), [of(17), of(4)].concat());
    assert_eq!(masks(&Device::emulated(), &samples, 5, 0.25, d), all);
    assert!(all.iter().all(|&v| v == 0.0 || v == (1.0 / 0.75) as f32));
    // 5005 expected of 20020, standard deviation 61: five of them.
    let dropped = all.iter().filter(|&&v| v == 0.0).count();
    assert!(dropped.abs_diff(5005) < 306, "{dropped}");
    // Two independent masks differ in 2 * 0.25 * 0.75 of the elements, 7508, standard deviation 68.
    let differ = |other: &[f32]| all.iter().zip(other).filter(|(a, b)| a != b).count();
    let other = masks(&cpu, &samples, 6, 0.25, d);
    assert!(differ(&other).abs_diff(7508) < 342, "streams: {}", differ(&other));
    let others: Vec<u32> = (20..40).collect();
    let other = masks(&cpu, &others, 5, 0.25, d);
    assert!(differ(&other).abs_diff(7508) < 342, "samples: {}", differ(&other));
    assert!(masks(&cpu, &[1], 0, 0.0, d).iter().all(|&v| v == 1.0));
}

#[test]
fn keys_fit_an_f32_and_follow_the_sample() {
    let keys = dropout_keys(7, 3, &[41, 7, 41], 9);
    assert!(keys.iter().all(|&key| key.fract() == 0.0 && (0.0..16_777_216.0).contains(&key)));
    assert_eq!(keys[..2], keys[4..]);
    assert_ne!(keys[..2], keys[2..4]);
    assert_ne!(keys, dropout_keys(7, 4, &[41, 7, 41], 9), "epochs draw apart");
    assert_ne!(keys, dropout_keys(8, 3, &[41, 7, 41], 9), "seeds draw apart");
}

#[test]
fn misfits_are_refused_by_name() {
    let tape = Tape::inference(&Device::cpu());
    let zeros = |shape: &[usize]| Var::constant(Tensor::zeros(tape.device(), shape));
    let keys = Tensor::zeros(tape.device(), &[3, 2]);
    let run = |x: &[usize], prompts: &[usize], entry, rows: &[usize], dropout| {
        let (x, values) = (zeros(x), zeros(prompts));
        let prompts = Prompts { values: &values, entry, dropout };
        insert(&tape, &x, &prompts, rows).map(|y| y.shape().to_vec()).map_err(|err| err.to_string())
    };
    let dropout = |rate| Some(Dropout { keys: &keys, rate, stream: 0 });
    assert_eq!(run(&[2, 5, 3], &[4, 2, 3], 3, &[0, 6], None).unwrap(), [2, 7, 3]);
    assert_eq!(run(&[3, 5, 3], &[4, 2, 3], 0, &[5, 6], dropout(0.5)).unwrap(), [3, 7, 3]);
    for (got, message) in [
        (run(&[2, 5], &[1, 1, 5], 0, &[0], None), "x must be [b l d] (3 axes), got [2, 5]"),
        (run(&[2, 5, 3], &[4, 2, 3], 4, &[0, 1], None), "prompts must be [k n d] = [5, 2, 3], got [4, 2, 3]"),
        (run(&[2, 5, 3], &[4, 2, 7], 0, &[0, 1], None), "prompts must be [k n d] = [4, 2, 3], got [4, 2, 7]"),
        (
            run(&[2, 5, 3], &[1, 2, 3], 0, &[1, 1], None),
            "rows [1, 1] of 7: one or more, rising, each below 7",
        ),
        (
            run(&[2, 5, 3], &[1, 2, 3], 0, &[1, 7], None),
            "rows [1, 7] of 7: one or more, rising, each below 7",
        ),
        (run(&[2, 5, 3], &[1, 0, 3], 0, &[], None), "rows [] of 5: one or more, rising, each below 5"),
        (run(&[2, 5, 3], &[1, 1, 3], 0, &[0], dropout(0.5)), "keys must be [b 2] = [2, 2], got [3, 2]"),
        (run(&[3, 5, 3], &[1, 1, 3], 0, &[0], dropout(1.0)), "dropout rate 1 is not in [0, 1)"),
    ] {
        assert_eq!(got, Err(format!("prompt_rows: {message}")));
    }
    let err = replace(&tape, &zeros(&[2, 5, 3]), None, &[5]).err().unwrap().to_string();
    assert_eq!(err, "prompt_rows: rows [5] of 5: one or more, rising, each below 5");
}

/// Layers that share one tensor of prompts: each entry gets the gradient of its own calls.
#[test]
fn entries_of_a_shared_tensor_gather_their_own_gradients() {
    for device in [Device::cpu(), Device::emulated()] {
        let tape = Tape::new(&device);
        let values = tape.leaf(Tensor::zeros(&device, &[3, 2, 1]));
        let x = Var::constant(Tensor::from_slice(&device, &[1.0; 4], &[2, 2, 1]));
        let at = |entry| Prompts { values: &values, entry, dropout: None };
        let y = insert(&tape, &x, &at(2), &[0, 3]).unwrap();
        let y = replace(&tape, &y, Some(&at(0)), &[0, 2]).unwrap();
        let dy: Vec<f32> = (1..=8).map(|v| v as f32).collect();
        let mut grads = tape.backward(&y, Tensor::from_slice(&device, &dy, &[2, 4, 1])).unwrap();
        // Row 0 of the first call and a row of x are overwritten by the second.
        let want = [1.0 + 5.0, 3.0 + 7.0, 0.0, 0.0, 0.0, 4.0 + 8.0];
        assert_eq!(grads.take(&values).unwrap().to_host().unwrap(), want);
    }
}
