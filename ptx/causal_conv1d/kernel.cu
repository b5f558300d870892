// Depthwise causal convolution and SiLU, both directions from one read of x, and its backward pass:
// u_f[t] = silu(bias_f + sum_k w_f[k] x[t - 3 + k]), u_b[t] = silu(bias_b + sum_k w_b[k] x[t + 3 - k]).
// Filters of 2 or 3 taps are filters of 4 whose first taps are zero.
//
// Layout: x is the first half of xz [b l 2e]; weights are f32 [e 1 width], biases f32 [e], u_f and u_b [b l e].
// Mapping: a thread owns N neighbouring channels (4 forward, 2 backward, 1 where e is no multiple of that) and walks
// `tokens` tokens of one image. A window of four tokens of x stays in registers: once x[t] is read, u_f[t] and
// u_b[t - 3] are known. Rows are read four at a time, so that their loads overlap. Blocks have 64 threads; the grid has
// channels along x, runs of tokens along y and images along z.
//
// Backward, where p is the gradient of the sum under the SiLU:
// dx[t] = sum_k w_f[k] p_f[t + 3 - k] + w_b[k] p_b[t - 3 + k], from windows of p_f and p_b beside that of x; p is never
// stored. A run of tokens starts three tokens early and ends three tokens late, and there computes the same p as its
// neighbours. Gradients of biases alone, and of weights and biases, have an entry each: it sums them over a run in
// registers and writes them as a row of [runs e width] and [runs e], for column sums.
// Bound by memory: x is read once and both u are written; backward reads x and both du, and writes dx.
#include "../common/math.cuh"
#include "../common/vector.cuh"

enum { THREADS = 64, TAPS = 4, BATCH = 4 };

struct Sizes {
    u32 l, e, width, tokens;
};

// Taps and bias of N channels of one direction.
template <int N>
struct Filter {
    float w[TAPS][N], bias[N];

    __device__ __forceinline__ Filter(const float* weight, const float* biases, u32 channel, u32 width) {
        load<N>(biases + channel, bias);
#pragma unroll
        for (int i = 0; i < N; i++) {
            const float* from = weight + (channel + i) * width;
            float taps[TAPS];
            if (width == TAPS) {
                load<TAPS>(from, taps);
            } else {
#pragma unroll
                for (int k = 0; k < TAPS; k++) {
                    const u32 tap = k + width - TAPS;  // wraps for taps that a narrow filter lacks
                    taps[k] = tap < width ? from[tap] : 0.0f;
                }
            }
#pragma unroll
            for (int k = 0; k < TAPS; k++) w[k][i] = taps[k];
        }
    }
};

// The last four tokens of N channels; the newest is at [TAPS - 1].
template <int N>
struct Window {
    float at[TAPS][N];

    __device__ __forceinline__ Window() : at{} {}

    __device__ __forceinline__ void push(const float (&x)[N]) {
#pragma unroll
        for (int i = 0; i < N; i++) {
#pragma unroll
            for (int k = 0; k + 1 < TAPS; k++) at[k][i] = at[k + 1][i];
            at[TAPS - 1][i] = x[i];
        }
    }
};

// Adds sum_k w[k] window[k] to `sum`, with REVERSE the taps the other way round.
template <bool REVERSE, int N>
__device__ __forceinline__ void weigh(const Filter<N>& filter, const Window<N>& window, float (&sum)[N]) {
#pragma unroll
    for (int k = 0; k < TAPS; k++) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            sum[i] = fmaf(filter.w[k][i], window.at[REVERSE ? TAPS - 1 - k : k][i], sum[i]);
        }
    }
}

// The values of row `t`, or zeros before the first and after the last row.
template <int N, typename T>
__device__ __forceinline__ void row(const T* __restrict__ at, u32 t, u32 l, size_t stride, float (&x)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) x[i] = 0.0f;
    if (t < l) load<N>(at + t * stride, x);
}

// Writes output `t` of one direction, whose four tokens are in the window, if it belongs to this run.
template <bool REVERSE, int N, typename T>
__device__ __forceinline__ void emit(const Filter<N>& filter, const Window<N>& window, T* u, u32 t, bool mine, u32 e) {
    if (!mine) return;
    float sum[N];
#pragma unroll
    for (int i = 0; i < N; i++) sum[i] = filter.bias[i];
    weigh<REVERSE>(filter, window, sum);
#pragma unroll
    for (int i = 0; i < N; i++) sum[i] = silu(sum[i]);
    store<N>(u + static_cast<size_t>(t) * e, sum);
}

