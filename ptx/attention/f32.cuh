// The kernels of attention in f32, whose products are f32 multiply-adds; kernel.cu describes what they compute.
//
// Mapping: blocks of 128 threads; tiles of rows are along x, heads along y, images along z. A block keeps the rows of
// one tile in shared memory and walks over the tiles of the other side: forward and the gradient of queries keep
// queries and walk over keys, the gradient of keys and values keeps keys and walks over queries. Of a tile of scores a
// thread has ROWS rows, from y ROWS on, and every eighth column from x on, with x = thread % 8 and y = thread / 8; of a
// tile of channels the same rows and of every 32 channels four neighbours. A row of scores lies in eight neighbouring
// lanes, so the softmax needs no barrier. Heads have at most C channels; what is missing is zero.
//
// The forward pass keeps the largest score of a row so far, and scales what it has when that grows. Bound by the products.
#pragma once
#include "sizes.cuh"

namespace plain {

enum { THREADS = 128, ACROSS = 8, DOWN = THREADS / ACROSS };

// TILE rows of C channels in shared memory. Rows are 16 bytes longer, so that eight of them lie in different
// banks.
template <int TILE, int C>
struct Tile {
    float x[TILE][C + 4];
};

// Four channels of a row, of which `left` are there.
__device__ __forceinline__ float4 four(const float* at, bool aligned, u32 left) {
    float v[4] = {};
    if (aligned) {
        load<4>(at, v);
    } else {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            float one[1] = {};
            if (i < left) load<1>(at + i, one);
            v[i] = one[0];
        }
    }
    return make_float4(v[0], v[1], v[2], v[3]);
}

// Fills a tile with rows first .. of `end`, zeros beyond. `row_at(row, channel)` reads four channels of a row.
template <int TILE, int C, typename RowAt>
__device__ __forceinline__ void fill(Tile<TILE, C>& tile, u32 first, u32 end, u32 c, RowAt row_at) {
#pragma unroll 1
    for (u32 i = threadIdx.x; i < TILE * (C / 4); i += THREADS) {
        const u32 row = i / (C / 4), channel = i % (C / 4) * 4;
        float4 v = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
        if (first + row < end && channel < c) v = row_at(first + row, channel);
        *reinterpret_cast<float4*>(&tile.x[row][channel]) = v;
    }
}

// What a block reads: rows of qkv, of the extra rows and of tensors like out.
struct Rows {
    const float* qkv;
    const float* extra;
    Sizes s;

    template <int TILE, int C>
    __device__ __forceinline__ void queries(Tile<TILE, C>& tile, u32 first) const {
        const Rows r = *this;
        fill(tile, first, s.l, s.c, [=](u32 row, u32 channel) {
            return four(r.qkv + r.s.at(QUERY, row) + channel, r.s.c % 4 == 0, r.s.c - channel);
        });
    }
    // Keys or values, the extra ones before those of qkv.
    template <int TILE, int C>
    __device__ __forceinline__ void keys(Tile<TILE, C>& tile, u32 third, u32 first) const {
        const Rows r = *this;
        fill(tile, first, s.keys(), s.c, [=](u32 row, u32 channel) {
            const bool aligned = r.s.c % 4 == 0;
            if (row < r.s.n) {
                const float* at = r.extra + (static_cast<size_t>(blockIdx.y) * r.s.n + row) * r.s.c + channel;
                return four(at, aligned, r.s.c - channel);
            }
            return four(r.qkv + r.s.at(third, row - r.s.n) + channel, aligned, r.s.c - channel);
        });
    }
    // Rows of a tensor like out.
    template <int TILE, int C>
    __device__ __forceinline__ void outs(Tile<TILE, C>& tile, const float* out, u32 first) const {
        const Sizes sizes = s;
        fill(tile, first, s.l, s.c, [=](u32 row, u32 channel) {
            return four(out + sizes.out_at(row) + channel, sizes.c % 4 == 0, sizes.c - channel);
        });
    }
};

// products[r][j] = row (y ROWS + r) of a times row (x + 8 j) of b, over c channels.
template <int ROWS, int COLUMNS, int A, int B, int C>
__device__ __forceinline__ void multiply(const Tile<A, C>& a, const Tile<B, C>& b, u32 c,
                                         float (&products)[ROWS][COLUMNS]) {
    const u32 x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) products[r][j] = 0.0f;
    }
