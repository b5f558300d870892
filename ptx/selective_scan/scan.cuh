// What forward and backward share: inputs, shared memory, and the arithmetic of one token. Which lane has which
// channels and states is said in forward.cuh and backward.cuh.
#pragma once
#include "../common/math.cuh"
#include "../common/reduce.cuh"
#include "../common/vector.cuh"

#define LOG2_E 1.44269504088896340736f
#define LN2 0.69314718055994530942f

extern __shared__ float4 shared[];

// A place in the block's shared memory, counted in words.
__device__ __forceinline__ float* words(u32 at) { return reinterpret_cast<float*>(shared) + at; }

// The channels of a lane in forward, and the tokens between two kept states.
enum { PAIR = 2, CHUNK = 16 };

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

    // The same from an address that need not be a multiple of more than one element's size.
    __device__ __forceinline__ void gather(const T* at) {
#pragma unroll
        for (int i = 0; i < N; i++) {
            if constexpr (sizeof(T) == 4) {
                word[i] = reinterpret_cast<const u32*>(at)[i];
            } else {
                const u32 one = reinterpret_cast<const unsigned short*>(at)[i];
                word[i / 2] = i % 2 ? word[i / 2] | one << 16 : one;
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

// Keeps x in a register: the compiler does not compute it again at each use.
__device__ __forceinline__ u32 computed(u32 x) {
    asm volatile("" : "+r"(x));
    return x;
}

// Keeps an address in registers: the compiler does not choose between two arguments again at each use.
template <typename T>
__device__ __forceinline__ T* computed(T* at) {
    size_t global = __cvta_generic_to_global(at);
    asm volatile("" : "+l"(global));
    return static_cast<T*>(__cvta_global_to_generic(global));
}

// The number of this warp in its block, in a uniform register.
__device__ __forceinline__ u32 warp_number() { return __shfl_sync(0xFFFFFFFFu, threadIdx.x / WARP, 0); }
