// Sums and casts of whole tensors: to[i] += from[i], to[i] = from[i], any mix of f32 and bf16, sums in f32.
//
// Layout: n consecutive elements, both buffers aligned to 16 bytes.
// Mapping: one thread takes four consecutive elements (one 16-byte or 8-byte access each way); the last thread
// takes what is left one by one. Blocks of 256 threads.
// Bound: memory; every byte is read or written once.

typedef unsigned int u32;

struct bf16 {
    unsigned short bits;
};

__device__ float widen(float x) { return x; }
__device__ float widen(bf16 x) { return __uint_as_float(u32(x.bits) << 16); }

__device__ void narrow(float x, float& to) { to = x; }
// To the nearest, ties to even; NaN stays NaN.
__device__ void narrow(float x, bf16& to) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to.bits) : "f"(x)); }

template <class T>
struct alignas(4 * sizeof(T)) Four {
    T at[4];
};

template <bool ADD, class To, class From>
__device__ void each(To* to, const From* from, u32 n) {
    u32 i = (blockIdx.x * 256 + threadIdx.x) * 4;
    if (i + 4 <= n) {
        Four<From> x = *reinterpret_cast<const Four<From>*>(from + i);
        Four<To> y;
        if (ADD) y = *reinterpret_cast<const Four<To>*>(to + i);
        for (int k = 0; k < 4; k++) narrow(ADD ? widen(y.at[k]) + widen(x.at[k]) : widen(x.at[k]), y.at[k]);
        *reinterpret_cast<Four<To>*>(to + i) = y;
    } else {
#pragma unroll 1
        for (; i < n; i++) narrow(ADD ? widen(to[i]) + widen(from[i]) : widen(from[i]), to[i]);
    }
}

#define ENTRY(name, ADD, To, From)                                                                     \
    extern "C" __global__ void __launch_bounds__(256) name(To* to, const From* from, u32 n) {          \
        each<ADD>(to, from, n);                                                                        \
    }

ENTRY(elementwise_add_f32_f32, true, float, float)
ENTRY(elementwise_add_f32_bf16, true, float, bf16)
ENTRY(elementwise_add_bf16_f32, true, bf16, float)
ENTRY(elementwise_add_bf16_bf16, true, bf16, bf16)
ENTRY(elementwise_cast_f32_bf16, false, float, bf16)
ENTRY(elementwise_cast_bf16_f32, false, bf16, float)
