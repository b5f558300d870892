// Tiles of attention in bf16: how they come to shared memory and to registers, their products, and how sums leave.
//
// A warp has M tiles of 16 rows, and meets 16 rows of the other side at a time. Heads have at most C channels; what is
// missing is zero. Rows of shared memory are 16 bytes longer than C channels, so that eight of them lie in different banks.
#pragma once
#include "../common/mma.cuh"
#include "sizes.cuh"

namespace tensor {

enum { EIGHT = 8, SIXTEEN = 16, WARPS = 4 };

template <int C>
struct Row {
    bf16 x[C + EIGHT];
};

template <int C>
struct Stage {
    enum { SPAN = C <= 80 ? 64 : 32 };
    Row<C> rows[2][SPAN];
};

// A lane's place in operands and sums, as mma.cuh describes them.
struct Lane {
    u32 lane, warp, g, t;

    __device__ __forceinline__ Lane()
        : lane(threadIdx.x % WARP), warp(threadIdx.x / WARP), g(lane / 4), t(lane % 4) {}
    // Where a lane finds its row of 16 x 16 elements in shared memory: for operands A and for transposed operands B.
    template <int C>
    __device__ __forceinline__ u32 down(const Row<C>* rows) const {
        return place(rows[lane % SIXTEEN].x + lane / SIXTEEN * EIGHT);
    }
    // For operands B.
    template <int C>
    __device__ __forceinline__ u32 across(const Row<C>* rows) const {
        return place(rows[lane % EIGHT + lane / SIXTEEN * EIGHT].x + lane / EIGHT % 2 * EIGHT);
    }
};

// Writes N elements, or adds them.
template <int N, typename T>
__device__ __forceinline__ void put(T* at, float (&x)[N], bool add) {
    if (add) {
        float before[N];
        load<N>(at, before);
#pragma unroll
        for (int i = 0; i < N; i++) x[i] += before[i];
    }
    store<N>(at, x);
}

// Rows of a head of an image, `stride` elements apart, of which the first n are not there but in `extra`.
struct Source {
    const bf16* rows;
    u32 stride;
};

// Copies `count` rows of each of N sources to shared memory, from row `first` of `end` on and zeros beyond. Rows that do
// not keep 16 bytes aligned are copied element by element.
template <int N, int C>
__device__ __forceinline__ void fill(Row<C>* const (&to)[N], const Source (&from)[N], u32 count, u32 first, u32 end,
                                     const float* extra, u32 n, u32 c) {
    enum { PIECES = C / EIGHT };
    if (c % EIGHT == 0) {
        const u32 step = blockDim.x / PIECES, channel = threadIdx.x % PIECES * EIGHT, at = threadIdx.x / PIECES;
        const u32 filled = channel < c ? end : 0;
        // The last threads may have no whole row.
        if (at >= step) count = 0;
        u32 row = first + at;
#pragma unroll 1
        for (; row < n && row < first + count; row += step) {
            float x[EIGHT] = {};
            if (row < filled) load<EIGHT>(extra + row * c + channel, x);
#pragma unroll
            for (int i = 0; i < N; i++) store<EIGHT>(to[i][row - first].x + channel, x);
        }
#pragma unroll 1
        for (; row < first + count; row += step) {
#pragma unroll
            for (int i = 0; i < N; i++) {
                // Offsets of 32 bits need no arithmetic of 64.
                const char* rows = reinterpret_cast<const char*>(from[i].rows);
                const u32 offset = (row * from[i].stride + channel) * static_cast<u32>(sizeof(bf16));
                copy_16(place(to[i][0].x + channel) + (row - first) * sizeof(Row<C>), rows + offset, row < filled);
            }
        }
    } else {
#pragma unroll 1
        for (u32 at = threadIdx.x; at < count * C; at += blockDim.x) {
            const u32 row = first + at / C, channel = at % C;
            const bool exists = row < end && channel < c;
#pragma unroll
            for (int i = 0; i < N; i++) {
                float x[1] = {};
                if (exists && row < n) load<1>(extra + row * c + channel, x);
                if (exists && row >= n) load<1>(from[i].rows + (row * from[i].stride + channel), x);
                store<1>(to[i][at / C].x + channel, x);
            }
        }
    }
}

// What a block reads, for its head and image.
struct Inputs {
    const bf16* qkv;
    const float* extra;
    Sizes s;

