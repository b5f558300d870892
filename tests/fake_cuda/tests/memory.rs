use CUresult::*;
use cudarc::driver::sys::*;

use crate::child_tests;
use crate::gpu::*;

/// Free bytes of the device.
fn free() -> usize {
    let mut total = 0;
    // SAFETY: two places for a number.
    get(|at| unsafe { cuMemGetInfo_v2(at, &mut total) })
}

/// Two streams, and memory that the first has made and the second is using.
fn used_beside() -> ([CUstream; 2], u64) {
    open();
    let ([makes, uses], made) = ([stream(), stream()], event());
    // SAFETY: as the driver documents them.
    unsafe {
        let at = get(|at| cuMemAllocAsync(at, 16, makes));
        ok(cuEventRecord(made, makes));
        ok(cuStreamWaitEvent(uses, made, 0));
        ok(cuMemsetD8Async(at, 0, 16, uses));
        ([makes, uses], at)
    }
}

child_tests! {
    fn there_is_as_much_as_was_asked_for("FAKE_CUDA_MEMORY" = "1000") {
        open();
        let stream = stream();
        assert_eq!((get(|at| cuDeviceTotalMem_v2(at, 0)), free()), (1000, 1000));
        let mut at = 0;
        fails(cuMemAllocAsync(&mut at, 1001, stream), CUDA_ERROR_OUT_OF_MEMORY);
        fails(cuMemAllocAsync(&mut at, 0, stream), CUDA_ERROR_INVALID_VALUE);
        let pool = get(|at| cuDeviceGetDefaultMemPool(at, 0));
        let mut keep = u64::MAX;
        let threshold = CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
        ok(cuMemPoolSetAttribute(pool, threshold, (&raw mut keep).cast()));
        ok(cuMemAllocAsync(&mut at, 600, stream));
        assert_eq!(free(), 400);
        fails(cuMemAlloc_v2(&mut 0, 401), CUDA_ERROR_OUT_OF_MEMORY);
        ok(cuMemFreeAsync(at, stream));
        ok(cuMemPoolTrimTo(pool, 0));
        assert_eq!(free(), 400, "the stream has not freed it yet");
        ok(cuStreamSynchronize(stream));
        assert_eq!(free(), 400, "the pool keeps it");
        ok(cuMemPoolTrimTo(pool, 100));
        assert_eq!(free(), 900);
        ok(cuMemAlloc_v2(&mut at, 900));
        ok(cuMemFree_v2(at));
        fails(cuMemFree_v2(at), CUDA_ERROR_INVALID_VALUE);
    }

    fn a_pool_that_keeps_nothing_gives_back_when_waited_for("FAKE_CUDA_MEMORY" = "1000") {
        open();
        let stream = stream();
        let at = get(|at| cuMemAllocAsync(at, 600, stream));
        ok(cuMemFreeAsync(at, stream));
        ok(cuMemAllocAsync(&mut 0, 600, stream));
        ok(cuStreamSynchronize(stream));
        assert_eq!(free(), 400);
    }

    fn freed_memory_is_a_fault_when_work_runs() {
        open();
        let (stream, add) = (stream(), kernel(AXPY, "axpy"));
        let (x, y) = (device(&[1.0; 4]), get(|at| cuMemAllocAsync(at, 16, stream)));
        ok(cuMemsetD8Async(y, 0, 16, stream));
        ok(axpy(add, x, y, 1.0, 4, 0, stream));
        ok(cuMemFreeAsync(y, stream));
        ok(cuStreamSynchronize(stream));
        ok(axpy(add, x, y, 1.0, 4, 0, stream));
        fails(cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
        fails(cuMemAlloc_v2(&mut 0, 8), CUDA_ERROR_ILLEGAL_ADDRESS);
    }

    fn memory_of_another_stream_is_a_fault_until_it_was_made() {
        open();
        let (makes, uses) = (stream(), stream());
        let at = get(|at| cuMemAllocAsync(at, 16, makes));
        ok(cuMemsetD8Async(at, 0, 16, uses));
        fails(cuStreamSynchronize(uses), CUDA_ERROR_ILLEGAL_ADDRESS);
    }

    fn a_free_must_wait_for_the_streams_that_use_the_memory() {
        open();
        let ([makes, uses], [made, used]) = ([stream(), stream()], [event(), event()]);
        let use_of = |at| {
            ok(cuEventRecord(made, makes));
            ok(cuStreamWaitEvent(uses, made, 0));
            ok(cuMemsetD8Async(at, 0, 16, uses));
            ok(cuEventRecord(used, uses));
        };
        let at = get(|at| cuMemAllocAsync(at, 16, makes));
        use_of(at);
        ok(cuStreamWaitEvent(makes, used, 0));
        ok(cuMemFreeAsync(at, makes));
        ok(cuStreamSynchronize(makes));
        let at = get(|at| cuMemAllocAsync(at, 16, makes));
        use_of(at);
        ok(cuStreamSynchronize(uses));
        ok(cuMemFreeAsync(at, makes));
        ok(cuStreamSynchronize(makes));
    }

    fn a_free_that_does_not_wait_is_a_fault() {
        let ([makes, uses], at) = used_beside();
        ok(cuMemFreeAsync(at, makes));
        ok(cuStreamSynchronize(makes));
        fails(cuStreamSynchronize(uses), CUDA_ERROR_ILLEGAL_ADDRESS);
    }

    fn a_free_that_does_not_wait_is_a_fault_also_where_the_use_came_first("FAKE_CUDA_SCHEDULE" = "early") {
        let ([makes, _], at) = used_beside();
        fails(cuMemFreeAsync(at, makes), CUDA_ERROR_ILLEGAL_ADDRESS);
    }

    /// What one stream frees is there for another only when the other comes after the free.
    fn freed_memory_is_for_the_streams_that_wait_for_the_free("FAKE_CUDA_MEMORY" = "1000") {
        open();
        let ([frees, other], [freed, back]) = ([stream(), stream()], [event(), event()]);
        let at = get(|at| cuMemAllocAsync(at, 600, frees));
        ok(cuMemFreeAsync(at, frees));
        fails(cuMemAllocAsync(&mut 0, 600, other), CUDA_ERROR_OUT_OF_MEMORY);
        let at = get(|at| cuMemAllocAsync(at, 600, frees));
        ok(cuMemFreeAsync(at, frees));
        ok(cuEventRecord(freed, frees));
        ok(cuStreamWaitEvent(other, freed, 0));
        let at = get(|at| cuMemAllocAsync(at, 600, other));
        ok(cuMemFreeAsync(at, other));
        ok(cuEventRecord(back, other));
        fails(cuMemAllocAsync(&mut 0, 600, frees), CUDA_ERROR_OUT_OF_MEMORY);
        ok(cuEventSynchronize(back));
        ok(cuMemAllocAsync(&mut 0, 600, frees));
    }

    fn pinned_memory_must_stay_until_the_copy_ran() {
        open();
        let (stream, from, at) = (stream(), pinned(&[0.0; 2]), device(&[0.0; 2]));
        ok(cuMemcpyHtoDAsync_v2(at, from.as_ptr().cast(), 8, stream));
        ok(cuMemFreeHost(from.as_mut_ptr().cast()));
        fails(cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    }

    fn ordinary_memory_must_stay_until_the_copy_ran() {
        open();
        let (stream, at) = (stream(), get(|at| cuMemAlloc_v2(at, 4 << 20)));
        // So large that the system takes it back.
        let from = vec![1.0f32; 1 << 20];
        ok(cuMemcpyHtoDAsync_v2(at, from.as_ptr().cast(), 4 << 20, stream));
        drop(from);
        fails(cuStreamSynchronize(stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    }

    fn ranges_are_checked_at_the_call() {
        open();
        let (stream, at) = (stream(), device(&[0.0; 2]));
        fails(cuMemsetD8Async(at + 4, 0, 5, stream), CUDA_ERROR_INVALID_VALUE);
        fails(cuMemcpyDtoDAsync_v2(at, at - 1, 1, stream), CUDA_ERROR_INVALID_VALUE);
        ok(cuMemsetD8Async(at + 4, 0, 4, stream));
        ok(cuStreamSynchronize(stream));
    }

    fn what_nothing_wrote_is_not_read() {
        open();
        let stream = stream();
        let at = get(|at| cuMemAlloc_v2(at, 8));
        let mut to = [0.0f32; 2];
        fails(cuMemcpyDtoHAsync_v2(to.as_mut_ptr().cast(), at, 8, stream), CUDA_ERROR_ILLEGAL_ADDRESS);
    }
}
