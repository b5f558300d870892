// Elementwise functions, y = f(x), and their gradient dx = f'(x) dy. The function has a number: 0 max(x, 0),
// 1 x / (1 + e^(-1.702 x)), 2 tanh(x), 3 e^x.
//
// Layout: all tensors have the same shape, in f32 or bf16. Mapping: a thread takes 16 bytes, and at the end of the
// tensor single elements; blocks of 256 threads along x cover it. dx is added to where that is asked for. Bound by
// memory: each tensor is moved once. An element takes at most one exponential, one reciprocal and ten other instructions.
#include "../common/math.cuh"
#include "../common/runs.cuh"

enum { THREADS = 256, RELU = 0, QUICK_GELU = 1, TANH = 2 };

// The value and the slope at x. tanh is a polynomial for |x| up to 1/4, since 2 sigmoid(2x) - 1 cancels near 0; its
// relative error is 3e-7 there, and 2e-6 beyond.
__device__ __forceinline__ float applied(u32 function, float x, float& slope) {
    if (function == RELU) {
        slope = x > 0.0f ? 1.0f : 0.0f;
        return x > 0.0f ? x : 0.0f;
    }
    if (function == QUICK_GELU) {
        const float scaled = 1.702f * x, share = sigmoid(scaled);
        slope = share * fmaf(scaled, 1.0f - share, 1.0f);
        return x * share;
    }
    if (function == TANH) {
        const float square = x * x;
        float p = -17.0f / 315.0f;
        p = fmaf(p, square, 2.0f / 15.0f);
        p = fmaf(p, square, -1.0f / 3.0f);
        p = fmaf(p, square, 1.0f);
        const float y = square > 0.0625f ? fmaf(2.0f, sigmoid(x + x), -1.0f) : p * x;
        slope = 1.0f - y * y;
        return y;
    }
    slope = exp2_approx(1.44269504088896340736f * x);
    return slope;
}

template <typename T>
struct Forward {
    const T* x;
    T* y;
    u32 function;

    template <int N>
    __device__ __forceinline__ void run(u32 at) {
        float v[N];
        load<N>(x + at, v);
#pragma unroll
        for (int i = 0; i < N; i++) {
            float slope;
            v[i] = applied(function, v[i], slope);
        }
        store<N>(y + at, v);
    }
};

template <typename T>
struct Backward {
    const T *x, *dy;
    T* dx;
    u32 function, accumulate;

    template <int N>
    __device__ __forceinline__ void run(u32 at) {
        float v[N], g[N], sum[N] = {};
        load<N>(x + at, v);
        load<N>(dy + at, g);
        if (accumulate) load<N>(dx + at, sum);
#pragma unroll
        for (int i = 0; i < N; i++) {
            float slope;
            applied(function, v[i], slope);
            sum[i] = fmaf(g[i], slope, sum[i]);
        }
        store<N>(dx + at, sum);
    }
};

#define ENTRIES(T, suffix)                                                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                    \
        activation_forward_##suffix(const T* x, T* y, u32 elements, u32 function) {                          \
        each_run<wide<T>()>(elements, Forward<T>{x, y, function});                                           \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS) activation_backward_##suffix(                      \
        const T* x, const T* dy, T* dx, u32 elements, u32 function, u32 accumulate) {                        \
        each_run<wide<T>()>(elements, Backward<T>{x, dy, dx, function, accumulate});                         \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
