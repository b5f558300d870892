"""Vim with SVP or VPT in PyTorch, as the papers' equations give it; how a mixer is computed is left to the caller.

Class token in the middle; SVP, variant "paper"; VPT with prompts before all rows; no drop path. It shares no code with
svp-train or the published programs. Frozen weights ask for no gradient, the optimiser is the fused AdamW.
"""

import torch
import torch.nn.functional as F

PATCH, CONV_WIDTH, EPS = 16, 4, 1e-5
VIM_SMALL = dict(dim=384, depth=24, state=16)


def linear(x, w, name):
    return F.linear(x, w[name + ".weight"], w.get(name + ".bias"))


def norm(x, weight):
    return F.rms_norm(x, x.shape[-1:], weight, EPS)


def add_norm(h, residual, weight):
    """The residual stream with h added, and its norm."""
    residual = residual + h
    return residual, norm(residual, weight)


def prompted(h, cross, inner, alpha, beta):
    """h + alpha * SiLU(cross) + beta * SiLU(inner), in as few passes over h as eager operators allow."""
    return torch.addcmul(torch.addcmul(h, alpha, F.silu(cross)), beta, F.silu(inner))


class Model:
    """Vim with SVP. Parameters under the published state-dict names.

    mixer(x, w): one Mamba block on x [batch, length, dim]; w holds the layer's tensors without their prefix
    (`mixer.in_proj.weight`, `norm.weight`, `inner.0.weight`, `cross.0.bias`, ...).
    """

    TRAINED = ("prompt_", "head.")
    smoothing = 0.1

    def __init__(self, params, depth, group_size, mixer, add_norm=add_norm):
        self.p, self.depth, self.group_size, self.mixer, self.add_norm = params, depth, group_size, mixer, add_norm
        for name, tensor in params.items():
            tensor.requires_grad_(name.startswith(self.TRAINED))
        # One set of names for all layers: a compiled block then serves them all.
        self.layers = [self._of_layer(layer) for layer in range(depth)]
        length = params["pos_embed"].shape[1]
        self.patches = params["pos_embed"].new_ones(length, 1)
        self.patches[length // 2] = 0  # the class token is never prompted

    def _of_layer(self, layer):
        short = {
            f"layers.{layer}.": "",
            f"prompt_generator.{layer}.": "inner.",
            f"prompt_generator_shared.{layer // self.group_size}.": "cross.",
        }
        return {
            short_form + name.removeprefix(prefix): tensor
            for prefix, short_form in short.items()
            for name, tensor in self.p.items()
            if name.startswith(prefix)
        }

    def trained(self):
        return {name: tensor for name, tensor in self.p.items() if tensor.requires_grad}

    def stem(self, images):
        weight = self.p["patch_embed.proj.weight"]
        x = F.conv2d(images, weight, self.p["patch_embed.proj.bias"], stride=weight.shape[-1])
        x = x.flatten(2).transpose(1, 2)
        middle = x.shape[1] // 2
        cls = self.p["cls_token"].expand(len(x), -1, -1)
        return torch.cat([x[:, :middle], cls, x[:, middle:]], 1) + self.p["pos_embed"], middle

    def block(self, h, residual, w, alpha, beta):
        """One layer: prompts, residual add, norm, mixer. alpha, beta: [length, dim], zero for the class token."""
        cross = linear(h, w, "cross.0")
        inner = linear(linear(h, w, "inner.0"), w, "inner.1")
        residual, x = self.add_norm(prompted(h, cross, inner, alpha, beta), residual, w["norm.weight"])
        return self.mixer(x, w), residual

    def logits(self, images):
        h, middle = self.stem(images)
        residual = torch.zeros_like(h, dtype=torch.float32)
        for layer, w in enumerate(self.layers):
            alpha = self.patches * self.p["prompt_shared_scale"][layer // self.group_size]
            beta = self.patches * self.p["prompt_scale"][layer]
            h, residual = self.block(h, residual, w, alpha, beta)
        return linear(self.add_norm(h, residual, self.p["norm_f.weight"])[1][:, middle], self.p, "head")

    def loss(self, images, labels):
        logits = self.logits(images)
        return logits, F.cross_entropy(logits, labels, label_smoothing=self.smoothing)


class Vpt(Model):
    """Vim with VPT: prompt rows before the others. Deep ones take the place of what their rows have become."""

    TRAINED = ("prompt_embeddings", "deep_prompt_embeddings", "head.")

    def logits(self, images):
        h, middle = self.stem(images)
        n, deep = self.p["prompt_embeddings"].shape[1], self.p.get("deep_prompt_embeddings")
        rows = lambda prompts: prompts.expand(len(images), -1, -1)
        h = torch.cat([rows(self.p["prompt_embeddings"]), h], 1)
        residual = torch.zeros_like(h, dtype=torch.float32)
        for layer, w in enumerate(self.layers):
            if layer and deep is not None:
                h = torch.cat([rows(deep[layer - 1 : layer]), h[:, n:]], 1)
                residual = F.pad(residual[:, n:], (0, 0, n, 0))
            h, residual = self.block(h, residual, w)
        return linear(self.add_norm(h, residual, self.p["norm_f.weight"])[1][:, n + middle], self.p, "head")

    def block(self, h, residual, w):
        residual, x = self.add_norm(h, residual, w["norm.weight"])
        return self.mixer(x, w), residual


MODELS = dict(svp=Model, vpt=Vpt)


def optimizer(model, lr, weight_decay):
    decays = lambda name, tensor: tensor.dim() >= 2 and not name.endswith(".bias")
    groups = [
        dict(params=[t for n, t in model.trained().items() if decays(n, t) == decay], weight_decay=wd)
        for decay, wd in ((True, weight_decay), (False, 0.0))
    ]
    return torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.999), eps=1e-8, fused=True)


