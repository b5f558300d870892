"""Checks published.py where there is no GPU: the loops stand in for the kernels, with the C++ functions' signatures.

    python tools/reference/check_published.py

Operators and mixers against the golden files in float32, against autograd through the loops, under bf16 autocast, and
through torch.compile's tracing (backend aot_eager).
"""

import sys
from pathlib import Path

import torch

import loops
import published
from suite import read_safetensors
from svp_model import VIM_SMALL, Model, check_training, distance, random_params, train_step

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
        errors = check_training(params, *sizes, getattr(published, name), *inputs, golden)
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


def main():
    scan = ["u", "delta", "A", "B", "C", "D", "z", "delta_bias"]
    for file in ("selective_scan.safetensors", "selective_scan_197.safetensors"):
        check_operator(file, published.selective_scan, scan)
    check_operator("causal_conv1d.safetensors", published.causal_conv1d, ["x", "weight", "bias"])
    check_step()
    check_variants()
    if failed:
        sys.exit(f"wrong: {', '.join(failed)}")


if __name__ == "__main__":
    main()
