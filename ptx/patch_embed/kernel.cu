// Patch embedding around its GEMM. `gather` writes every token's patch as a row of k = c patch^2 values, which are
// zeros for the class token. `scatter` is its transpose: each pixel sums the patches that hold it. `assemble` writes
// y = product + bias + pos, with cls in place of the bias at the class token, where the product is zero.
//
// Layout: images [b c size size]; columns [b tokens k], f32 in scatter; tokens = grid^2 + 1, with the class token in
// row class_row; product f32 and y, both [b tokens d].
// Mapping: in gather a block of 128 threads takes one row, and a thread 4 neighbouring pixels where patch, stride and
// size are multiples of 4, else one. In scatter a thread takes one pixel. In assemble it takes 4 values where d is a
// multiple of 4, else one. Bound by memory: each side is moved once.
#include "../common/runs.cuh"

enum { ROW_THREADS = 128 };
enum { THREADS = 256 };

// The patch of a token.
__device__ __forceinline__ u32 patch_of(u32 token, u32 class_row) { return token < class_row ? token : token - 1; }

template <int N, typename T>
__device__ __forceinline__ void gather(const T* images, T* columns, u32 c, u32 size, u32 patch, u32 stride, u32 grid,
                                       u32 class_row) {
    const u32 tokens = grid * grid + 1, k = c * patch * patch;
    const u32 sample = blockIdx.x / tokens, token = blockIdx.x % tokens;
    const u32 at = patch_of(token, class_row);
    const T* corner = images + static_cast<size_t>(sample) * c * size * size
        + (at / grid * size + at % grid) * stride;
    columns += static_cast<size_t>(blockIdx.x) * k;
    for (u32 i = threadIdx.x * N; i < k; i += ROW_THREADS * N) {
        const u32 line = i / patch, plane = line / patch;
        float v[N] = {};
        if (token != class_row) load<N>(corner + (plane * size + line % patch) * size + i % patch, v);
        store<N>(columns + i, v);
    }
}

template <typename T>
__device__ __forceinline__ void scatter(const float* columns, T* images, u32 pixels, u32 c, u32 size, u32 patch,
                                        u32 stride, u32 grid, u32 class_row, u32 accumulate) {
    const u32 pixel = blockIdx.x * THREADS + threadIdx.x;
    if (pixel >= pixels) return;
    const u32 tokens = grid * grid + 1, k = c * patch * patch;
    const u32 x = pixel % size, y = pixel / size % size, plane = pixel / (size * size) % c;
    const u32 sample = pixel / (size * size) / c;
    // The first patch on each axis that reaches as far as the pixel.
    const u32 first_x = x < patch ? 0 : (x - patch) / stride + 1, first_y = y < patch ? 0 : (y - patch) / stride + 1;
    float sum[1] = {0.0f};
    if (accumulate) load(images + pixel, sum);
    for (u32 py = first_y; py < grid && py * stride <= y; py++) {
        for (u32 px = first_x; px < grid && px * stride <= x; px++) {
            const u32 at = py * grid + px, token = at < class_row ? at : at + 1;
            const u32 value = (plane * patch + y - py * stride) * patch + x - px * stride;
            sum[0] += columns[(static_cast<size_t>(sample) * tokens + token) * k + value];
        }
    }
    store(images + pixel, sum);
}

template <typename T>
struct Assemble {
    const float *product, *bias, *cls, *pos;
    T* y;
    u32 tokens, class_row, d;

    template <int N>
    __device__ __forceinline__ void run(u32 at) {
        const u32 token = at / d % tokens, column = at % d;
        float v[N], offset[N], p[N];
        load<N>(product + at, v);
        load<N>((token == class_row ? cls : bias) + column, offset);
        load<N>(pos + token * d + column, p);
#pragma unroll
        for (int i = 0; i < N; i++) v[i] += offset[i] + p[i];
        store<N>(y + at, v);
    }
};

#define ENTRIES(T, suffix)                                                                                      \
    extern "C" __global__ void __launch_bounds__(ROW_THREADS)                                                   \
        patch_embed_gather_##suffix(const T* images, T* columns, u32 c, u32 size, u32 patch, u32 stride,        \
                                    u32 grid, u32 class_row) {                                                  \
        if ((patch | stride | size) % 4 == 0) {                                                                 \
            gather<4>(images, columns, c, size, patch, stride, grid, class_row);                                \
        } else {                                                                                                \
            gather<1>(images, columns, c, size, patch, stride, grid, class_row);                                \
        }                                                                                                       \
    }                                                                                                           \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                       \
        patch_embed_scatter_##suffix(const float* columns, T* images, u32 pixels, u32 c, u32 size, u32 patch,   \
                                     u32 stride, u32 grid, u32 class_row, u32 accumulate) {                     \
        scatter(columns, images, pixels, c, size, patch, stride, grid, class_row, accumulate);                  \
    }                                                                                                           \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                       \
        patch_embed_assemble_##suffix(const float* product, const float* bias, const float* cls,                \
                                      const float* pos, T* y, u32 elements, u32 tokens, u32 class_row,          \
                                      u32 d) {                                                                  \
        const Assemble<T> body{product, bias, cls, pos, y, tokens, class_row, d};                               \
        if (d % 4 == 0) {                                                                                       \
            each_run<4>(elements, body);                                                                        \
        } else {                                                                                                \
            each_run<1>(elements, body);                                                                        \
        }                                                                                                       \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
