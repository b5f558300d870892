// Column sums: out[p, c] = sum of x[r, c] over the rows r of part p, added to what out holds where that is asked for.
//
// Layout: rows of `width` columns, `stride` elements apart; out is f32 [parts width].
// Mapping: a block of 32 x 32 threads sums 32 columns of one part; blocks of columns are along x, parts along y. The
// lanes of a warp take neighbouring columns, and each warp takes every 32nd row. The 32 partial sums of a column meet
// in shared memory, where one warp adds them in a tree. The order depends on the sizes only. Bound by memory: x is read
// once.
#include "../common/reduce.cuh"
#include "../common/vector.cuh"

template <typename T>
__device__ __forceinline__ void sum(const T* __restrict__ x, float* out, u32 rows, u32 width, u32 stride,
                                    u32 part_rows, u32 accumulate) {
    __shared__ float partial[WARP][WARP + 1];
    const u32 lane = threadIdx.x, warp = threadIdx.y;
    const u32 column = blockIdx.x * WARP + lane;
    const u32 first = blockIdx.y * part_rows + warp, end = min(rows, (blockIdx.y + 1) * part_rows);
    float total = 0.0f;
    if (column < width && first < end) {
        // The steps are counted, so that the loads of eight rows are issued before the first arrives.
        const u32 steps = (end - first + WARP - 1) / WARP;
        const T* at = x + static_cast<size_t>(first) * stride + column;
#pragma unroll 8
        for (u32 i = 0; i < steps; i++) {
            float v[1];
            load(at + static_cast<size_t>(i) * WARP * stride, v);
            total += v[0];
        }
    }
    partial[warp][lane] = total;
    __syncthreads();
    total = warp_sum(partial[lane][warp]);
    const u32 mine = blockIdx.x * WARP + warp;
    if (lane == 0 && mine < width) {
        float* at = out + static_cast<size_t>(blockIdx.y) * width + mine;
        *at = accumulate ? *at + total : total;
    }
}

#define ENTRY(T, suffix)                                                                              \
    extern "C" __global__ void __launch_bounds__(WARP * WARP)                                         \
        rows_sum_##suffix(const T* x, float* out, u32 rows, u32 width, u32 stride, u32 part_rows,     \
                          u32 accumulate) {                                                           \
        sum(x, out, rows, width, stride, part_rows, accumulate);                                      \
    }
ENTRY(float, f32)
ENTRY(bf16, bf16)
