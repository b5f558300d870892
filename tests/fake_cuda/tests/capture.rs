use CUresult::*;
use CUstreamCaptureMode::*;
use cudarc::driver::sys::*;

use crate::child_tests;
use crate::gpu::*;

/// The graph of what a stream captured while `work` ran.
fn graph_of(stream: CUstream, work: impl FnOnce()) -> Result<CUgraph, CUresult> {
    let mut graph = std::ptr::null_mut();
    // SAFETY: a stream, and a place for a handle.
    let ended = unsafe {
        ok(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_RELAXED));
        work();
        cuStreamEndCapture(stream, &mut graph)
    };
    if ended == CUDA_SUCCESS { Ok(graph) } else { Err(ended) }
}

child_tests! {
    fn a_graph_runs_again_on_what_its_inputs_hold() {
        open();
        let (stream, inside) = (stream(), event());
        let (from, x, y) = (pinned(&[1.0; 5]), device(&[0.0; 5]), device(&[100.0; 5]));
        let add = kernel(AXPY, "axpy");
        let graph = graph_of(stream, || {
            ok(cuMemcpyHtoDAsync_v2(x, from.as_ptr().cast(), 20, stream));
            ok(cuEventRecord(inside, stream));
            ok(cuStreamWaitEvent(stream, inside, 0));
            ok(axpy(add, x, y, 2.0, 5, 0, stream));
            assert_eq!(
                get(|at| cuStreamIsCapturing(stream, at)),
                CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE
            );
        }).unwrap();
        fails(cuEventSynchronize(inside), CUDA_ERROR_CAPTURED_EVENT);
        assert_eq!(download(y, 5, stream), [100.0; 5], "kept, not run");
        let exec = get(|at| cuGraphInstantiateWithFlags(at, graph, 0));
        ok(cuGraphDestroy(graph));
        ok(cuGraphLaunch(exec, stream));
        assert_eq!(download(y, 5, stream), [102.0; 5]);
        from.fill(10.0);
        ok(cuGraphLaunch(exec, stream));
        ok(cuGraphExecDestroy(exec));
        assert_eq!(download(y, 5, stream), [122.0; 5], "read at the replay, which outlives its handle");
    }

    fn what_cannot_be_captured_spoils_the_capture() {
        open();
        let (stream, other, outside, inside) = (stream(), stream(), event(), event());
        let (at, mut ordinary) = (device(&[0.0; 2]), [0.0f32; 2]);
        ok(cuEventRecord(outside, other));
        let host = ordinary.as_mut_ptr().cast();
        type Try<'a> = (&'a str, CUresult, &'a mut dyn FnMut() -> CUresult);
        let tries: [Try; 10] = [
            ("synchronize", CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, &mut || cuStreamSynchronize(stream)),
            ("destroy", CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, &mut || cuStreamDestroy_v2(stream)),
            ("download", CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, &mut || cuMemcpyDtoHAsync_v2(host, at, 8, stream)),
            ("upload", CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, &mut || cuMemcpyHtoDAsync_v2(at, host, 8, stream)),
            ("alloc", CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, &mut || {
                let mut made = 0;
                cuMemAllocAsync(&mut made, 8, stream)
            }),
            ("free", CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, &mut || cuMemFreeAsync(at, stream)),
            ("outside event", CUDA_ERROR_STREAM_CAPTURE_ISOLATION, &mut || cuStreamWaitEvent(stream, outside, 0)),
            ("fork", CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, &mut || {
                ok(cuEventRecord(inside, stream));
                cuStreamWaitEvent(other, inside, 0)
            }),
            ("event synchronize", CUDA_ERROR_CAPTURED_EVENT, &mut || {
                ok(cuEventRecord(inside, stream));
                cuEventSynchronize(inside)
            }),
            ("event query", CUDA_ERROR_CAPTURED_EVENT, &mut || {
                ok(cuEventRecord(inside, stream));
                cuEventQuery(inside)
            }),
        ];
        for (what, want, attempt) in tries {
            let ended = graph_of(stream, || {
                assert_eq!(attempt(), want, "{what}");
                fails(cuMemsetD8Async(at, 0, 8, stream), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
            });
            assert_eq!(ended, Err(CUDA_ERROR_STREAM_CAPTURE_INVALIDATED), "{what}");
            ok(cuStreamSynchronize(stream));
        }
        fails(cuStreamEndCapture(stream, &mut std::ptr::null_mut()), CUDA_ERROR_ILLEGAL_STATE);
    }

    fn modes_say_who_may_make_memory() {
        open();
        let stream = stream();
        let context = get(|at| cuDevicePrimaryCtxRetain(at, 0)) as usize;
        let here = || {
            let mut at = 0;
            cuMemAlloc_v2(&mut at, 8)
        };
        let there = move || {
            let other = move || {
                ok(cuCtxSetCurrent(context as CUcontext));
                let mut at = 0;
                cuMemAlloc_v2(&mut at, 8)
            };
            std::thread::spawn(other).join().unwrap()
        };
        let refused = CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
        for (mode, want) in [
            (CU_STREAM_CAPTURE_MODE_GLOBAL, [refused; 2]),
            (CU_STREAM_CAPTURE_MODE_THREAD_LOCAL, [refused, CUDA_SUCCESS]),
            (CU_STREAM_CAPTURE_MODE_RELAXED, [CUDA_SUCCESS; 2]),
        ] {
            for (spoils, attempt) in [&here as &dyn Fn() -> CUresult, &there].into_iter().enumerate() {
                ok(cuStreamBeginCapture_v2(stream, mode));
                assert_eq!(attempt(), want[spoils], "{mode:?}");
                let ended = cuStreamEndCapture(stream, &mut std::ptr::null_mut());
                assert_eq!(ended == CUDA_SUCCESS, want[spoils] == CUDA_SUCCESS, "{mode:?}");
            }
        }
    }

    fn a_graph_must_not_outlive_its_memory() {
        open();
        let (stream, at) = (stream(), device(&[0.0; 2]));
        let graph = graph_of(stream, || ok(cuMemsetD8Async(at, 1, 8, stream))).unwrap();
        let exec = get(|at| cuGraphInstantiateWithFlags(at, graph, 0));
        ok(cuMemFree_v2(at));
        ok(cuGraphLaunch(exec, stream));
        fails(cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    }
}
