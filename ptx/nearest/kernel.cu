// The nearest prototype of each row: numbers[i] = the j with the smallest |x[i] - p[j]|^2, the smallest of several.
//
// Layout: x [b d], p [m d] and numbers [b], all f32.
// Mapping: a block of 4 warps takes a row of x. Warp w takes prototypes w, w + 4, ..., its lanes lie along d; sums are in
// a fixed order. The warps' choices meet in shared memory. Rows and prototypes are few and come from the caches: bound by
// the latency of one prototype after another.
#include "../common/reduce.cuh"
#include "../common/vector.cuh"

enum { WARPS = 4 };

extern "C" __global__ void __launch_bounds__(WARPS* WARP)
    nearest_rows(const float* x, const float* p, float* numbers, u32 m, u32 d) {
    __shared__ float distances[WARPS];
    __shared__ u32 choices[WARPS];
    const u32 warp = threadIdx.x / WARP, lane = threadIdx.x % WARP;
    x += static_cast<size_t>(blockIdx.x) * d;
    // The first prototype is taken even where its distance is not a number.
    float least = 0.0f;
    u32 choice = m;
    for (u32 j = warp; j < m; j += WARPS) {
        const float *from = x + lane, *at = p + static_cast<size_t>(j) * d + lane;
        float sum = 0.0f;
#pragma unroll 4
        for (u32 left = (d + WARP - 1 - lane) / WARP; left > 0; left--, from += WARP, at += WARP) {
            const float apart = *from - *at;
            sum = fmaf(apart, apart, sum);
        }
        sum = warp_sum(sum);
        if (choice == m || sum < least) least = sum, choice = j;
    }
    if (lane == 0) distances[warp] = least, choices[warp] = choice;
    __syncthreads();
    if (threadIdx.x != 0) return;
    for (u32 other = 1; other < WARPS && choices[other] < m; other++) {
        const bool nearer = distances[other] < least || (distances[other] == least && choices[other] < choice);
        if (nearer) least = distances[other], choice = choices[other];
    }
    numbers[blockIdx.x] = static_cast<float>(choice);
}
