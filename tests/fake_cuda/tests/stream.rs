use CUresult::*;
use cudarc::driver::sys::*;

use crate::child_tests;
use crate::gpu::*;

child_tests! {
    /// A stream that does not wait for another's copy is a mistake that a GPU may hide by luck.
    fn a_missing_wait_gives_stale_data() {
        open();
        let (copy, compute, there) = (stream(), stream(), event());
        let (from, landing, to) = (pinned(&[7.0; 3]), device(&[0.0; 3]), device(&[1.0; 3]));
        for waits in [false, true] {
            ok(cuMemcpyHtoDAsync_v2(landing, from.as_ptr().cast(), 12, copy));
            ok(cuEventRecord(there, copy));
            if waits {
                ok(cuStreamWaitEvent(compute, there, 0));
            }
            ok(cuMemcpyDtoDAsync_v2(to, landing, 12, compute));
            assert_eq!(download(to, 3, compute), if waits { [7.0; 3] } else { [0.0; 3] });
        }
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
        ordinary.fill(9.0);
        assert_eq!(download(at, 2, stream), [3.0, 4.0], "taken at the call");
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
