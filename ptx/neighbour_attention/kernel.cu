// Attention of queries to their neighbours on the grid of patches, and its gradient.
//
// s[i, j] = q_i . k_j / sqrt(c) for j in N(i), p = softmax of s over N(i), out_i = sum_j p[i, j] v_j. N(0) is all rows, N(i)
// the patches at most one row and one column away on the grid. Backward, from dout: delta_i = dout_i . out_i, ds = p
// (dout_i . v_j - delta_i), dq_i = sum_j ds[i, j] k_j / sqrt(c), dk_j = sum_i ds[i, j] q_i / sqrt(c), dv_j = sum_i p[i, j]
// dout_i. The queries that have a patch among their neighbours are its own neighbours and the class token.
//
// Layout: queries, keys and their gradients are [images l 3 heads c], out is [images l heads c], all f32 or bf16. logs and
// delta are f32 [images heads l]: for each query the binary logarithm of its sum of powers, and the delta above.
//
// Mapping: a warp for each row, in blocks of four; rows are along x, heads along y, images along z. A lane has every 32nd
// channel of the row, at most CHANNELS / 32 of them. Each warp walks over the rows on the other side one by one, sums of
// products go over the warp, and nothing is shared between warps. Sums have an order that depends on the sizes only. Rows
// that lie near each other have the same neighbours, which come from the caches. Bound by the shuffles of the sums.
#include "../common/math.cuh"
#include "../common/reduce.cuh"
#include "../common/vector.cuh"

enum { THREADS = 128, WARPS = THREADS / WARP };
// The thirds of the inputs.
enum { QUERY = 0, KEY = 1, VALUE = 2 };

struct Sizes {
    u32 l, heads, c, grid;

    // The first element of a row of a third, for this block's head and image.
    __device__ __forceinline__ size_t at(u32 third, u32 row) const {
        return ((static_cast<size_t>(blockIdx.z) * l + row) * 3 + third) * heads * c + blockIdx.y * c;
    }
    // The same for out.
    __device__ __forceinline__ size_t out_at(u32 row) const {
        return (static_cast<size_t>(blockIdx.z) * l + row) * heads * c + blockIdx.y * c;
    }
    // The same for what has one number a query.
    __device__ __forceinline__ size_t query_at(u32 row) const {
        return (static_cast<size_t>(blockIdx.z) * heads + blockIdx.y) * l + row;
    }
};

// log2(x) to 2^-22 near 1 and else to 2^-22 of the result (PTX ISA, lg2.approx.ftz).
__device__ __forceinline__ float log2_approx(float x) {
    float y;
    asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
    return y;
}

// This lane's channels of a row; zeros beyond the last.
template <int N>
struct Lanes {
    float x[N];

    __device__ __forceinline__ Lanes() {
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = 0.0f;
    }
    template <typename T>
    __device__ __forceinline__ Lanes(const T* row, u32 c) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            const u32 channel = threadIdx.x % WARP + WARP * i;
            float one[1] = {0.0f};
            if (channel < c) load<1>(row + channel, one);
            x[i] = one[0];
        }
    }
    // The product with another row, in every lane.
    __device__ __forceinline__ float dot(const Lanes& other) const {
        float sum = 0.0f;
#pragma unroll
        for (int i = 0; i < N; i++) sum = fmaf(x[i], other.x[i], sum);
        return warp_sum(sum);
    }
    __device__ __forceinline__ void add(float by, const Lanes& other) {
#pragma unroll
        for (int i = 0; i < N; i++) x[i] = fmaf(by, other.x[i], x[i]);
    }
    // Writes `by` times the row, or adds it.
    template <typename T>
    __device__ __forceinline__ void write(T* row, u32 c, float by, bool adds) const {
#pragma unroll
        for (int i = 0; i < N; i++) {
            const u32 channel = threadIdx.x % WARP + WARP * i;
            if (channel >= c) continue;
            float one[1] = {0.0f};
            if (adds) load<1>(row + channel, one);
            one[0] = fmaf(by, x[i], one[0]);
            store<1>(row + channel, one);
        }
    }
};

__device__ __forceinline__ u32 own_row() { return blockIdx.x * WARPS + threadIdx.x / WARP; }

// Calls each(row) for every neighbour of a query. Those of the class token are one line of all rows.
template <typename Each>
__device__ __forceinline__ void each_neighbour(const Sizes& s, u32 row, Each each) {
    u32 first = 0, end = 1, left = 0, right = s.l;
    if (row > 0) {
        const u32 y = (row - 1) / s.grid, x = (row - 1) % s.grid;
        left = x > 0 ? x - 1 : 0, right = min(x + 2, s.grid);
        const u32 top = y > 0 ? y - 1 : 0;
        first = 1 + top * s.grid, end = 1 + min(y + 2, s.grid) * s.grid;
    }
#pragma unroll 1
    for (; first < end; first += s.grid) {
#pragma unroll 1
        for (u32 at = first + left; at < first + right; at++) each(at);
    }
}

