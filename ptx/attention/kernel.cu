// Softmax attention of several heads and its gradient, without a score in global memory.
//
// s[i, j] = f q_i . key_j with f = 1 / (sqrt(c) t), p = softmax of s along j, out_i = sum_j p[i, j] value_j.
// Backward, from dout: delta_i = dout_i . out_i, ds = p (dout_i . value_j - delta_i), dq_i = f sum_j ds[i, j] key_j,
// dkey_j = f sum_i ds[i, j] q_i, dvalue_j = sum_i p[i, j] dout_i, dt = -sum_ij ds[i, j] s[i, j] / t.
//
// Layout: qkv is [images l 3 heads c], out is [images l heads c], both f32 or bf16; keys and values are the n rows of
// extra f32 [heads n c] and then the l rows of qkv. logs and delta are f32 [images heads l]: for each query the binary
// logarithm of its sum of powers, and the delta above. What is not asked for is a null pointer.
//
// In f32 the products are f32 multiply-adds (f32.cuh), in bf16 they run on tensor cores (bf16.cuh): there extra rows are
// rounded to bf16 when they are read, and p and ds before they are multiplied, while sums, softmax and its gradient stay
// f32. Both keep rows of one side in a block and walk over tiles of the other: forward and the gradient of queries keep
// queries and walk over keys, the gradient of keys and values keeps keys and walks over queries. Sums have an order that
// depends on the sizes only.
#include "bf16.cuh"
#include "f32.cuh"

// Heads of C channels at most.
#define FORWARD(C, T, suffix, threads, blocks, call)                                                                \
    extern "C" __global__ void __launch_bounds__(threads, blocks) attention_forward_##C##_##suffix(                  \
        const T* qkv, const float* extra, const float* temperature, T* out, float* logs, float* probabilities,      \
        u32 l, u32 heads, u32 c, u32 n, float scale, u32 class_row) {                                               \
        const Sizes s{l, heads, c, n};                                                                              \
        call;                                                                                                       \
    }
#define QUERIES(C, T, suffix, threads, blocks, call)                                                                \
    extern "C" __global__ void __launch_bounds__(threads, blocks) attention_queries_##C##_##suffix(                  \
        const T* qkv, const float* extra, const float* temperature, const float* logs, const T* out,                \
        const T* dout, float* delta, T* dqkv, float* dtemperature, u32 l, u32 heads, u32 c, u32 n, float scale,     \
        u32 add) {                                                                                                  \
        const Sizes s{l, heads, c, n};                                                                              \
        call;                                                                                                       \
    }
#define KEYS(C, T, suffix, threads, blocks, call)                                                                   \
    extern "C" __global__ void __launch_bounds__(threads, blocks) attention_keys_##C##_##suffix(                     \
        const T* qkv, const float* extra, const float* temperature, const float* logs, const T* dout,               \
        const float* delta, T* dqkv, float* dextra, u32 l, u32 heads, u32 c, u32 n, float scale, u32 add) {         \
        const Sizes s{l, heads, c, n};                                                                              \
        call;                                                                                                       \
    }

// The rows and columns of scores of a thread, forward and backward, which fill 48 KiB.
#define F32(C, ROWS, COLUMNS, BACK_ROWS, BACK_COLUMNS)                                                              \
    FORWARD(C, float, f32, plain::THREADS, 1,                                                                         \
            (plain::forward<C, ROWS, COLUMNS>(plain::Rows{qkv, extra, s}, temperature, out, logs, probabilities, s,     \
                                            scale, class_row)))                                                     \
    QUERIES(C, float, f32, plain::THREADS, 1,                                                                         \
            (plain::grad_queries<C, BACK_ROWS, BACK_COLUMNS>(plain::Rows{qkv, extra, s}, temperature, logs, out, dout,  \
                                                           delta, dqkv, dtemperature, s, scale, add != 0)))         \
    KEYS(C, float, f32, plain::THREADS, 1,                                                                            \
         (plain::grad_keys<C, BACK_ROWS, BACK_COLUMNS>(plain::Rows{qkv, extra, s}, temperature, logs, dout, delta,      \
                                                     dqkv, dextra, s, scale, add != 0)))
F32(64, 4, 4, 2, 4)
F32(128, 2, 2, 1, 2)

// The tiles of 16 rows of a warp in each kernel, and the blocks that a multiprocessor has at once: what registers allow.
#define BF16(C, F_TILES, F_BLOCKS, Q_TILES, Q_BLOCKS, K_TILES, K_BLOCKS)                                            \
    FORWARD(C, bf16, bf16, WARP * tensor::WARPS, F_BLOCKS,                                                          \
            (tensor::forward<C, F_TILES>(tensor::Inputs(qkv, extra, s), temperature, out, logs, probabilities,      \
                                         scale, class_row)))                                                        \
    QUERIES(C, bf16, bf16, WARP * tensor::WARPS, Q_BLOCKS,                                                          \
            (tensor::grad_queries<C, Q_TILES>(tensor::Inputs(qkv, extra, s), temperature, logs, out, dout, delta,   \
                                              dqkv, dtemperature, scale, add != 0)))                                \
    KEYS(C, bf16, bf16, WARP * tensor::WARPS, K_BLOCKS,                                                             \
         (tensor::grad_keys<C, K_TILES>(tensor::Inputs(qkv, extra, s), temperature, logs, dout, delta, dqkv,        \
                                        dextra, scale, add != 0)))
BF16(32, 2, 4, 2, 3, 2, 3)
BF16(64, 2, 3, 2, 2, 2, 2)
BF16(80, 2, 2, 2, 2, 1, 2)
BF16(128, 1, 3, 1, 2, 1, 2)
