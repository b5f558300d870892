// A gate between rows of two token sequences, in place, and its gradients.
//
// Gate: y[i, r] = g y[i, r] + (1 - g) z[i, r] for the rows r, with zeros for an absent z; apart[i, j] = y - z before that,
// where it is asked for. grad_z: dz[i, r] += (1 - g) dy[i, r]. grad_logit: parts[i, p] = g (1 - g) times the sum of
// dy[i, r] apart[i, j] over part p of the elements of the rows. g is the sigmoid of the logit, or a constant without one.
// Layout: y, z, dy and dz [samples l d], f32 or bf16; apart f32 [samples n d]; rows f32 [n], whole numbers below l.
// Mapping: flat over the elements of the rows of a sample, samples along y; 16 bytes of y a thread where d is a multiple of
// that, else one element; 256 threads to a block. grad_logit gives a block 4096 elements, each thread every 256th, and adds
// the threads in a tree, so that the order depends on the sizes only. Bound: memory, and of a sequence only the rows are
// touched.
#include "../common/math.cuh"
#include "../common/reduce.cuh"
#include "../common/runs.cuh"

enum { THREADS = 256, PART = 4096 };

struct Gate {
    const float *rows, *logit;
    float constant;

    __device__ __forceinline__ float value() const { return logit != nullptr ? sigmoid(*logit) : constant; }

    // Where element `element` of the rows of this sample lies in the sequences.
    __device__ __forceinline__ size_t place(u32 element, u32 l, u32 d) const {
        const u32 j = element / d;
        const u32 row = __float2uint_rz(rows[j]);
        return (static_cast<size_t>(blockIdx.y) * l + row) * d + (element - j * d);
    }
};

template <typename T>
struct Forward {
    T* y;
    const T* z;
    Gate gate;
    float* apart;
    u32 elements, l, d;

    template <int N>
    __device__ __forceinline__ void run(u32 element) {
        const size_t at = gate.place(element, l, d);
        const float g = gate.value();
        float v[N], other[N] = {};
        load<N>(y + at, v);
        if (z != nullptr) load<N>(z + at, other);
        if (apart != nullptr) {
            float difference[N];
#pragma unroll
            for (int i = 0; i < N; i++) difference[i] = v[i] - other[i];
            store<N>(apart + static_cast<size_t>(blockIdx.y) * elements + element, difference);
        }
#pragma unroll
        for (int i = 0; i < N; i++) v[i] = g * v[i] + (1.0f - g) * other[i];
        store<N>(y + at, v);
    }
};

template <typename T>
struct GradZ {
    const T* dy;
    T* dz;
    Gate gate;
    u32 l, d;

    template <int N>
    __device__ __forceinline__ void run(u32 element) {
        const size_t at = gate.place(element, l, d);
        const float rest = 1.0f - gate.value();
        float v[N], sum[N];
        load<N>(dy + at, v);
        load<N>(dz + at, sum);
#pragma unroll
        for (int i = 0; i < N; i++) sum[i] = fmaf(rest, v[i], sum[i]);
        store<N>(dz + at, sum);
    }
};

template <typename T>
__device__ __forceinline__ void grad_logit(const T* dy, const float* apart, float* parts, const Gate& gate,
                                           u32 elements, u32 l, u32 d) {
    __shared__ float shared[THREADS / WARP][1];
    float sum[1] = {0.0f};
    const u32 end = min(elements, (blockIdx.x + 1) * PART);
    for (u32 element = blockIdx.x * PART + threadIdx.x; element < end; element += THREADS) {
        float v[1];
        load<1>(dy + gate.place(element, l, d), v);
        sum[0] = fmaf(v[0], apart[static_cast<size_t>(blockIdx.y) * elements + element], sum[0]);
    }
    block_sum<1>(sum, shared);
    const float g = gate.value();
    if (threadIdx.x == 0) parts[static_cast<size_t>(blockIdx.y) * gridDim.x + blockIdx.x] = g * (1.0f - g) * sum[0];
}

#define RUN(body)                                    \
    if (d % wide<T>() == 0) {                        \
        each_run<wide<T>()>(elements, body);         \
    } else {                                         \
        each_run<1>(elements, body);                 \
    }

template <typename T>
__device__ __forceinline__ void forward(T* y, const T* z, const Gate& gate, float* apart, u32 elements, u32 l, u32 d) {
    const Forward<T> body{y, z, gate, apart, elements, l, d};
    RUN(body)
}

template <typename T>
__device__ __forceinline__ void grad_z(const T* dy, T* dz, const Gate& gate, u32 elements, u32 l, u32 d) {
    const GradZ<T> body{dy, dz, gate, l, d};
    RUN(body)
}

#define ENTRIES(T, suffix)                                                                                       \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                        \
        gate_rows_gate_##suffix(T* y, const T* z, const float* rows, const float* logit, float constant,         \
                                float* apart, u32 elements, u32 l, u32 d) {                                      \
        forward<T>(y, z, Gate{rows, logit, constant}, apart, elements, l, d);                                    \
    }                                                                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                        \
        gate_rows_grad_z_##suffix(const T* dy, T* dz, const float* rows, const float* logit, float constant,     \
                                  u32 elements, u32 l, u32 d) {                                                  \
        grad_z<T>(dy, dz, Gate{rows, logit, constant}, elements, l, d);                                          \
    }                                                                                                            \
    extern "C" __global__ void __launch_bounds__(THREADS)                                                        \
        gate_rows_grad_logit_##suffix(const T* dy, const float* apart, float* parts, const float* rows,          \
                                      const float* logit, float constant, u32 elements, u32 l, u32 d) {          \
        grad_logit(dy, apart, parts, Gate{rows, logit, constant}, elements, l, d);                               \
    }
ENTRIES(float, f32)
ENTRIES(bf16, bf16)
