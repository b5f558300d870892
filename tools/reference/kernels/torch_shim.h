// The few names of PyTorch that the published kernels use, so that they are built without PyTorch and serve with every
// version of it. Conversions are those of c10: round to nearest even, by the same intrinsics.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <initializer_list>
#include <stdexcept>
#include <string>

namespace at {
struct alignas(2) BFloat16 {
    unsigned short x;
    BFloat16() = default;
    __device__ BFloat16(float value) : x(__bfloat16_as_ushort(__float2bfloat16(value))) {}
    __device__ operator float() const { return __bfloat162float(__ushort_as_bfloat16(x)); }
};

// Named by the sources, never instantiated.
struct alignas(2) Half {
    unsigned short x;
};
}  // namespace at

namespace c10 {
// Named by code that is left out for float weights; its size takes part in that of shared memory.
template <typename T>
struct alignas(2 * sizeof(T)) complex {
    T real_, imag_;
    complex() = default;
    __host__ __device__ complex(T real, T imag = T()) : real_(real), imag_(imag) {}
};
template <typename T>
__host__ __device__ complex<T> operator+(complex<T> a, complex<T> b) {
    return {a.real_ + b.real_, a.imag_ + b.imag_};
}
template <typename T>
__host__ __device__ complex<T> operator*(complex<T> a, complex<T> b) {
    return {a.real_ * b.real_ - a.imag_ * b.imag_, a.real_ * b.imag_ + a.imag_ * b.real_};
}
}  // namespace c10

namespace std {
__host__ __device__ inline c10::complex<float> conj(c10::complex<float> z) { return {z.real_, -z.imag_}; }
}  // namespace std

__device__ inline float gpuAtomicAdd(float *at, float value) { return atomicAdd(at, value); }

inline void expect_cuda(cudaError_t found) {
    if (found != cudaSuccess) throw std::runtime_error(cudaGetErrorString(found));
}
#define C10_CUDA_CHECK(call) expect_cuda(call)
#define C10_CUDA_KERNEL_LAUNCH_CHECK() expect_cuda(cudaGetLastError())
