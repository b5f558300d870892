"""Sections a, b and c: the published scan and convolution, and PyTorch's prompt add + residual add + RMSNorm."""

import torch
import torch._functorch.config

import loops
import published
from vim_model import add_norm, distance, prompted

# Relative errors against float64 that the kernels may have: (output, gradients).
LIMITS = {torch.float32: (1e-4, 1e-3), torch.bfloat16: (1e-2, 2e-2)}
PUBLISHED, AS_CALLED = "published", "as Vim calls it"


def short(dtype):
    return str(dtype).removeprefix("torch.")


def compiled(suite, function):
    """Compiled afresh, for one shape. Without a GPU only traced, which is what can go wrong there."""
    torch.compiler.reset()
    return torch.compile(function, dynamic=False, backend="inductor" if suite.cuda else "aot_eager")


class Draw:
    """Random tensors of a fixed seed on the suite's device."""

    def __init__(self, suite, seed=0):
        self.device = suite.device
        self.generator = torch.Generator(device=suite.device).manual_seed(seed)

    def normal(self, *shape, dtype=torch.float32):
        return torch.randn(shape, generator=self.generator, device=self.device).to(dtype)

    def by_channel(self, batch, channel, length, dtype):
        """[batch, channel, length] with the channels outermost, as the published projections give it."""
        return self.normal(channel, batch, length, dtype=dtype).transpose(0, 1)


def scan_inputs(draw, batch, channel, state, length, dtype):
    """Per direction (u, delta, A, B, C, D, bias), and z of both as part of xz; the second direction's are flipped."""
    directions = []
    for _ in range(2):
        ramp = torch.arange(1.0, state + 1, device=draw.device)
        directions.append(
            (
                draw.normal(batch, channel, length, dtype=dtype),
                0.5 * draw.by_channel(batch, channel, length, dtype),
                -ramp * (0.1 * draw.normal(channel, state)).exp(),
                draw.normal(batch, 1, state, length, dtype=dtype),
                draw.normal(batch, 1, state, length, dtype=dtype),
                1 + 0.1 * draw.normal(channel),
                draw.normal(channel) - 3,
            )
        )
    return directions, draw.by_channel(batch, 2 * channel, length, dtype)[:, channel:]


def both_scans(scan, directions, z):
    """The two scans as Vim calls them: the second on flipped tensors, its result flipped back; their mean."""
    gated = []
    for (u, delta, A, B, C, D, bias), turned in zip(directions, (z, z.flip(-1))):
        gated.append(scan(u, delta, A, B, C, D, turned, bias))
    return (gated[0] + gated[1].flip(-1)) / 2


class Comparison:
    """One operator at one shape and dtype: checks it, then times forward and backward."""

    def __init__(self, suite, section, name, shape, dtype):
        self.suite, self.dtype = suite, dtype
        self.what = dict(section=section, name=name, shape=shape, dtype=short(dtype))

    def verdict(self, variant):
        return self.what["name"], self.what["dtype"], variant

    def check(self, variant, function, reference, inputs):
        """function against reference in float64: outputs and the gradients of all inputs."""
        draw = torch.Generator(device=self.suite.device).manual_seed(1)
        wide = loops.wide(inputs, torch.float64)
        out = function(*inputs)
        upstream = torch.randn(out.shape, generator=draw, device=out.device).to(out.dtype)
        out, grads = loops.gradients(function, inputs, upstream)
        want, want_grads = loops.gradients(reference, wide, upstream.double())
        forward = distance(out, want)
        backward = max((distance(a, b) for a, b in zip(grads, want_grads)), key=lambda error: (error != error, error))
        limit = LIMITS[self.dtype]
        wrong = not (forward <= limit[0] and backward <= limit[1])
        self.suite.wrong[self.verdict(variant)] = wrong or self.suite.wrong.get(self.verdict(variant), False)
        errors = dict(error_forward=forward, error_backward=backward, limits=list(limit))
        self.suite.record(**self.what, variant=variant, check="against float64", **errors, wrong=wrong)

    def time(self, variant, direction, run, inputs, checked):
        """checked: the variant whose check counts; one that was never checked is `wrong: null`."""
        what = dict(**self.what, variant=variant, **{"pass": direction})
        wrong = self.suite.wrong.get(self.verdict(checked))
        self.suite.attempt(lambda: self.suite.record(**what, **self.suite.time(run, inputs), wrong=wrong), **what)

    def time_graph(self, variant, function, inputs, trained, checked):
        """function(*input) forward, and backward to the inputs whose position is in `trained`."""

        def forward(tensors):
            with torch.enable_grad():
                return function(*tensors)

        leaves = [[t.detach().requires_grad_(i in trained) for i, t in enumerate(tensors)] for tensors in inputs]
        self.time(variant, "forward", forward, leaves, checked)
        graphs = []
        for tensors in leaves:
            outs = forward(tensors)
            outs = outs if isinstance(outs, tuple) else (outs,)
            graphs.append((outs, [tensors[i] for i in trained], [torch.randn_like(out) for out in outs]))
        self.time(variant, "backward", lambda g: torch.autograd.grad(*g, retain_graph=True), graphs, checked)


