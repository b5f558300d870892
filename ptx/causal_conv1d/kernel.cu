// Depthwise causal convolution + SiLU, both directions from one read of x, and its backward:
// u_f[t] = silu(bias_f + sum_k w_f[k] x[t - 3 + k]), u_b[t] = silu(bias_b + sum_k w_b[k] x[t + 3 - k]).
// Filters of 2 or 3 taps are filters of 4 whose first taps are zero.
//
// Layout: x is the first half of xz [b l 2e]; weights [e 1 width], biases [e], f32; u_f, u_b [b l e].
// Mapping: a thread owns N neighbouring channels (4 forward, 2 backward; 1 where e is no multiple of that) and walks
// `tokens` tokens of one image. A window of four tokens of x stays in registers: with x[t] just read, u_f[t] and
// u_b[t - 3] are known. Blocks of 64 threads: channels along x, runs of tokens along y, images along z.
//
// Backward, with p the gradient of the sum under the SiLU: dx[t] = sum_k w_f[k] p_f[t + 3 - k] + w_b[k] p_b[t - 3 + k]
// from windows of p_f and p_b beside that of x; p is in no memory. A run of tokens starts three tokens early and ends
// three late, where its neighbours compute the same p. Gradients of weights and biases, in an entry of its own, are
// summed over the run in registers and written per run: [runs e width] and [runs e], for column sums.
// Bound: memory; x read once, both u written; backward x and both du read, dx written.
#include "../common/math.cuh"
#include "../common/vector.cuh"

enum { THREADS = 64, TAPS = 4 };

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
                    const u32 tap = k + width - TAPS;  // wraps for the taps a narrow filter lacks
                    taps[k] = tap < width ? from[tap] : 0.0f;
                }
            }
#pragma unroll
            for (int k = 0; k < TAPS; k++) w[k][i] = taps[k];
        }
    }
};

// The last four tokens of N channels, newest at [TAPS - 1].
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

// sum + sum_k w[k] window[k], or with the taps the other way round.
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

// The values of row `t`, zeros before the first and after the last.
template <int N, typename T>
__device__ __forceinline__ void row(const T* __restrict__ at, u32 t, u32 l, size_t stride, float (&x)[N]) {
#pragma unroll
    for (int i = 0; i < N; i++) x[i] = 0.0f;
    if (t < l) load<N>(at + t * stride, x);
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
    // Tokens before the first wrap, and are then beyond the last.
    for (u32 t = first - (TAPS - 1); t != first; t++) {
        row(xz, t, s.l, 2 * s.e, x);
        window.push(x);
    }
#pragma unroll 4
    for (u32 t = first; t < last + TAPS - 1; t++) {
        row(xz, t, s.l, 2 * s.e, x);
        window.push(x);
        float sum[N];
        if (t < last) {
#pragma unroll
            for (int i = 0; i < N; i++) sum[i] = f.bias[i];
            weigh<false>(f, window, sum);
#pragma unroll
            for (int i = 0; i < N; i++) sum[i] = silu(sum[i]);
            store<N>(u_f + static_cast<size_t>(t) * s.e, sum);
        }
        if (t >= first + TAPS - 1) {
#pragma unroll
            for (int i = 0; i < N; i++) sum[i] = b.bias[i];
            weigh<true>(b, window, sum);
#pragma unroll
            for (int i = 0; i < N; i++) sum[i] = silu(sum[i]);
            store<N>(u_b + static_cast<size_t>(t - (TAPS - 1)) * s.e, sum);
        }
    }
}

// The gradients of one direction's filter over a run of tokens.
template <int N>
struct FilterGrad {
    Window<N> w;
    float bias[N];

    __device__ __forceinline__ FilterGrad() : bias{} {}

    template <bool REVERSE>
    __device__ __forceinline__ void add(const float (&p)[N], const Window<N>& x) {
#pragma unroll
        for (int i = 0; i < N; i++) {
#pragma unroll
            for (int k = 0; k < TAPS; k++) {
                w.at[k][i] = fmaf(p[i], x.at[REVERSE ? TAPS - 1 - k : k][i], w.at[k][i]);
            }
            bias[i] += p[i];
        }
    }