#pragma unroll 1
    for (u32 k = 0; k < c; k += 4) {
        float4 left[ROWS], right[COLUMNS];
#pragma unroll
        for (int r = 0; r < ROWS; r++) left[r] = *reinterpret_cast<const float4*>(&a.x[y * ROWS + r][k]);
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) right[j] = *reinterpret_cast<const float4*>(&b.x[x + ACROSS * j][k]);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                float sum = products[r][j];
                sum = fmaf(left[r].x, right[j].x, sum);
                sum = fmaf(left[r].y, right[j].y, sum);
                sum = fmaf(left[r].z, right[j].z, sum);
                products[r][j] = fmaf(left[r].w, right[j].w, sum);
            }
        }
    }
}

// sums[r] += row (y ROWS + r) of weights times the rows of b.
template <int ROWS, int GROUPS, int A, int B, int C>
__device__ __forceinline__ void accumulate(const Tile<A, B>& weights, const Tile<B, C>& b,
                                           float4 (&sums)[ROWS][GROUPS]) {
    const u32 x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS;
#pragma unroll 1
    for (u32 j = 0; j < B; j += 4) {
        float w[ROWS][4];
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const float4 four = *reinterpret_cast<const float4*>(&weights.x[y * ROWS + r][j]);
            w[r][0] = four.x, w[r][1] = four.y, w[r][2] = four.z, w[r][3] = four.w;
        }
#pragma unroll
        for (int i = 0; i < 4; i++) {
#pragma unroll
            for (int g = 0; g < GROUPS; g++) {
                const float4 v = *reinterpret_cast<const float4*>(&b.x[j + i][(x + ACROSS * g) * 4]);
#pragma unroll
                for (int r = 0; r < ROWS; r++) {
                    sums[r][g].x = fmaf(w[r][i], v.x, sums[r][g].x);
                    sums[r][g].y = fmaf(w[r][i], v.y, sums[r][g].y);
                    sums[r][g].z = fmaf(w[r][i], v.z, sums[r][g].z);
                    sums[r][g].w = fmaf(w[r][i], v.w, sums[r][g].w);
                }
            }
        }
    }
}

// Over the eight lanes of a row.
__device__ __forceinline__ float row_sum(float x) {
#pragma unroll
    for (int step = ACROSS / 2; step > 0; step /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, step);
    return x;
}

__device__ __forceinline__ float row_max(float x) {
#pragma unroll
    for (int step = ACROSS / 2; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, step));
    return x;
}

// Writes this thread's channels of a row, or adds them.
template <int GROUPS>
__device__ __forceinline__ void write(float* at, const float4 (&v)[GROUPS], float factor, u32 c, bool add) {
    const u32 x = threadIdx.x % ACROSS;
#pragma unroll
    for (int g = 0; g < GROUPS; g++) {
        const u32 channel = (x + ACROSS * g) * 4;
        float four[4] = {v[g].x * factor, v[g].y * factor, v[g].z * factor, v[g].w * factor};
        if (channel < c && c % 4 == 0) {
            if (add) {
                float before[4];
                load<4>(at + channel, before);
#pragma unroll
                for (int i = 0; i < 4; i++) four[i] += before[i];
            }
            store<4>(at + channel, four);
        } else {
#pragma unroll
            for (int i = 0; i < 4; i++) {
                if (channel + i >= c) continue;
                float one[1] = {four[i]};
                if (add) {
                    float before[1];
                    load<1>(at + channel + i, before);
                    one[0] += before[0];
                }
                store<1>(at + channel + i, one);
            }
        }
    }
}