def flat_scan(scan):
    """both_scans with its inputs in one row: z, then those of each direction."""
    return lambda z, *rest: both_scans(scan, (rest[:7], rest[7:]), z)


def reference_scan(*inputs):
    return loops.selective_scan(*inputs)[0]


def compare_scan(suite, shape, dtype, timed):
    batch, channel, state, length = shape
    sizes = dict(batch=batch, channel=channel, state=state, length=length)
    comparison = Comparison(suite, "a", "selective scan, both directions", sizes, dtype)
    directions, z = scan_inputs(Draw(suite, 7), *shape, dtype)
    in_a_row = lambda directions, z: [z, *directions[0], *directions[1]]
    function = flat_scan(published.selective_scan)
    if batch <= 8:
        comparison.check(PUBLISHED, function, flat_scan(reference_scan), in_a_row(directions, z))
    if not timed:
        return
    draw = Draw(suite)
    count = suite.sets(8 * z.numel() * z.element_size())
    sets = [scan_inputs(draw, *shape, dtype) for _ in range(count)]
    # Gradients of u, delta, B, C of both directions and z: A, D and the bias are frozen.
    trained = [0] + [1 + 7 * direction + i for direction in range(2) for i in (0, 1, 3, 4)]
    comparison.time_graph(AS_CALLED, function, [in_a_row(*one) for one in sets], trained, PUBLISHED)

    calls = []
    for directions, z in sets:
        for (u, delta, A, B, C, D, bias), turned in zip(directions, (z, z.flip(-1).contiguous())):
            calls.append((u, delta, A, B, C, D, turned, bias))
    pairs = list(zip(calls[::2], calls[1::2]))
    with torch.no_grad():
        forward = lambda pair: [published.scan_forward(*c) for c in pair]
        comparison.time("kernels only", "forward", forward, pairs, PUBLISHED)
        derived = []
        for pair in pairs:
            saved = [(c, torch.randn_like(c[0]), published.scan_forward(*c)) for c in pair]
            derived.append([(*c, dout, x, out) for c, dout, (_, out, x) in saved])
        backward = lambda pair: [published.scan_backward(*c) for c in pair]
        comparison.time("kernels only", "backward", backward, derived, PUBLISHED)


def both_convs(conv):
    """The two convolutions as Vim calls them: the second on flipped tokens, its result left so for the scan."""
    return lambda x, w0, b0, w1, b1: torch.stack([conv(x, w0, b0), conv(x.flip(-1), w1, b1)])


