// SimAM over each channel of an image, with m = mean x, w = sum (x - m)^2 / (n - 1) + 1e-3 and
// s = sigmoid((x - m)^2 / 4w + 1/2). Forward: y = x s. Backward, with g = dy x s (1 - s) / 4w and q = (x - m)^2:
// dx = dy s + 2 (x - m) (g - sum(g q) / (w (n - 1))) - mean(2 (x - m) g).
//
// Layout: channels of n consecutive pixels. Mapping: a block of 512 threads takes one channel, each thread 16 bytes a
// step where n is a multiple of that, else one pixel. It passes over the channel for the mean, the variance, in
// backward the sums, and the result; all passes but the first read from the second-level cache. Bound by memory: x, and
// dy, are read once and the result is written.
#include "../common/math.cuh"
#include "../common/reduce.cuh"
#include "../common/vector.cuh"

enum { THREADS = 512 };

// Calls `body(at)` for this thread's runs of N pixels.
template <int N, typename Body>
__device__ __forceinline__ void walk(u32 n, Body body) {
    for (u32 at = threadIdx.x * N; at < n; at += THREADS * N) body(at);
}

// Of a channel.
struct Statistics {
    float mean, scale;  // scale = 1 / 4w
};

template <int N, typename T>
__device__ __forceinline__ Statistics statistics(const T* x, u32 n) {
    __shared__ float shared[2][THREADS / WARP][1];
    float sum[1] = {0.0f}, squares[1] = {0.0f};
    walk<N>(n, [&](u32 at) {
        float v[N];
        load<N>(x + at, v);
#pragma unroll
        for (int i = 0; i < N; i++) sum[0] += v[i];
    });
    block_sum(sum, shared[0]);
    const float mean = sum[0] / n;
    walk<N>(n, [&](u32 at) {
        float v[N];
        load<N>(x + at, v);
#pragma unroll
        for (int i = 0; i < N; i++) squares[0] = fmaf(v[i] - mean, v[i] - mean, squares[0]);
    });
    block_sum(squares, shared[1]);
    return {mean, 0.25f / (squares[0] / (n - 1) + 1e-3f)};
}

template <int N, typename T>
__device__ __forceinline__ void forward(const T* x, T* y, u32 n) {
    const Statistics of = statistics<N>(x, n);
    walk<N>(n, [&](u32 at) {
        float v[N];
        load<N>(x + at, v);
#pragma unroll
        for (int i = 0; i < N; i++) {
            const float centred = v[i] - of.mean;
            v[i] *= sigmoid(fmaf(centred * centred, of.scale, 0.5f));
        }
        store<N>(y + at, v);
    });
}

template <int N, typename T>
__device__ __forceinline__ void backward(const T* x, T* dy, u32 n) {
    __shared__ float shared[THREADS / WARP][2];
    const Statistics of = statistics<N>(x, n);
    float sums[2] = {0.0f, 0.0f};  // of g q and of g (x - m)
    walk<N>(n, [&](u32 at) {
        float v[N], d[N];
        load<N>(x + at, v);
        load<N>(dy + at, d);
#pragma unroll
        for (int i = 0; i < N; i++) {
            const float centred = v[i] - of.mean;
            const float s = sigmoid(fmaf(centred * centred, of.scale, 0.5f));
            const float product = d[i] * v[i] * (s * (1.0f - s)) * of.scale * centred;
            sums[0] = fmaf(product, centred, sums[0]);
            sums[1] += product;
        }
    });
    block_sum(sums, shared);
    const float through_w = 4.0f * of.scale * sums[0] / (n - 1);
    const float through_mean = 2.0f * sums[1] / n;
    walk<N>(n, [&](u32 at) {
        float v[N], d[N];
        load<N>(x + at, v);
        load<N>(dy + at, d);
#pragma unroll
        for (int i = 0; i < N; i++) {
            const float centred = v[i] - of.mean;
            const float s = sigmoid(fmaf(centred * centred, of.scale, 0.5f));
            const float g = d[i] * v[i] * (s * (1.0f - s)) * of.scale;
            d[i] = fmaf(d[i], s, fmaf(2.0f * centred, g - through_w, -through_mean));
        }
        store<N>(dy + at, d);
    });
}

#define ENTRIES(T, suffix)                                                                                    \
    extern "C" __global__ void __launch_bounds__(THREADS) simam_forward_##suffix(const T* x, T* y, u32 n) {   \
        const size_t channel = static_cast<size_t>(blockIdx.x) * n;                                           \
        if (n % wide<T>() == 0) {                                                                               \
            forward<wide<T>()>(x + channel, y + channel, n);                                                    \
        } else {                                                                                              \
            forward<1>(x + channel, y + channel, n);                                                          \
        }                                                                                                     \
    }                                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS) simam_backward_##suffix(const T* x, T* dy, u32 n) { \
        const size_t channel = static_cast<size_t>(blockIdx.x) * n;                                           \
        if (n % wide<T>() == 0) {                                                                               \
            backward<wide<T>()>(x + channel, dy + channel, n);                                                  \
        } else {                                                                                              \
            backward<1>(x + channel, dy + channel, n);                                                        \
        }                                                                                                     \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
