// Looks values up in a table that the host fills, and counts what lies beside it.
__constant__ float table[4];
__device__ unsigned beside = 0;

extern "C" __global__ void look_up(const unsigned* index, float* out, unsigned n) {
    const unsigned i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i >= n) return;
    if (index[i] < 4) {
        out[i] = table[index[i]];
    } else {
        out[i] = 0.0f;
        atomicAdd(&beside, 1u);
    }
}