template <int N, typename T>
__device__ __forceinline__ void forward(const T* queries, const T* keys, T* out, float* logs, Sizes s, float scale) {
    const u32 row = own_row();
    if (row >= s.l) return;
    const float factor = scale * 1.44269504088896340736f;
    const Lanes<N> q(queries + s.at(QUERY, row), s.c);
    Lanes<N> sum;
    float most = __uint_as_float(0xFF800000u), total = 0.0f;
    each_neighbour(s, row, [&](u32 j) {
        const Lanes<N> k(keys + s.at(KEY, j), s.c), v(keys + s.at(VALUE, j), s.c);
        const float score = q.dot(k) * factor, largest = fmaxf(most, score);
        const float shrink = exp2_approx(most - largest), power = exp2_approx(score - largest);
        most = largest;
        total = fmaf(total, shrink, power);
#pragma unroll
        for (int i = 0; i < N; i++) sum.x[i] *= shrink;
        sum.add(power, v);
    });
    sum.write(out + s.out_at(row), s.c, 1.0f / total, false);
    if (logs != nullptr && threadIdx.x % WARP == 0) logs[s.query_at(row)] = most + log2_approx(total);
}

// Writes delta, and where they are asked for the gradients of the queries.
template <int N, typename T>
__device__ __forceinline__ void grad_queries(const T* queries, const T* keys, const float* logs, const T* out,
                                             const T* dout, float* delta, T* dqueries, Sizes s, float scale,
                                             bool adds) {
    const u32 row = own_row();
    if (row >= s.l) return;
    const Lanes<N> g(dout + s.out_at(row), s.c), y(out + s.out_at(row), s.c);
    const float mean = g.dot(y);
    if (threadIdx.x % WARP == 0) delta[s.query_at(row)] = mean;
    if (dqueries == nullptr) return;
    const float factor = scale * 1.44269504088896340736f, log = logs[s.query_at(row)];
    const Lanes<N> q(queries + s.at(QUERY, row), s.c);
    Lanes<N> sum;
    each_neighbour(s, row, [&](u32 j) {
        const Lanes<N> k(keys + s.at(KEY, j), s.c), v(keys + s.at(VALUE, j), s.c);
        const float p = exp2_approx(fmaf(q.dot(k), factor, -log));
        sum.add(p * (g.dot(v) - mean), k);
    });
    sum.write(dqueries + s.at(QUERY, row), s.c, scale, adds);
}

// Writes the gradients of keys and values.
template <int N, typename T>
__device__ __forceinline__ void grad_keys(const T* queries, const T* keys, const float* logs, const T* dout,
                                          const float* delta, T* dkeys, Sizes s, float scale, bool adds) {
    const u32 row = own_row();
    if (row >= s.l) return;
    const float factor = scale * 1.44269504088896340736f;
    const Lanes<N> k(keys + s.at(KEY, row), s.c), v(keys + s.at(VALUE, row), s.c);
    Lanes<N> dk, dv;
    const auto each = [&](u32 i) {
        const Lanes<N> q(queries + s.at(QUERY, i), s.c), g(dout + s.out_at(i), s.c);
        const float p = exp2_approx(fmaf(q.dot(k), factor, -logs[s.query_at(i)]));
        dk.add(p * (g.dot(v) - delta[s.query_at(i)]), q);
        dv.add(p, g);
    };
    each(0);
    if (row > 0) each_neighbour(s, row, each);
    dk.write(dkeys + s.at(KEY, row), s.c, scale, adds);
    dv.write(dkeys + s.at(VALUE, row), s.c, 1.0f, adds);
}

// The number of blocks that the last kernel is to have on a multiprocessor leaves it the registers that it needs.
#define ENTRIES(CHANNELS, T, suffix)                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS) neighbour_attention_forward_##CHANNELS##_##suffix( \
        const T* queries, const T* keys, T* out, float* logs, u32 l, u32 heads, u32 c, u32 grid,             \
        float scale) {                                                                                       \
        forward<CHANNELS / WARP>(queries, keys, out, logs, Sizes{l, heads, c, grid}, scale);                 \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS) neighbour_attention_queries_##CHANNELS##_##suffix( \
        const T* queries, const T* keys, const float* logs, const T* out, const T* dout, float* delta,       \
        T* dqueries, u32 l, u32 heads, u32 c, u32 grid, float scale, u32 adds) {                             \
        const Sizes s{l, heads, c, grid};                                                                    \
        grad_queries<CHANNELS / WARP>(queries, keys, logs, out, dout, delta, dqueries, s, scale, adds);      \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS, 512 / CHANNELS)                                    \
        neighbour_attention_keys_##CHANNELS##_##suffix(const T* queries, const T* keys, const float* logs,   \
                                                       const T* dout, const float* delta, T* dkeys, u32 l,   \
                                                       u32 heads, u32 c, u32 grid, float scale, u32 adds) {  \
        const Sizes s{l, heads, c, grid};                                                                    \
        grad_keys<CHANNELS / WARP>(queries, keys, logs, dout, delta, dkeys, s, scale, adds);                 \
    }
ENTRIES(64, float, f32)
ENTRIES(64, bf16, bf16)
ENTRIES(256, float, f32)
ENTRIES(256, bf16, bf16)