def compare_conv(suite, shape, dtype, timed):
    batch, channel, length = shape
    sizes = dict(batch=batch, channel=channel, length=length, width=4)
    comparison = Comparison(suite, "b", "causal conv1d, both directions", sizes, dtype)

    def inputs(draw):
        weights = [t for _ in range(2) for t in (0.5 * draw.normal(channel, 4), 0.1 * draw.normal(channel))]
        return [draw.by_channel(batch, 2 * channel, length, dtype)[:, :channel], *weights]

    if batch <= 8:
        conv, reference = both_convs(published.causal_conv1d), both_convs(loops.causal_conv1d)
        comparison.check(PUBLISHED, conv, reference, inputs(Draw(suite, 7)))
    if not timed:
        return
    draw = Draw(suite)
    count = suite.sets(4 * batch * channel * length * dtype.itemsize)
    sets = [inputs(draw) for _ in range(count)]
    conv = published.causal_conv1d
    function = lambda x, w0, b0, w1, b1: (conv(x, w0, b0), conv(x.flip(-1), w1, b1))
    comparison.time_graph(AS_CALLED, function, sets, [0], PUBLISHED)
    pairs = [((x, w0, b0), (x.flip(-1), w1, b1)) for x, w0, b0, w1, b1 in sets]
    forward = lambda pair: [published.conv_forward(*c) for c in pair]
    backward = lambda pair: [published.conv_backward(*c) for c in pair]
    with torch.no_grad():
        comparison.time("kernels only", "forward", forward, pairs, PUBLISHED)
        derived = [[(*c, torch.randn(shape, device=suite.device).to(dtype)) for c in pair] for pair in pairs]
        comparison.time("kernels only", "backward", backward, derived, PUBLISHED)


def prompt_add_norm(add_norm):
    """Prompt add, residual add and RMSNorm; alpha and beta are zero for the class token, as in vim_model."""

    def function(h, cross, inner, residual, alpha, beta, weight):
        residual, out = add_norm(prompted(h, cross, inner, alpha, beta), residual, weight)
        return out.to(h.dtype), residual

    return function


def compare_norm(suite, shape, dtype):
    batch, length, dim = shape
    sizes = dict(batch=batch, length=length, dim=dim)
    comparison = Comparison(suite, "c", "prompt add + residual add + RMSNorm", sizes, dtype)
    patches = torch.ones(length, 1, device=suite.device)
    patches[length // 2] = 0

    def inputs(draw):
        activations = [draw.normal(*shape, dtype=dtype) for _ in range(3)]
        scales = [patches * draw.normal(dim) for _ in range(2)]
        return [*activations, draw.normal(*shape), *scales, 1 + 0.1 * draw.normal(dim)]

    exact = prompt_add_norm(add_norm)
    variants = {"eager": lambda: exact, "compiled": lambda: compiled(suite, exact)}
    if suite.cuda:
        variants["eager, published Triton norm"] = lambda: prompt_add_norm(published.published_add_norm())
    draw = Draw(suite)
    count = suite.sets(6 * batch * length * dim * dtype.itemsize)
    sets = [inputs(draw) for _ in range(count)]
    for variant, make in variants.items():

        def run():
            function = make()
            if batch <= 8:
                joined = lambda f: lambda *tensors: torch.cat([out.double() for out in f(*tensors)])
                comparison.check(variant, joined(function), joined(exact), sets[0])
            comparison.time_graph(variant, function, sets, range(6), variant)

        suite.attempt(run, **comparison.what, variant=variant)


def sections(suite):
    """{letter: run}"""
    # The backward passes timed keep their graph, which compiled ones refuse while they may write into saved tensors.
    torch._functorch.config.donated_buffer = False
    batches, channel, dim, length = ((8, 32, 96), 768, 384, 197) if suite.cuda else ((2,), 24, 32, 37)

    def each(compare, section, shapes, *more):
        for dtype in LIMITS:
            for shape in shapes:
                what = dict(section=section, name=compare.__name__, shape=list(shape), dtype=short(dtype))
                suite.attempt(lambda: compare(suite, shape, dtype, *more), **what)

    def scan():
        each(compare_scan, "a", [(2, 24, 16, 37), (3, 40, 16, 197)], False)
        each(compare_scan, "a", [(batch, channel, 16, length) for batch in batches], True)

    def conv():
        each(compare_conv, "b", [(2, 24, 37), (3, 40, 197)], False)
        each(compare_conv, "b", [(batch, channel, length) for batch in batches], True)

    return dict(a=scan, b=conv, c=lambda: each(compare_norm, "c", [(batch, length, dim) for batch in batches]))
