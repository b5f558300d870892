// Sums of squares over many tensors in one launch: squares[chunk] = sum of g^2 over a chunk. A second launch writes
// health = [loss, sqrt(sum of the chunks), 1 if it was 1 and both are finite, else 0].
//
// Layout: all is f32. A table has chunks of at most 4096 elements of one tensor; they start at multiples of 16 bytes.
// Mapping: a block of 256 threads takes one chunk, each thread 4 elements a step. Threads are summed by a tree in each
// warp and one over the warps, so the order is fixed; one block adds the chunks in the same way. Bound by memory: each
// value is read once.
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

__device__ __forceinline__ bool finite(float x) { return (__float_as_uint(x) & 0x7F800000u) != 0x7F800000u; }

extern "C" __global__ void __launch_bounds__(THREADS)
    grad_norm_finish(const float* squares, const float* loss, float* health, u32 chunks) {
    __shared__ float shared[THREADS / WARP][1];
    float sum[1] = {0.0f};
    for (u32 at = threadIdx.x; at < chunks; at += THREADS) sum[0] += squares[at];
    block_sum(sum, shared);
    if (threadIdx.x != 0) return;
    const float norm = sqrtf(sum[0]);
    health[0] = *loss;
    health[1] = norm;
    health[2] = finite(*loss) && finite(norm) ? health[2] : 0.0f;
}
