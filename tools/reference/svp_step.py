"""One training step of SVP on Vim in eager PyTorch on a CPU: the yardstick for svp-train's own step.

    python -m venv venv && venv/bin/pip install -r tools/reference/requirements.txt
    venv/bin/python tools/reference/svp_step.py --check tests/golden/svp_paper.safetensors   # is it right?
    venv/bin/python tools/reference/svp_step.py                                              # how fast is it?

It follows the papers' equations (Vim with the class token in the middle; SVP, variant "paper"), shares no code with
svp-train or the published program, and is written to be as fast as eager operators with autograd allow:

- both scan directions are one batch, the gate is applied once to their sum;
- the scan walks the tokens with operators on [direction*batch, channel, state] blocks that stay in cache, outer
  products and sums over states as batched matrix products, whose gradients are again such products.
  Measured for one layer of Vim-S at batch 8 on 2 threads, forward + backward: 0.13 s; the same walk with
  broadcasting and sums 0.16 s; exp and outer products for all tokens at once, then a walk, 0.49 s;
- frozen weights ask for no gradient, the optimiser is the fused AdamW.

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

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

PATCH, CONV_WIDTH, EPS = 16, 4, 1e-5
VIM_SMALL = dict(dim=384, depth=24, state=16)


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


class Model:
    """Vim with SVP; parameters under the published state-dict names."""

    def __init__(self, params, depth, group_size, recompute=False):
        self.p, self.depth, self.group_size, self.recompute = params, depth, group_size, recompute
        for name, tensor in params.items():
            tensor.requires_grad_(name.startswith(("prompt_", "head.")))

    def trained(self):
        return {name: tensor for name, tensor in self.p.items() if tensor.requires_grad}

    def linear(self, x, name):
        return F.linear(x, self.p[name + ".weight"], self.p.get(name + ".bias"))

    def stem(self, images):
        x = F.conv2d(images, self.p["patch_embed.proj.weight"], self.p["patch_embed.proj.bias"], stride=PATCH)
        x = x.flatten(2).transpose(1, 2)
        middle = x.shape[1] // 2
        cls = self.p["cls_token"].expand(len(x), -1, -1)
        return torch.cat([x[:, :middle], cls, x[:, middle:]], 1) + self.p["pos_embed"], middle

    def prompt(self, h, layer):
        group = layer // self.group_size
        cross = F.silu(self.linear(h, f"prompt_generator_shared.{group}.0"))
        inner = F.silu(self.linear(self.linear(h, f"prompt_generator.{layer}.0"), f"prompt_generator.{layer}.1"))
        return self.p["prompt_shared_scale"][group] * cross + self.p["prompt_scale"][layer] * inner

    def both(self, layer, name):
        """A mixer parameter of the forward and of the backward direction, stacked."""
        base = f"layers.{layer}.mixer."
        stem, _, leaf = name.partition(".")
        back = {"A_log": "A_b_log"}.get(name, f"{stem}_b" + (f".{leaf}" if leaf else ""))
        return torch.stack([self.p[base + name], self.p[base + back]])

    def mixer(self, x, layer):
        x, z = self.linear(x, f"layers.{layer}.mixer.in_proj").chunk(2, -1)
        batch, length, channel = x.shape
        # Causal depthwise convolution of both directions as one of twice the channels.
        u = torch.cat([x, x.flip(1)], -1).transpose(1, 2)
        weight, bias = self.both(layer, "conv1d.weight").flatten(0, 1), self.both(layer, "conv1d.bias").flatten()
        u = F.conv1d(F.pad(u, (CONV_WIDTH - 1, 0)), weight, bias, groups=2 * channel)
        u = F.silu(u).view(batch, 2, channel, length).permute(3, 1, 0, 2).contiguous()

        A = -self.both(layer, "A_log").exp().unsqueeze(1)
        state, rank = A.shape[-1], self.p[f"layers.{layer}.mixer.dt_proj.weight"].shape[1]
        by_direction = u.transpose(0, 1).reshape(2, length * batch, channel)
        low = torch.bmm(by_direction, self.both(layer, "x_proj.weight").transpose(1, 2))
        dt, B, C = low.split([rank, state, state], -1)
        delta = torch.baddbmm(
            self.both(layer, "dt_proj.bias").unsqueeze(1), dt, self.both(layer, "dt_proj.weight").transpose(1, 2)
        )
        by_token = lambda t: t.view(2, length, batch, -1).transpose(0, 1).contiguous()
        args = u, by_token(F.softplus(delta)), A, by_token(B), by_token(C)
        y = checkpoint(scan, *args, use_reentrant=False) if self.recompute else scan(*args)

        y = y + self.both(layer, "D").unsqueeze(1) * u
        y = (y[:, 0] + y[:, 1].flip(0)).transpose(0, 1)
        return self.linear(0.5 * y * F.silu(z), f"layers.{layer}.mixer.out_proj")

    def norm(self, x, name):
        return F.rms_norm(x, x.shape[-1:], self.p[name + ".weight"], EPS)

    def logits(self, images):
        h, middle = self.stem(images)
        patches = torch.ones(h.shape[1], 1)
        patches[middle] = 0  # the class token is never prompted
        residual = 0
        for layer in range(self.depth):
            h = h + patches * self.prompt(h, layer)
            residual = residual + h
            h = self.mixer(self.norm(residual, f"layers.{layer}.norm"), layer)
        return self.linear(self.norm(residual + h, "norm_f")[:, middle], "head")

    def loss(self, images, labels):
        logits = self.logits(images)
        return logits, F.cross_entropy(logits, labels, label_smoothing=0.1)


def optimizer(model, lr, weight_decay):
    decays = lambda name, tensor: tensor.dim() >= 2 and not name.endswith(".bias")
    groups = [
        dict(params=[t for n, t in model.trained().items() if decays(n, t) == decay], weight_decay=wd)
        for decay, wd in ((True, weight_decay), (False, 0.0))
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.999), eps=1e-8, fused=True)


def train_step(model, optim, images, labels):
    logits, loss = model.loss(images, labels)
    optim.zero_grad(set_to_none=True)
    loss.backward()
    optim.step()
    return logits, loss.item()


def random_params(dim, depth, state, image_size, classes, hidden, group_size):
    """A Vim with plausible random weights; speed does not depend on them."""
    inner, rank, patches = 2 * dim, -(-dim // 16), (image_size // PATCH) ** 2
    normal = lambda *shape: torch.randn(shape) / shape[-1] ** 0.5
    params = {
        "cls_token": 0.02 * torch.randn(1, 1, dim),
        "pos_embed": 0.02 * torch.randn(1, patches + 1, dim),
        "patch_embed.proj.weight": 0.02 * torch.randn(dim, 3, PATCH, PATCH),
        "patch_embed.proj.bias": torch.zeros(dim),
        "norm_f.weight": torch.ones(dim),
        "head.weight": 0.02 * torch.randn(classes, dim),
        "head.bias": torch.zeros(classes),
        "prompt_scale": torch.zeros(depth, dim),
        "prompt_shared_scale": torch.zeros(-(-depth // group_size), dim),
    }
    for group in range(-(-depth // group_size)):
        params[f"prompt_generator_shared.{group}.0.weight"] = normal(dim, dim)
        params[f"prompt_generator_shared.{group}.0.bias"] = torch.zeros(dim)
    for layer in range(depth):
        for part, shape in (("0", (hidden, dim)), ("1", (dim, hidden))):
            params[f"prompt_generator.{layer}.{part}.weight"] = normal(*shape)
            params[f"prompt_generator.{layer}.{part}.bias"] = torch.zeros(shape[0])
        base = f"layers.{layer}."
        params[base + "norm.weight"] = torch.ones(dim)
        params[base + "mixer.in_proj.weight"] = normal(2 * inner, dim)
        params[base + "mixer.out_proj.weight"] = normal(dim, inner) / depth**0.5
        for suffix in ("", "_b"):
            params[base + f"mixer.conv1d{suffix}.weight"] = normal(inner, 1, CONV_WIDTH)
            params[base + f"mixer.conv1d{suffix}.bias"] = torch.zeros(inner)
            params[base + f"mixer.x_proj{suffix}.weight"] = normal(rank + 2 * state, inner)
            params[base + f"mixer.dt_proj{suffix}.weight"] = normal(inner, rank)
            params[base + f"mixer.dt_proj{suffix}.bias"] = torch.full((inner,), -4.6)  # delta near 0.01
            params[base + f"mixer.A{suffix}_log"] = torch.arange(1.0, state + 1).log().repeat(inner, 1)
            params[base + f"mixer.D{suffix}"] = torch.ones(inner)
    return params


def distance(got, want):
    return ((got - want).norm() / want.norm().clamp_min(1e-30)).item()


def check(path):
    """Compares logits, loss, gradients and five AdamW steps with a golden file of kind `vim_training`."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        meta, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    if meta["variant"] != "paper" or meta["full"] == "True" or meta["stride"] != str(PATCH):
        sys.exit(f"{path}: only the variant `paper` with stride {PATCH} is written here")
    params = {name[len("param.") :]: t.clone() for name, t in tensors.items() if name.startswith("param.")}
    model = Model(params, int(meta["depth"]), int(meta["shared_layers"]))
    optim = optimizer(model, lr=1e-2, weight_decay=0.05)
    images, labels = tensors["input.images"], tensors["input.labels"]

    logits, loss = train_step(model, optim, images, labels)
    errors = {"logits": (distance(logits, tensors["output.logits"]), 1e-4)}
    errors["loss"] = (distance(torch.tensor([loss]), tensors["output.loss"]), 1e-4)
    for name, tensor in model.trained().items():
        errors["grad." + name] = (distance(tensor.grad, tensors["grad." + name]), 1e-3)
    losses = torch.tensor([loss] + [train_step(model, optim, images, labels)[1] for _ in range(4)])
    errors["losses of 5 steps"] = (distance(losses, tensors["trajectory.losses"]), 1e-3)
    for name, tensor in model.trained().items():
        errors["final." + name] = (distance(tensor.detach(), tensors["trajectory.final." + name]), 1e-3)

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
    params = random_params(image_size=args.image_size, classes=args.classes, hidden=64, group_size=8, **VIM_SMALL)
    model = Model(params, VIM_SMALL["depth"], group_size=8, recompute=args.recompute)
    optim = optimizer(model, lr=1e-3, weight_decay=1e-4)
    images = torch.randn(args.batch, 3, args.image_size, args.image_size)
    labels = torch.randint(args.classes, (args.batch,))
    train_step(model, optim, images, labels)  # warms up: its memory is fresh, so page faults take most of its time
    steps = []
    for _ in range(args.steps):
        wall, cpu = time.perf_counter(), time.process_time()
        train_step(model, optim, images, labels)
        steps.append((time.perf_counter() - wall, time.process_time() - cpu))
    seconds, cpu = min(steps)
    result = dict(
        images_per_s=args.batch / seconds,
        seconds_per_step=seconds,
        cpu_share=cpu / (args.threads * seconds),
        peak_rss_bytes=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        batch=args.batch,
        image_size=args.image_size,
        steps=args.steps,
        threads=args.threads,
        recompute=args.recompute,
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
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--image-size", type=int, default=224)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--steps", type=int, default=3, help="measured steps (the fastest counts), after one to warm up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--recompute", action="store_true", help="run each scan again in the backward pass")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    check(args.check) if args.check else measure(args)


if __name__ == "__main__":
    main()