    __device__ __forceinline__ Inputs(const bf16* qkv, const float* extra, Sizes s)
        : qkv(qkv + s.at(QUERY, 0)), extra(extra + static_cast<size_t>(blockIdx.y) * s.n * s.c), s(s) {}
    __device__ __forceinline__ u32 width() const { return s.heads * s.c; }
    __device__ __forceinline__ Source queries() const { return {qkv, 3 * width()}; }
    // A tensor like out.
    __device__ __forceinline__ Source like_out(const bf16* out) const { return {out + s.out_at(0), width()}; }

    // Rows of queries, or of what has one row a query.
    template <int N, int C>
    __device__ __forceinline__ void fill_queries(Row<C>* const (&to)[N], const Source (&from)[N], u32 count, u32 first) const {
        fill(to, from, count, first, s.l, nullptr, 0, s.c);
    }
    // Keys and values, the extra ones before those of qkv.
    template <int C>
    __device__ __forceinline__ void fill_keys(Row<C>* keys, Row<C>* values, u32 count, u32 first) const {
        const u32 stride = 3 * width();
        const bf16* first_key = qkv + KEY * width() - static_cast<size_t>(s.n) * stride;
        fill<2>({keys, values}, {{first_key, stride}, {first_key + width(), stride}}, count, first, s.keys(), extra, s.n,
                s.c);
    }
};

// The rows of a stage from `first` of `end` on, of which 16 are met at a time.
template <int C>
__device__ __forceinline__ u32 span(u32 first, u32 end) {
    const u32 left = (end - first + SIXTEEN - 1) / SIXTEEN * SIXTEEN;
    return left < Stage<C>::SPAN ? left : Stage<C>::SPAN;
}

// M tiles of 16 rows as operands A, all with the sign that scores need for a positive factor.
template <int C, int M>
__device__ __forceinline__ void operands(u32 (&a)[M][C / SIXTEEN][4], u32 at, bool negate) {
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
        for (int k = 0; k < C / SIXTEEN; k++) {
            load_matrices(a[m][k], at + m * SIXTEEN * sizeof(Row<C>) + k * 2 * SIXTEEN);
        }
    }
    if (!negate) return;
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
        for (int k = 0; k < C / SIXTEEN; k++) {
#pragma unroll
            for (int i = 0; i < 4; i++) a[m][k][i] ^= 0x80008000u;
        }
    }
}

// products = A times the transpose of 16 rows.
template <int C, int M>
__device__ __forceinline__ void times_rows(float (&products)[M][2][4], const u32 (&a)[M][C / SIXTEEN][4], u32 rows) {
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
        for (int i = 0; i < 4; i++) products[m][0][i] = products[m][1][i] = 0.0f;
    }
#pragma unroll
    for (int k = 0; k < C / SIXTEEN; k++) {
        u32 b[4];
        load_matrices(b, rows + k * 2 * SIXTEEN);
#pragma unroll
        for (int m = 0; m < M; m++) {
            multiply_add(products[m][0], a[m][k], b[0], b[1]);
            multiply_add(products[m][1], a[m][k], b[2], b[3]);
        }
    }
}

// sums += weights, narrowed, times 16 rows.
template <int C, int M>
__device__ __forceinline__ void add_weighted(float (&sums)[M][C / EIGHT][4], const float (&weights)[M][2][4], u32 rows) {
    u32 a[M][4];
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
        for (int i = 0; i < 4; i++) a[m][i] = narrow(weights[m][i / 2][i % 2 * 2], weights[m][i / 2][i % 2 * 2 + 1]);
    }
#pragma unroll
    for (int k = 0; k < C / SIXTEEN; k++) {
        u32 b[4];
        load_transposed(b, rows + k * 2 * SIXTEEN);
#pragma unroll
        for (int m = 0; m < M; m++) {
            multiply_add(sums[m][2 * k], a[m], b[0], b[1]);
            multiply_add(sums[m][2 * k + 1], a[m], b[2], b[3]);
        }
    }
}

// Gives columns from `left` on a score whose power is 0, and whose product with 0 is.
template <int M>
__device__ __forceinline__ void hide(float (&scores)[M][2][4], const Lane& lane, u32 left) {
#pragma unroll
    for (int i = 0; i < EIGHT; i++) {
        if (i / 4 * EIGHT + 2 * lane.t + i % 2 < left) continue;
#pragma unroll
        for (int m = 0; m < M; m++) scores[m][i / 4][i % 4] = -3e38f;
    }
}

