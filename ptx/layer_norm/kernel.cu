// Residual add and layer normalisation: r = residual + keep h, n = (r - mean r) s, out = weight n + bias, with
// s = 1 / sqrt(mean (r - mean r)^2 + eps).
// Backward, from dr and dout: with g = weight dout, dsum = dr + s (g - mean g - n mean (g n)), dh = keep dsum, and the
// column sums dweight = sum dout n, dbias = sum dout.
//
// Layout: rows of d columns, l rows an image. h, out, dh and dout are f32 or bf16; residual, r, dr, dsum, weight and
// bias [d] and keep [images] are f32.
// Mapping: a block takes one row at a time with whole warps, a thread N = 4 neighbouring columns, or 1 where d is no
// multiple of 4. A row stays in registers, so that the deviation is taken from the mean. Forward has a block for each
// row. In backward a block takes every gridDim.x-th row and keeps the column sums of its rows in registers; it writes
// them as row blockIdx.x of [blocks d], and a launch of column sums adds those rows. What is not asked for is a null
// pointer. Bound by memory: each operand is moved once.
#include "../common/math.cuh"
#include "../common/reduce.cuh"
#include "../common/vector.cuh"

enum { THREADS = 512 };

template <int N, typename T>
__device__ __forceinline__ void forward(const T* __restrict__ h, const float* __restrict__ residual,
                                        const float* __restrict__ weight, const float* __restrict__ bias,
                                        const float* __restrict__ keep, float* __restrict__ sum,
                                        T* __restrict__ out, u32 l, u32 d, float eps) {
    // There are two sets, since a warp that is done with one sum may start the next while others still read.
    __shared__ float shared[2][THREADS / WARP][1];
    const u32 column = threadIdx.x * N;
    const bool inside = column < d;
    const size_t at = static_cast<size_t>(blockIdx.x) * d + column;
    float v[N] = {}, total[1] = {0.0f};
    if (inside) {
        float r[N] = {};
        load<N>(h + at, v);
        if (residual != nullptr) load<N>(residual + at, r);
        const float factor = keep != nullptr ? keep[blockIdx.x / l] : 1.0f;
#pragma unroll
        for (int i = 0; i < N; i++) {
            v[i] = fmaf(factor, v[i], r[i]);
            total[0] += v[i];
        }
        if (sum != nullptr) store<N>(sum + at, v);
    }
    block_sum(total, shared[0]);
    const float mean = total[0] / d;
    float squares[1] = {0.0f};
    if (inside) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            v[i] -= mean;
            squares[0] = fmaf(v[i], v[i], squares[0]);
        }
    }
    block_sum(squares, shared[1]);
    if (inside) {
        const float inverse = inverse_root(squares[0] / d + eps);
        float w[N], b[N];
        load<N>(weight + column, w);
        load<N>(bias + column, b);
#pragma unroll
        for (int i = 0; i < N; i++) v[i] = fmaf(v[i] * inverse, w[i], b[i]);
        store<N>(out + at, v);
    }
}

// What the backward pass writes; null where it is not asked for.
template <typename T>
struct Grads {
    float* dsum;
    T* dh;
    // A row for each block.
    float *dweight, *dbias;
};

template <int N, typename T>
__device__ __forceinline__ void backward(const float* __restrict__ sum, const float* __restrict__ dresidual,
                                         const T* __restrict__ dout, const float* __restrict__ weight,
                                         const float* __restrict__ keep, Grads<T> grads, u32 rows, u32 l, u32 d,
                                         float eps) {
    // There are two sets of each, since a warp that is done with one row may start the next while others still read.
    __shared__ float totals[2][THREADS / WARP][1], products[2][THREADS / WARP][3];
    const u32 column = threadIdx.x * N;
    const bool inside = column < d;
    float w[N] = {}, dweight[N] = {}, dbias[N] = {};
    if (inside && weight != nullptr) load<N>(weight + column, w);
    u32 set = 0;
    for (u32 row = blockIdx.x; row < rows; row += gridDim.x) {
        const size_t at = static_cast<size_t>(row) * d + column;
        float g[N] = {}, v[N] = {}, dy[N] = {};
        if (inside) {
            if (dresidual != nullptr) load<N>(dresidual + at, g);
            if (dout != nullptr) load<N>(sum + at, v), load<N>(dout + at, dy);
        }
        if (dout != nullptr) {
            float total[1] = {0.0f};
#pragma unroll
            for (int i = 0; i < N; i++) total[0] += v[i];
            block_sum(total, totals[set]);
            const float mean = total[0] / d;
            // Squares, g, and g times the distance from the mean.
            float sums[3] = {0.0f, 0.0f, 0.0f};
            if (inside) {
#pragma unroll
                for (int i = 0; i < N; i++) {
                    v[i] -= mean;
                    sums[0] = fmaf(v[i], v[i], sums[0]);
                    sums[1] = fmaf(w[i], dy[i], sums[1]);
                    sums[2] = fmaf(v[i], w[i] * dy[i], sums[2]);
                }
            }
            block_sum(sums, products[set]);
            set ^= 1;
            const float inverse = inverse_root(sums[0] / d + eps);
            const float plain = sums[1] / d, along = inverse * inverse * (sums[2] / d);
#pragma unroll
            for (int i = 0; i < N; i++) {
                g[i] = fmaf(inverse, fmaf(-along, v[i], fmaf(w[i], dy[i], -plain)), g[i]);
                dweight[i] = fmaf(dy[i] * inverse, v[i], dweight[i]);
                dbias[i] += dy[i];
            }
        }
        if (!inside) continue;
        if (grads.dsum != nullptr) store<N>(grads.dsum + at, g);
        const float factor = keep != nullptr ? keep[row / l] : 1.0f;
#pragma unroll
        for (int i = 0; i < N; i++) g[i] *= factor;
        if (grads.dh != nullptr) store<N>(grads.dh + at, g);
    }
    if (inside) {
        const size_t at = static_cast<size_t>(blockIdx.x) * d + column;
        if (grads.dweight != nullptr) store<N>(grads.dweight + at, dweight);
        if (grads.dbias != nullptr) store<N>(grads.dbias + at, dbias);
    }
}

#define ENTRIES(T, suffix)                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS) layer_norm_forward_##suffix(                           \
        const T* h, const float* residual, const float* weight, const float* bias, const float* keep,            \
        float* sum, T* out, u32 l, u32 d, float eps) {                                                           \
        if (d % 4 == 0) {                                                                                        \
            forward<4>(h, residual, weight, bias, keep, sum, out, l, d, eps);                                    \
        } else {                                                                                                 \
            forward<1>(h, residual, weight, bias, keep, sum, out, l, d, eps);                                    \
        }                                                                                                        \
    }                                                                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS) layer_norm_backward_##suffix(                          \
        const float* sum, const float* dresidual, const T* dout, const float* weight, const float* keep,         \
        float* dsum, T* dh, float* dweight, float* dbias, u32 rows, u32 l, u32 d, float eps) {                   \
        const Grads<T> grads{dsum, dh, dweight, dbias};                                                          \
        if (d % 4 == 0) {                                                                                        \
            backward<4>(sum, dresidual, dout, weight, keep, grads, rows, l, d, eps);                             \
        } else {                                                                                                 \
            backward<1>(sum, dresidual, dout, weight, keep, grads, rows, l, d, eps);                             \
        }                                                                                                        \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