template <int C, int ROWS, int COLUMNS>
__device__ __forceinline__ void forward(Rows rows, const float* temperature, float* out, float* logs,
                                        float* probabilities, Sizes s, float scale, u32 class_row) {
    enum { QUERIES = ROWS * DOWN, KEYS = COLUMNS * ACROSS, GROUPS = C / (4 * ACROSS) };
    __shared__ Tile<QUERIES, C> q;
    __shared__ Tile<KEYS, C> k, v;
    __shared__ Tile<QUERIES, KEYS> p;
    const u32 x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS, first = blockIdx.x * QUERIES;
    const float factor = binary_factor(scale, temperature);
    float4 sums[ROWS][GROUPS];
    float most[ROWS], total[ROWS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        most[r] = negative_infinity(), total[r] = 0.0f;
#pragma unroll
        for (int g = 0; g < GROUPS; g++) sums[r][g] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    rows.queries(q, first);
    for (u32 key = 0; key < s.keys(); key += KEYS) {
        // The tiles of the step before are read no more.
        __syncthreads();
        rows.keys(k, KEY, key);
        rows.keys(v, VALUE, key);
        __syncthreads();
        float scores[ROWS][COLUMNS];
        multiply(q, k, s.c, scores);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            float largest = most[r];
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                scores[r][j] = key + x + ACROSS * j < s.keys() ? scores[r][j] * factor : negative_infinity();
                largest = fmaxf(largest, scores[r][j]);
            }
            largest = row_max(largest);
            const float shrink = exp2_approx(most[r] - largest);
            most[r] = largest;
            float sum = 0.0f;
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                const float power = exp2_approx(scores[r][j] - largest);
                sum += power;
                p.x[y * ROWS + r][x + ACROSS * j] = power;
            }
            total[r] = fmaf(total[r], shrink, sum);
#pragma unroll
            for (int g = 0; g < GROUPS; g++) {
                sums[r][g].x *= shrink, sums[r][g].y *= shrink, sums[r][g].z *= shrink, sums[r][g].w *= shrink;
            }
        }
        // The eight lanes that wrote a row of p are those that read it.
        __syncwarp();
        accumulate(p, v, sums);
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const u32 row = first + y * ROWS + r;
        const float sum = row_sum(total[r]);
        const float log = most[r] + log2_approx(sum);
        if (row >= s.l) continue;
        write(out + s.out_at(row), sums[r], 1.0f / sum, s.c, false);
        if (logs != nullptr && x == 0) logs[s.query_at(row)] = log;
        if (probabilities == nullptr || row != class_row) continue;
        // The eight lanes of the class row walk over the keys once more.
        float* to = probabilities + (static_cast<size_t>(blockIdx.z) * s.heads + blockIdx.y) * s.keys();
#pragma unroll 1
        for (u32 key = x; key < s.keys(); key += ACROSS) {
            float score = 0.0f;
#pragma unroll 1
            for (u32 i = 0; i < s.c; i++) {
                float one[1];
                if (key < s.n) {
                    one[0] = rows.extra[(static_cast<size_t>(blockIdx.y) * s.n + key) * s.c + i];
                } else {
                    load<1>(rows.qkv + s.at(KEY, key - s.n) + i, one);
                }
                score = fmaf(q.x[y * ROWS + r][i], one[0], score);
            }
            to[key] = exp2_approx(fmaf(score, factor, -log));
        }
    }
}

// Writes delta, and where they are asked for the gradients of the queries and for each block its part of
// sum_ij ds[i, j] s[i, j].
template <int C, int ROWS, int COLUMNS>
__device__ __forceinline__ void grad_queries(Rows rows, const float* temperature, const float* logs, const float* out,
                                             const float* dout, float* delta, float* dqkv, float* dtemperature, Sizes s,
                                             float scale, bool add) {
    enum { QUERIES = ROWS * DOWN, KEYS = COLUMNS * ACROSS, GROUPS = C / (4 * ACROSS) };
    __shared__ Tile<QUERIES, C> q, g;
    __shared__ Tile<KEYS, C> k, v;
    __shared__ Tile<QUERIES, KEYS> ds;
    __shared__ float shared[THREADS / WARP][1];
    const u32 x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS, first = blockIdx.x * QUERIES;
    const float factor = binary_factor(scale, temperature);
    rows.queries(q, first);
    rows.outs(g, dout, first);
    __syncthreads();
    float4 sums[ROWS][GROUPS];
    float log[ROWS], mean[ROWS], along[1] = {0.0f};
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const u32 row = first + y * ROWS + r;
        log[r] = row < s.l ? logs[s.query_at(row)] : 0.0f;
        float sum = 0.0f;
        if (row < s.l) {
            for (u32 i = x; i < s.c; i += ACROSS) {
                float one[1];
                load<1>(out + s.out_at(row) + i, one);
                sum = fmaf(one[0], g.x[y * ROWS + r][i], sum);
            }
        }
        mean[r] = row_sum(sum);
        if (row < s.l && x == 0) delta[s.query_at(row)] = mean[r];
#pragma unroll
        for (int i = 0; i < GROUPS; i++) sums[r][i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    if (dqkv == nullptr && dtemperature == nullptr) return;
    for (u32 key = 0; key < s.keys(); key += KEYS) {
        __syncthreads();
        rows.keys(k, KEY, key);
        rows.keys(v, VALUE, key);
        __syncthreads();
        float scores[ROWS][COLUMNS], dp[ROWS][COLUMNS];
        multiply(q, k, s.c, scores);
        multiply(g, v, s.c, dp);
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
#pragma unroll
            for (int j = 0; j < COLUMNS; j++) {
                const bool there = key + x + ACROSS * j < s.keys() && first + y * ROWS + r < s.l;
                const float score = scores[r][j] * factor;
                const float d = there ? exp2_approx(score - log[r]) * (dp[r][j] - mean[r]) : 0.0f;
                along[0] = fmaf(d, score, along[0]);
                ds.x[y * ROWS + r][x + ACROSS * j] = d;
            }
        }
        __syncwarp();
        if (dqkv != nullptr) accumulate(ds, k, sums);
    }
    if (dqkv != nullptr) {
        const float ln_2 = 0.69314718055994530942f;
#pragma unroll
        for (int r = 0; r < ROWS; r++) {
            const u32 row = first + y * ROWS + r;
            if (row < s.l) write(dqkv + s.at(QUERY, row), sums[r], factor * ln_2, s.c, add);
        }
    }
    if (dtemperature != nullptr) {
        block_sum(along, shared);
        if (threadIdx.x == 0) {
            const float ln_2 = 0.69314718055994530942f;
            const u32 block = (blockIdx.z * gridDim.y + blockIdx.y) * gridDim.x + blockIdx.x;
            dtemperature[block] = -along[0] * ln_2 / *temperature;
        }
    }
}

