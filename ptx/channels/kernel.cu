// Chosen channels of rows: y[r, j] = x[r, c[j]], written or added; and y[r, c[j]] += s[r, j].
//
// Layout: the wide tensor is [rows d], the narrow one [rows n], both f32 or bf16; c is f32 [n] with whole numbers, no two
// alike, and a number beyond d stands for the last channel. Mapping: a thread takes one chosen channel of one row;
// blocks of 256 threads along x cover the narrow tensor. Bound by memory: the narrow tensor is moved in order, of the
// wide one only the sectors that a chosen channel lies in.
#include "../common/vector.cuh"

enum { THREADS = 256 };

// The element of the wide tensor that element `at` of the narrow one belongs to.
__device__ __forceinline__ u32 place(const float* channels, u32 at, u32 d, u32 n) {
    const u32 channel = static_cast<u32>(channels[at % n]);
    return at / n * d + min(channel, d - 1);
}

template <typename T>
__device__ __forceinline__ void gather(const T* x, const float* channels, T* y, u32 elements, u32 d, u32 n, u32 accumulate) {
    const u32 at = blockIdx.x * THREADS + threadIdx.x;
    if (at >= elements) return;
    float v[1], sum[1] = {0.0f};
    load<1>(x + place(channels, at, d, n), v);
    if (accumulate) load<1>(y + at, sum);
    sum[0] += v[0];
    store<1>(y + at, sum);
}

template <typename T>
__device__ __forceinline__ void add(const T* s, const float* channels, T* y, u32 elements, u32 d, u32 n) {
    const u32 at = blockIdx.x * THREADS + threadIdx.x;
    if (at >= elements) return;
    T* to = y + place(channels, at, d, n);
    float v[1], sum[1];
    load<1>(s + at, v);
    load<1>(to, sum);
    sum[0] += v[0];
    store<1>(to, sum);
}

#define ENTRIES(T, suffix)                                                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS) channels_gather_##suffix(                          \
        const T* x, const float* channels, T* y, u32 elements, u32 d, u32 n, u32 accumulate) {               \
        gather(x, channels, y, elements, d, n, accumulate);                                                  \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS) channels_add_##suffix(                             \
        const T* s, const float* channels, T* y, u32 elements, u32 d, u32 n) {                               \
        add(s, channels, y, elements, d, n);                                                                 \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
