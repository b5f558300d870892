// SiLU, y = x / (1 + e^-x), and its gradient dx = dy s (1 + x (1 - s)), s = sigmoid(x), over n elements.
//
// Layout: any shape, contiguous. Mapping: one thread to 16 bytes of x, 256 threads to a block; the last thread
// takes what is left element by element. Bound: memory, x read and y written once (backward: dy in place).
#include "../common/math.cuh"
#include "../common/runs.cuh"

enum { THREADS = 256 };

template <typename T>
struct Forward {
    const T* x;
    T* y;

    template <int N>
    __device__ __forceinline__ void run(u32 at) {
        float v[N];
        load<N>(x + at, v);
#pragma unroll
        for (int i = 0; i < N; i++) v[i] = silu(v[i]);
        store<N>(y + at, v);
    }
};

template <typename T>
struct Backward {
    const T* x;
    T* dy;

    template <int N>
    __device__ __forceinline__ void run(u32 at) {
        float v[N], g[N];
        load<N>(x + at, v);
        load<N>(dy + at, g);
#pragma unroll
        for (int i = 0; i < N; i++) g[i] *= silu_slope(v[i]);
        store<N>(dy + at, g);
    }
};

#define ENTRIES(T, suffix)                                                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS) silu_forward_##suffix(const T* x, T* y, u32 n) {   \
        each_run<wide<T>()>(n, Forward<T>{x, y});                                                              \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS) silu_backward_##suffix(const T* x, T* dy, u32 n) { \
        each_run<wide<T>()>(n, Backward<T>{x, dy});                                                            \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