template <int N, typename T>
__device__ __forceinline__ void forward(const T* __restrict__ xz, const float* __restrict__ weight_f,
                                        const float* __restrict__ bias_f, const float* __restrict__ weight_b,
                                        const float* __restrict__ bias_b, T* __restrict__ u_f,
                                        T* __restrict__ u_b, Sizes s) {
    const u32 channel = (blockIdx.x * THREADS + threadIdx.x) * N;
    if (channel >= s.e) return;
    const u32 first = blockIdx.y * s.tokens, last = min(first + s.tokens, s.l);
    xz += static_cast<size_t>(blockIdx.z) * s.l * 2 * s.e + channel;
    const size_t image = static_cast<size_t>(blockIdx.z) * s.l * s.e + channel;
    u_f += image, u_b += image;
    const Filter<N> f(weight_f, bias_f, channel, s.width), b(weight_b, bias_b, channel, s.width);
    Window<N> window;
    float x[N];
    // The numbers of tokens before the first wrap, to beyond the last.
    for (u32 t = first - (TAPS - 1); t != first; t++) {
        row(xz, t, s.l, 2 * s.e, x);
        window.push(x);
    }
    for (u32 start = first; start < last + TAPS - 1; start += BATCH) {
        float ahead[BATCH][N];
#pragma unroll
        for (int j = 0; j < BATCH; j++) row(xz, start + j, s.l, 2 * s.e, ahead[j]);
#pragma unroll
        for (int j = 0; j < BATCH; j++) {
            const u32 t = start + j;
            window.push(ahead[j]);
            emit<false>(f, window, u_f, t, t < last, s.e);
            emit<true>(b, window, u_b, t - (TAPS - 1), t >= first + TAPS - 1 && t < last + TAPS - 1, s.e);
        }
    }
}

// What is trained: the third is weights and biases.
enum Trained { NOTHING, BIASES, FILTERS };

// The gradients of one direction's filter over a run of tokens.
template <int N, Trained TRAINED>
struct FilterGrad {
    Window<N> w;
    float bias[N];

    __device__ __forceinline__ FilterGrad() : bias{} {}

    template <bool REVERSE>
    __device__ __forceinline__ void add(const float (&p)[N], const Window<N>& x) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            bias[i] += p[i];
            if constexpr (TRAINED == FILTERS) {
#pragma unroll
                for (int k = 0; k < TAPS; k++) {
                    w.at[k][i] = fmaf(p[i], x.at[REVERSE ? TAPS - 1 - k : k][i], w.at[k][i]);
                }
            }
        }
    }

    // Into row `run` of [runs e width] and [runs e].
    __device__ __forceinline__ void write(float* weights, float* biases, u32 run, u32 channel, Sizes s) const {
        if (biases != nullptr) store<N>(biases + static_cast<size_t>(run) * s.e + channel, bias);
        if (TRAINED != FILTERS || weights == nullptr) return;
        weights += (static_cast<size_t>(run) * s.e + channel) * s.width;
#pragma unroll
        for (int i = 0; i < N; i++) {
#pragma unroll
            for (int k = 0; k < TAPS; k++) {
                const u32 tap = k + s.width - TAPS;
                if (tap < s.width) weights[i * s.width + tap] = w.at[k][i];
            }
        }
    }
};

// Where the filters' gradients go, a row for each run; null where they are not asked for.
struct Partials {
    float *weight_f, *bias_f, *weight_b, *bias_b;
};

// Turns the gradient of an output into that of the sum under the SiLU.
template <bool REVERSE, int N>
__device__ __forceinline__ void through_silu(const Filter<N>& filter, const Window<N>& window, float (&g)[N]) {
    float sum[N];
#pragma unroll
    for (int i = 0; i < N; i++) sum[i] = filter.bias[i];
    weigh<REVERSE>(filter, window, sum);
#pragma unroll
    for (int i = 0; i < N; i++) g[i] *= silu_slope(sum[i]);
}

