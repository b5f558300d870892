// The bias of a linear layer: y[r, c] += bias[c], over the product that the GEMM wrote. A GEMM that writes an f32 result
// adds the bias itself, one that adds its product to what is there does not.
//
// Layout: y is f32 or bf16 [rows n], bias f32 [n]. Mapping: a thread takes 16 bytes of y where n is a multiple of that, else
// one element; blocks have 256 threads. Bound by memory: y is read and written once.
#include "../common/runs.cuh"

enum { THREADS = 256 };

template <typename T>
struct Bias {
    T* y;
    const float* bias;
    u32 n;

    template <int N>
    __device__ __forceinline__ void run(u32 at) {
        float v[N], b[N];
        load<N>(y + at, v);
        load<N>(bias + at % n, b);
#pragma unroll
        for (int i = 0; i < N; i++) v[i] += b[i];
        store<N>(y + at, v);
    }
};

#define ENTRIES(T, suffix)                                              \
    extern "C" __global__ void __launch_bounds__(THREADS)               \
        linear_bias_##suffix(T* y, const float* bias, u32 elements, u32 n) { \
        const Bias<T> body{y, bias, n};                                 \
        if (n % wide<T>() == 0) {                                       \
            each_run<wide<T>()>(elements, body);                        \
        } else {                                                        \
            each_run<1>(elements, body);                                \
        }                                                               \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
