use crate::{Device, Tensor};

/// A recording runs on its own memory, brings the bytes that it was made with, and reads what changed since.
#[test]
fn a_recording_runs_again_on_what_its_inputs_hold() {
    let device = Device::emulated();
    let mut x = Tensor::from_slice(&device, &[1.0, 2.0], &[2]);
    let (recording, (y, add)) = device
        .record(|| -> crate::Result<_> {
            let add = Tensor::from_slice(&device, &[10.0, 20.0], &[2]);
            let mut y = x.to_owned_on(&device);
            drop(Tensor::zeros(&device, &[2]));
            y.add_assign(&device, &add);
            assert!(x.to_host().unwrap_err().to_string().contains("download while calls are recorded"));
            Ok((y, add))
        })
        .unwrap();
    let kept = add.region();
    drop(add);
    let bystander = Tensor::from_slice(&device, &[7.0, 7.0], &[2]);
    assert_ne!(bystander.region().at, kept.at, "memory of a recording is nobody else's");
    for (values, want) in [([1.0, 2.0], [11.0, 22.0]), ([5.0, 6.0], [15.0, 26.0])] {
        x.send(&values).unwrap();
        recording.run().unwrap();
        assert_eq!(y.receive().unwrap().wait().unwrap(), want);
    }
    assert_eq!(bystander.to_host().unwrap(), [7.0, 7.0]);
    drop(recording);
    assert_eq!(y.to_host().unwrap(), [15.0, 26.0]);
}

#[test]
fn a_failed_recording_leaves_the_device_usable() {
    let device = Device::emulated();
    let failed = device.record(|| Err::<(), _>(super::failed("no")));
    assert_eq!(failed.unwrap_err().to_string(), "emulated device: no");
    assert_eq!(Tensor::zeros(&device, &[3]).to_host().unwrap(), [0.0; 3]);
}

#[test]
fn tf32_keeps_ten_bits_of_mantissa() {
    let one = 1.0f32;
    for (value, want) in [
        (one, one),
        (1.0 + 2f32.powi(-11), 1.0 + 2f32.powi(-10)),
        (-1.0 - 2f32.powi(-12), -1.0),
        (f32::INFINITY, f32::INFINITY),
    ] {
        assert_eq!(super::to_tf32(value), want);
    }
}
