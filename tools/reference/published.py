"""The published CUDA kernels as PyTorch operators, and Vim's mixer built on them as the published program does.

Two forms of the mixer, the same function:

- `published_mixer`: one autograd function around convolution, projections and scan, after MambaInnerFn. Its backward
  pass computes convolution and delta again, and the gradients of all weights whether they are trained or not;
- `composed_mixer`: convolution and scan as operators of their own, the rest left to autograd: nothing is computed
  twice, no weight gradient is computed for a frozen weight, and torch.compile sees all of it.
"""

import importlib
import sys
import types

import torch
import torch.nn.functional as F

import loops

# The kernels in use; the loops until `use_kernels` is called.
scan_cuda = loops.SelectiveScanCuda()
conv_cuda = loops.CausalConv1dCuda()


def use_kernels(jobs=None):
    """Uses the CUDA libraries from now on, built if need be."""
    global scan_cuda, conv_cuda
    import libraries

    scan_cuda = libraries.SelectiveScan(libraries.load("selective_scan", jobs))
    conv_cuda = libraries.CausalConv1d(libraries.load("causal_conv1d", jobs))


def dense(t):
    return t if t.stride(-1) == 1 else t.contiguous()


def scan_forward(u, delta, A, B, C, D, z, bias):
    """Gated output, output before the gate, and the states that the backward pass wants."""
    out, x, gated = scan_cuda.fwd(dense(u), dense(delta), A, dense(B), dense(C), D, dense(z), bias, True)
    return gated, out, x


def scan_backward(u, delta, A, B, C, D, z, bias, dout, x, out):
    """Gradients of u, delta, A, B, C, D, z, bias."""
    inputs = dense(u), dense(delta), A, dense(B), dense(C), D, dense(z), bias
    du, ddelta, dA, dB, dC, dD, dbias, dz = scan_cuda.bwd(*inputs, dense(dout), x, out, None, True, False)
    return du, ddelta, dA, dB, dC, dD, dz, dbias


def conv_forward(x, weight, bias):
    x = dense(x)
    out = torch.empty_like(x)
    conv_cuda.causal_conv1d_fwd(x, weight, bias, None, None, out, None, True)
    return out


def conv_backward(x, weight, bias, dout, dx=None):
    """Gradients of x (written to dx where that is given), weight and bias."""
    x = dense(x)
    dx = torch.empty_like(x) if dx is None else dx
    dweight, dbias = torch.zeros_like(weight), torch.zeros_like(bias)
    conv_cuda.causal_conv1d_bwd(x, weight, bias, dense(dout), None, None, None, dx, dweight, dbias, None, True)
    return dx, dweight, dbias


# As operators, so that torch.compile can place them in a graph: name, schema, function, and its fake (shapes only).
library = torch.library.Library("svp_reference", "DEF")
INPUTS = "Tensor u, Tensor delta, Tensor A, Tensor B, Tensor C, Tensor D, Tensor z, Tensor bias"


def like(*tensors):
    return tuple(torch.empty_like(t) for t in tensors)