def train_step(model, optim, images, labels, autocast=None):
    """Forward, backward to prompts and head, AdamW. autocast: a context for the forward pass. Returns logits, loss."""
    if autocast is None:
        logits, loss = model.loss(images, labels)
    else:
        with autocast:
            logits, loss = model.loss(images, labels)
    optim.zero_grad(set_to_none=True)
    loss.backward()
    optim.step()
    return logits, loss.detach()


def random_params(dim, depth, state, image_size, classes, hidden=64, group_size=8, method="svp", tokens=10):
    """A Vim with plausible random weights and a method's parameters; speed does not depend on them."""
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
    }
    if method == "vpt":
        params["prompt_embeddings"] = 0.07 * torch.randn(1, tokens, dim)
        params["deep_prompt_embeddings"] = 0.07 * torch.randn(depth - 1, tokens, dim)
    else:
        params["prompt_scale"] = torch.zeros(depth, dim)
        params["prompt_shared_scale"] = torch.zeros(-(-depth // group_size), dim)
        for group in range(-(-depth // group_size)):
            params[f"prompt_generator_shared.{group}.0.weight"] = normal(dim, dim)
            params[f"prompt_generator_shared.{group}.0.bias"] = torch.zeros(dim)
        for layer in range(depth):
            for part, shape in (("0", (hidden, dim)), ("1", (dim, hidden))):
                params[f"prompt_generator.{layer}.{part}.weight"] = normal(*shape)
                params[f"prompt_generator.{layer}.{part}.bias"] = torch.zeros(shape[0])
    for layer in range(depth):
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
    """Relative to the norm of `want`; NaN where either is."""
    got, want = got.double(), want.double()
    return ((got - want).norm() / want.norm().clamp_min(1e-30)).item()


def sgd(model, lr, momentum, weight_decay, no_decay):
    """As VPT's golden files have it: all but the head's bias decays."""
    groups = [
        dict(params=[t for n, t in model.trained().items() if (n in no_decay) == bare], weight_decay=wd)
        for bare, wd in ((False, weight_decay), (True, 0.0))
    ]
    return torch.optim.SGD(groups, lr=lr, momentum=momentum)


def check_training(model, images, labels, golden, optim=None):
    """Logits, loss, gradients and five steps against a golden file of SVP (kind `vim_training`) or VPT
    (`method_training`), by the files' AdamW unless `optim` is given.

    Returns {what: (relative error, the most it may be)}.
    """
    optim = optim or optimizer(model, lr=1e-2, weight_decay=0.05)
    logits, loss = train_step(model, optim, images, labels)
    errors = {"logits": (distance(logits, golden["output.logits"]), 1e-4)}
    errors["loss"] = (distance(loss.view(1), golden["output.loss"]), 1e-4)
    for name, tensor in model.trained().items():
        errors["grad." + name] = (distance(tensor.grad, golden["grad." + name]), 1e-3)
    losses = torch.stack([loss] + [train_step(model, optim, images, labels)[1] for _ in range(4)])
    errors["losses of 5 steps"] = (distance(losses, golden["trajectory.losses"]), 1e-3)
    for name, tensor in model.trained().items():
        errors["final." + name] = (distance(tensor.detach(), golden["trajectory.final." + name]), 1e-3)
    return errors
