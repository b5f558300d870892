"""What this GPU can do: copying, matrix products, and 2^x on the special function units."""

import ctypes
import hashlib
import subprocess

import torch

from build_kernels import default_arch
from fetch_sources import TARGET

# 16 chains a thread; x -> 2^-x stays near its fixed point 0.64, and the sign is part of the instruction.
EX2_CHAINS, EX2_ROUNDS, EX2_THREADS = 16, 256, 256
EX2_SOURCE = r"""
template <int CHAINS, int ROUNDS>
__global__ void rounds(float* out) {
    float x[CHAINS];
    for (int c = 0; c < CHAINS; ++c) x[c] = 1e-3f * (threadIdx.x + c);
    for (int r = 0; r < ROUNDS; ++r)
#pragma unroll
        for (int c = 0; c < CHAINS; ++c) asm volatile("ex2.approx.ftz.f32 %0, %1;" : "=f"(x[c]) : "f"(-x[c]));
    float sum = 0;
    for (int c = 0; c < CHAINS; ++c) sum += x[c];
    out[blockIdx.x * blockDim.x + threadIdx.x] = sum;
}
extern "C" int launch(float* out, int blocks, void* stream) {
    rounds<@CHAINS@, @ROUNDS@><<<blocks, @THREADS@, 0, (cudaStream_t)stream>>>(out);
    return (int)cudaGetLastError();
}
""".replace("@CHAINS@", str(EX2_CHAINS)).replace("@ROUNDS@", str(EX2_ROUNDS)).replace("@THREADS@", str(EX2_THREADS))


def copy(suite, elements):
    pairs = [(torch.randn(elements, device=suite.device), torch.empty(elements, device=suite.device)) for _ in range(2)]
    times = suite.time(lambda pair: pair[1].copy_(pair[0]), pairs)
    suite.record(
        section="ceilings",
        name="device copy",
        shape=dict(bytes=4 * elements),
        dtype="float32",
        **times,
        gb_per_s=8 * elements / times["ms_median"] / 1e6,
    )


def gemm(suite, size, dtype, tf32):
    draw = lambda: torch.randn(size, size, device=suite.device, dtype=dtype)
    inputs = [(draw(), draw()) for _ in range(2)]
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = tf32
    try:
        times = suite.time(lambda pair: pair[0] @ pair[1], inputs)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
    suite.record(
        section="ceilings",
        name="matrix product",
        shape=dict(m=size, n=size, k=size),
        dtype="tf32" if tf32 else str(dtype).removeprefix("torch."),
        **times,
        tflop_per_s=2 * size**3 / times["ms_median"] / 1e9,
    )


def ex2_library():
    from torch.utils import cpp_extension

    arch = default_arch()
    key = hashlib.sha256((EX2_SOURCE + arch).encode()).hexdigest()[:16]
    library = TARGET / "build" / f"ex2-{key}.so"
    if not library.exists():
        home = cpp_extension.CUDA_HOME  # found by nvcc on the PATH as well
        if home is None:
            raise FileNotFoundError("no nvcc: set CUDA_HOME")
        library.parent.mkdir(parents=True, exist_ok=True)
        source = library.with_suffix(".cu")
        source.write_text(EX2_SOURCE)
        target = f"-gencode=arch=compute_{arch},code=sm_{arch}"
        command = [f"{home}/bin/nvcc", "-O3", target, "-shared", "-Xcompiler", "-fPIC", f"-L{home}/lib64"]
        subprocess.run([*command, "-o", str(library), str(source)], check=True)
        source.unlink()
    return ctypes.CDLL(str(library))


def ex2(suite):
    launch = ex2_library().launch
    launch.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    properties = torch.cuda.get_device_properties(suite.device)
    blocks = 64 * properties.multi_processor_count
    outs = [torch.empty(blocks * EX2_THREADS, device=suite.device) for _ in range(2)]

    def run(out):
        code = launch(out.data_ptr(), blocks, torch.cuda.current_stream().cuda_stream)
        if code:
            raise RuntimeError(f"cudaGetLastError() = {code}")

    for out in outs:
        out.fill_(torch.nan)
    times = suite.time(run, outs)
    operations = blocks * EX2_THREADS * EX2_CHAINS * EX2_ROUNDS
    suite.record(
        section="ceilings",
        name="ex2.approx.ftz.f32",
        shape=dict(operations=operations),
        dtype="float32",
        **times,
        gop_per_s=operations / times["ms_median"] / 1e6,
        wrong=not all(bool((out / EX2_CHAINS - 0.6411857).abs().max() < 1e-3) for out in outs),
    )


def section(suite):
    copies, size = (1 << 29, 8192) if suite.cuda else (1 << 16, 64)
    suite.attempt(lambda: copy(suite, copies), section="ceilings", name="device copy")
    for dtype, tf32 in ((torch.bfloat16, False), (torch.float32, False), (torch.float32, True)):
        what = dict(section="ceilings", name="matrix product", dtype="tf32" if tf32 else str(dtype))
        suite.attempt(lambda: gemm(suite, size, dtype, tf32), **what)
    if suite.cuda:
        suite.attempt(lambda: ex2(suite), section="ceilings", name="ex2.approx.ftz.f32")
