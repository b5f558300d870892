// Exponential moving average of many tensors in one launch: a += rate (x - a). Where health[2] is 0, something was not
// finite, and nothing is changed.
//
// Layout: all is f32. A table has chunks of at most 4096 elements of one tensor; they start at multiples of 16 bytes.
// Mapping: a block of 256 threads takes one chunk, each thread 4 elements a step, and what is left at the end of a
// tensor one by one. Bound by memory: two values are read and one is written.
#include "../common/vector.cuh"

enum { THREADS = 256 };

struct Chunk {
    float* average;
    const float* value;
    u32 count, unused;
};

template <int N>
__device__ __forceinline__ void update(const Chunk& chunk, float rate, u32 at) {
    float a[N], x[N];
    load<N>(chunk.average + at, a);
    load<N>(chunk.value + at, x);
#pragma unroll
    for (int i = 0; i < N; i++) a[i] = fmaf(rate, x[i] - a[i], a[i]);
    store<N>(chunk.average + at, a);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    ema_step(const Chunk* chunks, float rate, const float* health) {
    if (health[2] == 0.0f) return;
    const Chunk chunk = chunks[blockIdx.x];
    const u32 whole = chunk.count & ~3u;
    for (u32 at = threadIdx.x * 4; at < whole; at += THREADS * 4) update<4>(chunk, rate, at);
    if (threadIdx.x < chunk.count - whole) update<1>(chunk, rate, whole + threadIdx.x);
}
