// The approximate functions, each with its error. Nothing else in the kernels is approximate.
#pragma once

// 2^x to 2 ulp; results below 2^-126 become 0 (PTX ISA, ex2.approx.ftz).
__device__ __forceinline__ float exp2_approx(float x) {
    float y;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// 1 / x to 1 ulp; 0 for |x| above 2^126 (PTX ISA, rcp.approx.ftz).
__device__ __forceinline__ float reciprocal(float x) {
    float y;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// 1 / (1 + e^-x). The relative error is 4e-7 for x > -1, and below that 1e-7 |x|, from rounding the exponent.
__device__ __forceinline__ float sigmoid(float x) {
    const float minus_log2_e = -1.44269504088896340736f;
    return reciprocal(1.0f + exp2_approx(minus_log2_e * x));
}

__device__ __forceinline__ float silu(float x) { return x * sigmoid(x); }

// The derivative of silu, with silu itself in y.
__device__ __forceinline__ float silu_slope(float x, float& y) {
    const float s = sigmoid(x);
    y = x * s;
    return fmaf(y, 1.0f - s, s);
}

__device__ __forceinline__ float silu_slope(float x) {
    float y;
    return silu_slope(x, y);
}

// 1 / sqrt(x) to 2 ulp (PTX ISA, rsqrt.approx.ftz: 2^-22.9).
__device__ __forceinline__ float inverse_root(float x) {
    float y;
    asm("rsqrt.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}