// Writes the gradients of the keys and values of qkv, and those of the extra rows for this image, dextra [images heads n
// c], both where they are asked for.
template <int C, int ROWS, int COLUMNS>
__device__ __forceinline__ void grad_keys(Rows rows, const float* temperature, const float* logs, const float* dout,
                                          const float* delta, float* dqkv, float* dextra, Sizes s, float scale, bool add) {
    enum { KEYS = ROWS * DOWN, QUERIES = COLUMNS * ACROSS, GROUPS = C / (4 * ACROSS) };
    __shared__ Tile<KEYS, C> k, v;
    __shared__ Tile<QUERIES, C> q, g;
    __shared__ Tile<KEYS, QUERIES> p, ds;
    const u32 x = threadIdx.x % ACROSS, y = threadIdx.x / ACROSS, first = blockIdx.x * KEYS;
    const float factor = binary_factor(scale, temperature);
    rows.keys(k, KEY, first);
    rows.keys(v, VALUE, first);
    float4 dk[ROWS][GROUPS], dv[ROWS][GROUPS];
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
#pragma unroll
        for (int i = 0; i < GROUPS; i++) dk[r][i] = dv[r][i] = make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    for (u32 query = 0; query < s.l; query += QUERIES) {
        __syncthreads();
        rows.queries(q, query);
        rows.outs(g, dout, query);
        __syncthreads();
        float scores[ROWS][COLUMNS], dp[ROWS][COLUMNS];
        multiply(k, q, s.c, scores);
        multiply(v, g, s.c, dp);
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) {
            const u32 row = query + x + ACROSS * j;
            const bool there = row < s.l;
            const float log = there ? logs[s.query_at(row)] : 0.0f;
            const float mean = there ? delta[s.query_at(row)] : 0.0f;
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                const float power = there ? exp2_approx(fmaf(scores[r][j], factor, -log)) : 0.0f;
                p.x[y * ROWS + r][x + ACROSS * j] = power;
                ds.x[y * ROWS + r][x + ACROSS * j] = power * (dp[r][j] - mean);
            }
        }
        __syncwarp();
        accumulate(p, g, dv);
        accumulate(ds, q, dk);
    }
    const float ln_2 = 0.69314718055994530942f;
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
        const u32 key = first + y * ROWS + r;
        if (key >= s.keys()) continue;
        if (key >= s.n) {
            if (dqkv == nullptr) continue;
            write(dqkv + s.at(KEY, key - s.n), dk[r], factor * ln_2, s.c, add);
            write(dqkv + s.at(VALUE, key - s.n), dv[r], 1.0f, s.c, add);
        } else if (dextra != nullptr) {
#pragma unroll
            for (int i = 0; i < GROUPS; i++) {
                const float by = factor * ln_2;
                dv[r][i].x = fmaf(dk[r][i].x, by, dv[r][i].x), dv[r][i].y = fmaf(dk[r][i].y, by, dv[r][i].y);
                dv[r][i].z = fmaf(dk[r][i].z, by, dv[r][i].z), dv[r][i].w = fmaf(dk[r][i].w, by, dv[r][i].w);
            }
            const size_t head = static_cast<size_t>(blockIdx.z) * s.heads + blockIdx.y;
            write(dextra + (head * s.n + key) * s.c, dv[r], 1.0f, s.c, false);
        }
    }
}

}  // namespace plain
