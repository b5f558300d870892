// A frame of pixels added to every image, y = x + frame[a], and the gradient of the frames.
//
// Layout: x and y are [b c s s] in f32 or bf16. A frame has four sides of f32, up and down [c w s], left and right
// [c s-2w w], at any addresses: a table has a word pair for each, up, down, left and right of frame 0, then of frame 1.
// `numbers` [b] holds the number of each image's frame as a float; where it is null, all have frame 0.
//
// Forward: a thread takes one pixel; blocks of 256 threads along x cover an image, images are along y. Bound by memory:
// x is read and y written once.
//
// Gradient: a thread takes one value of a side and adds the pixels of the images that have its frame, images in order.
// Blocks of 256 threads along x cover the values of a frame, side after side; frames are along y. Its table has a word
// more for each side: 0 where the gradient is not wanted, 1 where it is written, 2 where it is added to. Bound by
// memory: every framed pixel of dy is read once.
#include "../common/vector.cuh"

enum { THREADS = 256 };

struct Side {
    float* at;
    u32 how, unused;
};

struct Sizes {
    u32 b, c, s, w, frames;
};

__device__ __forceinline__ u32 frame_of(const float* numbers, u32 image, u32 frames) {
    return numbers ? min(static_cast<u32>(numbers[image]), frames - 1) : 0;
}

__device__ __forceinline__ void get(const float* at, float& x) { x = *at; }
__device__ __forceinline__ void get(const bf16* at, float& x) { x = widen(*at); }
__device__ __forceinline__ void put(float* at, float x) { *at = x; }
__device__ __forceinline__ void put(bf16* at, float x) { *at = narrow(x); }

template <typename T>
__device__ __forceinline__ void forward(const T* x, const Side* sides, const float* numbers, T* y, Sizes d) {
    const u32 pixel = blockIdx.x * THREADS + threadIdx.x, image = blockIdx.y;
    if (pixel >= d.c * d.s * d.s) return;
    const u32 column = pixel % d.s, row = pixel / d.s % d.s, channel = pixel / (d.s * d.s);
    const u32 last = d.s - d.w, inner = d.s - 2 * d.w;
    const size_t place = static_cast<size_t>(image) * (d.c * d.s * d.s) + pixel;
    u32 side = 4, at = 0;
    if (row < d.w) {
        side = 0, at = (channel * d.w + row) * d.s + column;
    } else if (row >= last) {
        side = 1, at = (channel * d.w + row - last) * d.s + column;
    } else if (column < d.w) {
        side = 2, at = (channel * inner + row - d.w) * d.w + column;
    } else if (column >= last) {
        side = 3, at = (channel * inner + row - d.w) * d.w + column - last;
    }
    float value;
    get(x + place, value);
    if (side < 4) {
        // The address comes from memory; it is one of global memory.
        const float* from = sides[4 * frame_of(numbers, image, d.frames) + side].at;
        value += static_cast<const float*>(__cvta_global_to_generic(__cvta_generic_to_global(from)))[at];
    }
    put(y + place, value);
}

template <typename T>
__device__ __forceinline__ void gradient(const T* dy, const Side* sides, const float* numbers, Sizes d) {
    const u32 row_side = d.c * d.w * d.s, column_side = d.c * (d.s - 2 * d.w) * d.w;
    u32 at = blockIdx.x * THREADS + threadIdx.x;
    if (at >= 2 * row_side + 2 * column_side) return;
    u32 side = 0;
    for (; side < 3; side++) {
        const u32 values = side < 2 ? row_side : column_side;
        if (at < values) break;
        at -= values;
    }
    const Side to = sides[4 * blockIdx.y + side];
    if (to.how == 0) return;
    const u32 columns = side < 2 ? d.s : d.w, rows = side < 2 ? d.w : d.s - 2 * d.w;
    const u32 column = at % columns + (side == 3 ? d.s - d.w : 0);
    const u32 row = at / columns % rows + (side == 0 ? 0 : side == 1 ? d.s - d.w : d.w);
    const u32 pixel = (at / (columns * rows) * d.s + row) * d.s + column;
    float sum = to.how == 2 ? to.at[at] : 0.0f;
#pragma unroll 1
    for (u32 image = 0; image < d.b; image++) {
        if (frame_of(numbers, image, d.frames) != blockIdx.y) continue;
        float value;
        get(dy + static_cast<size_t>(image) * (d.c * d.s * d.s) + pixel, value);
        sum += value;
    }
    to.at[at] = sum;
}

#define ENTRIES(T, suffix)                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS) frame_forward_##suffix(                                  \
        const T* x, const Side* sides, const float* numbers, T* y, u32 b, u32 c, u32 s, u32 w, u32 frames) {       \
        forward(x, sides, numbers, y, {b, c, s, w, frames});                                                       \
    }                                                                                                              \
    extern "C" __global__ void __launch_bounds__(THREADS) frame_gradient_##suffix(                                 \
        const T* dy, const Side* sides, const float* numbers, u32 b, u32 c, u32 s, u32 w, u32 frames) {            \
        gradient(dy, sides, numbers, {b, c, s, w, frames});                                                        \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
