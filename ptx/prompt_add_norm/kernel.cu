// Prompt add, residual add and RMSNorm: with g = s_1 silu(q_1 + c_1) + s_2 silu(q_2 + c_2), which is zero in row
// `skip`, r = residual + keep (h + g), out = weight r / rms, rms = sqrt(mean r^2 + 1e-5).
// Backward, from dr and dout: dsum = dr + weight dout / rms - r mean(r weight dout) / rms^3, dh = keep dsum,
// dq = keep dsum s silu'(q + c), and the column sums dc = sum dq, ds = sum keep dsum silu(q + c),
// dweight = sum dout r / rms.
//
// Layout: rows [b l] of d columns. h, q and out are f32 or bf16; residual, r, dr, dsum, weight, scales s and biases c
// [d] and keep [b] are f32.
// Mapping: a block takes one row at a time with whole warps, a thread N = 4 neighbouring columns, or 1 where d is no
// multiple of 4. Forward has a block for each row. In backward a block takes every gridDim.x-th row and keeps the
// column sums of its rows in registers; it writes them as row blockIdx.x of [blocks d], and a launch of column sums
// adds those rows. What is not asked for is a null pointer. Bound by memory: each operand is moved once.
#include "../common/math.cuh"
#include "../common/reduce.cuh"
#include "../common/vector.cuh"

enum { THREADS = 512, PROMPTS = 2 };

template <typename T>
struct Prompts {
    const T* generated[PROMPTS];
    const float *bias[PROMPTS], *scale[PROMPTS];

    // The prompts at element `at`, or zeros where a prompt is absent or not added. All loads of a row come before any
    // use, so that they overlap.
    template <int N>
    __device__ __forceinline__ void load(size_t at, bool added, float (&q)[PROMPTS][N]) const {
#pragma unroll
        for (int p = 0; p < PROMPTS; p++) {
#pragma unroll
            for (int i = 0; i < N; i++) q[p][i] = 0.0f;
            if (generated[p] != nullptr && added) ::load<N>(generated[p] + at, q[p]);
        }
    }

    // Bias and scale of prompt p, or zeros where it is absent or not added.
    template <int N>
    __device__ __forceinline__ void load_affine(int p, u32 column, bool added, float (&c)[N], float (&s)[N]) const {
#pragma unroll
        for (int i = 0; i < N; i++) c[i] = s[i] = 0.0f;
        if (generated[p] != nullptr && added) ::load<N>(bias[p] + column, c), ::load<N>(scale[p] + column, s);
    }
};

struct Sizes {
    u32 rows, l, d, skip;
};

__device__ __forceinline__ float inverse_rms(float squares, u32 d) { return inverse_root(squares / d + 1e-5f); }

template <int N, typename T>
__device__ __forceinline__ void forward(const T* __restrict__ h, const float* __restrict__ residual,
                                        Prompts<T> prompts, const float* __restrict__ weight,
                                        const float* __restrict__ keep, float* __restrict__ sum,
                                        T* __restrict__ out, Sizes s) {
    __shared__ float shared[THREADS / WARP][1];
    const u32 column = threadIdx.x * N;
    const size_t at = static_cast<size_t>(blockIdx.x) * s.d + column;
    float v[N] = {}, squares[1] = {0.0f};
    if (column < s.d) {
        float q[PROMPTS][N], bias[PROMPTS][N], scale[PROMPTS][N], r[N] = {};
        load<N>(h + at, v);
        const bool added = blockIdx.x % s.l != s.skip;
        prompts.load(at, added, q);
#pragma unroll
        for (int p = 0; p < PROMPTS; p++) prompts.load_affine(p, column, added, bias[p], scale[p]);
        if (residual != nullptr) load<N>(residual + at, r);
        const float factor = keep != nullptr ? keep[blockIdx.x / s.l] : 1.0f;
#pragma unroll
        for (int i = 0; i < N; i++) {
#pragma unroll
            for (int p = 0; p < PROMPTS; p++) v[i] = fmaf(scale[p][i], silu(q[p][i] + bias[p][i]), v[i]);
            v[i] = fmaf(factor, v[i], r[i]);
            squares[0] = fmaf(v[i], v[i], squares[0]);
        }
        store<N>(sum + at, v);
    }
    block_sum(squares, shared);
    if (column < s.d) {
        const float scale = inverse_rms(squares[0], s.d);
        float w[N];
        load<N>(weight + column, w);
#pragma unroll
        for (int i = 0; i < N; i++) v[i] = v[i] * scale * w[i];
        store<N>(out + at, v);
    }
}

// What the backward pass writes; null where it is not asked for.
template <typename T>
struct Grads {
    float* dsum;
    T *dh, *dgenerated[PROMPTS];
    // A row for each block.
    float *dweight, *dbias[PROMPTS], *dscale[PROMPTS];
    // Whether the prompts' gradients are added to.
    u32 accumulate[PROMPTS];
};

