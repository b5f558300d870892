// AdamW over many tensors in one launch:
// m += (1 - b1)(g - m), v = b2 v + (1 - b2) g^2, p = shrink p - rate m / (sqrt(v) correct + eps). Where health[2] is 0,
// something was not finite, and nothing is changed.
//
// Layout: all is f32. A table has chunks of at most 4096 elements of one tensor; they start at multiples of 16 bytes.
// Mapping: a block of 256 threads takes one chunk, each thread 4 elements a step, and what is left at the end of a
// tensor one by one. Bound by memory: four values are read and three written.
#include "../common/vector.cuh"

enum { THREADS = 256 };

struct Chunk {
    float *p, *m, *v;
    const float* g;
    u32 count, decays;
};

struct Factors {
    float shrink, new_m, old_v, new_v, rate, correct, eps;
};

template <int N>
__device__ __forceinline__ void update(const Chunk& chunk, const Factors& f, u32 at) {
    float p[N], g[N], m[N], v[N];
    load<N>(chunk.p + at, p);
    load<N>(chunk.g + at, g);
    load<N>(chunk.m + at, m);
    load<N>(chunk.v + at, v);
#pragma unroll
    for (int i = 0; i < N; i++) {
        m[i] = fmaf(f.new_m, g[i] - m[i], m[i]);
        v[i] = fmaf(f.new_v * g[i], g[i], f.old_v * v[i]);
        const float update = m[i] / fmaf(sqrtf(v[i]), f.correct, f.eps);
        p[i] = fmaf(-f.rate, update, f.shrink * p[i]);
    }
    store<N>(chunk.p + at, p);
    store<N>(chunk.m + at, m);
    store<N>(chunk.v + at, v);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    adamw_step(const Chunk* chunks, const Factors* f, const float* health) {
    if (health[2] == 0.0f) return;
    const Chunk chunk = chunks[blockIdx.x];
    Factors factors = *f;
    if (!chunk.decays) factors.shrink = 1.0f;
    const u32 whole = chunk.count & ~3u;
    for (u32 at = threadIdx.x * 4; at < whole; at += THREADS * 4) update<4>(chunk, factors, at);
    if (threadIdx.x < chunk.count - whole) update<1>(chunk, factors, whole + threadIdx.x);
}