    // Into row `run` of [runs e width] and [runs e].
    __device__ __forceinline__ void write(float* weights, float* biases, u32 run, u32 channel, Sizes s) const {
        if (biases != nullptr) store<N>(biases + static_cast<size_t>(run) * s.e + channel, bias);
        if (weights == nullptr) return;
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

// Where the filters' gradients go, a row a run; null where not asked for.
struct Partials {
    float *weight_f, *bias_f, *weight_b, *bias_b;
};

template <int N, bool FILTERS, typename T>
__device__ __forceinline__ void backward(const T* __restrict__ xz, const float* __restrict__ weight_f,
                                         const float* __restrict__ bias_f, const float* __restrict__ weight_b,
                                         const float* __restrict__ bias_b, const T* __restrict__ du_f,
                                         const T* __restrict__ du_b, T* __restrict__ dxz, Partials partials,
                                         Sizes s, bool accumulate) {
    const u32 channel = (blockIdx.x * THREADS + threadIdx.x) * N;
    if (channel >= s.e) return;
    const u32 first = blockIdx.y * s.tokens, last = min(first + s.tokens, s.l);
    const size_t image = static_cast<size_t>(blockIdx.z) * s.l * s.e + channel;
    const size_t image_xz = static_cast<size_t>(blockIdx.z) * s.l * 2 * s.e + channel;
    xz += image_xz, dxz += dxz == nullptr ? 0 : image_xz;
    const Filter<N> f(weight_f, bias_f, channel, s.width), b(weight_b, bias_b, channel, s.width);
    Window<N> window, p_f, p_b;
    FilterGrad<N> grad_f, grad_b;
    float x[N];
    for (u32 t = first - (TAPS - 1); t != first; t++) {
        row(xz, t, s.l, 2 * s.e, x);
        window.push(x);
    }
#pragma unroll 4
    for (u32 t = first; t < last + TAPS - 1; t++) {
        const u32 behind = t - (TAPS - 1);
        row(xz, t, s.l, 2 * s.e, x);
        window.push(x);
        float p[N], sum[N];
#pragma unroll
        for (int i = 0; i < N; i++) p[i] = 0.0f, sum[i] = f.bias[i];
        if (du_f != nullptr) row(du_f + image, t, s.l, s.e, p);
        weigh<false>(f, window, sum);
#pragma unroll
        for (int i = 0; i < N; i++) p[i] *= silu_slope(sum[i]);
        p_f.push(p);
        if (FILTERS && t < last) grad_f.template add<false>(p, window);

#pragma unroll
        for (int i = 0; i < N; i++) p[i] = 0.0f, sum[i] = b.bias[i];
        if (du_b != nullptr) row(du_b + image, behind, s.l, s.e, p);
        weigh<true>(b, window, sum);
#pragma unroll
        for (int i = 0; i < N; i++) p[i] *= silu_slope(sum[i]);
        p_b.push(p);
        if (t < first + TAPS - 1) continue;
        if (FILTERS) grad_b.template add<true>(p, window);

        if (dxz != nullptr) {
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
    if (FILTERS) {
        const u32 run = blockIdx.z * gridDim.y + blockIdx.y;
        grad_f.write(partials.weight_f, partials.bias_f, run, channel, s);
        grad_b.write(partials.weight_b, partials.bias_b, run, channel, s);
    }
}

#define ENTRIES(T, suffix)                                                                                     \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                      \
        causal_conv1d_forward_##suffix(const T* xz, const float* weight_f, const float* bias_f,                \
                                       const float* weight_b, const float* bias_b, T* u_f, T* u_b, u32 l,      \
                                       u32 e, u32 width, u32 tokens) {                                         \
        const Sizes sizes{l, e, width, tokens};                                                                \
        if (e % 4 == 0) {                                                                                      \
            forward<4>(xz, weight_f, bias_f, weight_b, bias_b, u_f, u_b, sizes);                               \
        } else {                                                                                               \
            forward<1>(xz, weight_f, bias_f, weight_b, bias_b, u_f, u_b, sizes);                               \
        }                                                                                                      \
    }                                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                      \
        causal_conv1d_backward_##suffix(const T* xz, const float* weight_f, const float* bias_f,               \
                                        const float* weight_b, const float* bias_b, const T* du_f,             \
                                        const T* du_b, T* dxz, u32 l, u32 e, u32 width, u32 tokens,            \
                                        u32 accumulate) {                                                      \
        const Sizes sizes{l, e, width, tokens};                                                                \
        const Partials none{};                                                                                 \
        if (e % 2 == 0) {                                                                                      \
            backward<2, false>(xz, weight_f, bias_f, weight_b, bias_b, du_f, du_b, dxz, none, sizes,           \
                               accumulate);                                                                    \
        } else {                                                                                               \
            backward<1, false>(xz, weight_f, bias_f, weight_b, bias_b, du_f, du_b, dxz, none, sizes,           \
                               accumulate);                                                                    \
        }                                                                                                      \
    }                                                                                                          \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                      \
        causal_conv1d_backward_filters_##suffix(                                                               \
            const T* xz, const float* weight_f, const float* bias_f, const float* weight_b,                    \
            const float* bias_b, const T* du_f, const T* du_b, T* dxz, float* dweight_f, float* dbias_f,       \
            float* dweight_b, float* dbias_b, u32 l, u32 e, u32 width, u32 tokens, u32 accumulate) {           \
        const Sizes sizes{l, e, width, tokens};                                                                \
        const Partials partials{dweight_f, dbias_f, dweight_b, dbias_b};                                       \
        if (e % 2 == 0) {                                                                                      \
            backward<2, true>(xz, weight_f, bias_f, weight_b, bias_b, du_f, du_b, dxz, partials, sizes,        \
                              accumulate);                                                                     \
        } else {                                                                                               \
            backward<1, true>(xz, weight_f, bias_f, weight_b, bias_b, du_f, du_b, dxz, partials, sizes,        \
                              accumulate);                                                                     \
        }                                                                                                      \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