template <int N, typename T>
__device__ __forceinline__ void backward(const float* __restrict__ sum, const float* __restrict__ dresidual,
                                         const T* __restrict__ dout, Prompts<T> prompts,
                                         const float* __restrict__ weight, const float* __restrict__ keep,
                                         Grads<T> grads, Sizes s) {
    // There are two sets, since a warp that is done with one row may start the next while others still read.
    __shared__ float shared[2][THREADS / WARP][2];
    const u32 column = threadIdx.x * N;
    const bool inside = column < s.d;
    float w[N] = {}, dweight[N] = {}, dbias[PROMPTS][N] = {}, dscale[PROMPTS][N] = {};
    if (inside) load<N>(weight + column, w);
    u32 set = 0;
    for (u32 row = blockIdx.x; row < s.rows; row += gridDim.x) {
        const size_t at = static_cast<size_t>(row) * s.d + column;
        const bool added = row % s.l != s.skip;
        float g[N] = {}, r[N] = {}, d[N] = {}, q[PROMPTS][N] = {};
        if (inside) {
            if (dresidual != nullptr) load<N>(dresidual + at, g);
            if (dout != nullptr) load<N>(sum + at, r), load<N>(dout + at, d);
            prompts.load(at, added, q);
        }
        if (dout != nullptr) {
            float sums[2] = {0.0f, 0.0f};
#pragma unroll
            for (int i = 0; i < N; i++) {
                sums[0] = fmaf(r[i], r[i], sums[0]);
                sums[1] = fmaf(r[i], w[i] * d[i], sums[1]);
            }
            block_sum(sums, shared[set]);
            set ^= 1;
            const float inverse = inverse_rms(sums[0], s.d);
            const float along = inverse * inverse * inverse * (sums[1] / s.d);
#pragma unroll
            for (int i = 0; i < N; i++) {
                g[i] += fmaf(inverse, w[i] * d[i], -along * r[i]);
                dweight[i] = fmaf(d[i] * inverse, r[i], dweight[i]);
            }
        }
        if (!inside) continue;
        if (grads.dsum != nullptr) store<N>(grads.dsum + at, g);
        const float factor = keep != nullptr ? keep[row / s.l] : 1.0f;
#pragma unroll
        for (int i = 0; i < N; i++) g[i] *= factor;
        if (grads.dh != nullptr) store<N>(grads.dh + at, g);
#pragma unroll
        for (int p = 0; p < PROMPTS; p++) {
            if (prompts.generated[p] == nullptr) continue;
            float bias[N], scale[N], dq[N] = {};
            prompts.load_affine(p, column, added, bias, scale);
            if (grads.dgenerated[p] != nullptr && grads.accumulate[p]) load<N>(grads.dgenerated[p] + at, dq);
#pragma unroll
            for (int i = 0; i < N; i++) {
                float y;
                const float through = g[i] * scale[i] * silu_slope(q[p][i] + bias[i], y);
                dq[i] += through;
                dbias[p][i] += through;
                dscale[p][i] = fmaf(g[i], y, dscale[p][i]);
            }
            if (grads.dgenerated[p] != nullptr) store<N>(grads.dgenerated[p] + at, dq);
        }
    }
    if (inside) {
        const size_t at = static_cast<size_t>(blockIdx.x) * s.d + column;
        if (grads.dweight != nullptr) store<N>(grads.dweight + at, dweight);
#pragma unroll
        for (int p = 0; p < PROMPTS; p++) {
            if (grads.dbias[p] != nullptr) store<N>(grads.dbias[p] + at, dbias[p]);
            if (grads.dscale[p] != nullptr) store<N>(grads.dscale[p] + at, dscale[p]);
        }
    }
}

// Backward asks for one resident block of the largest size. Without that ptxas aims at two blocks, and spills.
#define ENTRIES(T, suffix)                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS) prompt_add_norm_forward_##suffix(                      \
        const T* h, const float* residual, const T* q_1, const float* c_1, const float* s_1, const T* q_2,       \
        const float* c_2, const float* s_2, const float* weight, const float* keep, float* sum, T* out, u32 l,   \
        u32 d, u32 skip) {                                                                                       \
        const Prompts<T> prompts{{q_1, q_2}, {c_1, c_2}, {s_1, s_2}};                                            \
        const Sizes sizes{gridDim.x, l, d, skip};                                                                \
        if (d % 4 == 0) {                                                                                        \
            forward<4>(h, residual, prompts, weight, keep, sum, out, sizes);                                     \
        } else {                                                                                                 \
            forward<1>(h, residual, prompts, weight, keep, sum, out, sizes);                                     \
        }                                                                                                        \
    }                                                                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS, 1) prompt_add_norm_backward_##suffix(                  \
        const float* sum, const float* dresidual, const T* dout, const T* q_1, const float* c_1,                 \
        const float* s_1, const T* q_2, const float* c_2, const float* s_2, const float* weight,                 \
        const float* keep, float* dsum, T* dh, T* dq_1, T* dq_2, float* dweight, float* dc_1, float* ds_1,       \
        float* dc_2, float* ds_2, u32 rows, u32 l, u32 d, u32 skip, u32 add_1, u32 add_2) {                      \
        const Prompts<T> prompts{{q_1, q_2}, {c_1, c_2}, {s_1, s_2}};                                            \
        const Grads<T> grads{dsum, dh, {dq_1, dq_2}, dweight, {dc_1, dc_2}, {ds_1, ds_2}, {add_1, add_2}};       \
        const Sizes sizes{rows, l, d, skip};                                                                     \
        if (d % 4 == 0) {                                                                                        \
            backward<4>(sum, dresidual, dout, prompts, weight, keep, grads, sizes);                              \
        } else {                                                                                                 \
            backward<1>(sum, dresidual, dout, prompts, weight, keep, grads, sizes);                              \
        }                                                                                                        \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
