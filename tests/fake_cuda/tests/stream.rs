use CUresult::*;
use cudarc::driver::sys::*;

use crate::child_tests;
use crate::gpu::*;

/// A stream that does not wait for another's copy is a mistake that a GPU may hide by luck.
fn missing_wait() {
    open();
    let (copy, compute, there) = (stream(), stream(), event());
    let (from, landing, to) = (pinned(&[7.0; 3]), device(&[0.0; 3]), device(&[1.0; 3]));
    // SAFETY: as the driver documents them.
    let bring = |waits: bool| unsafe {
        ok(cuMemcpyHtoDAsync_v2(landing, from.as_ptr().cast(), 12, copy));
        ok(cuEventRecord(there, copy));
        if waits {
            ok(cuStreamWaitEvent(compute, there, 0));
        }
        let copied = cuMemcpyDtoDAsync_v2(to, landing, 12, compute);
        // The fault is that of the work that runs second.
        let done = [copied, cuStreamSynchronize(compute), cuStreamSynchronize(copy)];
        done.into_iter().find(|&result| result != CUDA_SUCCESS).unwrap_or(CUDA_SUCCESS)
    };
    ok(bring(true));
    assert_eq!(download(to, 3, compute), [7.0; 3]);
    fails(bring(false), CUDA_ERROR_ILLEGAL_ADDRESS);
}

