// What forward and backward share: which thread owns what, and the arithmetic of one token.
//
// For every state size n a thread owns PAIR channels x STATES states, in registers: a group of n / 4 lanes holds the
// states of two channels, and a warp has 256 / n channels. So for each token a lane reads 4 words of delta and delta u,
// 4 of B and 4 of C from shared memory for its 8 states, where a lane with one channel would read 2 + 4 + 4 for 4
// states. A word takes as much of shared memory's time as half an exponential takes of the special function units'.
//
// Odd lanes of a group have their two channels swapped. Then the first stage of every sum over a group is "keep
// register 0, send register 1" in all lanes, without selects.
#pragma once
#include "../common/math.cuh"
#include "../common/reduce.cuh"
#include "../common/vector.cuh"

#define LOG2_E 1.44269504088896340736f
#define LN2 0.69314718055994530942f

extern __shared__ float4 shared[];

// A place in the block's shared memory, counted in words.
__device__ __forceinline__ float* words(u32 at) { return reinterpret_cast<float*>(shared) + at; }

// The states and the channels of a thread, and the tokens between two kept states.
enum { STATES = 4, PAIR = 2, CHUNK = 16 };

template <int N>
struct Lane {
    enum {
        GROUP = N / STATES,               // lanes that share a pair of channels
        CHANNELS = PAIR * WARP / GROUP,   // of a warp
        RUN = CHANNELS / 4,               // channels that a lane reads when the warp reads 8 tokens
        OWN = GROUP == 2 ? 2 : 1,         // of two tokens, those whose sums a lane has after `fold`
    };
    u32 lane, part, pair, flip;

    __device__ __forceinline__ Lane()
        : lane(threadIdx.x % WARP), part(lane % GROUP), pair(lane / GROUP), flip(part % 2) {}

    // The channel of register 0, within the warp. That of register 1 is its neighbour, `^ 1`.
    __device__ __forceinline__ u32 channel() const { return PAIR * pair + flip; }

    // The one of two folded tokens to which sum `i` of this lane belongs.
    __device__ __forceinline__ u32 token(u32 i) const { return GROUP == 2 ? i : part / 2 % 2; }

    // True for the lanes that finish what `fold` gives. Groups of more than 4 lanes have every sum several times.
    __device__ __forceinline__ bool finishes() const { return part < 4; }

    // Sums v[token][register] over the group. Sum i of a lane is that of `token(i)`, channel().
    __device__ __forceinline__ void fold(const float (&v)[2][PAIR], float (&own)[OWN]) const {
        float kept[2];
#pragma unroll
        for (int t = 0; t < 2; t++) kept[t] = v[t][0] + __shfl_xor_sync(0xFFFFFFFFu, v[t][1], 1);
        if constexpr (GROUP == 2) {
            own[0] = kept[0], own[OWN - 1] = kept[1];
        } else {
            const bool second = part & 2;
            const float sent = second ? kept[0] : kept[1];
            own[0] = (second ? kept[1] : kept[0]) + __shfl_xor_sync(0xFFFFFFFFu, sent, 2);
#pragma unroll
            for (int step = 4; step < GROUP; step *= 2) own[0] += __shfl_xor_sync(0xFFFFFFFFu, own[0], step);
        }
    }
};

// N elements as they lie in memory, so that a load can be in flight in few registers.
template <typename T, int N>
struct Raw {
    enum { BYTES = N * sizeof(T), WORDS = BYTES < 4 ? 1 : BYTES / 4 };
    u32 word[WORDS];

    __device__ __forceinline__ Raw() : word{} {}

    __device__ __forceinline__ void load(const T* at) {
        if constexpr (BYTES == 2) {
            word[0] = *reinterpret_cast<const unsigned short*>(at);
        } else if constexpr (BYTES == 4) {
            word[0] = *reinterpret_cast<const u32*>(at);
        } else if constexpr (BYTES == 8) {
            const uint2 v = *reinterpret_cast<const uint2*>(at);
            word[0] = v.x, word[1] = v.y;
        } else {
#pragma unroll
            for (int i = 0; i < WORDS; i += 4) {
                const uint4 v = reinterpret_cast<const uint4*>(at)[i / 4];
                word[i] = v.x, word[i + 1] = v.y, word[i + 2] = v.z, word[i + 3] = v.w;
            }
        }
    }

    __device__ __forceinline__ float operator[](int i) const {
        if constexpr (sizeof(T) == 4) {
            return __uint_as_float(word[i]);
        } else {
            return __uint_as_float(i % 2 ? word[i / 2] & 0xFFFF0000u : word[i / 2] << 16);
        }
    }
};

