// Elements of a tensor, f32 or bf16, which are read and written in runs. Arithmetic is always f32.
#pragma once

// Constants are enums, literals in functions or constexpr functions. Since functions and variables are the device's by
// default, a constexpr variable would become a variable of the module.
typedef unsigned int u32;

// bfloat16: the upper half of an f32.
struct bf16 {
    unsigned short bits;
};

__device__ __forceinline__ float widen(bf16 x) { return __uint_as_float(static_cast<u32>(x.bits) << 16); }

// Rounds to nearest, ties to even.
__device__ __forceinline__ bf16 narrow(float x) {
    bf16 y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y.bits) : "f"(x));
    return y;
}

// Two at once, with `low` at the lower address.
__device__ __forceinline__ u32 narrow(float low, float high) {
    u32 two;
    asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(two) : "f"(high), "f"(low));
    return two;
}

__device__ __forceinline__ void widen(u32 two, float& low, float& high) {
    low = __uint_as_float(two << 16);
    high = __uint_as_float(two & 0xFFFF0000u);
}

// N consecutive elements. The address must be a multiple of their size, or of 16 bytes if they are longer.
template <int N>
__device__ __forceinline__ void load(const float* __restrict__ at, float (&x)[N]) {
    if constexpr (N % 4 == 0) {
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            const float4 v = *reinterpret_cast<const float4*>(at + i);
            x[i] = v.x, x[i + 1] = v.y, x[i + 2] = v.z, x[i + 3] = v.w;
        }
    } else if constexpr (N == 2) {
        const float2 v = *reinterpret_cast<const float2*>(at);
        x[0] = v.x, x[1] = v.y;
    } else {
        static_assert(N == 1);
        x[0] = *at;
    }
}

template <int N>
__device__ __forceinline__ void load(const bf16* __restrict__ at, float (&x)[N]) {
    if constexpr (N == 8) {
        const uint4 v = *reinterpret_cast<const uint4*>(at);
        widen(v.x, x[0], x[1]), widen(v.y, x[2], x[3]), widen(v.z, x[4], x[5]), widen(v.w, x[6], x[7]);
    } else if constexpr (N == 4) {
        const uint2 v = *reinterpret_cast<const uint2*>(at);
        widen(v.x, x[0], x[1]), widen(v.y, x[2], x[3]);
    } else if constexpr (N == 2) {
        widen(*reinterpret_cast<const u32*>(at), x[0], x[1]);
    } else {
        static_assert(N == 1);
        x[0] = widen(*at);
    }
}

template <int N>
__device__ __forceinline__ void store(float* at, const float (&x)[N]) {
    if constexpr (N % 4 == 0) {
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            *reinterpret_cast<float4*>(at + i) = make_float4(x[i], x[i + 1], x[i + 2], x[i + 3]);
        }
    } else if constexpr (N == 2) {
        *reinterpret_cast<float2*>(at) = make_float2(x[0], x[1]);
    } else {
        static_assert(N == 1);
        *at = x[0];
    }
}

template <int N>
__device__ __forceinline__ void store(bf16* at, const float (&x)[N]) {
    if constexpr (N == 8) {
        *reinterpret_cast<uint4*>(at) =
            make_uint4(narrow(x[0], x[1]), narrow(x[2], x[3]), narrow(x[4], x[5]), narrow(x[6], x[7]));
    } else if constexpr (N == 4) {
        *reinterpret_cast<uint2*>(at) = make_uint2(narrow(x[0], x[1]), narrow(x[2], x[3]));
    } else if constexpr (N == 2) {
        *reinterpret_cast<u32*>(at) = narrow(x[0], x[1]);
    } else {
        static_assert(N == 1);
        *at = narrow(x[0]);
    }
}

// Elements of a 16-byte access.
template <typename T>
constexpr int wide() {
    return 16 / sizeof(T);
}
