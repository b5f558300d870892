// What the kernels of attention share: where elements lie, and factors.
#pragma once
#include "../common/math.cuh"
#include "../common/reduce.cuh"
#include "../common/vector.cuh"

struct Sizes {
    u32 l, heads, c, n;

    __device__ __forceinline__ u32 keys() const { return n + l; }
    // The first element of a row of a third of qkv, for this block's head and image.
    __device__ __forceinline__ size_t at(u32 third, u32 row) const {
        return ((static_cast<size_t>(blockIdx.z) * l + row) * 3 + third) * heads * c + blockIdx.y * c;
    }
    // The same for out.
    __device__ __forceinline__ size_t out_at(u32 row) const {
        return (static_cast<size_t>(blockIdx.z) * l + row) * heads * c + blockIdx.y * c;
    }
    // The same for what has one number a query.
    __device__ __forceinline__ size_t query_at(u32 row) const {
        return (static_cast<size_t>(blockIdx.z) * heads + blockIdx.y) * l + row;
    }
};

// The thirds of qkv.
enum { QUERY = 0, KEY = 1, VALUE = 2 };

// log2(x) to 2^-22 near 1 and else to 2^-22 of the result (PTX ISA, lg2.approx.ftz).
__device__ __forceinline__ float log2_approx(float x) {
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

__device__ __forceinline__ float negative_infinity() { return __uint_as_float(0xFF800000u); }

// f log2(e), for powers of two.
__device__ __forceinline__ float binary_factor(float scale, const float* temperature) {
    const float log2_e = 1.44269504088896340736f;
    return scale * log2_e / (temperature != nullptr ? *temperature : 1.0f);
}
