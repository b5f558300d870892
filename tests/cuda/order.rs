//! Which functions of the driver are called, and in which order.

use engine::cuda::{CallTimes, Cuda};
use engine::launch::{Arg, Launcher};
use engine::{Device, Error, Tensor};
use std::collections::BTreeMap;

use super::child::{calls, failures, in_every_order, log, on_fake};
use super::errors::{ONE, SET};

/// The calls that `work` makes.
fn calls_of(work: impl FnOnce()) -> Vec<String> {
    let before = log().len();
    work();
    calls(before)
}

/// Uploads beside the kernels wait for no kernel, and each transfer waits for the one before.
#[test]
fn a_step() {
    on_fake("order::a_step", &[], || {
        let device = Device::cuda(0).unwrap();
        let mut x = Tensor::zeros(&device, &[2]);
        let mut y = Tensor::zeros(&device, &[2]);
        // The first call also makes what is made once: the kernel, the lane and the slot.
        x.send(&[1.0, 2.0]).unwrap();
        y.add_assign(&device, &x);
        y.receive().unwrap().wait().unwrap();
        let sent = calls_of(|| x.send(&[3.0, 4.0]).unwrap());
        let want = [
            "cuEventSynchronize",
            "cuStreamWaitEvent",
            "cuMemcpyHtoDAsync_v2",
            "cuEventRecord",
            "cuStreamWaitEvent",
            "cuMemcpyDtoDAsync_v2",
            "cuEventRecord",
        ];
        assert_eq!(sent, want);
        assert_eq!(calls_of(|| y.add_assign(&device, &x)), ["cuLaunchKernel"]);
        let mut arriving = None;
        let received = calls_of(|| arriving = Some(y.receive().unwrap()));
        assert_eq!(received, ["cuMemcpyDtoHAsync_v2", "cuEventRecord"]);
        let mut values = vec![];
        let waited = calls_of(|| values = arriving.take().unwrap().wait().unwrap());
        assert_eq!((waited, values), (vec!["cuEventSynchronize".into()], vec![4.0, 6.0]));
    });
}

#[test]
fn a_recorded_step() {
    on_fake("order::a_recorded_step", &[], || {
        let device = Device::cuda(0).unwrap();
        let mut x = Tensor::from_slice(&device, &[1.0, 2.0], &[2]);
        let mut warm = x.to_owned_on(&device);
        warm.add_assign(&device, &x);
        let mut made = None;
        let recorded = calls_of(|| {
            made = Some(device.record(|| {
                let mut y = x.to_owned_on(&device);
                y.add_assign(&device, &x);
                drop(Tensor::zeros(&device, &[1000]));
                Ok::<_, Error>(y)
            }));
        });
        let (recording, y) = made.unwrap().unwrap();
        let begin = recorded.iter().position(|call| call == "cuStreamBeginCapture_v2").unwrap();
        let want = [
            "cuStreamBeginCapture_v2",
            "cuMemAllocAsync",
            "cuStreamSynchronize",
            "cuMemcpyDtoDAsync_v2",
            "cuLaunchKernel",
            "cuMemAllocAsync",
            "cuStreamSynchronize",
            "cuMemsetD8Async",
            "cuStreamEndCapture",
            "cuEventCreate",
            "cuGraphInstantiateWithFlags",
            "cuGraphDestroy",
        ];
        assert_eq!(recorded[begin..], want);
        for values in [[1.0, 2.0], [3.0, -5.0]] {
            x.send(&values).unwrap();
            assert_eq!(calls_of(|| recording.run().unwrap()), ["cuGraphLaunch", "cuEventRecord"]);
            assert_eq!(y.receive().unwrap().wait().unwrap(), values.map(|v| 2.0 * v));
        }
        assert!(calls_of(|| drop(recording)).contains(&"cuGraphExecDestroy".into()));
    });
}

/// Memory that is dropped while calls are recorded is freed later, and recorded uploads bring the bytes that they had.
#[test]
fn recorded_uploads_and_frees() {
    in_every_order("order::recorded_uploads_and_frees", &[], || {
        let cuda = Cuda::open(0).unwrap();
        let [to, other] = [16, 16].map(|bytes| cuda.alloc(bytes).unwrap());
        cuda.record().unwrap();
        let mut bytes = [7; 16];
        cuda.upload(to, &bytes).unwrap();
        bytes = [9; 16];
        assert_eq!(calls_of(|| cuda.free(other)), [""; 0]);
        let mut replay = None;
        let ended = calls_of(|| replay = Some(cuda.recorded().unwrap()));
        assert_eq!(ended.last().unwrap(), "cuMemFreeAsync");
        cuda.upload(to, &bytes).unwrap();
        let replay = replay.unwrap();
        for _ in 0..2 {
            replay.run().unwrap();
            cuda.download(to, &mut bytes).unwrap();
            assert_eq!(bytes, [7; 16]);
        }
    });
}

