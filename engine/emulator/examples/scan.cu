// A small selective scan: what examples/speed.rs measures the emulator with.
typedef unsigned u32;
__device__ __forceinline__ float ex2(float x) { float y; asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x)); return y; }
enum { STATES = 16, STEP = 8 };
extern "C" __global__ void __launch_bounds__(128)
    scan(const float* u, const float* dt, const float* a_log, const float* bc, const float* d, float* y, u32 l, u32 e) {
    __shared__ float shared[STEP][2 * STATES];
    const u32 channel = blockIdx.x * blockDim.x + threadIdx.x, batch = blockIdx.y;
    const bool live = channel < e;
    float h[STATES], a[STATES];
#pragma unroll
    for (int n = 0; n < STATES; n++) {
        h[n] = 0;
        a[n] = live ? -expf(a_log[channel * STATES + n]) * 1.44269504f : 0.0f;
    }
    const float skip = live ? d[channel] : 0.0f;
    for (u32 t0 = 0; t0 < l; t0 += STEP) {
        __syncthreads();
        for (u32 i = threadIdx.x; i < STEP * 2 * STATES; i += blockDim.x) {
            const u32 t = t0 + i / (2 * STATES);
            shared[i / (2 * STATES)][i % (2 * STATES)] = t < l ? bc[(size_t(batch) * l + t) * 2 * STATES + i % (2 * STATES)] : 0.0f;
        }
        __syncthreads();
        for (u32 k = 0; k < STEP && t0 + k < l; k++) {
            if (!live) continue;
            const size_t at = (size_t(batch) * l + t0 + k) * e + channel;
            const float x = u[at], r = dt[at];
            const float delta = r > 20.0f ? r : log1pf(expf(r));
            float acc = skip * x;
#pragma unroll
            for (int n = 0; n < STATES; n++) {
                h[n] = fmaf(h[n], ex2(delta * a[n]), delta * x * shared[k][n]);
                acc = fmaf(h[n], shared[k][STATES + n], acc);
            }
            y[at] = acc;
        }
    }
}
