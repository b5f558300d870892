// Values within bounds, in place: x = min(max(x, low), high), and NaN where x is NaN.
//
// Layout: all is f32. Mapping: a thread takes 4 elements, those at the end one by one; blocks of 256 threads along x
// cover the tensor. Bound by memory: each value is read and written once.
#include "../common/runs.cuh"

enum { THREADS = 256 };

struct Clamp {
    float *x, low, high;

    template <int N>
    __device__ __forceinline__ void run(u32 at) {
        float v[N];
        load<N>(x + at, v);
#pragma unroll
        // Comparisons with NaN are false, where fmaxf and fminf would return the bound.
        for (int i = 0; i < N; i++) v[i] = v[i] < low ? low : v[i] > high ? high : v[i];
        store<N>(x + at, v);
    }
};

extern "C" __global__ void __launch_bounds__(THREADS) clamp_elements(float* x, u32 elements, float low, float high) {
    each_run<4>(elements, Clamp{x, low, high});
}
