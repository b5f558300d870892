// Plain loops in the place of the published kernels, by the same parameters: check_published.py builds the launchers
// on them, to check without a GPU what they pass.
#include <cuda_runtime.h>

#include <cmath>
#include <cstdint>
#include <stdexcept>
#include <vector>

namespace at {
struct BFloat16;
}

static float &value(void *base, uint64_t offset) { return static_cast<float *>(base)[offset]; }
static float sigmoid(float v) { return 1 / (1 + std::exp(-v)); }
extern "C" const char *cudaGetErrorString(cudaError_t) { return "no CUDA"; }
extern "C" cudaError_t cudaFree(void *) { return cudaSuccess; }

#ifdef SCAN
#include "selective_scan.h"

template <typename input_t, typename weight_t>
void selective_scan_fwd_cuda(SSMParamsBase &params, cudaStream_t stream);
template <typename input_t, typename weight_t>
void selective_scan_bwd_cuda(SSMParamsBwd &params, cudaStream_t stream);

struct Token {
    float u, raw, step, z;
};

static Token token(const SSMParamsBase &p, int b, int d, int l) {
    float u = value(p.u_ptr, b * p.u_batch_stride + d * p.u_d_stride + l);
    float raw = value(p.delta_ptr, b * p.delta_batch_stride + d * p.delta_d_stride + l) + value(p.delta_bias_ptr, d);
    float z = value(p.z_ptr, b * p.z_batch_stride + d * p.z_d_stride + l);
    return {u, raw, std::log1p(std::exp(raw)), z};
}
static float weight(const SSMParamsBase &p, int d, int n) {
    return value(p.A_ptr, d * p.A_d_stride + n * p.A_dstate_stride);
}
static float input(const SSMParamsBase &p, int b, int n, int l) {
    return value(p.B_ptr, b * p.B_batch_stride + n * p.B_dstate_stride + l);
}
static float output(const SSMParamsBase &p, int b, int n, int l) {
    return value(p.C_ptr, b * p.C_batch_stride + n * p.C_dstate_stride + l);
}

// States after each token, [length][state].
static std::vector<float> states(const SSMParamsBase &p, int b, int d) {
    std::vector<float> s(p.seqlen * p.dstate);
    for (int l = 0; l < p.seqlen; ++l) {
        Token t = token(p, b, d, l);
        for (int n = 0; n < p.dstate; ++n) {
            float before = l ? s[(l - 1) * p.dstate + n] : 0;
            s[l * p.dstate + n] = std::exp(t.step * weight(p, d, n)) * before + t.step * t.u * input(p, b, n, l);
        }
    }
    return s;
}

template <>
void selective_scan_fwd_cuda<at::BFloat16, float>(SSMParamsBase &, cudaStream_t) {
    throw std::runtime_error("float only");
}
template <>
void selective_scan_bwd_cuda<at::BFloat16, float>(SSMParamsBwd &, cudaStream_t) {
    throw std::runtime_error("float only");
}
template <>
void selective_scan_fwd_cuda<float, float>(SSMParamsBase &p, cudaStream_t) {
    for (int b = 0; b < p.batch; ++b)
        for (int d = 0; d < p.dim; ++d) {
            auto s = states(p, b, d);
            for (int l = 0; l < p.seqlen; ++l) {
                Token t = token(p, b, d, l);
                float y = value(p.D_ptr, d) * t.u;
                for (int n = 0; n < p.dstate; ++n) y += s[l * p.dstate + n] * output(p, b, n, l);
                value(p.out_ptr, b * p.out_batch_stride + d * p.out_d_stride + l) = y;
                value(p.out_z_ptr, b * p.out_z_batch_stride + d * p.out_z_d_stride + l) = y * t.z * sigmoid(t.z);
            }
        }
}
template <>
void selective_scan_bwd_cuda<float, float>(SSMParamsBwd &p, cudaStream_t) {
    for (int b = 0; b < p.batch; ++b)
        for (int d = 0; d < p.dim; ++d) {
            auto s = states(p, b, d);
            std::vector<float> ds(p.dstate);
            for (int l = p.seqlen - 1; l >= 0; --l) {
                Token t = token(p, b, d, l);
                float y = value(p.out_ptr, b * p.out_batch_stride + d * p.out_d_stride + l);
                float dout = value(p.dout_ptr, b * p.dout_batch_stride + d * p.dout_d_stride + l);
                float gate = t.z * sigmoid(t.z), dy = dout * gate, D = value(p.D_ptr, d);
                if (p.out_z_ptr) value(p.out_z_ptr, b * p.out_z_batch_stride + d * p.out_z_d_stride + l) = y * gate;
                float dgate = sigmoid(t.z) * (1 + t.z * (1 - sigmoid(t.z)));
                value(p.dz_ptr, b * p.dz_batch_stride + d * p.dz_d_stride + l) = dout * y * dgate;
                float du = dy * D, dstep = 0;
                value(p.dD_ptr, d) += dy * t.u;
                for (int n = 0; n < p.dstate; ++n) {
                    float a = weight(p, d, n), decay = std::exp(t.step * a), before = l ? s[(l - 1) * p.dstate + n] : 0;
                    ds[n] += dy * output(p, b, n, l);
                    value(p.dC_ptr, b * p.dC_batch_stride + n * p.dC_dstate_stride + l) += dy * s[l * p.dstate + n];
                    value(p.dB_ptr, b * p.dB_batch_stride + n * p.dB_dstate_stride + l) += ds[n] * t.step * t.u;
                    du += ds[n] * t.step * input(p, b, n, l);
                    dstep += ds[n] * (t.u * input(p, b, n, l) + a * decay * before);
                    value(p.dA_ptr, d * p.dA_d_stride + n * p.dA_dstate_stride) += ds[n] * t.step * decay * before;
                    ds[n] *= decay;
                }
                value(p.du_ptr, b * p.du_batch_stride + d * p.du_d_stride + l) = du;
                float draw = dstep * sigmoid(t.raw);
                value(p.ddelta_ptr, b * p.ddelta_batch_stride + d * p.ddelta_d_stride + l) = draw;
                value(p.ddelta_bias_ptr, d) += draw;
            }
        }
}
#else
#include "causal_conv1d.h"

