// AdamW over many tensors in one launch:
// m += (1 - b1)(g - m), v = b2 v + (1 - b2) g^2, p = shrink p - rate m / (sqrt(v) correct + eps).
//
// Layout: all f32. A table of chunks, at most 4096 elements of one tensor each; chunks start at multiples of 16 bytes.
// Mapping: one block of 256 threads to a chunk, 4 elements a thread and step; the last run of a tensor element by
// element. Bound: memory, four values read and three written.
#include "../common/vector.cuh"

enum { THREADS = 256 };

struct Chunk {
    float *p, *m, *v;
    const float* g;
    u32 count;
    // 1 - lr wd, or 1 where the tensor does not decay.
    float shrink;
};

struct Factors {
    float new_m, old_v, new_v, rate, correct, eps;
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
        p[i] = fmaf(-f.rate, update, chunk.shrink * p[i]);
    }
    store<N>(chunk.p + at, p);
    store<N>(chunk.m + at, m);
    store<N>(chunk.v + at, v);
}

extern "C" __global__ void __launch_bounds__(THREADS)
    adamw_step(const Chunk* chunks, float new_m, float old_v, float new_v, float rate, float correct, float eps) {
    const Chunk chunk = chunks[blockIdx.x];
    const Factors factors{new_m, old_v, new_v, rate, correct, eps};
    const u32 whole = chunk.count & ~3u;
    for (u32 at = threadIdx.x * 4; at < whole; at += THREADS * 4) update<4>(chunk, factors, at);
    if (threadIdx.x < chunk.count - whole) update<1>(chunk, factors, whole + threadIdx.x);
}