child_tests! {
    fn a_missing_wait_is_a_fault() {
        missing_wait();
    }

    fn a_missing_wait_is_a_fault_also_where_work_runs_at_the_call("FAKE_CUDA_SCHEDULE" = "early") {
        missing_wait();
    }

    fn a_missing_wait_is_a_fault_also_where_moments_are_drawn("FAKE_CUDA_SCHEDULE" = "5") {
        missing_wait();
    }

    fn several_streams_may_read_and_one_may_write_after_them() {
        open();
        let ([a, b], [a_read, b_read]) = ([stream(), stream()], [event(), event()]);
        let (from, [to_a, to_b]) = (device(&[3.0; 3]), [device(&[0.0; 3]), device(&[0.0; 3])]);
        for (stream, to, read) in [(a, to_a, a_read), (b, to_b, b_read)] {
            ok(cuMemcpyDtoDAsync_v2(to, from, 12, stream));
            ok(cuEventRecord(read, stream));
        }
        ok(cuStreamWaitEvent(a, b_read, 0));
        ok(cuMemsetD8Async(from, 0, 12, a));
        assert_eq!((download(to_b, 3, b), download(from, 3, a)), (vec![3.0; 3], vec![0.0; 3]));
        ok(cuMemcpyDtoDAsync_v2(to_b, from, 12, b));
        ok(cuMemsetD8Async(from, 0, 12, a));
        ok(cuStreamSynchronize(b));
        fails(cuStreamSynchronize(a), CUDA_ERROR_ILLEGAL_ADDRESS);
    }

    fn work_may_run_at_the_call("FAKE_CUDA_SCHEDULE" = "early") {
        open();
        let (stream, from, at) = (stream(), pinned(&[1.0, 2.0]), device(&[0.0; 2]));
        ok(cuMemcpyHtoDAsync_v2(at, from.as_ptr().cast(), 8, stream));
        from.fill(9.0);
        assert_eq!(download(at, 2, stream), [1.0, 2.0]);
        ok(cuMemcpyDtoHAsync_v2(from.as_mut_ptr().cast(), at, 8, stream));
        assert_eq!(from, [1.0, 2.0], "nobody waited");
    }

    fn work_may_run_at_drawn_moments("FAKE_CUDA_SCHEDULE" = "3") {
        open();
        let (streams, to) = ([stream(), stream()], pinned(&[0.0; 64]));
        let at = device(&[7.0]);
        for i in 0..64 {
            ok(cuMemcpyDtoHAsync_v2((&raw mut to[i]).cast(), at, 4, streams[i % 2]));
        }
        // Of each stream a part has run, in its order.
        for i in 0..2 {
            let ran = |n: usize| to[2 * n + i] == 7.0;
            let count = (0..32).filter(|&n| ran(n)).count();
            assert!((1..32).contains(&count) && (0..count).all(ran), "{to:?}");
        }
        streams.iter().for_each(|&stream| ok(cuStreamSynchronize(stream)));
        assert_eq!(to, [7.0; 64]);
    }

    fn a_stream_runs_as_far_as_is_waited_for() {
        open();
        let (stream, half) = (stream(), event());
        let at = device(&[0.0; 2]);
        let [first, second] = [pinned(&[0.0]), pinned(&[0.0])];
        ok(cuMemcpyDtoHAsync_v2(first.as_mut_ptr().cast(), at, 4, stream));
        ok(cuEventRecord(half, stream));
        first[0] = 5.0;
        second[0] = 6.0;
        ok(cuMemcpyDtoHAsync_v2(second.as_mut_ptr().cast(), at, 4, stream));
        assert_eq!((first[0], second[0]), (5.0, 6.0));
        ok(cuEventSynchronize(half));
        assert_eq!((first[0], second[0]), (0.0, 6.0));
        ok(cuStreamDestroy_v2(stream));
        assert_eq!(second[0], 0.0);
    }

    fn a_loop_that_asks_makes_progress() {
        open();
        let (stream, start, end) = (stream(), event(), event());
        ok(cuEventQuery(end));
        let at = device(&[1.0; 4]);
        ok(cuEventRecord(start, stream));
        ok(cuMemsetD8Async(at, 0, 16, stream));
        ok(cuEventRecord(end, stream));
        let mut milliseconds = -1.0f32;
        fails(cuEventElapsedTime(&mut milliseconds, start, end), CUDA_ERROR_NOT_READY);
        let asked = (1..).find(|_| cuEventQuery(end) == CUDA_SUCCESS).unwrap();
        assert_eq!(asked, 4, "three pieces of work, and one that finds them done");
        ok(cuEventElapsedTime(&mut milliseconds, start, end));
        assert!((0.0..1e6).contains(&milliseconds));
        assert_eq!(download(at, 4, stream), [0.0; 4]);
    }

    fn pinned_memory_is_read_when_the_copy_runs() {
        open();
        let stream = stream();
        let (at, from) = (device(&[0.0; 2]), pinned(&[1.0, 2.0]));
        ok(cuMemcpyHtoDAsync_v2(at, from.as_ptr().cast(), 8, stream));
        from.fill(9.0);
        assert_eq!(download(at, 2, stream), [9.0; 2], "overwritten too early");
        let mut ordinary = [3.0f32, 4.0];
        ok(cuMemcpyHtoDAsync_v2(at, ordinary.as_ptr().cast(), 8, stream));
        ordinary.fill(5.0);
        assert_eq!(download(at, 2, stream), [5.0, 5.0], "ordinary memory too");
    }

    fn handles_and_contexts_must_be_alive() {
        let context = open();
        let (stream, event) = (stream(), event());
        ok(cuEventDestroy_v2(event));
        fails(cuEventRecord(event, stream), CUDA_ERROR_INVALID_HANDLE);
        fails(cuStreamSynchronize(std::ptr::null_mut()), CUDA_ERROR_INVALID_HANDLE);
        std::thread::spawn(|| fails(cuMemFree_v2(256), CUDA_ERROR_INVALID_CONTEXT)).join().unwrap();
        ok(cuDevicePrimaryCtxRelease_v2(0));
        fails(cuMemFree_v2(256), CUDA_ERROR_INVALID_CONTEXT);
        fails(cuCtxSetCurrent(context), CUDA_ERROR_INVALID_CONTEXT);
        open();
        fails(cuStreamSynchronize(stream), CUDA_ERROR_INVALID_HANDLE);
    }
}
