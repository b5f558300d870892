// Loops over all elements, of which each thread takes a run of N consecutive ones.
#pragma once

#include "vector.cuh"

// Calls `body.run<N>(at)` for this thread's run, or `body.run<1>(at)` for each element of it where the run is cut off
// at the end. A grid of ceil(n / (N * blockDim.x)) blocks along x covers n elements.
template <int N, typename Body>
__device__ __forceinline__ void each_run(u32 n, Body body) {
    const u32 at = (blockIdx.x * blockDim.x + threadIdx.x) * N;
    if (at + N <= n) {
        body.template run<N>(at);
    } else {
#pragma unroll 1
        for (u32 i = at; i < n; i++) body.template run<1>(i);
    }
}
