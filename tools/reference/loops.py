"""What the published kernels compute, as plain loops: the reference they are checked against, and stand-ins with the
C++ functions' signatures (and their checks) for machines without a GPU."""

import torch
import torch.nn.functional as F


def selective_scan(u, delta, A, B, C, D, z, delta_bias):
    """u, delta, z: [batch, channel, length]; A: [channel, state]; B, C: [batch, 1, state, length]; D, delta_bias:
    [channel]. Returns the gated output and the output before the gate, both like u."""
    step = F.softplus(delta + delta_bias[:, None])
    s, ys = u.new_zeros(*u.shape[:2], A.shape[1]), []
    inputs = (step * u).unbind(-1), step.unbind(-1), B[:, 0].unbind(-1), C[:, 0].unbind(-1)
    for step_u_t, step_t, B_t, C_t in zip(*inputs):
        s = torch.exp(step_t[:, :, None] * A) * s + step_u_t[:, :, None] * B_t[:, None]
        ys.append((s * C_t[:, None]).sum(-1))
    y = torch.stack(ys, -1) + D[:, None] * u
    return y * F.silu(z), y


def causal_conv1d(x, weight, bias):
    """x: [batch, channel, length]; weight: [channel, width]. With SiLU."""
    channel, width = weight.shape
    return F.silu(F.conv1d(F.pad(x, (width - 1, 0)), weight[:, None], bias, groups=channel))


def gradients(function, inputs, upstream):
    """Output of function(*inputs) and the gradients of all inputs."""
    inputs = [t.detach().requires_grad_() for t in inputs]
    with torch.enable_grad():
        out = function(*inputs)
        return out.detach(), torch.autograd.grad(out, inputs, upstream)


def wide(tensors, dtype=torch.float32):
    return [t.detach().to(dtype) for t in tensors]


def expect(condition, what):
    if not condition:
        raise RuntimeError(f"the C++ function refuses this call: {what}")


class SelectiveScanCuda:
    """Stands in for the module selective_scan_cuda, with the signatures of selective_scan.cpp."""

    @staticmethod
    def _check(u, delta, A, B, C, D, z, delta_bias, delta_softplus):
        batch, channel, length = u.shape
        state = A.shape[1]
        for name, tensor in dict(delta=delta, z=z).items():
            expect(tensor.shape == u.shape and tensor.dtype == u.dtype, f"{name} must be like u")
        for name, tensor in dict(B=B, C=C).items():
            expect(tensor.shape == (batch, 1, state, length) and tensor.dtype == u.dtype, f"shape or type of {name}")
        for name, tensor in dict(A=A, D=D, delta_bias=delta_bias).items():
            expect(tensor.shape[0] == channel and tensor.dtype == torch.float32, f"shape or type of {name}")
        for name, tensor in dict(u=u, delta=delta, B=B, C=C, z=z, D=D, delta_bias=delta_bias).items():
            expect(tensor.stride(-1) == 1, f"stride of {name}")
        expect(delta_softplus is True, "this build has only kDeltaSoftplus = true")

    def fwd(self, u, delta, A, B, C, D, z, delta_bias, delta_softplus):
        self._check(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
        with torch.no_grad():
            gated, y = selective_scan(*wide((u, delta, A, B, C, D, z, delta_bias)))
        chunks = -(-u.shape[-1] // 2048)
        x = torch.full((*u.shape[:2], chunks, 2 * A.shape[1]), torch.nan, dtype=A.dtype, device=u.device)
        return [torch.empty_like(delta).copy_(y), x, torch.empty_like(z).copy_(gated)]

    def bwd(self, u, delta, A, B, C, D, z, delta_bias, dout, x, out, dz, delta_softplus, recompute_out_z):
        self._check(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
        for name, tensor in dict(dout=dout, out=out, dz=z if dz is None else dz).items():
            expect(tensor.shape == u.shape and tensor.dtype == u.dtype and tensor.stride(-1) == 1, f"{name} like u")
        expect(x.shape == (*u.shape[:2], -(-u.shape[-1] // 2048), 2 * A.shape[1]) and x.is_contiguous(), "shape of x")
        inputs = u, delta, A, B, C, D, z, delta_bias
        gated, grads = gradients(lambda *i: selective_scan(*i)[0], wide(inputs), dout.float())
        grads = [torch.empty_like(to).copy_(grad) for to, grad in zip(inputs, grads)]
        du, ddelta, dA, dB, dC, dD, found_dz, dbias = grads
        dz = found_dz if dz is None else dz.copy_(found_dz)
        result = [du, ddelta, dA, dB, dC, dD, dbias, dz]
        return result + ([torch.empty_like(out).copy_(gated)] if recompute_out_z else [])


class CausalConv1dCuda:
    """Stands in for the module causal_conv1d_cuda, with the signatures of causal_conv1d.cpp."""

    @staticmethod
    def _check(x, weight, bias, silu, *absent):
        expect(x.dim() == 3 and weight.shape == (x.shape[1], 4) and bias.shape == x.shape[1:2], "shapes")
        expect(weight.dtype == bias.dtype == torch.float32, "this build has only float weights")
        expect(x.stride(2) == 1 or x.stride(1) == 1, "stride of x")
        expect(silu is True, "this build has only kSiluAct = true")
        expect(all(t is None for t in absent), "this build has no sequence index and no states")

    def causal_conv1d_fwd(self, x, weight, bias, seq_idx, initial_states, out, final_states_out, silu_activation):
        self._check(x, weight, bias, silu_activation, seq_idx, initial_states, final_states_out)
        expect(out.shape == x.shape and out.dtype == x.dtype, "out like x")
        with torch.no_grad():
            out.copy_(causal_conv1d(*wide((x, weight, bias))))

    def causal_conv1d_bwd(
        self, x, weight, bias, dout, seq_idx, initial_states, dfinal_states, dx, dweight, dbias, dinitial_states, silu
    ):
        self._check(x, weight, bias, silu, seq_idx, initial_states, dfinal_states, dinitial_states)
        expect(dout.shape == dx.shape == x.shape and dx.dtype == x.dtype and dx.stride(2) == 1, "dout, dx like x")
        expect(dweight.dtype == dbias.dtype == torch.float32, "dweight and dbias are float")
        _, grads = gradients(causal_conv1d, wide((x, weight, bias)), dout.float())
        dx.copy_(grads[0])
        dweight.add_(grads[1])  # the kernel adds, so that the caller's zeros count
        dbias.add_(grads[2])
