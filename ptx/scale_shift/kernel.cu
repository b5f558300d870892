// A scale and a shift of every channel, y[r, c] = scale[c] x[r, c] + shift[c], and the sums of its gradient.
//
// Layout: x and y are [rows d] in f32 or bf16; scale and shift are f32 [d], and a null shift stands for zeros.
//
// Forward, which with dy for x and no shift is also the gradient of x: a thread takes 16 bytes of y where d is a
// multiple of that, else one element; blocks have 256 threads. y is added to where that is asked for. Bound by memory:
// x is read and y written once.
//
// Products: out[p, c] = sum of dy[r, c] x[r, c] over the rows r of part p. A block of 32 x 32 threads sums 32 columns of
// one part; blocks of columns are along x, parts along y. The lanes of a warp take neighbouring columns, each warp
// every 32nd row, and the 32 partial sums of a column meet in shared memory. The order depends on the sizes only.
// Bound by memory: dy and x are read once.
#include "../common/reduce.cuh"
#include "../common/runs.cuh"

enum { THREADS = 256 };

template <typename T>
struct Forward {
    const T* x;
    const float *scale, *shift;
    T* y;
    u32 d, accumulate;

    template <int N>
    __device__ __forceinline__ void run(u32 at) {
        float v[N], by[N], add[N] = {};
        load<N>(x + at, v);
        load<N>(scale + at % d, by);
        if (shift) load<N>(shift + at % d, add);
        if (accumulate) load<N>(y + at, add);
#pragma unroll
        for (int i = 0; i < N; i++) v[i] = fmaf(by[i], v[i], add[i]);
        store<N>(y + at, v);
    }
};

template <typename T>
__device__ __forceinline__ void products(const T* __restrict__ dy, const T* __restrict__ x, float* out, u32 rows,
                                         u32 d, u32 part_rows) {
    __shared__ float partial[WARP][WARP + 1];
    const u32 lane = threadIdx.x, warp = threadIdx.y;
    const u32 column = blockIdx.x * WARP + lane;
    const u32 first = blockIdx.y * part_rows + warp, end = min(rows, (blockIdx.y + 1) * part_rows);
    float total = 0.0f;
    if (column < d && first < end) {
        // The steps are counted, so that the loads of four rows are issued before the first arrives.
        const u32 steps = (end - first + WARP - 1) / WARP;
        const size_t at = static_cast<size_t>(first) * d + column;
#pragma unroll 4
        for (u32 i = 0; i < steps; i++) {
            float a[1], b[1];
            load(dy + at + static_cast<size_t>(i) * WARP * d, a);
            load(x + at + static_cast<size_t>(i) * WARP * d, b);
            total = fmaf(a[0], b[0], total);
        }
    }
    partial[warp][lane] = total;
    __syncthreads();
    total = warp_sum(partial[lane][warp]);
    const u32 mine = blockIdx.x * WARP + warp;
    if (lane == 0 && mine < d) out[static_cast<size_t>(blockIdx.y) * d + mine] = total;
}

#define ENTRIES(T, suffix)                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS) scale_shift_forward_##suffix(                          \
        const T* x, const float* scale, const float* shift, T* y, u32 elements, u32 d, u32 accumulate) {         \
        const Forward<T> body{x, scale, shift, y, d, accumulate};                                                \
        if (d % wide<T>() == 0) {                                                                                \
            each_run<wide<T>()>(elements, body);                                                                 \
        } else {                                                                                                 \
            each_run<1>(elements, body);                                                                         \
        }                                                                                                        \
    }                                                                                                            \
    extern "C" __global__ void __launch_bounds__(WARP * WARP) scale_shift_products_##suffix(                     \
        const T* dy, const T* x, float* out, u32 rows, u32 d, u32 part_rows) {                                   \
        products(dy, x, out, rows, d, part_rows);                                                                \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
