"""One training step of VPT-deep on a ViT of timm in PyTorch on a CPU: the yardstick for svp-train's own step.

    python -m venv venv && venv/bin/pip install -r tools/reference/requirements.txt
    venv/bin/python tools/reference/vit_step.py --check tests/golden/vit/vit_vpt_deep.safetensors   # is it right?
    venv/bin/python tools/reference/vit_step.py                                                     # how fast is it?
    venv/bin/python tools/reference/vit_step.py --compile --bf16

The backbone is timm's `VisionTransformer` with its fused attention, frozen; prompts replace rows 1.. before every block.
--compile runs forward and backward through torch.compile, --bf16 the forward pass under autocast. Measure on an idle
machine: the share of the cores that was got is printed, and much below 100 % the figure is worthless.
"""

import argparse
import json
import resource
import sys
import time
from contextlib import nullcontext

import timm
import torch
import torch.nn.functional as F

from vim_model import check_training, optimizer, sgd, train_step

SIZES = {
    "vit_tiny": dict(embed_dim=192, depth=12, num_heads=3),
    "vit_small": dict(embed_dim=384, depth=12, num_heads=6),
    "vit_base": dict(embed_dim=768, depth=12, num_heads=12),
}


class Vpt(torch.nn.Module):
    """VPT-deep: the prompts of block 0 are `prompt_embeddings`, of block i row i - 1 of `deep_prompt_embeddings`."""

    smoothing = 0.0

    def __init__(self, vit, tokens):
        super().__init__()
        self.vit = vit.requires_grad_(False)
        vit.head.requires_grad_(True)
        width = vit.embed_dim
        self.prompt_embeddings = torch.nn.Parameter(0.05 * torch.randn(1, tokens, width))
        self.deep_prompt_embeddings = torch.nn.Parameter(0.05 * torch.randn(len(vit.blocks) - 1, tokens, width))

    def trained(self):
        named = {name.removeprefix("vit."): value for name, value in self.named_parameters() if value.requires_grad}
        return named

    def forward(self, images):
        vit, n = self.vit, self.prompt_embeddings.shape[1]
        x = vit._pos_embed(vit.patch_embed(images))
        x = torch.cat([x[:, :1], self.prompt_embeddings.expand(len(x), -1, -1), x[:, 1:]], 1)
        for i, block in enumerate(vit.blocks):
            if i > 0:
                prompts = self.deep_prompt_embeddings[i - 1].expand(len(x), -1, -1)
                x = torch.cat([x[:, :1], prompts, x[:, 1 + n :]], 1)
            x = block(x)
        return vit.head(vit.norm(x)[:, 0])

    def loss(self, images, labels):
        logits = self(images)
        return logits, F.cross_entropy(logits.float(), labels, label_smoothing=self.smoothing)


def check(path):
    """Compares with a golden file of VPT-deep (kind `method_training`)."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        meta, golden = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}
    size = lambda name: int(meta[name])
    vit = timm.models.VisionTransformer(
        img_size=size("img_size"), patch_size=size("patch"), embed_dim=size("embed_dim"), depth=size("depth"),
        num_heads=size("num_heads"), mlp_ratio=size("mlp_dim") / size("embed_dim"), num_classes=size("num_classes"),
    )
    model = Vpt(vit, golden["param.prompt_embeddings"].shape[1])
    names = {name.removeprefix("vit."): value for name, value in model.state_dict(keep_vars=True).items()}
    with torch.no_grad():
        for name, value in names.items():
            value.copy_(golden["param." + name])
    model.smoothing = float(meta["label_smoothing"])
    how = json.loads(meta["optimizer_json"])
    if how["name"] != "sgd":
        sys.exit(f"{path}: only SGD is written here")
    decays = {name: group["weight_decay"] for group in how["groups"] for name in group["names"]}
    bare = [name for name, decay in decays.items() if decay == 0]
    optim = sgd(model, how["lr"], how["momentum"], max(decays.values()), bare)
    errors = check_training(model, golden["input.images"], golden["input.labels"], golden, optim)
    for name, (error, limit) in errors.items():
        print(f"{name}: off by {error:.1e}, {limit:.0e} at most")
    failed = [name for name, (error, limit) in errors.items() if not error <= limit]
    if failed:
        sys.exit(f"{path}: outside of the tolerance: {', '.join(failed)}")


def measure(args):
    torch.manual_seed(0)
    vit = timm.models.VisionTransformer(num_classes=args.classes, **SIZES[args.model]).eval()
    model = Vpt(vit, args.tokens)
    optim = optimizer(model, lr=1e-3, weight_decay=1e-4)
    step = model
    if args.compile:
        step = torch.compile(model)
        model.loss = lambda images, labels: (
            logits := step(images), F.cross_entropy(logits.float(), labels)
        )
    images = torch.randn(args.batch, 3, 224, 224)
    labels = torch.randint(args.classes, (args.batch,))
    autocast = lambda: torch.autocast("cpu", torch.bfloat16) if args.bf16 else nullcontext()
    # Memory is fresh in the first step, and --compile compiles in it.
    for _ in range(2):
        train_step(model, optim, images, labels, autocast())
    steps = []
    for _ in range(args.steps):
        wall, cpu = time.perf_counter(), time.process_time()
        train_step(model, optim, images, labels, autocast())
        steps.append((time.perf_counter() - wall, time.process_time() - cpu))
    seconds, cpu = min(steps)
    result = dict(
        model=args.model,
        images_per_s=args.batch / seconds,
        seconds_per_step=seconds,
        cpu_share=cpu / (args.threads * seconds),
        peak_rss_bytes=1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        batch=args.batch,
        compile=args.compile,
        bf16=args.bf16,
        threads=args.threads,
        torch=torch.__version__,
    )
    if args.json:
        print(json.dumps(result))
    else:
        peak = result["peak_rss_bytes"] / 2**30
        print(f"{result['images_per_s']:.2f} images/s, {seconds:.2f} s a step, peak memory {peak:.1f} GiB")
        print(f"got {100 * result['cpu_share']:.0f} % of {args.threads} cores")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", metavar="FILE", help="compare with a golden file instead of measuring")
    parser.add_argument("--model", choices=SIZES, default="vit_base")
    parser.add_argument("--tokens", type=int, default=10)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--steps", type=int, default=3, help="measured steps, after two to warm up")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    check(args.check) if args.check else measure(args)


if __name__ == "__main__":
    main()