// Over the four lanes of a row.
__device__ __forceinline__ float row_sum(float x) {
    x += __shfl_xor_sync(0xFFFFFFFFu, x, 1);
    return x + __shfl_xor_sync(0xFFFFFFFFu, x, 2);
}

__device__ __forceinline__ float row_max(float x) {
    x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 1));
    return fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 2));
}

// N elements of bf16 that are copied as they are.
template <int N>
struct Bits;
template <>
struct Bits<1> {
    bf16 x;
};
template <>
struct Bits<EIGHT> {
    uint4 x;
};

__device__ __forceinline__ void put(bf16* at, const Bits<1>& one, bool) { *at = one.x; }

// In one access, which the compiler may else take apart.
__device__ __forceinline__ void put(bf16* at, const Bits<EIGHT>& eight, bool) {
    const uint4 x = eight.x;
    asm volatile("st.global.v4.u32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(at)), "r"(x.x), "r"(x.y),
                 "r"(x.z), "r"(x.w)
                 : "memory");
}

// What goes to f32 passes through shared memory as f32.
template <int N>
__device__ __forceinline__ void put(float*, const Bits<N>&, bool) {}

template <int N>
__device__ __forceinline__ void get(const bf16* at, Bits<N>& x) {
    x = *reinterpret_cast<const Bits<N>*>(at);
}

template <int N>
__device__ __forceinline__ void get(const float* at, float (&x)[N]) {
    load<N>(at, x);
}

// What a lane takes of shared memory at once.
template <typename T, int N>
struct Taken;
template <int N>
struct Taken<bf16, N> {
    Bits<N> x;
};
template <int N>
struct Taken<float, N> {
    float x[N];
};

// The first `rows` of a warp's rows in shared memory, of which each has c of C sums and 8 more: put(row, channel, N sums).
template <int N, int C, int M, typename T, typename Put>
__device__ __forceinline__ void put_rows(const Lane& lane, const T* part, u32 rows, u32 c, Put put) {
    const auto take = [&](u32 row, u32 channel) {
        Taken<T, N> taken;
        get<N>(part + row * (C + EIGHT) + channel, taken.x);
        put(row, channel, taken.x);
    };
    rows = rows < M * SIXTEEN ? rows : M * SIXTEEN;
    if constexpr (N == 1) {
#pragma unroll 1
        for (u32 i = lane.lane; i < rows * C; i += WARP) {
            if (i % C < c) take(i / C, i % C);
        }
    } else {
        enum { PIECES = C / N, STEP = WARP / PIECES };
        const u32 channel = lane.lane % PIECES * N;
        // The last lanes may have no whole row.
        if (channel >= c || lane.lane >= STEP * PIECES) rows = 0;
#pragma unroll 1
        for (u32 row = lane.lane / PIECES; row < rows; row += STEP) take(row, channel);
    }
}

// Hands over the first `rows` of a warp's sums, each times the factor of its row: put(row, channel, sums). They pass through the warp's part
// of shared memory as elements T, so that one lane has eight, or where rows are not aligned one.
template <typename T, int C, int M, typename Put>
__device__ __forceinline__ void hand_over(const Lane& lane, void* shared, const float (&sums)[M][C / EIGHT][4],
                                          const float (&factors)[M][2], u32 rows, u32 c, Put put) {
    // A part is as long as it is with elements of f32.
    float* begin = static_cast<float*>(shared) + lane.warp * M * SIXTEEN * (C + EIGHT);
    T* part = reinterpret_cast<T*>(begin);
    T* own = part + lane.g * (C + EIGHT) + 2 * lane.t;
#pragma unroll
    for (int m = 0; m < M; m++) {
#pragma unroll
        for (int j = 0; j < C / EIGHT; j++) {
#pragma unroll
            for (int h = 0; h < 2; h++) {
                const float two[2] = {sums[m][j][2 * h] * factors[m][h], sums[m][j][2 * h + 1] * factors[m][h]};
                store<2>(own + (m * SIXTEEN + h * EIGHT) * (C + EIGHT) + j * EIGHT, two);
            }
        }
    }
    __syncwarp();
    if (c % EIGHT == 0) {
        put_rows<EIGHT, C, M>(lane, part, rows, c, put);
    } else {
        put_rows<1, C, M>(lane, part, rows, c, put);
    }
}

}  // namespace tensor