template <int N, Trained TRAINED, typename T>
__device__ __forceinline__ void backward(const T* __restrict__ xz, const float* __restrict__ weight_f,
                                         const float* __restrict__ bias_f, const float* __restrict__ weight_b,
                                         const float* __restrict__ bias_b, const T* __restrict__ du_f,
                                         const T* __restrict__ du_b, T* __restrict__ dxz, Partials partials,
                                         Sizes s, u32 accumulate) {
    const u32 channel = (blockIdx.x * THREADS + threadIdx.x) * N;
    if (channel >= s.e) return;
    const u32 first = blockIdx.y * s.tokens, last = min(first + s.tokens, s.l);
    const size_t image = static_cast<size_t>(blockIdx.z) * s.l * s.e + channel;
    const size_t image_xz = static_cast<size_t>(blockIdx.z) * s.l * 2 * s.e + channel;
    xz += image_xz, dxz += dxz == nullptr ? 0 : image_xz;
    du_f += du_f == nullptr ? 0 : image, du_b += du_b == nullptr ? 0 : image;
    const Filter<N> f(weight_f, bias_f, channel, s.width), b(weight_b, bias_b, channel, s.width);
    Window<N> window, p_f, p_b;
    FilterGrad<N, TRAINED> grad_f, grad_b;
    float x[N];
    for (u32 t = first - (TAPS - 1); t != first; t++) {
        row(xz, t, s.l, 2 * s.e, x);
        window.push(x);
    }
    for (u32 start = first; start < last + TAPS - 1; start += BATCH) {
        float ahead[BATCH][N], ahead_f[BATCH][N], ahead_b[BATCH][N];
#pragma unroll
        for (int j = 0; j < BATCH; j++) {
            row(xz, start + j, s.l, 2 * s.e, ahead[j]);
            row(du_f, start + j, du_f == nullptr ? 0 : s.l, s.e, ahead_f[j]);
            row(du_b, start + j - (TAPS - 1), du_b == nullptr ? 0 : s.l, s.e, ahead_b[j]);
        }
#pragma unroll
        for (int j = 0; j < BATCH; j++) {
            const u32 t = start + j, behind = t - (TAPS - 1);
            const bool mine = t >= first + TAPS - 1 && t < last + TAPS - 1;
            window.push(ahead[j]);
            through_silu<false>(f, window, ahead_f[j]);
            p_f.push(ahead_f[j]);
            through_silu<true>(b, window, ahead_b[j]);
            p_b.push(ahead_b[j]);
            if (TRAINED != NOTHING && t < last) grad_f.template add<false>(ahead_f[j], window);
            if (TRAINED != NOTHING && mine) grad_b.template add<true>(ahead_b[j], window);
            if (mine && dxz != nullptr) {
                T* to = dxz + static_cast<size_t>(behind) * 2 * s.e;
                float dx[N] = {};
                if (accumulate) {
                    load<N>(to, dx);
                } else {
                    store<N>(to + s.e, dx);
                }
                weigh<true>(f, p_f, dx);
                weigh<false>(b, p_b, dx);
                store<N>(to, dx);
            }
        }
    }
    if (TRAINED != NOTHING) {
        const u32 run = blockIdx.z * gridDim.y + blockIdx.y;
        grad_f.write(partials.weight_f, partials.bias_f, run, channel, s);
        grad_b.write(partials.weight_b, partials.bias_b, run, channel, s);
    }
}

// Channels in twos where e allows.
template <Trained TRAINED, typename T>
__device__ __forceinline__ void backward(const T* xz, const float* weight_f, const float* bias_f,
                                         const float* weight_b, const float* bias_b, const T* du_f,
                                         const T* du_b, T* dxz, Partials partials, Sizes s, u32 accumulate) {
    if (s.e % 2 == 0) {
        backward<2, TRAINED>(xz, weight_f, bias_f, weight_b, bias_b, du_f, du_b, dxz, partials, s, accumulate);
    } else {
        backward<1, TRAINED>(xz, weight_f, bias_f, weight_b, bias_b, du_f, du_b, dxz, partials, s, accumulate);
    }
}

#define INPUTS(T) const T *xz, const float *weight_f, const float *bias_f, const float *weight_b, const float *bias_b
#define GRADS(T) const T *du_f, const T *du_b, T *dxz
#define BACKWARD(trained, ...)                                                                                 \
    backward<trained>(xz, weight_f, bias_f, weight_b, bias_b, du_f, du_b, dxz, Partials{__VA_ARGS__},          \
                      Sizes{l, e, width, tokens}, accumulate)

#define ENTRIES(T, suffix)                                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                      \
        causal_conv1d_forward_##suffix(INPUTS(T), T* u_f, T* u_b, u32 l, u32 e, u32 width, u32 tokens) {       \
        const Sizes sizes{l, e, width, tokens};                                                                \
        if (e % 4 == 0) {                                                                                      \
            forward<4>(xz, weight_f, bias_f, weight_b, bias_b, u_f, u_b, sizes);                               \
        } else {                                                                                               \
            forward<1>(xz, weight_f, bias_f, weight_b, bias_b, u_f, u_b, sizes);                               \
        }                                                                                                      \
    }                                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                      \
        causal_conv1d_backward_##suffix(INPUTS(T), GRADS(T), u32 l, u32 e, u32 width, u32 tokens,              \
                                        u32 accumulate) {                                                      \
        BACKWARD(NOTHING);                                                                                     \
    }                                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                      \
        causal_conv1d_backward_biases_##suffix(INPUTS(T), GRADS(T), float* dbias_f, float* dbias_b, u32 l,     \
                                               u32 e, u32 width, u32 tokens, u32 accumulate) {                 \
        BACKWARD(BIASES, nullptr, dbias_f, nullptr, dbias_b);                                                  \
    }                                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                      \
        causal_conv1d_backward_filters_##suffix(INPUTS(T), GRADS(T), float* dweight_f, float* dbias_f,         \
                                                float* dweight_b, float* dbias_b, u32 l, u32 e, u32 width,     \
                                                u32 tokens, u32 accumulate) {                                  \
        BACKWARD(FILTERS, dweight_f, dbias_f, dweight_b, dbias_b);                                             \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
