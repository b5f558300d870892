// Prompts of a layer that build on those of the layers before, and their gradients.
//
// Forward: y_l = p_l + m_l p_(l-1), or with p_(l-1) itself, or with all of p_0 to p_(l-1); l = 1..k. grad_prompts: dp_l =
// dy_l + m_(l+1)^T dy_(l+1), or with dy_(l+1) itself, or with all of dy_(l+1) to dy_k. grad_matrices: dm_l = dy_l p_(l-1)^T.
// Layout: all f32; first [n d] is p_0, later [k n d] are p_1 to p_k, y and dy [k n d], matrices [k n n], null for none.
// Mapping: forward and grad_prompts give a thread one element, neighbouring threads take neighbouring channels, 256 threads
// to a block; grad_matrices gives a warp one element, whose lanes take every 32nd channel. Sums have a fixed order. The
// prompts come from the cache: with n of 10 to 200 this is a small product, bound by reading them.
#include "../common/reduce.cuh"
#include "../common/vector.cuh"

enum { THREADS = 256 };

// Prompt j of layer l.
__device__ __forceinline__ const float* prompt(const float* first, const float* later, u32 n, u32 d, u32 l, u32 j) {
    return l == 0 ? first + j * d : later + ((l - 1) * n + j) * d;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    prompt_chain_forward(const float* first, const float* later, const float* matrices, float* y, u32 k, u32 n, u32 d,
                         u32 all) {
    const u32 at = blockIdx.x * THREADS + threadIdx.x;
    if (at >= k * n * d) return;
    const u32 row = at / d, c = at - row * d, before = row / n, i = row - before * n;
    float sum = 0.0f;
    if (matrices != nullptr) {
        for (u32 j = 0; j < n; j++) {
            sum = fmaf(matrices[row * n + j], prompt(first, later, n, d, before, j)[c], sum);
        }
    } else {
        for (u32 l = all ? 0 : before; l <= before; l++) sum += prompt(first, later, n, d, l, i)[c];
    }
    y[at] = sum + later[at];
}

extern "C" __global__ void __launch_bounds__(THREADS)
    prompt_chain_grad_prompts(const float* dy, const float* matrices, float* to, u32 k, u32 n, u32 d, u32 all,
                              u32 first_layer, u32 layers, u32 accumulate) {
    const u32 at = blockIdx.x * THREADS + threadIdx.x;
    if (at >= layers * n * d) return;
    const u32 row = at / d, c = at - row * d, l = first_layer + row / n, j = row % n;
    // The gradient of y_l stands at l - 1.
    const float* from = dy + c;
    float sum = l > 0 ? from[((l - 1) * n + j) * d] : 0.0f;
    if (matrices == nullptr) {
        const u32 end = all ? k : min(k, l + 1);
        for (u32 later = l; later < end; later++) sum += from[(later * n + j) * d];
    } else if (l < k) {
        for (u32 i = 0; i < n; i++) sum = fmaf(matrices[(l * n + i) * n + j], from[(l * n + i) * d], sum);
    }
    if (accumulate) sum += to[at];
    to[at] = sum;
}

extern "C" __global__ void __launch_bounds__(THREADS)
    prompt_chain_grad_matrices(const float* dy, const float* first, const float* later, float* to, u32 k, u32 n, u32 d,
                               u32 all, u32 accumulate) {
    const u32 lane = threadIdx.x % WARP, at = blockIdx.x * (THREADS / WARP) + threadIdx.x / WARP;
    if (at >= k * n * n) return;
    const u32 row = at / n, j = at - row * n;
    const float *a = dy + row * d, *b = prompt(first, later, n, d, row / n, j);
    float sum = 0.0f;
    for (u32 c = lane; c < d; c += WARP) sum = fmaf(a[c], b[c], sum);
    sum = warp_sum(sum);
    if (lane != 0) return;
    if (accumulate) sum += to[at];
    to[at] = sum;
}
