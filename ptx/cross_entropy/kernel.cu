// Cross-entropy with soft targets. Entry `rows`: losses[b] = sum_k t (log sum_j e^(x_j - m) - (x_k - m)), where m is
// the largest x. Entry `mean`: loss is the mean of the losses. Entry `backward`: dx = dloss / b (softmax(x) sum_k t -
// t).
//
// Layout: x and dx [b k], targets f32 [b k], losses f32 [b], loss and dloss f32 [1].
// Mapping: a warp takes one row, whose neighbouring classes are its lanes'; a block has 4 warps. The mean is one
// warp's. Rows are few and short, and are read again from the first-level cache. Bound by the latency of three walks
// over a row.
#include "../common/reduce.cuh"
#include "../common/vector.cuh"

enum { ROWS = 4 };

template <typename T>
__device__ __forceinline__ float at(const T* x) {
    float v[1];
    load(x, v);
    return v[0];
}

// Calls `body(i)` for this lane's classes.
template <typename Body>
__device__ __forceinline__ void walk(u32 k, Body body) {
    for (u32 i = threadIdx.x % WARP; i < k; i += WARP) body(i);
}

// The largest x of a row, and the sum of e^(x - largest).
template <typename T>
__device__ __forceinline__ float sum_exp(const T* x, u32 k, float& largest) {
    float m = at(x), sum = 0.0f;
    walk(k, [&](u32 i) { m = fmaxf(m, at(x + i)); });
    largest = warp_max(m);
    walk(k, [&](u32 i) { sum += expf(at(x + i) - largest); });
    return warp_sum(sum);
}

template <typename T>
__device__ __forceinline__ void forward(const T* x, const float* targets, float* losses, u32 b, u32 k) {
    const u32 row = blockIdx.x * ROWS + threadIdx.x / WARP;
    if (row >= b) return;
    x += row * k, targets += row * k;
    float largest, loss = 0.0f;
    const float log_sum = logf(sum_exp(x, k, largest));
    walk(k, [&](u32 i) { loss = fmaf(targets[i], log_sum - (at(x + i) - largest), loss); });
    loss = warp_sum(loss);
    if (threadIdx.x % WARP == 0) losses[row] = loss;
}

template <typename T>
__device__ __forceinline__ void backward(const T* x, const float* targets, const float* dloss, T* dx, u32 b, u32 k) {
    const u32 row = blockIdx.x * ROWS + threadIdx.x / WARP;
    if (row >= b) return;
    x += row * k, targets += row * k, dx += row * k;
    float largest, weight = 0.0f;
    const float sum = sum_exp(x, k, largest);
    walk(k, [&](u32 i) { weight += targets[i]; });
    weight = warp_sum(weight) / sum;
    const float scale = *dloss / b;
    walk(k, [&](u32 i) {
        const float d[1] = {scale * (expf(at(x + i) - largest) * weight - targets[i])};
        store(dx + i, d);
    });
}

#define ENTRIES(T, suffix)                                                                                      \
    extern "C" __global__ void __launch_bounds__(ROWS * WARP)                                                   \
        cross_entropy_rows_##suffix(const T* x, const float* targets, float* losses, u32 b, u32 k) {            \
        forward(x, targets, losses, b, k);                                                                      \
    }                                                                                                           \
    extern "C" __global__ void __launch_bounds__(ROWS * WARP)                                                   \
        cross_entropy_backward_##suffix(const T* x, const float* targets, const float* dloss, T* dx, u32 b,     \
                                        u32 k) {                                                                \
        backward(x, targets, dloss, dx, b, k);                                                                  \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)

extern "C" __global__ void __launch_bounds__(WARP) cross_entropy_mean(const float* losses, float* loss, u32 b) {
    float sum = 0.0f;
    walk(b, [&](u32 i) { sum += losses[i]; });
    sum = warp_sum(sum);
    if (threadIdx.x == 0) *loss = sum / b;
}
