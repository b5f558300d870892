"""The libraries of build_kernels.py as modules with the functions of the published extensions.

The checks, and what is allocated, are those of their selective_scan.cpp and causal_conv1d.cpp; loops.py has stand-ins
with the same signatures. A call costs the host some ten microseconds more than a C++ extension's.
"""

import ctypes

import torch

import build_kernels
from loops import CausalConv1dCuda, SelectiveScanCuda, expect


class View(ctypes.Structure):
    _fields_ = [("at", ctypes.c_void_p), ("by", ctypes.c_int64 * 4)]


def open_library(name, path):
    """The library, if it can be loaded and the driver can run it."""
    library = ctypes.CDLL(str(path))
    library.usable.restype = ctypes.c_char_p
    wrong = library.usable()
    if wrong:
        raise OSError(f"{path.name}: {wrong.decode()}")
    return library


def load(name, jobs=None):
    """The library of this name for the GPU here. It is built when there is none, or none that serves."""
    arch = "".join(map(str, torch.cuda.get_device_capability()))
    torch.cuda.init()
    path = build_kernels.library_of(name, arch)
    if path.exists():
        try:
            return open_library(name, path)
        except OSError as error:
            print(f"{error}: it is built again", flush=True)
    return open_library(name, build_kernels.build(name, arch, jobs))


class Function:
    """A launcher of a library: flag for bf16, sizes, tensors at their places, stream."""

    def __init__(self, library, name, stream=None):
        self.call = library[name]
        self.call.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]
        self.call.restype = ctypes.c_char_p
        self.stream = stream or (lambda device: torch.cuda.current_stream(device).cuda_stream)

    def __call__(self, dtype, sizes, tensors):
        """A tensor that is None is absent."""
        table = (View * len(tensors))()
        for view, tensor in zip(table, tensors):
            if tensor is not None:
                view.at = tensor.data_ptr()
                view.by[: tensor.dim()] = tensor.stride()
        numbers = (ctypes.c_int * len(sizes))(*sizes)
        bf16, stream = dtype == torch.bfloat16, self.stream(tensors[0].device)
        wrong = self.call(bf16, ctypes.addressof(numbers), ctypes.addressof(table), stream)
        if wrong:
            raise RuntimeError(wrong.decode())


class SelectiveScan:
    """What the extension selective_scan_cuda has."""

    def __init__(self, library, stream=None):
        self.forward, self.backward = (Function(library, f"scan_{what}", stream) for what in ("forward", "backward"))

    @staticmethod
    def sizes(u, A):
        batch, dim, length = u.shape
        return [batch, dim, length, A.shape[1], -(-length // 2048)]

    def fwd(self, u, delta, A, B, C, D, z, delta_bias, delta_softplus):
        SelectiveScanCuda._check(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
        batch, dim, _, state, chunks = sizes = self.sizes(u, A)
        out, gated = torch.empty_like(delta), torch.empty_like(z)
        x = torch.empty(batch, dim, chunks, 2 * state, dtype=A.dtype, device=u.device)
        self.forward(u.dtype, sizes, [u, delta, A, B, C, D, z, delta_bias, out, x, gated])
        return [out, x, gated]

    def bwd(self, u, delta, A, B, C, D, z, delta_bias, dout, x, out, dz, delta_softplus, recompute_out_z):
        SelectiveScanCuda._check(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
        for name, tensor in dict(dout=dout, out=out).items():
            expect(tensor.shape == u.shape and tensor.dtype == u.dtype and tensor.stride(-1) == 1, f"{name} like u")
        expect(x.is_contiguous() and x.dtype == A.dtype, "x as the forward pass left it")
        dz = torch.empty_like(z) if dz is None else dz
        gated = torch.empty_like(out) if recompute_out_z else None
        du, ddelta = torch.empty_like(u), torch.empty_like(delta)
        dB, dC = (torch.zeros_like(t, dtype=torch.float32) for t in (B, C))
        dA, dD, dbias = (torch.zeros_like(t) for t in (A, D, delta_bias))
        inputs = [u, delta, A, B, C, D, z, delta_bias, out, x, gated]
        self.backward(u.dtype, self.sizes(u, A), [*inputs, dout, du, ddelta, dA, dB, dC, dD, dz, dbias])
        result = [du, ddelta, dA, dB.to(B.dtype), dC.to(C.dtype), dD, dbias, dz]
        return result + ([gated] if recompute_out_z else [])


class CausalConv1d:
    """What the extension causal_conv1d_cuda has, for tokens innermost."""

    def __init__(self, library, stream=None):
        self.forward, self.backward = (Function(library, f"conv_{what}", stream) for what in ("forward", "backward"))

    @staticmethod
    def _check(x, *rest):
        CausalConv1dCuda._check(x, *rest)
        expect(x.stride(2) == 1, "this build has no channels innermost")

    def causal_conv1d_fwd(self, x, weight, bias, seq_idx, initial_states, out, final_states_out, silu_activation):
        self._check(x, weight, bias, silu_activation, seq_idx, initial_states, final_states_out)
        expect(out.shape == x.shape and out.dtype == x.dtype, "out like x")
        self.forward(x.dtype, [*x.shape, 4], [x, weight, bias, out])

    def causal_conv1d_bwd(
        self, x, weight, bias, dout, seq_idx, initial_states, dfinal_states, dx, dweight, dbias, dinitial_states, silu
    ):
        self._check(x, weight, bias, silu, seq_idx, initial_states, dfinal_states, dinitial_states)
        expect(dout.shape == dx.shape == x.shape and dx.dtype == x.dtype and dx.stride(2) == 1, "dout, dx like x")
        expect(dweight.dtype == dbias.dtype == torch.float32, "dweight and dbias are float")
        dout = dout if dout.stride(2) == 1 else dout.contiguous()
        self.backward(x.dtype, [*x.shape, 4], [x, weight, bias, None, dout, dx, dweight, dbias])
