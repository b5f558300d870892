// GELU, y = x F(x) with the standard normal distribution function F, and its gradient
// dx = dy (F(x) + x e^(-x^2 / 2) / sqrt(2 pi)).
//
// Layout: all tensors have the same shape, in f32 or bf16. Mapping: a thread takes 16 bytes, and at the end of the
// tensor single elements; blocks of 256 threads along x cover it. dx is added to where that is asked for. Bound by
// memory: each tensor is moved once. An element takes one exponential, one reciprocal and about 20 other instructions.
#include "../common/math.cuh"
#include "../common/runs.cuh"

enum { THREADS = 256 };

// The standard normal distribution function, with its density in `density`. The distribution below -a is
// e^(-a^2 / 2) t p(t) with t = 1 / (1 + 0.36 a) and the polynomial p of engine/simd/vector.rs. The absolute error is
// 2e-7.
__device__ __forceinline__ float normal(float x, float& density) {
    const float half_log2_e = 0.72134752044448170368f;
    const float e = exp2_approx(-half_log2_e * x * x);
    const float t = reciprocal(fmaf(0.36f, fabsf(x), 1.0f));
    float p = -0.0291083958f;
    p = fmaf(p, t, 0.1339740306f);
    p = fmaf(p, t, -0.2121685445f);
    p = fmaf(p, t, 0.0944151506f);
    p = fmaf(p, t, 0.0083856713f);
    p = fmaf(p, t, 0.0924192220f);
    p = fmaf(p, t, 0.1248931959f);
    p = fmaf(p, t, 0.1435656846f);
    p = fmaf(p, t, 0.1436239481f);
    const float tail = p * t * e;
    density = 0.39894228040143267794f * e;
    return x > 0.0f ? 1.0f - tail : tail;
}

template <typename T>
struct Forward {
    const T* x;
    T* y;

    template <int N>
    __device__ __forceinline__ void run(u32 at) {
        float v[N];
        load<N>(x + at, v);
#pragma unroll
        for (int i = 0; i < N; i++) {
            float density;
            v[i] *= normal(v[i], density);
        }
        store<N>(y + at, v);
    }
};

template <typename T>
struct Backward {
    const T *x, *dy;
    T* dx;
    u32 accumulate;

    template <int N>
    __device__ __forceinline__ void run(u32 at) {
        float v[N], g[N], sum[N] = {};
        load<N>(x + at, v);
        load<N>(dy + at, g);
        if (accumulate) load<N>(dx + at, sum);
#pragma unroll
        for (int i = 0; i < N; i++) {
            float density;
            const float distribution = normal(v[i], density);
            sum[i] = fmaf(g[i], fmaf(v[i], density, distribution), sum[i]);
        }
        store<N>(dx + at, sum);
    }
};

#define ENTRIES(T, suffix)                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS)                                               \
        gelu_forward_##suffix(const T* x, T* y, u32 elements) {                                         \
        each_run<wide<T>()>(elements, Forward<T>{x, y});                                                \
    }                                                                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS)                                               \
        gelu_backward_##suffix(const T* x, const T* dy, T* dx, u32 elements, u32 accumulate) {          \
        each_run<wide<T>()>(elements, Backward<T>{x, dy, dx, accumulate});                              \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
