// Runs of rows of token sequences. `place` writes the rows of one or two runs to y, and zeros elsewhere. `add` adds the
// rows of one run to y. A run takes `count` rows of every sample, from row `from` of `from_l` on, to y from row `to`
// on.
//
// Layout: the source is [samples from_l d], y [samples l d].
// Mapping: threads are spread over the elements of a sample of y (place) or of a run (add), 16 bytes each where d is a
// multiple of that, else one element. Blocks have 256 threads; samples are along y of the grid. Bound by memory.
#include "../common/runs.cuh"

enum { THREADS = 256 };

template <typename T>
struct Run {
    const T* rows;
    u32 count, from, from_l, to;

    // Where element `at` of a sample of y comes from; null outside the run.
    __device__ __forceinline__ const T* source(u32 sample, u32 at, u32 d) const {
        const u32 into = at - to * d;  // before the run this wraps, to beyond its end
        if (into >= count * d) return nullptr;
        return rows + (static_cast<size_t>(sample) * from_l + from) * d + into;
    }
};

template <typename T>
struct PlaceRuns {
    Run<T> a, b;
    T* y;
    u32 l, d;

    template <int N>
    __device__ __forceinline__ void run(u32 at) {
        const T* source = a.source(blockIdx.y, at, d);
        if (source == nullptr) source = b.source(blockIdx.y, at, d);
        float v[N] = {};
        if (source != nullptr) load<N>(source, v);
        store<N>(y + static_cast<size_t>(blockIdx.y) * l * d + at, v);
    }
};

template <typename T>
struct AddRun {
    Run<T> a;
    T* y;
    u32 l, d;

    template <int N>
    __device__ __forceinline__ void run(u32 at) {
        const u32 to = a.to * d + at;
        T* target = y + static_cast<size_t>(blockIdx.y) * l * d + to;
        float v[N], sum[N];
        load<N>(a.source(blockIdx.y, to, d), v);
        load<N>(target, sum);
#pragma unroll
        for (int i = 0; i < N; i++) sum[i] += v[i];
        store<N>(target, sum);
    }
};

template <typename T, typename Body>
__device__ __forceinline__ void each(u32 elements, u32 d, Body body) {
    if (d % wide<T>() == 0) {
        each_run<wide<T>()>(elements, body);
    } else {
        each_run<1>(elements, body);
    }
}

#define ENTRIES(T, suffix)                                                                                   \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                    \
        token_rows_place_##suffix(const T* a, const T* b, T* y, u32 l, u32 d, u32 a_count, u32 a_from,       \
                                  u32 a_l, u32 a_to, u32 b_count, u32 b_from, u32 b_l, u32 b_to) {           \
        const Run<T> first{a, a_count, a_from, a_l, a_to}, second{b, b_count, b_from, b_l, b_to};            \
        each<T>(l * d, d, PlaceRuns<T>{first, second, y, l, d});                                                 \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                    \
        token_rows_add_##suffix(const T* a, T* y, u32 l, u32 d, u32 a_count, u32 a_from, u32 a_l, u32 a_to) { \
        const Run<T> run{a, a_count, a_from, a_l, a_to};                                                     \
        each<T>(a_count * d, d, AddRun<T>{run, y, l, d});                                                       \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
