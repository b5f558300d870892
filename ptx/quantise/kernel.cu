// Weights of one or two bits with a mean and a deviation: y = Q(t) s + m with t = (w - m) / (s + 1e-5), and the gradient of
// this formula with Q'(t) = 1. Q(t) is inner or, where |t| is above the threshold, outer, with the sign of t; t itself
// where the threshold is below 0.
//
// Layout: all f32; w, y, dy and dw have n elements, moments has m and s. Mapping: one block of 1024 threads, of which each
// takes every 1024th element; sums meet by warps and then in shared memory, in an order that depends on n only. Weights
// are few, so it is bound by the latency of its three walks over them.
#include "../common/reduce.cuh"

typedef unsigned int u32;

enum { THREADS = 1024 };

__device__ __forceinline__ float level(float t, float threshold, float inner, float outer) {
    if (threshold < 0.0f) return t;
    const float size = fabsf(t) > threshold ? outer : inner;
    return t > 0.0f ? size : t < 0.0f ? -size : 0.0f;
}

extern "C" __global__ void __launch_bounds__(THREADS) quantise_forward(
    const float* w, float* y, float* moments, u32 n, float threshold, float inner, float outer) {
    __shared__ float shared[2][THREADS / WARP][1];
    float sum[1] = {0.0f};
    for (u32 i = threadIdx.x; i < n; i += THREADS) sum[0] += w[i];
    block_sum(sum, shared[0]);
    const float mean = sum[0] / static_cast<float>(n);
    float squares[1] = {0.0f};
    for (u32 i = threadIdx.x; i < n; i += THREADS) squares[0] = fmaf(w[i] - mean, w[i] - mean, squares[0]);
    block_sum(squares, shared[1]);
    const float deviation = sqrtf(squares[0] / static_cast<float>(n - 1));
    const float divisor = deviation + 1e-5f;
    for (u32 i = threadIdx.x; i < n; i += THREADS) {
        y[i] = fmaf(level((w[i] - mean) / divisor, threshold, inner, outer), deviation, mean);
    }
    if (threadIdx.x == 0) moments[0] = mean, moments[1] = deviation;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    quantise_backward(const float* w, const float* dy, const float* moments, float* dw, u32 n, u32 accumulate,
                      float threshold, float inner, float outer) {
    __shared__ float shared[THREADS / WARP][3];
    const float mean = moments[0], deviation = moments[1], divisor = deviation + 1e-5f;
    float sums[3] = {};
    for (u32 i = threadIdx.x; i < n; i += THREADS) {
        const float t = (w[i] - mean) / divisor, g = dy[i];
        sums[0] += g;
        sums[1] = fmaf(g, level(t, threshold, inner, outer), sums[1]);
        sums[2] = fmaf(g, t, sums[2]);
    }
    block_sum(sums, shared);
    const float straight = deviation / divisor;
    const float dmean = sums[0] * (1.0f - straight) / static_cast<float>(n);
    const float by = (sums[1] - straight * sums[2]) / (static_cast<float>(n - 1) * deviation);
    for (u32 i = threadIdx.x; i < n; i += THREADS) {
        const float value = fmaf(straight, dy[i], fmaf(by, w[i] - mean, dmean));
        dw[i] = accumulate ? dw[i] + value : value;
    }
}