/// What the driver would read late must not be what the caller writes next, also where it comes in several parts.
#[test]
fn uploaded_bytes_may_change_at_once() {
    in_every_order("order::uploaded_bytes_may_change_at_once", &[], || {
        let cuda = Cuda::open(0).unwrap();
        for size in [5, 3 << 20, (3 << 20) + 7, 20 << 20] {
            let at = cuda.alloc(size).unwrap();
            let mut bytes: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
            let want = bytes.clone();
            cuda.upload(at, &bytes).unwrap();
            bytes.fill(255);
            cuda.download(at, &mut bytes).unwrap();
            assert!(bytes == want, "{size} bytes");
            cuda.free(at);
        }
        assert_eq!(failures(), [""; 0]);
    });
}

/// A call that is made to see whether it fails is an error to NVIDIA's checkers.
#[test]
fn no_call_is_made_that_fails() {
    on_fake("order::no_call_is_made_that_fails", &[], || {
        let device = Device::cuda(0).unwrap();
        let mut x = Tensor::from_slice(&device, &[1.0; 5], &[5]);
        x.send(&[2.0; 5]).unwrap();
        let (recording, y) = device
            .record(|| {
                let mut y = x.to_owned_on(&device);
                y.add_assign(&device, &x);
                Ok::<_, Error>(y)
            })
            .unwrap();
        recording.run().unwrap();
        assert_eq!(y.receive().unwrap().wait().unwrap(), [4.0; 5]);
        assert_eq!(y.to_host().unwrap(), [4.0; 5]);
        drop((recording, x, y, device));
        assert_eq!(failures(), [""; 0]);
    });
}

/// A kernel is loaded once, and every handle is given back to the driver.
#[test]
fn everything_is_given_back() {
    in_every_order("order::everything_is_given_back", &[], || {
        let device = Device::cuda(0).unwrap();
        let mut x = Tensor::zeros(&device, &[5]);
        x.send(&[1.0; 5]).unwrap();
        x.add_assign(&device, &x.clone());
        let arriving = x.receive().unwrap();
        let (recording, y) = device
            .record(|| {
                let add = Tensor::from_slice(&device, &[1.0; 5], &[5]);
                let mut y = x.to_owned_on(&device);
                y.add_assign(&device, &add);
                Ok::<_, Error>(y)
            })
            .unwrap();
        recording.run().unwrap();
        drop((recording, x, device));
        assert_eq!(y.to_host().unwrap(), [3.0; 5]);
        drop((y, arriving));
        let want = "context 0 ends, never given back: 0 allocations, 0 pinned, 0 streams, 0 events, 0 modules, 0 \
                    graphs, 0 executable graphs";
        assert!(log().contains(&want.to_string()), "{:?}", log().pop());
        let calls = calls(0);
        for name in ["cuModuleLoadDataEx", "cublasLtCreate", "cublasLtDestroy"] {
            assert_eq!(calls.iter().filter(|call| *call == name).count(), 1, "{name}");
        }
    });
}

/// Threads share a device, so its context must be made current on each.
#[test]
fn another_thread() {
    on_fake("order::another_thread", &[], || {
        let cuda = Cuda::open(0).unwrap();
        let at = cuda.alloc(4).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| cuda.launch(SET, ONE, &[Arg::Out(at), Arg::U32(7)]).unwrap());
        });
        let mut bytes = [0; 4];
        cuda.download(at, &mut bytes).unwrap();
        assert_eq!(u32::from_le_bytes(bytes), 7);
        let pending = cuda.receive(at).unwrap();
        assert_eq!(std::thread::spawn(|| pending.wait().unwrap()).join().unwrap(), bytes);
    });
}

#[test]
fn calls_are_timed() {
    on_fake("order::calls_are_timed", &[], || {
        let cuda = Cuda::open(0).unwrap();
        let at = cuda.alloc(4).unwrap();
        let set = || cuda.launch(SET, ONE, &[Arg::Out(at), Arg::U32(7)]);
        set().unwrap();
        cuda.time_calls(true);
        set().unwrap();
        set().unwrap();
        cuda.zero(at).unwrap();
        cuda.time_calls(false);
        set().unwrap();
        let times = cuda.take_times().unwrap();
        let counts: Vec<_> = times.iter().map(|(key, time)| (key.as_str(), time.calls)).collect();
        assert_eq!(counts, [("set", 2), ("zero", 1)]);
        assert!(times.values().all(|CallTimes { seconds, .. }| *seconds >= 0.0), "{times:?}");
        assert_eq!(cuda.take_times().unwrap(), BTreeMap::new());
        assert!(cuda.timed(set).unwrap() >= 0.0);
        let failed = cuda.timed(|| Err(Error::Unsupported { op: "test", what: "no".into() }));
        assert_eq!(failed.unwrap_err().to_string(), "test: no");
    });
}
