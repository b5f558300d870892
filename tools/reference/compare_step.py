"""Section d: the whole SVP training step of Vim-S in PyTorch, with the published kernels."""

import time
from pathlib import Path

import torch
from torch._dynamo.utils import counters

import published
from compare_ops import compiled as compiled_for
from suite import read_safetensors
from vim_model import VIM_SMALL, Model, add_norm, check_training, optimizer, random_params, train_step

GOLDEN = Path(__file__).resolve().parents[2] / "tests" / "golden" / "svp_paper.safetensors"
BATCH, IMAGE, CLASSES, GROUP = 96, 224, 100, 8
MIXERS = dict(published=published.published_mixer, composed=published.composed_mixer)
# (mixer, norm, compiled), the likely fastest first: a budget may end the list.
VARIANTS = [
    ("composed", "torch", True),
    ("published", "triton", False),
    ("composed", "torch", False),
    ("published", "torch", True),
]


def norm_of(kind):
    return published.published_add_norm() if kind == "triton" else add_norm


def check(suite, mixer, norm):
    """A small step in float32 against the golden file of the published program's equations."""
    meta, golden = read_safetensors(GOLDEN)
    golden = {name: t.to(suite.device) for name, t in golden.items()}
    params = {name.removeprefix("param."): t.clone() for name, t in golden.items() if name.startswith("param.")}
    sizes = int(meta["depth"]), int(meta["shared_layers"])
    inputs = golden["input.images"], golden["input.labels"]
    model = Model(params, *sizes, MIXERS[mixer], norm_of(norm))
    errors = check_training(model, *inputs, golden)
    worst = max(errors, key=lambda what: errors[what][0] / errors[what][1])
    error, limit = errors[worst]
    wrong = not all(error <= limit for error, limit in errors.values())
    what = dict(section="d", name="golden training step", variant=f"{mixer} mixer, {norm} norm", dtype="float32")
    suite.record(**what, check=worst, error=error, limits=[limit], wrong=wrong)


class Step:
    def __init__(self, suite, mixer, norm, compiled, autocast):
        torch.manual_seed(0)
        sizes = VIM_SMALL if suite.cuda else dict(dim=32, depth=3, state=16)
        self.batch, image = (BATCH, IMAGE) if suite.cuda else (2, 64)
        params = random_params(image_size=image, classes=CLASSES, hidden=64, group_size=GROUP, **sizes)
        for name in ("prompt_scale", "prompt_shared_scale"):
            params[name].normal_(std=0.02)  # zeros would time the generators' gradients on zeros
        params = {name: t.to(suite.device) for name, t in params.items()}
        self.model = Model(params, sizes["depth"], GROUP, MIXERS[mixer], norm_of(norm))
        if compiled:  # one block, which serves all layers
            self.model.block = compiled_for(suite, self.model.block)
        self.optim = optimizer(self.model, lr=1e-3, weight_decay=1e-4)
        self.context = lambda: torch.autocast(suite.device.type, torch.bfloat16) if autocast else None
        draw = lambda: torch.randn(self.batch, 3, image, image, device=suite.device)
        labels = lambda: torch.randint(CLASSES, (self.batch,), device=suite.device)
        self.inputs = [(draw(), labels()) for _ in range(3)]
        self.shape = dict(batch=self.batch, image=image, **sizes)

    def run(self, inputs):
        return train_step(self.model, self.optim, *inputs, self.context())[1]


def first_loss(suite, autocast):
    """What every variant must find for the first batch."""
    step = Step(suite, "composed", "torch", False, autocast)
    return step.run(step.inputs[0]).item()


def measure(suite, what, mixer, norm, compiled, autocast, expected):
    counters.clear()
    begun = time.perf_counter()
    step = Step(suite, mixer, norm, compiled, autocast)
    first = step.run(step.inputs[0]).item()
    warm_up = time.perf_counter() - begun
    wrong = expected is None or not abs(first - expected) <= (1e-2 if autocast else 1e-4) * abs(expected)
    for inputs in step.inputs:
        step.run(inputs)
    suite.synchronize()
    if suite.cuda:
        torch.cuda.reset_peak_memory_stats()
    times = suite.time(step.run, step.inputs, queued=False)
    found = {}
    if suite.cuda:
        found["peak_bytes"] = torch.cuda.max_memory_allocated()
        found["peak_reserved_bytes"] = torch.cuda.max_memory_reserved()
    if compiled:
        found["graph_breaks"] = sum(counters["graph_break"].values())
    suite.record(
        **what,
        shape=step.shape,
        **times,
        images_per_s=1e3 * step.batch / times["ms_median"],
        **found,
        first_loss=first,
        wrong=wrong,
        first_step_s=warm_up,
    )


def section(suite):
    checks = [("published", "torch"), ("composed", "torch")] + [("published", "triton")] * suite.cuda
    for mixer, norm in checks:
        what = dict(section="d", name="golden training step", variant=f"{mixer} mixer, {norm} norm")
        suite.attempt(lambda: check(suite, mixer, norm), **what)
    for autocast in (True, False):
        dtype = "bfloat16 autocast" if autocast else "float32"
        what = dict(section="d", name="SVP training step", dtype=dtype)
        expected = suite.attempt(lambda: first_loss(suite, autocast), **what, variant="the loss expected")
        for mixer, norm, compiled in VARIANTS:
            norm = norm if suite.cuda else "torch"
            what["variant"] = f"{mixer} mixer, {norm} norm, {'compiled' if compiled else 'eager'}"
            suite.attempt(lambda: measure(suite, what, mixer, norm, compiled, autocast, expected), **what)
            if suite.cuda:
                torch.cuda.empty_cache()
