use engine::Device;

use super::*;

#[test]
fn misfits_are_refused_by_name() {
    let tape = Tape::inference(&Device::cpu());
    let zeros = |shape: &[usize]| Var::constant(Tensor::zeros(tape.device(), shape));
    let logits = zeros(&[3]);
    let run = |z: &[usize], entry, rows: &[usize]| {
        let (x, z) = (zeros(&[2, 5, 3]), zeros(z));
        let gated = gate_rows(&tape, x, Some(&z), Gate::Logit(&logits, entry), rows);
        gated.map(|y| y.shape().to_vec()).map_err(|err| err.to_string())
    };
    assert_eq!(run(&[2, 5, 3], 2, &[0, 4]), Ok(vec![2, 5, 3]));
    for (z, entry, rows, message) in [
        (&[2, 4, 3][..], 0, &[0][..], "z must be [b l d] = [2, 5, 3], got [2, 4, 3]"),
        (&[2, 5, 3], 3, &[0], "logits must be [k] = [4], got [3]"),
        (&[2, 5, 3], 0, &[], "rows [] of 5: one or more, rising, each below 5"),
        (&[2, 5, 3], 0, &[2, 1], "rows [2, 1] of 5"),
        (&[2, 5, 3], 0, &[5], "rows [5] of 5"),
    ] {
        let error = run(z, entry, rows).unwrap_err();
        assert!(error.contains(message), "{error}");
    }
}
