// SGD with momentum over many tensors in one launch: buffer = momentum buffer + (g + decay p), p -= lr buffer. Nothing
// where health[2] is 0: a gradient was not finite.
//
// Layout: all f32. A table of chunks, at most 4096 elements of one tensor each; chunks start at multiples of 16 bytes.
// Mapping: one block of 256 threads to a chunk, 4 elements a thread and step; the last run of a tensor element by
// element. Bound: memory, three values read and two written.
#include "../common/vector.cuh"

enum { THREADS = 256 };

struct Chunk {
    float *p, *buffer;
    const float* g;
    u32 count, decays;
};

struct Factors {
    float lr, momentum, decay;
};

template <int N>
__device__ __forceinline__ void update(const Chunk& chunk, const Factors& f, u32 at) {
    float p[N], g[N], buffer[N];
    load<N>(chunk.p + at, p);
    load<N>(chunk.g + at, g);
    load<N>(chunk.buffer + at, buffer);
#pragma unroll
    for (int i = 0; i < N; i++) {
        buffer[i] = fmaf(f.momentum, buffer[i], fmaf(f.decay, p[i], g[i]));
        p[i] = fmaf(-f.lr, buffer[i], p[i]);
    }
    store<N>(chunk.p + at, p);
    store<N>(chunk.buffer + at, buffer);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    sgd_step(const Chunk* chunks, const Factors* f, const float* health) {
    if (health[2] == 0.0f) return;
    const Chunk chunk = chunks[blockIdx.x];
    Factors factors = *f;
    if (!chunk.decays) factors.decay = 0.0f;
    const u32 whole = chunk.count & ~3u;
    for (u32 at = threadIdx.x * 4; at < whole; at += THREADS * 4) update<4>(chunk, factors, at);
    if (threadIdx.x < chunk.count - whole) update<1>(chunk, factors, whole + threadIdx.x);
}
