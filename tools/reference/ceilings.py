"""What this GPU can do: copying, matrix products, and 2^x on the special function units."""

import ctypes

import torch

import libraries

# As in kernels/ex2.cu.
EX2_CHAINS, EX2_ROUNDS, EX2_THREADS = 16, 256, 256


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


def ex2(suite):
    launch = libraries.load("ex2").launch
    launch.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    launch.restype = ctypes.c_char_p
    properties = torch.cuda.get_device_properties(suite.device)
    blocks = 64 * properties.multi_processor_count
    outs = [torch.empty(blocks * EX2_THREADS, device=suite.device) for _ in range(2)]

    def run(out):
        wrong = launch(out.data_ptr(), blocks, torch.cuda.current_stream().cuda_stream)
        if wrong:
            raise RuntimeError(wrong.decode())

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
