// The rows of a sequence with the largest mean of probabilities over the heads, by falling mean, the lower of equal rows
// first: out[i, rank] = the row that `rank` others come before, for rank < k.
//
// Layout: p [samples heads keys], whose first `extra` keys belong to no row; rows f32 [n], rising; out f32 [samples k].
// Mapping: a block of 256 threads takes a sample. Each thread sums the heads of every 256th row into shared memory, then
// counts for every 256th row how many come before it. Limit: 8192 rows. Bound by reading shared memory n^2 / 256 times,
// which for the 196 rows of a ViT at 224 px is less than the time of a launch.
#include "../common/vector.cuh"

enum { THREADS = 256, MOST_ROWS = 8192 };

extern "C" __global__ void __launch_bounds__(THREADS)
    salient_rows(const float* p, const float* rows, float* out, u32 heads, u32 keys, u32 extra, u32 n, u32 k) {
    __shared__ float sums[MOST_ROWS];
    p += static_cast<size_t>(blockIdx.x) * heads * keys + extra;
    for (u32 at = threadIdx.x; at < n; at += THREADS) {
        const u32 row = __float2uint_rz(rows[at]);
        float sum = 0.0f;
        for (u32 head = 0; head < heads; head++) sum += p[static_cast<size_t>(head) * keys + row];
        // NaN would be in no order, and then some place of the result would get no row.
        const float least = __int_as_float(0xFF800000);
        sums[at] = sum > least ? sum : least;
    }
    __syncthreads();
    for (u32 at = threadIdx.x; at < n; at += THREADS) {
        const float sum = sums[at];
        u32 before = 0;
        for (u32 other = 0; other < n; other++) {
            const float s = sums[other];
            before += s > sum || (s == sum && other < at);
        }
        if (before < k) out[static_cast<size_t>(blockIdx.x) * k + before] = rows[at];
    }
}
