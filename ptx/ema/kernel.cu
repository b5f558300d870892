// Exponential moving average of many tensors in one launch: a += rate (x - a). Nothing where health[2] is 0: something
// was not finite.
//
// Layout: all f32. A table of chunks, at most 4096 elements of one tensor each; chunks start at multiples of 16 bytes.
// Mapping: one block of 256 threads to a chunk, 4 elements a thread and step; the last run of a tensor element by
// element. Bound: memory, two values read and one written.
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
