// Images padded with zeros, zoomed about the centre, with a prompt around a hole, and normalised; the gradient of the
// prompt's delta, and that of the scale in parts:
//
// y = (zoomed + mask sigmoid(delta) - mean) * rate, ddelta = mask sigmoid'(delta) * rate * sum of dy over the images,
// partial[p] = sum of dy * rate * dzoomed/dscale over part p.
//
// Layout: images are f32 [b 3 s s], delta and ddelta f32 [3 size size], scale f32 [1]; y and dy are [b 3 size size] in
// f32 or bf16. The mean and the rate, one over the deviation, of the three channels are arguments.
//
// Mapping: a thread takes one pixel of one channel; blocks of 256 threads along x cover the pixels of a channel, channels
// are along z. Forward: groups of 16 images are along y, and a thread finds once for its group where it reads, with which
// factors. The gradients: a thread adds all images in order. A block of the scale's writes one partial sum, by a tree over
// warps, whose order depends on the sizes only; where no image is around it reads nothing. In the hole that of delta writes
// zero and reads nothing.
#include "../common/math.cuh"
#include "../common/reduce.cuh"
#include "../common/vector.cuh"

enum { THREADS = 256, IMAGES = 16 };

struct Sizes {
    u32 b, s, size;
};

// A number for each channel.
struct Channels {
    float red, green, blue;

    __device__ __forceinline__ float of(u32 channel) const {
        return channel == 0 ? red : channel == 1 ? green : blue;
    }
};

// Of the thread.
struct Pixel {
    u32 channel, row, column;
    // In delta, and in an output.
    u32 at;
    // False for threads beyond the last pixel.
    bool is;

    __device__ __forceinline__ Pixel(u32 size) {
        const u32 place = blockIdx.x * THREADS + threadIdx.x;
        channel = blockIdx.z, row = place / size, column = place - row * size;
        at = channel * (size * size) + place;
        is = row < size;
    }
};

// Whether a pixel is in the hole of the mask, of min(int(s scale), size) pixels.
__device__ __forceinline__ bool in_hole(const Pixel& pixel, float scale, Sizes d) {
    const u32 side = min(static_cast<u32>(d.s * scale), d.size), start = (d.size - side) / 2;
    return pixel.row - start < side && pixel.column - start < side;
}

// Where the zoom reads along an axis: in two neighbouring pixels of the image.
struct Source {
    u32 at[2];
    // Of each pixel, and how it changes with the position; both are zero for a pixel that lies outside of the image.
    float weight[2], slope[2];
    // From the centre, in pixels of the image.
    float offset;
    // Whether one of the pixels lies in the image. The other then stands for any that can be read.
    bool near;

    __device__ __forceinline__ Source(u32 i, float inverse_scale, Sizes d) {
        const float centre = (d.size - 1.0f) * 0.5f;
        offset = (i - centre) * inverse_scale;
        const float position = offset + centre, before = floorf(position), after_by = position - before;
        // What lies before the first pixel wraps around, and is beyond the last.
        const u32 first = static_cast<u32>(static_cast<int>(before)) - (d.size - d.s + 1) / 2, next = first + 1;
        const bool has_first = first < d.s, has_next = next < d.s;
        near = has_first || has_next;
        at[0] = has_first ? first : next, at[1] = has_next ? next : first;
        weight[0] = has_first ? 1.0f - after_by : 0.0f, weight[1] = has_next ? after_by : 0.0f;
        slope[0] = has_first ? -1.0f : 0.0f, slope[1] = has_next ? 1.0f : 0.0f;
        // Where there is no position, offset is not a number.
        offset += 0.0f * after_by;
    }
};

// Sums over the four pixels around a position, with the same factors for all images.
struct Around {
    u32 at[4];
    float factor[4];

    __device__ __forceinline__ Around(Source row, Source column, u32 s) {
#pragma unroll
        for (int i = 0; i < 4; i++) at[i] = row.at[i / 2] * s + column.at[i % 2];
    }

    __device__ __forceinline__ float sum(const float* __restrict__ image) const {
        float sum = factor[0] * image[at[0]];
#pragma unroll
        for (int i = 1; i < 4; i++) sum = fmaf(factor[i], image[at[i]], sum);
        return sum;
    }
};

