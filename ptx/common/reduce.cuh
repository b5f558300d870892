// Sums over the threads of a warp and of a block, in a fixed order.
#pragma once

enum { WARP = 32 };

// The sum over the warp, in every lane.
__device__ __forceinline__ float warp_sum(float x) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, step);
    return x;
}

// The largest over the warp, in every lane.
__device__ __forceinline__ float warp_max(float x) {
#pragma unroll
    for (int step = WARP / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, step));
    return x;
}

// The N sums over a block of whole warps, in every thread. `shared` has a row of N for each warp. The caller puts a
// barrier between two uses of the same rows.
template <int N>
__device__ __forceinline__ void block_sum(float (&x)[N], float (*shared)[N]) {
    const int warp = threadIdx.x / WARP, lane = threadIdx.x % WARP, warps = blockDim.x / WARP;
#pragma unroll
    for (int i = 0; i < N; i++) {
        x[i] = warp_sum(x[i]);
        if (lane == 0) shared[warp][i] = x[i];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < N; i++) x[i] = warp_sum(lane < warps ? shared[lane][i] : 0.0f);
}
