// The mean of all rows of token sequences but one, and its gradient.
//
// y[i] = share sum_(j != skip) x[i, j];  dx[i, j] = share dy[i], 0 in row skip, written or added.
// Layout: x and dx are [samples l d], y and dy [samples d].
// Mapping: forward has blocks of 32 columns by 32 rows of threads for 32 columns of one sample; a thread sums every 32nd
// row, and the sums of a column meet in shared memory, in order. backward spreads threads over the elements of a sample, 16
// bytes each where d is a multiple of that, else one. Samples are along y of the grid. Bound by memory.
#include "../common/runs.cuh"

enum { COLUMNS = 32, ROWS = 32, THREADS = 256 };

template <typename T>
__device__ __forceinline__ void mean(const T* x, T* y, u32 l, u32 d, u32 skip, float share) {
    __shared__ float sums[ROWS][COLUMNS];
    const u32 column = blockIdx.x * COLUMNS + threadIdx.x;
    float sum = 0.0f;
    if (column < d) {
        const T* at = x + static_cast<size_t>(blockIdx.y) * l * d + column;
        for (u32 row = threadIdx.y; row < l; row += ROWS) {
            if (row == skip) continue;
            float v[1];
            load<1>(at + static_cast<size_t>(row) * d, v);
            sum += v[0];
        }
    }
    sums[threadIdx.y][threadIdx.x] = sum;
    __syncthreads();
    if (threadIdx.y == 0 && column < d) {
#pragma unroll
        for (int i = 1; i < ROWS; i++) sum += sums[i][threadIdx.x];
        const float v[1] = {sum * share};
        store<1>(y + static_cast<size_t>(blockIdx.y) * d + column, v);
    }
}

template <typename T>
struct Spread {
    const T* dy;
    T* dx;
    u32 l, d, skip;
    float share;
    u32 add;

    template <int N>
    __device__ __forceinline__ void run(u32 at) {
        T* target = dx + static_cast<size_t>(blockIdx.y) * l * d + at;
        const float by = at / d == skip ? 0.0f : share;
        float v[N], sum[N] = {};
        load<N>(dy + static_cast<size_t>(blockIdx.y) * d + at % d, v);
        if (add) load<N>(target, sum);
#pragma unroll
        for (int i = 0; i < N; i++) sum[i] += by * v[i];
        store<N>(target, sum);
    }
};

#define ENTRIES(T, suffix)                                                                                   \
    extern "C" __global__ void __launch_bounds__(COLUMNS* ROWS)                                              \
        mean_rows_forward_##suffix(const T* x, T* y, u32 l, u32 d, u32 skip, float share) {                  \
        mean(x, y, l, d, skip, share);                                                                       \
    }                                                                                                        \
    extern "C" __global__ void __launch_bounds__(THREADS) mean_rows_backward_##suffix(                       \
        const T* dy, T* dx, u32 l, u32 d, u32 skip, u32 add, float share) {                                  \
        const Spread<T> spread{dy, dx, l, d, skip, share, add};                                              \
        if (d % wide<T>() == 0) {                                                                            \
            each_run<wide<T>()>(l * d, spread);                                                              \
        } else {                                                                                             \
            each_run<1>(l * d, spread);                                                                      \
        }                                                                                                    \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
