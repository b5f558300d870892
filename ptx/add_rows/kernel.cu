// Learned rows added to rows of token sequences, in place, and their gradient.
//
// Add: y[i, at(i, j)] += weight rows[j]. Grad: out[j] += weight sum_i dy[i, at(i, j)]. at(i, j) is the number
// at[i stride + j]; what is beyond the last row is left out.
// Layout: y and dy [samples l d], f32 or bf16; rows and out f32 [n d]; at f32, whole numbers.
// Mapping: add is flat over the elements of the n rows, 16 bytes of y a thread where d is a multiple of that, else one
// element; 256 threads to a block, samples along y. The rows of a sample differ, so no element is written twice. Grad: a
// block of 32 x 32 threads sums 32 columns of one row, lanes take neighbouring columns, each warp every 32nd sample; the
// partial sums of a column meet in shared memory and are added by one warp in a tree, so that the order depends on the
// sizes only. Columns along x, rows along y.
// Bound: memory, and of the sequence only the rows are touched.
#include "../common/reduce.cuh"
#include "../common/runs.cuh"

enum { THREADS = 256 };

template <typename T>
struct Add {
    T* y;
    const float *rows, *at;
    u32 l, d, stride;
    float weight;

    template <int N>
    __device__ __forceinline__ void run(u32 element) {
        const u32 j = element / d, column = element - j * d;
        const u32 row = __float2uint_rz(at[static_cast<size_t>(blockIdx.y) * stride + j]);
        if (row >= l) return;
        T* to = y + static_cast<size_t>(blockIdx.y) * l * d + static_cast<size_t>(row) * d + column;
        float v[N], sum[N];
        load<N>(rows + element, v);
        load<N>(to, sum);
#pragma unroll
        for (int i = 0; i < N; i++) sum[i] = fmaf(weight, v[i], sum[i]);
        store<N>(to, sum);
    }
};

template <typename T>
__device__ __forceinline__ void grad(const T* dy, const float* at, float* out, u32 samples, u32 l, u32 d, u32 stride,
                                     float weight) {
    __shared__ float partial[WARP][WARP + 1];
    const u32 lane = threadIdx.x, warp = threadIdx.y, j = blockIdx.y;
    const u32 column = blockIdx.x * WARP + lane;
    float total = 0.0f;
    if (column < d) {
#pragma unroll 1
        for (u32 sample = warp; sample < samples; sample += WARP) {
            const u32 row = __float2uint_rz(at[static_cast<size_t>(sample) * stride + j]);
            if (row >= l) continue;
            float v[1];
            load(dy + (static_cast<size_t>(sample) * l + row) * d + column, v);
            total += v[0];
        }
    }
    partial[warp][lane] = total;
    __syncthreads();
    total = warp_sum(partial[lane][warp]);
    const u32 mine = blockIdx.x * WARP + warp;
    if (lane == 0 && mine < d) out[j * d + mine] += weight * total;
}

#define ENTRIES(T, suffix)                                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                      \
        add_rows_add_##suffix(T* y, const float* rows, const float* at, u32 elements, u32 l, u32 d,            \
                              u32 stride, float weight) {                                                      \
        const Add<T> body{y, rows, at, l, d, stride, weight};                                                  \
        if (d % wide<T>() == 0) {                                                                              \
            each_run<wide<T>()>(elements, body);                                                               \
        } else {                                                                                               \
            each_run<1>(elements, body);                                                                       \
        }                                                                                                      \
    }                                                                                                          \
    extern "C" __global__ void __launch_bounds__(WARP * WARP)                                                  \
        add_rows_grad_##suffix(const T* dy, const float* at, float* out, u32 samples, u32 l, u32 d,            \
                               u32 stride, float weight) {                                                     \
        grad(dy, at, out, samples, l, d, stride, weight);                                                      \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
