"""Checks published.py where there is no GPU: the loops stand in for the kernels, with the C++ functions' signatures.

    python tools/reference/check_published.py

Operators and mixers against the golden files in float32, against autograd through the loops, under bf16 autocast, and
through torch.compile's tracing (backend aot_eager). Then, where there is a C++ compiler and fetch_sources.py --compiler
has fetched CUDA's headers, the launchers of kernels/ with plain loops in the kernels' place: what they pass is right.
"""

import ctypes
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

import build_kernels
import libraries
import loops
import published
from suite import read_safetensors
from vim_model import VIM_SMALL, Model, check_training, distance, random_params, train_step

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden"
failed = []


def report(what, error, limit):
    wrong = not error <= limit
    print(f"{'WRONG ' if wrong else ''}{what}: off by {error:.1e}, may be {limit:.0e}")
    if wrong:
        failed.append(what)


def check_operator(file, function, names):
    _, golden = read_safetensors(GOLDEN / file)
    inputs = [golden[name].unsqueeze(1) if name in ("B", "C") else golden[name] for name in names]
    out, grads = loops.gradients(function, inputs, golden["grad_out"])
    report(f"{file} out", distance(out, golden["out"]), 1e-5)
    for name, grad in zip(names, grads):
        report(f"{file} grad.{name}", distance(grad.view_as(golden[name]), golden["grad." + name]), 1e-4)


def compiled(model):
    model.block = torch.compile(model.block, backend="aot_eager")
    return model


def check_step():
    meta, golden = read_safetensors(GOLDEN / "svp_paper.safetensors")
    sizes = int(meta["depth"]), int(meta["shared_layers"])
    for name in ("published_mixer", "composed_mixer"):
        params = {n.removeprefix("param."): t.clone() for n, t in golden.items() if n.startswith("param.")}
        inputs = golden["input.images"], golden["input.labels"]
        errors = check_training(Model(params, *sizes, getattr(published, name)), *inputs, golden)
        worst = max(errors, key=lambda what: errors[what][0] / errors[what][1])
        report(f"{name}, training step, worst in {worst}", *errors[worst])


def gradients_of(mixer, autocast, prepare=lambda model: model):
    torch.manual_seed(0)
    sizes = dict(VIM_SMALL, dim=32, depth=3)
    params = random_params(image_size=64, classes=5, hidden=8, group_size=2, **sizes)
    for name in ("prompt_scale", "prompt_shared_scale"):
        params[name].normal_()
    model = prepare(Model(params, sizes["depth"], 2, mixer))
    images, labels = torch.randn(2, 3, 64, 64), torch.randint(5, (2,))
    context = torch.autocast("cpu", torch.bfloat16) if autocast else None
    optim = torch.optim.SGD(list(model.trained().values()), lr=0.0)
    train_step(model, optim, images, labels, context)
    return torch.cat([tensor.grad.flatten() for tensor in model.trained().values()])


def check_variants():
    want = gradients_of(published.composed_mixer, False)
    for mixer in (published.published_mixer, published.composed_mixer):
        for autocast in (False, True):
            for prepare in (lambda model: model, compiled):
                torch.compiler.reset()
                what = f"{mixer.__name__}{', bf16' * autocast}{', compiled' * (prepare is compiled)}, gradients"
                limit = 5e-2 if autocast else 1e-5
                report(what, distance(gradients_of(mixer, autocast, prepare), want), limit)


def launcher(name, folder, *flags):
    """The library of this name with plain loops in it."""
    for file, text in build_kernels.sources_of(name).items():
        (folder / file).write_text(text)
    include = build_kernels.COMPILER / "nvidia/cu13/include"
    units = [folder / build_kernels.PUBLISHED[name][2], build_kernels.OURS / "plain_loops.cpp"]
    library = folder / "plain.so"
    command = ["g++", "-O1", "-w", "-shared", "-fPIC", *flags, "-I", folder, "-I", include, "-o", library, *units]
    subprocess.run(list(map(str, command)), check=True)
    return ctypes.CDLL(str(library))


def strided(*shape, positive=False):
    """Random values whose strides are all of their own, tokens innermost."""
    tensor = torch.randn(*(size + 3 for size in shape[:-1]), shape[-1])
    tensor = tensor[tuple(slice(1, size + 1) for size in shape[:-1])]
    return tensor.abs() if positive else tensor


def compare(what, got, want):
    for i, (a, b) in enumerate(zip(got, want, strict=True)):
        report(f"launcher of {what}, result {i}", distance(a, b), 1e-5)


def check_launchers():
    torch.manual_seed(0)
    no_stream = lambda device: 0
    with tempfile.TemporaryDirectory() as folder:
        scan = libraries.SelectiveScan(launcher("selective_scan", Path(folder), "-DSCAN"), no_stream)
    with tempfile.TemporaryDirectory() as folder:
        conv = libraries.CausalConv1d(launcher("causal_conv1d", Path(folder)), no_stream)
    batch, dim, state, length = 2, 3, 4, 11
    by_token = lambda: strided(batch, dim, length)
    inputs = [by_token(), by_token(), -strided(dim, state, positive=True)]
    inputs += [strided(batch, 1, state, length), strided(batch, 1, state, length)]
    inputs += [torch.randn(dim), by_token(), torch.randn(dim)]
    plain = loops.SelectiveScanCuda()
    (out, x, gated), (want, _, want_gated) = scan.fwd(*inputs, True), plain.fwd(*inputs, True)
    compare("the scan forward", [out, gated], [want, want_gated])
    for dz, again in ((None, False), (strided(batch, dim, length), True)):
        rest = by_token(), x, out, dz, True, again
        compare("the scan backward", scan.bwd(*inputs, *rest), plain.bwd(*inputs, *rest))
    x, weight, bias, dout = by_token(), strided(dim, 4), torch.randn(dim), by_token()
    plain, results = loops.CausalConv1dCuda(), []
    for conv in (conv, plain):
        out, dx, dweight, dbias = strided(batch, dim, length), by_token(), torch.zeros(dim, 4), torch.zeros(dim)
        conv.causal_conv1d_fwd(x, weight, bias, None, None, out, None, True)
        conv.causal_conv1d_bwd(x, weight, bias, dout, None, None, None, dx, dweight, dbias, None, True)
        results.append([out, dx, dweight, dbias])
    compare("the convolution", *results)


def main():
    scan = ["u", "delta", "A", "B", "C", "D", "z", "delta_bias"]
    for file in ("selective_scan.safetensors", "selective_scan_197.safetensors"):
        check_operator(file, published.selective_scan, scan)
    check_operator("causal_conv1d.safetensors", published.causal_conv1d, ["x", "weight", "bias"])
    check_step()
    check_variants()
    if (build_kernels.COMPILER / "packages").exists():
        check_launchers()
    else:
        print("not checked: the launchers, for want of CUDA's headers: fetch_sources.py --compiler")
    if failed:
        sys.exit(f"wrong: {', '.join(failed)}")


if __name__ == "__main__":
    main()
