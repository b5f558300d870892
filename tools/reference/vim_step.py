"""One training step of SVP or VPT on Vim in eager PyTorch on a CPU: the yardstick for svp-train's own step.

    python -m venv venv && venv/bin/pip install -r tools/reference/requirements.txt
    venv/bin/python tools/reference/vim_step.py --check tests/golden/svp_paper.safetensors   # is it right?
    venv/bin/python tools/reference/vim_step.py --check tests/golden/vim_methods/vpt_pre_deep_replace.safetensors
    venv/bin/python tools/reference/vim_step.py                                              # how fast is it?

The model is that of `vim_model.py`; the mixer here is written to be as fast as eager operators with autograd allow:

- both scan directions are one batch, the gate is applied once to their sum;
- the scan walks the tokens with operators on [direction*batch, channel, state] blocks that stay in cache, outer
  products and sums over states as batched matrix products, whose gradients are again such products.
  Measured for one layer of Vim-S at batch 8 on 2 threads, forward + backward: 0.13 s; the same walk with
  broadcasting and sums 0.16 s; exp and outer products for all tokens at once, then a walk, 0.49 s.

Measure on an idle machine: torch's threads spin at every barrier, and a second busy program makes a step ten times
slower. The share of the cores that was got is printed; much below 100 % the figure is worthless.

--recompute keeps only the inputs of each scan and runs it again in the backward pass: on 2 AVX-512 cores 1.1 images/s
in 4.2 GiB instead of 1.6 images/s in 13.1 GiB.
"""

import argparse
import json
import resource
import sys
import time
from contextlib import nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from vim_model import CONV_WIDTH, MODELS, VIM_SMALL, check_training, linear, optimizer, random_params, sgd, train_step


def scan(u, delta, A, B, C):
    """s[t] = exp(delta[t] A) s[t-1] + delta[t] u[t] B[t],  y[t] = s[t] C[t].

    u, delta: [length, direction, batch, channel]; A: [direction, 1, channel, state]; B, C: [length, direction,
    batch, state]. Returns y like u.
    """
    length, directions, batch, channel = u.shape
    rows, state = directions * batch, A.shape[-1]
    # unbind once: indexing per token would make every gradient a full-size tensor of zeros.
    tokens = zip(
        delta.unsqueeze(-1).unbind(),
        (delta * u).view(length, rows, channel, 1).unbind(),
        B.reshape(length, rows, 1, state).unbind(),
        C.reshape(length, rows, state, 1).unbind(),
    )
    s, ys = torch.zeros(rows, channel, state), []
    for delta_t, delta_u_t, B_t, C_t in tokens:
        decay = (delta_t * A).exp_().view(rows, channel, state)
        s = torch.baddbmm(decay * s, delta_u_t, B_t)
        ys.append(torch.bmm(s, C_t))
    return torch.stack(ys).view_as(u)


def both(w, name):
    """A mixer parameter of the forward and of the backward direction, stacked."""
    stem, _, leaf = name.partition(".")
    back = {"A_log": "A_b_log"}.get(name, f"{stem}_b" + (f".{leaf}" if leaf else ""))
    return torch.stack([w["mixer." + name], w["mixer." + back]])


def mixer(x, w, recompute):
    x, z = linear(x, w, "mixer.in_proj").chunk(2, -1)
    batch, length, channel = x.shape
    # Causal depthwise convolution of both directions as one of twice the channels.
    u = torch.cat([x, x.flip(1)], -1).transpose(1, 2)
    weight, bias = both(w, "conv1d.weight").flatten(0, 1), both(w, "conv1d.bias").flatten()
    u = F.conv1d(F.pad(u, (CONV_WIDTH - 1, 0)), weight, bias, groups=2 * channel)
    u = F.silu(u).view(batch, 2, channel, length).permute(3, 1, 0, 2).contiguous()

    A = -both(w, "A_log").exp().unsqueeze(1)
    state, rank = A.shape[-1], w["mixer.dt_proj.weight"].shape[1]
    by_direction = u.transpose(0, 1).reshape(2, length * batch, channel)
    low = torch.bmm(by_direction, both(w, "x_proj.weight").transpose(1, 2))
    dt, B, C = low.split([rank, state, state], -1)
    delta = torch.baddbmm(both(w, "dt_proj.bias").unsqueeze(1), dt, both(w, "dt_proj.weight").transpose(1, 2))
    by_token = lambda t: t.view(2, length, batch, -1).transpose(0, 1).contiguous()
    args = u, by_token(F.softplus(delta)), A, by_token(B), by_token(C)
    y = checkpoint(scan, *args, use_reentrant=False) if recompute else scan(*args)

    y = y + both(w, "D").unsqueeze(1) * u
    y = (y[:, 0] + y[:, 1].flip(0)).transpose(0, 1)
    return linear(0.5 * y * F.silu(z), w, "mixer.out_proj")


