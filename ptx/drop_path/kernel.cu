// Drop path: y[i] = keep[sample] x[i], and in place its gradient dy[i] *= keep[sample].
//
// Layout: samples of `width` consecutive elements, keep f32 [samples].
// Mapping: one thread to 16 bytes of a sample, 256 threads to a block; blocks along x within a sample, samples along
// y. A width that is no multiple of 16 bytes puts samples off the alignment: then one element a thread.
// Bound: memory, each byte read and written once.
#include "../common/runs.cuh"

enum { THREADS = 256 };

template <typename T>
struct Scale {
    const T* x;
    T* y;
    float factor;

    template <int N>
    __device__ __forceinline__ void run(u32 at) {
        float v[N];
        load<N>(x + at, v);
#pragma unroll
        for (int i = 0; i < N; i++) v[i] *= factor;
        store<N>(y + at, v);
    }
};

template <typename T>
__device__ __forceinline__ void scale(const T* x, T* y, const float* keep, u32 width) {
    const size_t sample = static_cast<size_t>(blockIdx.y) * width;
    const Scale<T> body{x + sample, y + sample, keep[blockIdx.y]};
    if (width % wide<T>() == 0) {
        each_run<wide<T>()>(width, body);
    } else {
        each_run<1>(width, body);
    }
}

#define ENTRIES(T, suffix)                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS)                          \
        drop_path_forward_##suffix(const T* x, const float* keep, T* y, u32 width) { \
        scale(x, y, keep, width);                                                  \
    }                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS)                          \
        drop_path_backward_##suffix(T* dy, const float* keep, u32 width) {         \
        scale(dy, dy, keep, width);                                                \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
