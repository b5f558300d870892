//! Kernels are traced as they ran, also those of a recording.

use std::sync::Arc;

use engine::cuda::Cuda;
use engine::{Device, Tensor};
use testkit::activity::{FOLDER, Trace, busy, by_name};

use super::child::{Libraries, alone, on_fake};

#[test]
fn kernels_of_a_recording_have_their_times() {
    on_fake("activity::kernels_of_a_recording_have_their_times", &[], || {
        let cuda = Cuda::open(0).unwrap();
        let device = Device::launched(Arc::new(cuda.clone()));
        let ones = Tensor::from_slice(&device, &[1.0; 300], &[300]);
        let mut sum = Tensor::zeros(&device, &[300]);
        sum.add_assign(&device, &ones);
        let trace = Trace::begin().unwrap();
        cuda.timed(|| Ok(())).unwrap();
        trace.take().unwrap();
        let (recording, ()) = device
            .record(|| {
                (0..3).for_each(|_| sum.add_assign(&device, &ones));
                Ok::<_, engine::Error>(())
            })
            .unwrap();
        assert_eq!(trace.take().unwrap(), [], "what is recorded has not run");
        let seconds = cuda.timed(|| recording.run().and_then(|()| recording.run())).unwrap();
        let ran = trace.take().unwrap();
        let sums = by_name(&ran);
        let [(name, (count, alone))] = sums.into_iter().collect::<Vec<_>>()[..] else { panic!("{ran:?}") };
        assert!(name.contains("add") && count == 6, "{name} {count}");
        assert!(
            alone > 0.0 && (busy(&ran) - alone).abs() < 1e-12 && alone <= seconds,
            "{alone} of {seconds}"
        );
        assert!(ran.is_sorted_by_key(|ran| ran.times), "{ran:?}");
        assert_eq!(trace.take().unwrap(), [], "what was taken is gone");
        drop(trace);
        sum.add_assign(&device, &ones);
        cuda.timed(|| Ok(())).unwrap();
        assert_eq!(Trace::begin().unwrap().take().unwrap(), [], "nothing is traced in between");
    });
}

#[test]
fn more_records_than_a_buffer_holds_all_arrive() {
    on_fake("activity::more_records_than_a_buffer_holds_all_arrive", &[("FAKE_CUDA_CHECKS", "0")], || {
        const RUNS: usize = 6000;
        let cuda = Cuda::open(0).unwrap();
        let device = Device::launched(Arc::new(cuda.clone()));
        let one = Tensor::from_slice(&device, &[1.0], &[1]);
        let mut sum = Tensor::zeros(&device, &[1]);
        let trace = Trace::begin().unwrap();
        (0..RUNS).for_each(|_| sum.add_assign(&device, &one));
        assert_eq!(sum.to_host().unwrap(), [RUNS as f32]);
        assert_eq!(trace.take().unwrap().iter().filter(|ran| ran.name.contains("add")).count(), RUNS);
    });
}

#[test]
fn what_cupti_refuses_is_told() {
    let variables = [("FAKE_CUDA_FAIL", "cuptiActivityEnable:35@1,cuptiActivityFlushAll:999@1")];
    on_fake("activity::what_cupti_refuses_is_told", &variables, || {
        assert_eq!(Trace::begin().unwrap_err(), "cuptiActivityEnable of CUPTI answers 35");
        let trace = Trace::begin().unwrap();
        assert_eq!(trace.take().unwrap_err(), "cuptiActivityFlushAll of CUPTI answers 999");
    });
}

#[test]
fn a_machine_without_cupti_is_told() {
    let nowhere = std::env::temp_dir().join("svp-no-cupti").display().to_string();
    let variables = [(FOLDER, nowhere.as_str())];
    let libraries = Libraries::In(nowhere.clone());
    alone("activity::a_machine_without_cupti_is_told", libraries, &variables, || {
        let why = Trace::begin().unwrap_err();
        assert!(why.starts_with("libcupti.so.13 or libcupti.so.12 is not on the machine"), "{why}");
    });
}
