use engine::Device;

use super::*;

#[test]
fn misfits_are_refused_by_name() {
    let tape = Tape::inference(&Device::cpu());
    let zeros = |shape: &[usize]| Var::constant(Tensor::zeros(tape.device(), shape));
    let run = |x: &[usize], values: &[usize], entry, places: At| {
        let values = zeros(values);
        let rows = Rows { values: &values, entry, weight: 1.0 };
        add_rows(&tape, zeros(x), rows, places).map(|y| y.shape().to_vec()).map_err(|err| err.to_string())
    };
    assert_eq!(run(&[3, 5, 2], &[4, 2, 2], 3, At::Same(&[1, 4])), Ok(vec![3, 5, 2]));
    let each = zeros(&[3, 3]);
    for (x, values, entry, places, message) in [
        (
            &[3, 5, 2][..],
            &[4, 2, 2][..],
            4,
            At::Same(&[1, 4]),
            "rows must be [k n d] = [5, 2, 2], got [4, 2, 2]",
        ),
        (&[3, 5, 2], &[4, 2, 2], 0, At::Same(&[4, 1]), "rows [4, 1] of 5: 2 of them, rising, each below 5"),
        (&[3, 5, 2], &[4, 2, 2], 0, At::Same(&[1, 5]), "rows [1, 5] of 5"),
        (&[3, 5, 2], &[4, 2, 2], 0, At::Same(&[1]), "2 of them"),
        (&[3, 5, 2], &[4, 2, 2], 0, At::Each(&each), "at must be [b n] = [3, 2], got [3, 3]"),
        (&[3, 5], &[4, 2, 2], 0, At::Same(&[1, 4]), "x must be [b l d]"),
    ] {
        let error = run(x, values, entry, places).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
}

/// An image may have fewer places than there are rows.
#[test]
fn places_beyond_the_last_row_add_nothing() {
    for device in [Device::cpu_checked(), Device::emulated()] {
        let tape = Tape::new(&device);
        let values = tape.leaf(Tensor::from_slice(&device, &[1.0, 2.0], &[1, 2, 1]));
        let x = Var::constant(Tensor::zeros(&device, &[2, 3, 1]));
        let each = Var::constant(Tensor::from_slice(&device, &[2.0, 3.0, 0.0, 1.0], &[2, 2]));
        let rows = Rows { values: &values, entry: 0, weight: 1.0 };
        let y = add_rows(&tape, x, rows, At::Each(&each)).unwrap();
        assert_eq!(y.value().to_host().unwrap(), [0.0, 0.0, 1.0, 1.0, 2.0, 0.0], "{}", device.name());
        let seed = Tensor::from_slice(&device, &[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[2, 3, 1]);
        let grads = tape.backward(&y, seed).unwrap();
        assert_eq!(grads.get(&values).unwrap().to_host().unwrap(), [7.0, 5.0], "{}", device.name());
    }
}
