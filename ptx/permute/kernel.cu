// Another order of three axes: y[i, j, k] = x[i a + j b + k c], written or added to y.
//
// Layout: y is [.. rows columns] without gaps; a, b and c are the elements of x between neighbours along each axis of y.
// Both are f32 or bf16. Mapping: a thread moves one element; blocks of 256 threads along x cover y. Bound by memory, in
// x by its transactions, since neighbours in y can lie apart there: it is meant for small tensors of parameters.
#include "../common/vector.cuh"

enum { THREADS = 256 };

template <typename T>
__device__ __forceinline__ void place(const T* x, T* y, u32 n, u32 rows, u32 columns, u32 a, u32 b, u32 c, u32 accumulate) {
    const u32 at = blockIdx.x * THREADS + threadIdx.x;
    if (at >= n) return;
    const u32 k = at % columns, row = at / columns;
    const u32 j = row % rows, i = row / rows;
    float v[1], sum[1] = {0.0f};
    load<1>(x + i * a + j * b + k * c, v);
    if (accumulate) load<1>(y + at, sum);
    sum[0] += v[0];
    store<1>(y + at, sum);
}

#define ENTRIES(T, suffix)                                                                                  \
    extern "C" __global__ void __launch_bounds__(THREADS) permute_place_##suffix(                           \
        const T* x, T* y, u32 n, u32 rows, u32 columns, u32 a, u32 b, u32 c, u32 accumulate) {              \
        place(x, y, n, rows, columns, a, b, c, accumulate);                                                 \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
