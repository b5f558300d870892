// Calls the published convolution with what its own causal_conv1d.cpp would pass: SiLU, tokens innermost, no states.
#include "launch.h"
#include "causal_conv1d.h"

namespace at {
struct BFloat16;
}
template <typename input_t, typename weight_t>
void causal_conv1d_fwd_cuda(ConvParamsBase &params, cudaStream_t stream);
template <typename input_t, typename weight_t>
void causal_conv1d_bwd_cuda(ConvParamsBwd &params, cudaStream_t stream);

namespace {
// Places in the table of tensors; libraries.py has the same.
enum { X, WEIGHT, BIAS, OUT, DOUT, DX, DWEIGHT, DBIAS };

void fill(ConvParamsBase &p, const int *sizes, const View *t, const View &out) {
    p.batch = sizes[0], p.dim = sizes[1], p.seqlen = sizes[2], p.width = sizes[3];
    p.silu_activation = true;
    p.x_ptr = t[X].at, p.x_batch_stride = t[X].by[0], p.x_c_stride = t[X].by[1], p.x_l_stride = t[X].by[2];
    p.weight_ptr = t[WEIGHT].at, p.weight_c_stride = t[WEIGHT].by[0], p.weight_width_stride = t[WEIGHT].by[1];
    p.bias_ptr = t[BIAS].at;
    p.out_ptr = out.at, p.out_batch_stride = out.by[0], p.out_c_stride = out.by[1], p.out_l_stride = out.by[2];
}
}  // namespace

extern "C" const char *conv_forward(int bf16, const int *sizes, const View *t, cudaStream_t stream) {
    return told([&] {
        ConvParamsBase p = {};
        fill(p, sizes, t, t[OUT]);
        bf16 ? causal_conv1d_fwd_cuda<at::BFloat16, float>(p, stream) : causal_conv1d_fwd_cuda<float, float>(p, stream);
    });
}

extern "C" const char *conv_backward(int bf16, const int *sizes, const View *t, cudaStream_t stream) {
    return told([&] {
        ConvParamsBwd p = {};
        fill(p, sizes, t, t[DOUT]);
        p.dout_ptr = t[DOUT].at, p.dout_batch_stride = t[DOUT].by[0], p.dout_c_stride = t[DOUT].by[1];
        p.dout_l_stride = t[DOUT].by[2];
        p.dx_ptr = t[DX].at, p.dx_batch_stride = t[DX].by[0], p.dx_c_stride = t[DX].by[1], p.dx_l_stride = t[DX].by[2];
        p.dweight_ptr = t[DWEIGHT].at, p.dweight_c_stride = t[DWEIGHT].by[0];
        p.dweight_width_stride = t[DWEIGHT].by[1];
        p.dbias_ptr = t[DBIAS].at;
        bf16 ? causal_conv1d_bwd_cuda<at::BFloat16, float>(p, stream) : causal_conv1d_bwd_cuda<float, float>(p, stream);
    });
}