// Stores 16 bytes to shared memory in one access. The compiler does not always see that it can.
__device__ __forceinline__ void store_four(float* to, float a, float b, float c, float d) {
    const u32 at = static_cast<u32>(__cvta_generic_to_shared(to));
    asm volatile("st.shared.v4.f32 [%0], {%1, %2, %3, %4};" ::"r"(at), "f"(a), "f"(b), "f"(c), "f"(d) : "memory");
}

__device__ __forceinline__ float widen(float x) { return x; }

__device__ __forceinline__ void put(float* at, float x) { *at = x; }
__device__ __forceinline__ void put(bf16* at, float x) { *at = narrow(x); }

// The inputs of one direction.
template <typename T>
struct Direction {
    const T *u, *delta, *x_dbl;
    const float *a_log, *d, *bias;
};

// What is added to u of each direction: both are null, or neither is. The direction's own is chosen where it is read,
// so that a scan without prompts holds no register for it.
template <typename T>
struct Prompts {
    const T *f, *b;

    __device__ __forceinline__ bool given() const { return f != nullptr; }
    __device__ __forceinline__ const T* of(u32 dir) const { return dir ? b : f; }
};

// log(1 + t) / t for t in [0, 1], with a relative error of 3e-8 before rounding.
__device__ __forceinline__ float log1p_ratio(float t) {
    float p = 0.005232697f;
    p = fmaf(p, t, -0.029505253f);
    p = fmaf(p, t, 0.07822598f);
    p = fmaf(p, t, -0.13663249f);
    p = fmaf(p, t, 0.19106008f);
    p = fmaf(p, t, -0.24842983f);
    p = fmaf(p, t, 0.33319097f);
    p = fmaf(p, t, -0.49999493f);
    return fmaf(p, t, 0.99999997f);
}

__device__ __forceinline__ float log1p_unit(float t) { return log1p_ratio(t) * t; }

// softplus(x) = log(1 + e^x), with t = e^-|x|. Above 17 it is x itself in f32; the published kernels take x above 20.
__device__ __forceinline__ float softplus(float x, float& t) {
    t = exp2_approx(-LOG2_E * fabsf(x));
    return fmaxf(x, 0.0f) + log1p_unit(t);
}

// 2^x for x <= 0 on the multiply-add pipes, with a relative error of 8e-8 before rounding; it is at least 2^-125.
__device__ __forceinline__ float exp2_polynomial(float x) {
    x = fmaxf(x, -125.0f);
    const float shifted = x + 12582912.0f;  // 1.5 * 2^23, which leaves the nearest integer in the low bits
    const float f = x - (shifted - 12582912.0f);
    float p = 0.0013276472f;
    p = fmaf(p, f, 0.0096755413f);
    p = fmaf(p, f, 0.055507133f);
    p = fmaf(p, f, 0.2402212f);
    p = fmaf(p, f, 0.69314697f);
    p = fmaf(p, f, 1.0000001f);
    return __uint_as_float(__float_as_uint(p) + (__float_as_uint(shifted) << 23));
}

// Keeps x in a register: the compiler does not compute it again at each use.
__device__ __forceinline__ u32 computed(u32 x) {
    asm volatile("" : "+r"(x));
    return x;
}

// The number of this warp in its block, in a uniform register.
__device__ __forceinline__ u32 warp_number() { return __shfl_sync(0xFFFFFFFFu, threadIdx.x / WARP, 0); }

// Writes A log2(e) of this lane's channels and states to `rate`, or zeros beyond the last channel.
template <int N>
__device__ __forceinline__ void decay_rates(const Lane<N>& at, const float* a_log, u32 channel, u32 e,
                                            float (&rate)[PAIR][STATES]) {
    const u32 first = channel + PAIR * at.pair;
#pragma unroll
    for (int k = 0; k < PAIR; k++) {
#pragma unroll
        for (int j = 0; j < STATES; j++) rate[k][j] = 0.0f;
        if (first < e) {
            load<STATES>(a_log + static_cast<size_t>(first + k) * N + at.part * STATES, rate[k]);
        }
    }
#pragma unroll
    for (int j = 0; j < STATES; j++) {
        const float even = first < e ? -LOG2_E * expf(rate[0][j]) : 0.0f;
        const float odd = first < e ? -LOG2_E * expf(rate[1][j]) : 0.0f;
        rate[0][j] = at.flip ? odd : even;
        rate[1][j] = at.flip ? even : odd;
    }
}

// The place of this lane's states in what is kept, [2 b chunks PAIR e/2 n]. Each of PAIR registers has 16 bytes.
template <int N>
__device__ __forceinline__ u32 kept_at(const Lane<N>& at, u32 channel) {
    return (channel / PAIR + at.pair) * N + at.part * STATES;
}
