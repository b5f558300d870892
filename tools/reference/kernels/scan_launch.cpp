// Calls the published selective scan with what its own selective_scan.cpp would pass: B and C vary with time, in one
// group; with softplus and a gate.
#include "launch.h"
#include "selective_scan.h"

namespace at {
struct BFloat16;
}
template <typename input_t, typename weight_t>
void selective_scan_fwd_cuda(SSMParamsBase &params, cudaStream_t stream);
template <typename input_t, typename weight_t>
void selective_scan_bwd_cuda(SSMParamsBwd &params, cudaStream_t stream);

namespace {
// Places in the table of tensors; libraries.py has the same.
enum { U, DELTA, A, B, C, D, Z, BIAS, OUT, X, GATED, DOUT, DU, DDELTA, DA, DB, DC, DD, DZ, DBIAS };

void fill(SSMParamsBase &p, const int *sizes, const View *t) {
    p.batch = sizes[0], p.dim = sizes[1], p.seqlen = sizes[2], p.dstate = sizes[3], p.n_chunks = sizes[4];
    p.n_groups = 1, p.dim_ngroups_ratio = p.dim;
    p.is_variable_B = p.is_variable_C = p.delta_softplus = true;
    p.u_ptr = t[U].at, p.u_batch_stride = t[U].by[0], p.u_d_stride = t[U].by[1];
    p.delta_ptr = t[DELTA].at, p.delta_batch_stride = t[DELTA].by[0], p.delta_d_stride = t[DELTA].by[1];
    p.A_ptr = t[A].at, p.A_d_stride = t[A].by[0], p.A_dstate_stride = t[A].by[1];
    p.B_ptr = t[B].at, p.B_batch_stride = t[B].by[0], p.B_group_stride = t[B].by[1], p.B_dstate_stride = t[B].by[2];
    p.C_ptr = t[C].at, p.C_batch_stride = t[C].by[0], p.C_group_stride = t[C].by[1], p.C_dstate_stride = t[C].by[2];
    p.D_ptr = t[D].at, p.delta_bias_ptr = t[BIAS].at, p.x_ptr = t[X].at;
    p.z_ptr = t[Z].at, p.z_batch_stride = t[Z].by[0], p.z_d_stride = t[Z].by[1];
    p.out_ptr = t[OUT].at, p.out_batch_stride = t[OUT].by[0], p.out_d_stride = t[OUT].by[1];
    p.out_z_ptr = t[GATED].at, p.out_z_batch_stride = t[GATED].by[0], p.out_z_d_stride = t[GATED].by[1];
}
}  // namespace

extern "C" const char *scan_forward(int bf16, const int *sizes, const View *t, cudaStream_t stream) {
    return told([&] {
        SSMParamsBase p = {};
        fill(p, sizes, t);
        bf16 ? selective_scan_fwd_cuda<at::BFloat16, float>(p, stream) : selective_scan_fwd_cuda<float, float>(p, stream);
    });
}

// Without GATED the gated output is not computed again.
extern "C" const char *scan_backward(int bf16, const int *sizes, const View *t, cudaStream_t stream) {
    return told([&] {
        SSMParamsBwd p = {};
        fill(p, sizes, t);
        p.dout_ptr = t[DOUT].at, p.dout_batch_stride = t[DOUT].by[0], p.dout_d_stride = t[DOUT].by[1];
        p.du_ptr = t[DU].at, p.du_batch_stride = t[DU].by[0], p.du_d_stride = t[DU].by[1];
        p.ddelta_ptr = t[DDELTA].at, p.ddelta_batch_stride = t[DDELTA].by[0], p.ddelta_d_stride = t[DDELTA].by[1];
        p.dA_ptr = t[DA].at, p.dA_d_stride = t[DA].by[0], p.dA_dstate_stride = t[DA].by[1];
        p.dB_ptr = t[DB].at, p.dB_batch_stride = t[DB].by[0], p.dB_group_stride = t[DB].by[1];
        p.dB_dstate_stride = t[DB].by[2];
        p.dC_ptr = t[DC].at, p.dC_batch_stride = t[DC].by[0], p.dC_group_stride = t[DC].by[1];
        p.dC_dstate_stride = t[DC].by[2];
        p.dz_ptr = t[DZ].at, p.dz_batch_stride = t[DZ].by[0], p.dz_d_stride = t[DZ].by[1];
        p.dD_ptr = t[DD].at, p.ddelta_bias_ptr = t[DBIAS].at;
        bf16 ? selective_scan_bwd_cuda<at::BFloat16, float>(p, stream) : selective_scan_bwd_cuda<float, float>(p, stream);
    });
}