template <typename input_t, typename weight_t>
void causal_conv1d_fwd_cuda(ConvParamsBase &params, cudaStream_t stream);
template <typename input_t, typename weight_t>
void causal_conv1d_bwd_cuda(ConvParamsBwd &params, cudaStream_t stream);

template <typename Each>
static void each(const ConvParamsBase &p, Each run) {
    for (int b = 0; b < p.batch; ++b)
        for (int d = 0; d < p.dim; ++d)
            for (int l = 0; l < p.seqlen; ++l) {
                float sum = value(p.bias_ptr, d);
                for (int w = 0; w < p.width && w <= l; ++w)
                    sum += value(p.weight_ptr, d * p.weight_c_stride + (p.width - 1 - w) * p.weight_width_stride) *
                           value(p.x_ptr, b * p.x_batch_stride + d * p.x_c_stride + (l - w) * p.x_l_stride);
                run(b, d, l, sum);
            }
}
template <>
void causal_conv1d_fwd_cuda<at::BFloat16, float>(ConvParamsBase &, cudaStream_t) {
    throw std::runtime_error("float only");
}
template <>
void causal_conv1d_bwd_cuda<at::BFloat16, float>(ConvParamsBwd &, cudaStream_t) {
    throw std::runtime_error("float only");
}
template <>
void causal_conv1d_fwd_cuda<float, float>(ConvParamsBase &p, cudaStream_t) {
    each(p, [&](int b, int d, int l, float sum) {
        value(p.out_ptr, b * p.out_batch_stride + d * p.out_c_stride + l * p.out_l_stride) = sum * sigmoid(sum);
    });
}
template <>
void causal_conv1d_bwd_cuda<float, float>(ConvParamsBwd &p, cudaStream_t) {
    auto dx = [&](int b, int d, int l) -> float & {
        return value(p.dx_ptr, b * p.dx_batch_stride + d * p.dx_c_stride + l * p.dx_l_stride);
    };
    each(p, [&](int b, int d, int l, float) { dx(b, d, l) = 0; });
    each(p, [&](int b, int d, int l, float sum) {
        float up = value(p.dout_ptr, b * p.dout_batch_stride + d * p.dout_c_stride + l * p.dout_l_stride);
        up *= sigmoid(sum) * (1 + sum * (1 - sigmoid(sum)));
        value(p.dbias_ptr, d) += up;
        for (int w = 0; w < p.width && w <= l; ++w) {
            int tap = p.width - 1 - w;
            dx(b, d, l - w) += up * value(p.weight_ptr, d * p.weight_c_stride + tap * p.weight_width_stride);
            value(p.dweight_ptr, d * p.dweight_c_stride + tap * p.dweight_width_stride) +=
                up * value(p.x_ptr, b * p.x_batch_stride + d * p.x_c_stride + (l - w) * p.x_l_stride);
        }
    });
}
#endif