def fake_scan_forward(u, delta, A, B, C, D, z, bias):
    chunks = -(-u.shape[-1] // 2048)
    return *like(dense(z), dense(delta)), A.new_empty(*u.shape[:2], chunks, 2 * A.shape[1])


def fake_scan_backward(u, delta, A, B, C, D, z, bias, dout, x, out):
    return like(dense(u), dense(delta), A, dense(B), dense(C), D, dense(z), bias)


OPERATORS = {
    "scan_forward": (f"({INPUTS}) -> (Tensor, Tensor, Tensor)", scan_forward, fake_scan_forward),
    "scan_backward": (
        f"({INPUTS}, Tensor dout, Tensor x, Tensor out) -> ({', '.join(['Tensor'] * 8)})",
        scan_backward,
        fake_scan_backward,
    ),
    "conv_forward": (
        "(Tensor x, Tensor weight, Tensor bias) -> Tensor",
        conv_forward,
        lambda x, weight, bias: torch.empty_like(dense(x)),
    ),
    "conv_backward": (
        "(Tensor x, Tensor weight, Tensor bias, Tensor dout) -> (Tensor, Tensor, Tensor)",
        conv_backward,
        lambda x, weight, bias, dout: like(dense(x), weight, bias),
    ),
}
for name, (schema, function, fake) in OPERATORS.items():
    library.define(name + schema)
    library.impl(name, function, "CPU")
    library.impl(name, function, "CUDA")
    torch.library.register_fake(f"svp_reference::{name}", fake, lib=library)


def wanted(ctx, grads):
    return tuple(grad if needed else None for grad, needed in zip(grads, ctx.needs_input_grad))


def save_scan(ctx, inputs, output):
    ctx.set_materialize_grads(False)  # no zeros for the outputs that nobody derives by
    ctx.save_for_backward(*inputs, output[2], output[1])


def derive_scan(ctx, dgated, dout, dx):
    *inputs, x, out = ctx.saved_tensors
    return wanted(ctx, torch.ops.svp_reference.scan_backward(*inputs, dgated, x, out))


def derive_conv(ctx, dout):
    return wanted(ctx, torch.ops.svp_reference.conv_backward(*ctx.saved_tensors, dout))


torch.library.register_autograd("svp_reference::scan_forward", derive_scan, setup_context=save_scan, lib=library)
torch.library.register_autograd(
    "svp_reference::conv_forward",
    derive_conv,
    setup_context=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
    lib=library,
)


def selective_scan(*inputs):
    return torch.ops.svp_reference.scan_forward(*inputs)[0]


def causal_conv1d(x, weight, bias):
    return torch.ops.svp_reference.conv_forward(x, weight, bias)


def projected(u, x_proj, dt_proj, state):
    """From the convolution's output [b e l]: the projections [(b l) r+2n], and delta [b e l], B, C [b 1 n l]."""
    batch, _, length = u.shape
    low = F.linear(u.transpose(1, 2).reshape(batch * length, -1), x_proj)
    rank = low.shape[1] - 2 * state
    by_channel = lambda t: t.unflatten(0, (batch, length)).transpose(1, 2).unsqueeze(1).contiguous()
    return low, delta_of(low, dt_proj, batch), by_channel(low[:, rank:-state]), by_channel(low[:, -state:])


def delta_of(low, dt_proj, batch):
    delta = dt_proj @ low[:, : dt_proj.shape[1]].t()
    return delta.unflatten(1, (batch, -1)).transpose(0, 1)


class MambaInner(torch.autograd.Function):
    """Convolution, projections, scan and gate of one direction, computed and derived as in MambaInnerFn."""

    @staticmethod
    def forward(ctx, xz, conv_weight, conv_bias, x_proj, dt_proj, A, D, dt_bias):
        device = xz.device.type
        if torch.is_autocast_enabled(device):
            x_proj, dt_proj = (t.to(torch.get_autocast_dtype(device)) for t in (x_proj, dt_proj))
        x, z = xz.chunk(2, 1)
        u = conv_forward(x, conv_weight, conv_bias)
        low, delta, B, C = projected(u, x_proj, dt_proj, A.shape[1])
        gated, out, states = scan_forward(u, delta, A, B, C, D, z, dt_bias)
        ctx.save_for_backward(xz, conv_weight, conv_bias, low, x_proj, dt_proj, A, B, C, D, dt_bias, states, out)
        return gated

    @staticmethod
    def backward(ctx, dgated):
        xz, conv_weight, conv_bias, low, x_proj, dt_proj, A, B, C, D, dt_bias, states, out = ctx.saved_tensors
        (batch, _, length), rank, state = xz.shape, dt_proj.shape[1], A.shape[1]
        x, z = xz.chunk(2, 1)
        u, delta = conv_forward(x, conv_weight, conv_bias), delta_of(low, dt_proj, batch)
        dxz = torch.empty_like(xz)
        dx, dz = dxz.chunk(2, 1)
        # The gated output is computed again, for the gradient of out_proj that the published function has inside.
        du, ddelta, dA, dB, dC, dD, ddt_bias, dz, _ = scan_cuda.bwd(
            u, delta, A, B, C, D, z, dt_bias, dense(dgated), states, out, dz, True, True
        )
        by_row = lambda t: t.squeeze(1).transpose(1, 2).reshape(batch * length, -1)
        dlow = torch.empty_like(low)
        dlow[:, rank : rank + state] = by_row(dB)
        dlow[:, -state:] = by_row(dC)
        ddelta = ddelta.transpose(0, 1).reshape(-1, batch * length)
        ddt_proj = ddelta @ low[:, :rank]
        dlow[:, :rank] = ddelta.t() @ dt_proj
        dx_proj = dlow.t() @ u.transpose(1, 2).reshape(batch * length, -1)
        du = torch.addmm(du.transpose(0, 1).reshape(-1, batch * length), x_proj.t(), dlow.t())
        du = du.unflatten(1, (batch, length)).transpose(0, 1)
        _, dconv_weight, dconv_bias = conv_backward(x, conv_weight, conv_bias, du, dx)
        return dxz, dconv_weight, dconv_bias, dx_proj, ddt_proj, dA, dD, ddt_bias


# Its Python calls the kernels directly, which torch.compile cannot look into.
mamba_inner = torch.compiler.disable(MambaInner.apply)


def composed_inner(xz, conv_weight, conv_bias, x_proj, dt_proj, A, D, dt_bias):
    x, z = xz.chunk(2, 1)
    u = causal_conv1d(x, conv_weight, conv_bias)
    _, delta, B, C = projected(u, x_proj, dt_proj, A.shape[1])
    return selective_scan(u, delta, A, B, C, D, z, dt_bias)


def bidirectional(x, w, inner):
    """x [b l d]; tensors inside are [b e l], the backward direction works on flipped ones."""
    batch = len(x)
    xz = w["mixer.in_proj.weight"] @ x.flatten(0, 1).t()
    xz = xz.unflatten(1, (batch, -1)).transpose(0, 1)
    outs = []
    for suffix, a_log, turned in (("", "A_log", xz), ("_b", "A_b_log", xz.flip(-1))):
        outs.append(
            inner(
                turned,
                w[f"mixer.conv1d{suffix}.weight"].squeeze(1),
                w[f"mixer.conv1d{suffix}.bias"],
                w[f"mixer.x_proj{suffix}.weight"],
                w[f"mixer.dt_proj{suffix}.weight"],
                -w["mixer." + a_log].exp(),
                w[f"mixer.D{suffix}"],
                w[f"mixer.dt_proj{suffix}.bias"],
            )
        )
    out = (outs[0] + outs[1].flip(-1)).transpose(1, 2) / 2
    return F.linear(out, w["mixer.out_proj.weight"])


def published_mixer(x, w):
    return bidirectional(x, w, mamba_inner)


def composed_mixer(x, w):
    return bidirectional(x, w, composed_inner)


def published_add_norm():
    """The published Triton kernel for residual add and RMSNorm, with the signature of vim_model.add_norm.

    Its Python file is loaded on its own: importing the package would want packages that it does not use.
    """
    from fetch_sources import unpacked
    from vim_model import EPS

    if "mamba_ssm" not in sys.modules:
        package = types.ModuleType("mamba_ssm")
        package.__path__ = [str(unpacked("mamba_ssm") / "mamba_ssm")]
        sys.modules["mamba_ssm"] = package
    rms_norm_fn = importlib.import_module("mamba_ssm.ops.triton.layer_norm").rms_norm_fn

    def add_norm(h, residual, weight):
        out, residual = rms_norm_fn(h, weight, None, residual, eps=EPS, prenorm=True, residual_in_fp32=True)
        return residual, out

    return add_norm
