// Sums of squares over many tensors in one launch: squares[chunk] = sum of g^2 over a chunk.
//
// Layout: f32. A table of chunks, at most 4096 elements of one tensor each; chunks start at multiples of 16 bytes.
// Mapping: one block of 256 threads to a chunk, 4 elements a thread and step; a thread's sum, then the warp's tree,
// then the warps'. Column sums (`rows`) add the chunks in a fixed order. Bound: memory, each value read once.
#include "../common/reduce.cuh"
#include "../common/vector.cuh"

enum { THREADS = 256 };

struct Chunk {
    const float* g;
    u32 count, padding;
};

extern "C" __global__ void __launch_bounds__(THREADS) grad_norm_squares(const Chunk* chunks, float* squares) {
    __shared__ float shared[THREADS / WARP][1];
    const Chunk chunk = chunks[blockIdx.x];
    const u32 whole = chunk.count & ~3u;
    float sum[1] = {0.0f};
    for (u32 at = threadIdx.x * 4; at < whole; at += THREADS * 4) {
        float g[4];
        load<4>(chunk.g + at, g);
#pragma unroll
        for (int i = 0; i < 4; i++) sum[0] = fmaf(g[i], g[i], sum[0]);
    }
    if (threadIdx.x < chunk.count - whole) {
        const float g = chunk.g[whole + threadIdx.x];
        sum[0] = fmaf(g, g, sum[0]);
    }
    block_sum(sum, shared);
    if (threadIdx.x == 0) squares[blockIdx.x] = sum[0];
}
