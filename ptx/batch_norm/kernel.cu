// Batch normalization without a scale and a shift: y[i, c] = (x[i, c] - m[c]) r[c] with r = 1 / sqrt(v + 1e-6), by given
// moments or by mean and variance of the rows, which are written with the variance by b - 1; and its gradient,
// dx = r (dy - mean(dy) - y mean(dy y)), or r dy for given moments.
//
// Layout: all f32; x, y, dy and dx are [b d], moments and r are [d]. A null mean asks for the rows' own, a null y for the
// gradient by given moments. Mapping: a thread takes one channel and walks over the rows, in order; blocks of 128 threads
// along x cover the channels, so that a warp reads 128 bytes of a row. Bound by the latency of its walks: a head's batch
// is small.
typedef unsigned int u32;

enum { THREADS = 128 };

extern "C" __global__ void __launch_bounds__(THREADS)
    batch_norm_forward(const float* x, const float* mean, const float* variance, float* own_mean, float* own_variance,
                       float* y, float* inverse, u32 b, u32 d) {
    const u32 c = blockIdx.x * THREADS + threadIdx.x;
    if (c >= d) return;
    float m = 0.0f, v = 0.0f;
    if (mean) {
        m = mean[c], v = variance[c];
    } else {
        for (u32 i = 0; i < b; i++) m += x[i * d + c];
        m /= static_cast<float>(b);
        for (u32 i = 0; i < b; i++) v = fmaf(x[i * d + c] - m, x[i * d + c] - m, v);
        own_mean[c] = m;
        own_variance[c] = v / static_cast<float>(b - 1);
        v /= static_cast<float>(b);
    }
    const float r = 1.0f / sqrtf(v + 1e-6f);
    inverse[c] = r;
    for (u32 i = 0; i < b; i++) y[i * d + c] = (x[i * d + c] - m) * r;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    batch_norm_backward(const float* dy, const float* y, const float* inverse, float* dx, u32 b, u32 d, u32 add) {
    const u32 c = blockIdx.x * THREADS + threadIdx.x;
    if (c >= d) return;
    float mean = 0.0f, along = 0.0f;
    if (y) {
        for (u32 i = 0; i < b; i++) {
            mean += dy[i * d + c];
            along = fmaf(dy[i * d + c], y[i * d + c], along);
        }
        mean /= static_cast<float>(b), along /= static_cast<float>(b);
    }
    const float r = inverse[c];
    for (u32 i = 0; i < b; i++) {
        const float through = y ? y[i * d + c] * along : 0.0f;
        const float value = r * (dy[i * d + c] - mean - through);
        dx[i * d + c] = add ? dx[i * d + c] + value : value;
    }
}