def check(path):
    """Compares with a golden file of SVP (kind `vim_training`) or VPT (`method_training`)."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        meta, golden = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    method, settings = meta.get("method", "svp"), json.loads(meta.get("settings", "{}"))
    ours = settings["position"] == "pre" and settings["inject"] != "add" if method == "vpt" else meta.get("variant") == "paper"
    if method not in MODELS or not ours or meta.get("full") == "True" or meta["stride"] != meta["patch"]:
        sys.exit(f"{path}: only SVP's variant `paper` and VPT before all rows are written here, with patches side by side")
    params = {name.removeprefix("param."): t.clone() for name, t in golden.items() if name.startswith("param.")}
    group_size = int(meta.get("shared_layers", 1))
    model = MODELS[method](params, int(meta["depth"]), group_size, partial(mixer, recompute=False))
    optim = None
    if method == "vpt":
        model.smoothing = float(meta["label_smoothing"])
        how = json.loads(meta["optimizer"])
        optim = sgd(model, **how) if how.pop("type") == "sgd" else None
    errors = check_training(model, golden["input.images"], golden["input.labels"], golden, optim)

    for name, (error, limit) in errors.items():
        if name in ("logits", "loss", "losses of 5 steps"):
            print(f"{name}: off by {error:.1e}")
    for kind in ("grad.", "final."):
        worst = max((error, name) for name, (error, _) in errors.items() if name.startswith(kind))
        print(f"{kind}*: off by at most {worst[0]:.1e} ({worst[1]})")
    failed = [name for name, (error, limit) in errors.items() if not error <= limit]
    if failed:
        sys.exit(f"{path}: outside of the tolerance: {', '.join(failed)}")


def measure(args):
    torch.manual_seed(0)
    params = random_params(image_size=args.image_size, classes=args.classes, method=args.method, **VIM_SMALL)
    model = MODELS[args.method](params, VIM_SMALL["depth"], 8, partial(mixer, recompute=args.recompute))
    optim = optimizer(model, lr=1e-3, weight_decay=1e-4)
    images = torch.randn(args.batch, 3, args.image_size, args.image_size)
    labels = torch.randint(args.classes, (args.batch,))
    autocast = lambda: torch.autocast("cpu", torch.bfloat16) if args.bf16 else nullcontext()
    train_step(model, optim, images, labels, autocast())  # warms up: its memory is fresh, so page faults take most of its time
    steps = []
    for _ in range(args.steps):
        wall, cpu = time.perf_counter(), time.process_time()
        train_step(model, optim, images, labels, autocast())
        steps.append((time.perf_counter() - wall, time.process_time() - cpu))
    seconds, cpu = min(steps)
    result = dict(
        method=args.method,
        images_per_s=args.batch / seconds,
        seconds_per_step=seconds,
        cpu_share=cpu / (args.threads * seconds),
        peak_rss_bytes=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        batch=args.batch,
        image_size=args.image_size,
        steps=args.steps,
        threads=args.threads,
        recompute=args.recompute,
        bf16=args.bf16,
        torch=torch.__version__,
    )
    if args.json:
        print(json.dumps(result))
    else:
        peak = result["peak_rss_bytes"] / 2**30
        print(f"{result['images_per_s']:.2f} images/s, {seconds:.1f} s a step, peak memory {peak:.1f} GiB")
        print(f"got {100 * result['cpu_share']:.0f} % of {args.threads} cores")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", metavar="FILE", help="compare with a golden file instead of measuring")
    parser.add_argument("--method", choices=MODELS, default="svp", help="vpt: deep, 10 rows before all others")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--steps", type=int, default=3, help="measured steps, after one to warm up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--bf16", action="store_true", help="the forward pass under autocast")
    parser.add_argument("--recompute", action="store_true", help="run each scan again in the backward pass")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    check(args.check) if args.check else measure(args)


if __name__ == "__main__":
    main()
