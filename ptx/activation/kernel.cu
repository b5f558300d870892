// Elementwise functions, y = f(x), and their gradient dx = f'(x) dy: max(x, 0), x / (1 + e^(-1.702 x)), tanh(x), e^x, and
// x F(x) with the standard normal distribution function F (GELU). Each has kernels of its own.
//
// Layout: all tensors have the same shape, in f32 or bf16. Mapping: a thread takes 16 bytes, and at the end of the
// tensor single elements; blocks of 256 threads along x cover it. dx is added to where that is asked for. Bound by
// memory: each tensor is moved once. An element takes at most one exponential, one reciprocal and about 20 other
// instructions.
#include "../common/math.cuh"
#include "../common/runs.cuh"

enum { THREADS = 256 };
enum Function { RELU, QUICK_GELU, TANH, EXP, GELU };

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

// The value and the slope at x. tanh is a polynomial for |x| up to 1/4, since 2 sigmoid(2x) - 1 cancels near 0; its
// relative error is 3e-7 there, and 2e-6 beyond.
template <Function F>
__device__ __forceinline__ float applied(float x, float& slope) {
    if (F == RELU) {
        slope = x > 0.0f ? 1.0f : 0.0f;
        return x > 0.0f ? x : 0.0f;
    }
    if (F == GELU) {
        float density;
        const float distribution = normal(x, density);
        slope = fmaf(x, density, distribution);
        return x * distribution;
    }
    if (F == QUICK_GELU) {
        const float scaled = 1.702f * x, share = sigmoid(scaled);
        slope = share * fmaf(scaled, 1.0f - share, 1.0f);
        return x * share;
    }
    if (F == TANH) {
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

template <typename T, Function F>
struct Forward {
    const T* x;
    T* y;

    template <int N>
    __device__ __forceinline__ void run(u32 at) {
        float v[N];
        load<N>(x + at, v);
#pragma unroll
        for (int i = 0; i < N; i++) {
            float slope;
            v[i] = applied<F>(v[i], slope);
        }
        store<N>(y + at, v);
    }
};

template <typename T, Function F>
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
            float slope;
            applied<F>(v[i], slope);
            sum[i] = fmaf(g[i], slope, sum[i]);
        }
        store<N>(dx + at, sum);
    }
};

#define ENTRIES(F, name, T, suffix)                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                    \
        activation_forward_##name##_##suffix(const T* x, T* y, u32 elements) {                               \
        each_run<wide<T>()>(elements, Forward<T, F>{x, y});                                                  \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS) activation_backward_##name##_##suffix(             \
        const T* x, const T* dy, T* dx, u32 elements, u32 accumulate) {                                      \
        each_run<wide<T>()>(elements, Backward<T, F>{x, dy, dx, accumulate});                                \
    }
#define TYPES(F, name)           \
    ENTRIES(F, name, float, f32) \
    ENTRIES(F, name, bf16, bf16)
TYPES(RELU, relu)
TYPES(QUICK_GELU, quick_gelu)
TYPES(TANH, tanh)
TYPES(EXP, exp)
TYPES(GELU, gelu)
