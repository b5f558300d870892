// The product C[m n] = op(A)[m k] op(B)[k n] (+ C) (+ bias) for operands that the library has no algorithm for: any size,
// type, transposition and distance between columns, sums in f32 and in the order of k.
//
// Layout: element (i, p) of op(A) lies at a[i * a_i + p * a_p], element (p, j) of op(B) at b[p * b_p + j * b_j], of which
// one of the two distances is 1; C is column-major with ldc elements from column to column. No alignment but that of an
// element. bias[m] is added to every column, or null.
// Mapping: a block of 256 threads owns 64 x 64 elements of C, a thread 4 x 4 of them, 16 apart. Steps of 16 along k go
// through shared memory, read along the distance that is 1.
// Bound: f32 multiply-adds, half of the issue slots at best (16 for 8 words of shared memory). Edges are computed as whole
// tiles, so one row or column costs as much as 64.

typedef unsigned int u32;
typedef unsigned long long u64;

struct bf16 {
    unsigned short bits;
};

__device__ float widen(float x) { return x; }
__device__ float widen(bf16 x) { return __uint_as_float(u32(x.bits) << 16); }

__device__ void narrow(float x, float& to) { to = x; }
// To the nearest, ties to even; NaN stays NaN.
__device__ void narrow(float x, bf16& to) { asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(to.bits) : "f"(x)); }

constexpr u32 TILE = 64, DEEP = 16, EACH = 4, APART = TILE / EACH;

// Brings the elements (row, p) of a tile from memory, with zeros beyond its end.
template <class T>
__device__ void load(float (&tile)[DEEP][TILE + 1], const T* from, u32 row, u32 rows, u32 p, u32 depth, u32 by_row,
                     u32 by_p) {
#pragma unroll
    for (u32 t = threadIdx.x; t < TILE * DEEP; t += 256) {
        u32 i = by_row == 1 ? t % TILE : t / DEEP;
        u32 q = by_row == 1 ? t / TILE : t % DEEP;
        bool there = row + i < rows && p + q < depth;
        tile[q][i] = there ? widen(from[u64(row + i) * by_row + u64(p + q) * by_p]) : 0.0f;
    }
}

template <class In, class Out>
__device__ void multiply(const In* a, const In* b, Out* c, const float* bias, u32 m, u32 n, u32 k, u32 a_i, u32 a_p,
                         u32 b_p, u32 b_j, u32 ldc, u32 accumulate) {
    __shared__ float as[DEEP][TILE + 1];
    __shared__ float bs[DEEP][TILE + 1];
    u32 tiles = (m + TILE - 1) / TILE;
    u32 row = blockIdx.x % tiles * TILE, column = blockIdx.x / tiles * TILE;
    u32 x = threadIdx.x % APART, y = threadIdx.x / APART;
    float sums[EACH][EACH] = {};
#pragma unroll 1
    for (u32 p = 0; p < k; p += DEEP) {
        load(as, a, row, m, p, k, a_i, a_p);
        load(bs, b, column, n, p, k, b_j, b_p);
        __syncthreads();
#pragma unroll 2
        for (u32 q = 0; q < DEEP; q++) {
            float left[EACH], right[EACH];
#pragma unroll
            for (u32 r = 0; r < EACH; r++) left[r] = as[q][x + r * APART], right[r] = bs[q][y + r * APART];
#pragma unroll
            for (u32 s = 0; s < EACH; s++)
#pragma unroll
                for (u32 r = 0; r < EACH; r++) sums[s][r] = fmaf(left[r], right[s], sums[s][r]);
        }
        __syncthreads();
    }
#pragma unroll
    for (u32 s = 0; s < EACH; s++)
#pragma unroll
        for (u32 r = 0; r < EACH; r++) {
            u32 i = row + x + r * APART, j = column + y + s * APART;
            if (i >= m || j >= n) continue;
            Out& to = c[u64(j) * ldc + i];
            float sum = sums[s][r];
            if (accumulate) sum += widen(to);
            if (bias) sum += bias[i];
            narrow(sum, to);
        }
}

#define ENTRY(name, In, Out)                                                                                       \
    extern "C" __global__ void __launch_bounds__(256)                                                              \
        name(const In* a, const In* b, Out* c, const float* bias, u32 m, u32 n, u32 k, u32 a_i, u32 a_p, u32 b_p, \
             u32 b_j, u32 ldc, u32 accumulate) {                                                                   \
        multiply(a, b, c, bias, m, n, k, a_i, a_p, b_p, b_j, ldc, accumulate);                                     \
    }

ENTRY(plain_gemm_f32_f32, float, float)
ENTRY(plain_gemm_bf16_f32, bf16, float)
ENTRY(plain_gemm_bf16_bf16, bf16, bf16)
