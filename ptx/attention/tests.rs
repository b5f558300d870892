use engine::{Device, Rng, Tensor};

use super::*;

fn random(device: &Device, shape: &[usize], stream: u32) -> Tensor {
    let mut rng = Rng::keyed(11, 0, 0, stream);
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
    Tensor::from_slice(device, &values, shape)
}

#[test]
fn misfits_are_refused_by_name() {
    let tape = Tape::inference(&Device::cpu());
    let zeros = |shape: &[usize]| Var::constant(Tensor::zeros(tape.device(), shape));
    let run = |qkv: &[usize], extra: Option<&[usize]>, temperature: Option<(&[usize], usize)>, settings| {
        let (extra, temperature) = (extra.map(zeros), temperature.map(|(shape, at)| (zeros(shape), at)));
        let temperature = temperature.as_ref().map(|(values, at)| (values, *at));
        let settings = Settings { extra: extra.as_ref(), temperature, ..settings };
        attention(&tape, &zeros(qkv), settings).map(|attended| attended.out.shape().to_vec())
    };
    let (qkv, two) = (&[2, 5, 24][..], Settings::heads(2));
    let row = |class_row| Settings { class_row: Some(class_row), ..two };
    assert_eq!(run(qkv, Some(&[2, 7, 4]), Some((&[3], 2)), row(4)).unwrap(), [2, 5, 8]);
    assert_eq!(run(&[2, 0, 24], None, None, two).unwrap(), [2, 0, 8], "no rows");
    for (qkv, extra, temperature, settings, message) in [
        (&[2, 24][..], None, None, two, "qkv must be [b l 3d]"),
        (
            qkv,
            None,
            None,
            Settings::heads(3),
            "24 channels of qkv are no 3 heads of queries, keys and values",
        ),
        (
            qkv,
            None,
            None,
            Settings::heads(0),
            "24 channels of qkv are no 0 heads of queries, keys and values",
        ),
        (qkv, Some(&[2, 7, 5][..]), None, two, "extra must be [heads n c] = [2, 7, 4], got [2, 7, 5]"),
        (qkv, None, Some((&[3][..], 3)), two, "temperature must be [k] = [4], got [3]"),
        (qkv, None, None, row(5), "class row 5 of 5 rows"),
    ] {
        let err = run(qkv, extra, temperature, settings).unwrap_err().to_string();
        assert!(err.contains(message), "{err}");
    }
}

/// Asking for probabilities changes neither values nor gradients, and nothing is trained through them.
#[test]
fn probabilities_are_beside_the_gradient() {
    for device in [Device::cpu_checked(), Device::emulated()] {
        let run = |class_row| {
            let tape = Tape::new(&device);
            let qkv = tape.leaf(random(&device, &[2, 9, 24], 0));
            let Attended { out, probabilities } =
                attention(&tape, &qkv, Settings { class_row, ..Settings::heads(2) }).unwrap();
            let value = out.value().to_host().unwrap();
            let mut grads = tape.backward(&out, random(&device, &[2, 9, 8], 1)).unwrap();
            (value, grads.take(&qkv).unwrap().to_host().unwrap(), probabilities)
        };
        let ((out, dqkv, none), (same_out, same_dqkv, probabilities)) = (run(None), run(Some(0)));
        assert!(none.is_none() && out == same_out && dqkv == same_dqkv, "{}", device.name());
        let probabilities = probabilities.unwrap();
        assert_eq!((probabilities.shape(), probabilities.wants_grad()), (&[2, 2, 9][..], false));
        for row in probabilities.value().to_host().unwrap().chunks_exact(9) {
            let sum: f32 = row.iter().sum();
            assert!((sum - 1.0).abs() < 1e-5 && row.iter().all(|&p| p > 0.0), "{row:?}");
        }
    }
}

/// Scores far from zero neither overflow nor vanish, at either end and however they grow along a row, and a query that is not
/// a number spoils its own row and head alone.
#[test]
fn scores_of_any_size_are_taken() {
    let devices = [
        (Device::cpu_checked(), DType::F32),
        (Device::emulated(), DType::F32),
        (Device::emulated(), DType::Bf16),
    ];
    for (device, dtype) in devices {
        let (l, c) = (41, 4);
        for size in [1e3f32, -1e3, f32::NAN] {
            let tape = Tape::new(&device);
            let qkv = random(&device, &[1, l, 6 * c], 2).cast(&device, dtype).unwrap();
            let mut values = qkv.to_host().unwrap();
            // The first channel of the first head makes the score of every key for the first query; they grow along the row.
            values[0] = size;
            (0..l).for_each(|row| values[row * 6 * c + 2 * c] = row as f32);
            let qkv = Tensor::from_slice(&device, &values, &[1, l, 6 * c]).cast(&device, dtype).unwrap();
            let qkv = tape.leaf(qkv);
            let out = attention(&tape, &qkv, Settings::heads(2)).unwrap().out;
            let got = out.value().to_host().unwrap();
            let (first, rest) = got.split_at(c);
            assert_eq!(
                first.iter().all(|v| v.is_nan()),
                size.is_nan(),
                "{size} on {}: {first:?}",
                device.name()
            );
            assert!(rest.iter().all(|v| v.is_finite()), "{size} on {}", device.name());
            // All of its weight is on the last key, or on the first.
            let chosen = if size > 0.0 { l - 1 } else { 0 };
            let value = &values[chosen * 6 * c + 4 * c..][..c];
            assert!(size.is_nan() || first == value, "{size} on {}: {first:?}, {value:?}", device.name());
            let ones = Tensor::from_slice(&device, &vec![1.0; l * 2 * c], &[1, l, 2 * c]);
            let ones = ones.cast(&device, dtype).unwrap();
            let grad = tape.backward(&out, ones).unwrap().take(&qkv).unwrap().to_host().unwrap();
            assert!(size.is_nan() || grad.iter().all(|v| v.is_finite()), "{size} on {}", device.name());
        }
    }
}

#[test]
fn only_the_gradients_that_are_asked_for_are_computed() {
    let sizes = [("b", 1), ("l", 5), ("heads", 2), ("c", 4), ("n", 2), ("temperature", 1)];
    let case = crate::spec::Case::new(&sizes);
    let kernels = |trained: &[&str]| crate::spec::backward_kernels(&cases::Cases, &case, trained);
    let (queries, keys, sum) = ("attention_queries_64_f32", "attention_keys_64_f32", "rows_sum_f32");
    assert_eq!(kernels(&["qkv"]), [keys, queries]);
    assert_eq!(kernels(&["extra"]), [keys, queries, sum]);
    assert_eq!(kernels(&["temperature"]), [queries, sum]);
}
