// Prompt rows. Place: row r of every sample of y is row map[r] of x, or from PROMPT on prompt map[r] - PROMPT times its
// dropout factors, zeros where there are no prompts; y is added to when asked. With the map of the other direction and
// no prompts, the same kernel makes dx of dy. Grad: out[j, c] += sum over the samples of factor(sample, j, c)
// dy[sample, rows[j], c].
// Dropout: word c % 4 of philox(keys[sample], [c / 4, j, stream, 0]) below `threshold` drops an element, others are
// multiplied by `scale`; without keys nothing happens.
//
// Layout: x [samples x_sample], y and dy [samples l d], f32 or bf16; prompts and out f32 [n d]; keys f32 [samples 2],
// integers; map and rows one word a row.
// Mapping: place is flat over the elements of a sample, 16 bytes a thread where d is a multiple of that, else one element;
// 256 threads to a block, samples along y. Grad: a block of 32 x 32 threads sums 32 columns of one prompt, lanes take
// neighbouring columns, each warp every 32nd sample; the partial sums of a column meet in shared memory and are
// added by one warp, lane by lane in a tree, so that the order depends on the sizes only. Columns along x, prompts
// along y.
// Bound: memory, each byte read and written once; the mask's arithmetic is that of the few rows that are prompts.
#include "../common/philox.cuh"
#include "../common/reduce.cuh"
#include "../common/runs.cuh"

enum { THREADS = 256 };

struct Dropout {
    const float* keys;
    u32 stream, threshold;
    float scale;

    // Multiplies N neighbouring elements of prompt j in a sample by their factors; N divides `column`.
    template <int N>
    __device__ __forceinline__ void apply(u32 sample, u32 j, u32 column, float (&v)[N]) const {
        if (keys == nullptr) return;
        const uint2 key = make_uint2(__float2uint_rz(keys[2 * sample]), __float2uint_rz(keys[2 * sample + 1]));
        if constexpr (N % 4 == 0) {
#pragma unroll
            for (int i = 0; i < N; i += 4) {
                const uint4 words = philox(key, make_uint4((column + i) / 4, j, stream, 0));
                v[i] = factor(words.x) * v[i], v[i + 1] = factor(words.y) * v[i + 1];
                v[i + 2] = factor(words.z) * v[i + 2], v[i + 3] = factor(words.w) * v[i + 3];
            }
        } else {
            static_assert(N == 1);
            const uint4 words = philox(key, make_uint4(column / 4, j, stream, 0));
            const u32 low = column & 1 ? words.y : words.x, high = column & 1 ? words.w : words.z;
            v[0] = factor(column & 2 ? high : low) * v[0];
        }
    }

    __device__ __forceinline__ float factor(u32 word) const { return word < threshold ? 0.0f : scale; }
};

template <typename T>
struct Place {
    enum : u32 { PROMPT = 0x80000000u };

    const T* x;
    const float* prompts;
    Dropout dropout;
    const u32* map;
    T* y;
    u32 sample_size, x_sample, d, accumulate;

    template <int N>
    __device__ __forceinline__ void run(u32 at) {
        const u32 row = at / d, column = at - row * d, from = map[row];
        T* to = y + static_cast<size_t>(blockIdx.y) * sample_size + at;
        float v[N] = {};
        if (from < PROMPT) {
            load<N>(x + static_cast<size_t>(blockIdx.y) * x_sample + from * d + column, v);
        } else if (prompts != nullptr) {
            load<N>(prompts + (from - PROMPT) * d + column, v);
            dropout.apply<N>(blockIdx.y, from - PROMPT, column, v);
        }
        if (accumulate) {
            float sum[N];
            load<N>(to, sum);
#pragma unroll
            for (int i = 0; i < N; i++) v[i] += sum[i];
        }
        store<N>(to, v);
    }
};

template <typename T>
__device__ __forceinline__ void grad(const T* __restrict__ dy, const Dropout& dropout, const u32* __restrict__ rows,
                                     float* out, u32 samples, u32 l, u32 d) {
    __shared__ float partial[WARP][WARP + 1];
    const u32 lane = threadIdx.x, warp = threadIdx.y, j = blockIdx.y;
    const u32 column = blockIdx.x * WARP + lane;
    float total = 0.0f;
    if (column < d) {
        const T* at = dy + static_cast<size_t>(rows[j]) * d + column;
#pragma unroll 1
        for (u32 sample = warp; sample < samples; sample += WARP) {
            float v[1];
            load(at + static_cast<size_t>(sample) * l * d, v);
            dropout.apply<1>(sample, j, column, v);
            total += v[0];
        }
    }
    partial[warp][lane] = total;
    __syncthreads();
    total = warp_sum(partial[lane][warp]);
    const u32 mine = blockIdx.x * WARP + warp;
    if (lane == 0 && mine < d) out[j * d + mine] += total;
}

#define ENTRIES(T, suffix)                                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                      \
        prompt_rows_place_##suffix(const T* x, const float* prompts, const float* keys, const u32* map, T* y,  \
                                   u32 sample_size, u32 x_sample, u32 d, u32 stream, u32 threshold,            \
                                   float scale, u32 accumulate) {                                              \
        const Dropout dropout{keys, stream, threshold, scale};                                                 \
        const Place<T> body{x, prompts, dropout, map, y, sample_size, x_sample, d, accumulate};                \
        if (d % wide<T>() == 0) {                                                                              \
            each_run<wide<T>()>(sample_size, body);                                                            \
        } else {                                                                                               \
            each_run<1>(sample_size, body);                                                                    \
        }                                                                                                      \
    }                                                                                                          \
    extern "C" __global__ void __launch_bounds__(WARP * WARP)                                                  \
        prompt_rows_grad_##suffix(const T* dy, const float* keys, const u32* rows, float* out, u32 samples,    \
                                  u32 l, u32 d, u32 stream, u32 threshold, float scale) {                      \
        grad(dy, Dropout{keys, stream, threshold, scale}, rows, out, samples, l, d);                           \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