template <typename T>
__device__ __forceinline__ void forward(const float* __restrict__ images, const float* delta, const float* scale,
                                        T* y, Sizes d, Channels mean, Channels rate) {
    const Pixel pixel(d.size);
    if (!pixel.is) return;
    const float k = *scale, inverse = 1.0f / k;
    const Source row(pixel.row, inverse, d), column(pixel.column, inverse, d);
    Around around(row, column, d.s);
#pragma unroll
    for (int i = 0; i < 4; i++) around.factor[i] = row.weight[i / 2] * column.weight[i % 2];
    // Not a number either where a scale is none, so that no pixel hides it.
    float add = 0.0f * row.offset * column.offset - mean.of(pixel.channel);
    if (!in_hole(pixel, k, d)) add += sigmoid(delta[pixel.at]);
    const float by = rate.of(pixel.channel);
    const u32 first = blockIdx.y * IMAGES, count = min(d.b - first, static_cast<u32>(IMAGES));
    const float* image = images + static_cast<size_t>(3 * first + pixel.channel) * (d.s * d.s);
    const u32 output = 3 * d.size * d.size;
    T* to = y + static_cast<size_t>(first) * output + pixel.at;
    const bool near = row.near && column.near;
#pragma unroll 4
    for (u32 i = 0; i < count; i++) {
        const float v[1] = {((near ? around.sum(image) : 0.0f) + add) * by};
        store<1>(to, v);
        image += 3 * d.s * d.s, to += output;
    }
}

template <typename T>
__device__ __forceinline__ void grad_delta(const T* __restrict__ dy, const float* delta, const float* scale,
                                           float* ddelta, Sizes d, Channels rate, u32 accumulate) {
    const Pixel pixel(d.size);
    if (!pixel.is) return;
    float sum = 0.0f;
    if (!in_hole(pixel, *scale, d)) {
        const T* from = dy + pixel.at;
#pragma unroll 8
        for (u32 image = 0; image < d.b; image++) {
            float v[1];
            load(from, v);
            sum += v[0];
            from += 3 * d.size * d.size;
        }
        const float s = sigmoid(delta[pixel.at]);
        sum *= s * (1.0f - s) * rate.of(pixel.channel);
    }
    ddelta[pixel.at] = accumulate ? ddelta[pixel.at] + sum : sum;
}

template <typename T>
__device__ __forceinline__ void grad_scale(const T* __restrict__ dy, const float* __restrict__ images,
                                           const float* scale, float* partial, Sizes d, Channels rate) {
    __shared__ float shared[THREADS / WARP][1];
    const Pixel pixel(d.size);
    float sum[1] = {0.0f};
    if (pixel.is) {
        const float inverse = 1.0f / *scale;
        const Source row(pixel.row, inverse, d), column(pixel.column, inverse, d);
        // A position moves by -offset / scale for each unit of the scale.
        Around around(row, column, d.s);
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const int y = i / 2, x = i % 2;
            around.factor[i] =
                fmaf(row.offset * row.slope[y], column.weight[x], column.offset * column.slope[x] * row.weight[y]);
        }
        // Elsewhere all is zero around.
        const bool near = row.near && column.near;
        const u32 count = near ? d.b : 0, output = 3 * d.size * d.size;
        const float* image = images + static_cast<size_t>(pixel.channel) * (d.s * d.s);
        const T* from = dy + pixel.at;
#pragma unroll 4
        for (u32 i = 0; i < count; i++) {
            float v[1];
            load(from, v);
            sum[0] = fmaf(v[0], around.sum(image), sum[0]);
            image += 3 * d.s * d.s, from += output;
        }
        sum[0] *= -inverse * rate.of(pixel.channel);
    }
    block_sum(sum, shared);
    if (threadIdx.x != 0) return;
    partial[blockIdx.z * gridDim.x + blockIdx.x] = sum[0];
}

#define ENTRIES(T, suffix)                                                                                         \
    extern "C" __global__ void __launch_bounds__(THREADS) zoom_prompt_forward_##suffix(                           \
        const float* images, const float* delta, const float* scale, T* y, u32 b, u32 s, u32 size,                \
        float mean_red, float mean_green, float mean_blue, float red, float green, float blue) {                  \
        forward(images, delta, scale, y, {b, s, size}, {mean_red, mean_green, mean_blue}, {red, green, blue});    \
    }                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS) zoom_prompt_delta_##suffix(                             \
        const T* dy, const float* delta, const float* scale, float* ddelta, u32 b, u32 s, u32 size, float red,    \
        float green, float blue, u32 accumulate) {                                                                \
        grad_delta(dy, delta, scale, ddelta, {b, s, size}, {red, green, blue}, accumulate);                       \
    }                                                                                                             \
    extern "C" __global__ void __launch_bounds__(THREADS) zoom_prompt_scale_##suffix(                             \
        const T* dy, const float* images, const float* scale, float* partial, u32 b, u32 s, u32 size, float red,  \
        float green, float blue) {                                                                                \
        grad_scale(dy, images, scale, partial, {b, s, size}, {red, green, blue});                                 \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
