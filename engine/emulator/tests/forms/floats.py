"""Arithmetic on floats, rounded and approximate."""
import math

import oracle as o
from integers import COMPARISONS, compared
from oracle import ANY, ANY_NAN, Near, decode, encode, flush, mask, negative, width

ROUNDINGS = ("rn", "rz", "rm", "rp")
BINARY = {"add": o.add, "sub": o.sub, "mul": o.mul}


def rounded(f, ty, mode="rn", ftz=False, sat=False, relu=False):
    """The oracle of an operation that is rounded once."""

    def run(*operands):
        if ftz:
            operands = [flush(x, ty) for x in operands]
        result = f(*(decode(x, ty) for x in operands), ty, mode)
        if ftz and result != ANY_NAN:
            result = flush(result, ty)
        if sat:
            result = o.saturate(result, ty)
        return o.relu(result, ty) if relu else result

    return run


def suffix(*parts):
    return "".join(f".{p}" for p in parts if p)


def single(t):
    for name, f in BINARY.items():
        for mode in ("", *ROUNDINGS):
            for ftz in ("", "ftz"):
                for sat in ("", "sat"):
                    t.form(f"{name}{suffix(mode, ftz, sat, 'f32')}", ["f32"] * 2, ["f32"], rounded(f, "f32", mode or "rn", ftz, sat))
    for name in ("fma", "mad"):
        for mode in ROUNDINGS:
            for ftz in ("", "ftz"):
                for sat in ("", "sat"):
                    t.form(f"{name}{suffix(mode, ftz, sat, 'f32')}", ["f32"] * 3, ["f32"], rounded(o.fma, "f32", mode, ftz, sat))
    for mode in ROUNDINGS:
        for ftz in ("", "ftz"):
            t.form(f"div{suffix(mode, ftz, 'f32')}", ["f32"] * 2, ["f32"], rounded(o.div, "f32", mode, ftz))
            t.form(f"rcp{suffix(mode, ftz, 'f32')}", ["f32"], ["f32"], rounded(o.rcp, "f32", mode, ftz))
            t.form(f"sqrt{suffix(mode, ftz, 'f32')}", ["f32"], ["f32"], rounded(o.sqrt, "f32", mode, ftz))


def double(t):
    for mode in ("", "rn"):
        for name, f in BINARY.items():
            t.form(f"{name}{suffix(mode, 'f64')}", ["f64"] * 2, ["f64"], rounded(f, "f64"))
    for name in ("fma", "mad"):
        t.form(f"{name}.rn.f64", ["f64"] * 3, ["f64"], rounded(o.fma, "f64"))
    t.form("div.rn.f64", ["f64"] * 2, ["f64"], rounded(o.div, "f64"))
    t.form("rcp.rn.f64", ["f64"], ["f64"], rounded(o.rcp, "f64"))
    t.form("sqrt.rn.f64", ["f64"], ["f64"], rounded(o.sqrt, "f64"))


def brain(t):
    for ty in ("bf16", "bf16x2"):
        for relu in ("", "relu"):
            halves(t, f"fma.rn{suffix(relu, ty)}", ty, 3, rounded(o.fma, "bf16", relu=relu))


def halves(t, opcode, ty, count, f, **options):
    """A form on a 16-bit float or on a pair of them, of which each is checked by itself."""
    if not ty.endswith("x2"):
        t.form(opcode, [ty] * count, [ty], f, **options)
        return
    body = f"{opcode} %t, {', '.join(f'%a{k}' for k in range(count))}; mov.b32 {{%d0, %d1}}, %t;"
    both = lambda *x: (f(*(a & 0xFFFF for a in x)), f(*(a >> 16 for a in x)))
    t.form(opcode, [ty] * count, [ty[:-2]] * 2, both, body=body, **options)


def least(t):
    for ty in ("f32", "f64", "bf16", "bf16x2"):
        for ftz in ("", "ftz") if ty == "f32" else ("",):
            for nan in ("", "NaN") if ty != "f64" else ("",):
                for name in ("min", "max"):
                    one = ty.removesuffix("x2")
                    zero = (lambda x: flush(x, "f32")) if ftz else (lambda x: x)
                    halves(t, f"{name}{suffix(ftz, nan, ty)}", ty, 2,
                           lambda a, b: o.least_or_greatest(zero(a), zero(b), one, name == "max", nan))


def signs(t):
    """PTX leaves the bits of a NaN open for `neg` and `abs`."""
    for ty in ("f32", "f64", "bf16", "bf16x2"):
        one = ty.removesuffix("x2")
        top = 1 << (width(one) - 1)
        for ftz in ("", "ftz") if ty == "f32" else ("",):
            zero = (lambda x: flush(x, "f32")) if ftz else (lambda x: x)
            changed = lambda f: lambda a: ANY_NAN if decode(a, one) == o.NAN else f(zero(a))
            halves(t, f"neg{suffix(ftz, ty)}", ty, 1, changed(lambda a: a ^ top))
            halves(t, f"abs{suffix(ftz, ty)}", ty, 1, changed(lambda a: a & ~top))
        if width(ty) >= 32 and not ty.endswith("x2"):
            t.form(f"copysign.{ty}", [ty] * 2, [ty],
                   lambda a, b: ANY_NAN if decode(b, ty) == o.NAN else b & ~top | a & top)


def comparisons(t):
    for name in COMPARISONS["f"]:
        for ty in ("f32", "f64"):
            for ftz in ("", "ftz") if ty == "f32" else ("",):
                compared(t, name, ftz, ty, (lambda x: flush(x, "f32")) if ftz else (lambda x: x))
        for ty in ("f16", "bf16"):
            for ftz in ("", "ftz") if ty == "f16" else ("",):
                zero = (lambda x: flush(x, "f16")) if ftz else (lambda x: x)
                compared(t, name, ftz, ty, zero, sets=("u32", "s32"), setp=False)
                # Pairs give a mask of 16 bits for each half.
                for result in ("u32", "s32"):
                    one = lambda a, b: mask(16) * o.compare(name, zero(a), zero(b), ty)
                    t.form(f"set.{name}{suffix(ftz, result, ty)}x2", [f"{ty}x2"] * 2, ["b32"],
                           lambda a, b: one(a & 0xFFFF, b & 0xFFFF) | one(a >> 16, b >> 16) << 16, count=40)


def approximate(f, ty, ftz=False, bits=36):
    """The oracle of a function that PTX defines up to an error. `f` works on Python floats and may give a mark."""
    e, m = o.FORMATS[ty]
    least_normal, bound = 2.0 ** (2 - (1 << (e - 1))), (1 << (e - 1))

    def run(*operands):
        if ftz:
            operands = [flush(x, ty) for x in operands]
        x = f(*(o.as_float(a, ty) for a in operands))
        if isinstance(x, str):
            return x
        if math.isnan(x):
            return ANY_NAN
        sign = int(math.copysign(1, x) < 0)
        if math.isinf(x) or bound < 1024 and abs(x) >= 2.0**bound:
            return encode(sign, o.INF, ty)
        if ftz and abs(x) < least_normal * (1 + 2.0**-12):
            # Where the error decides whether the result is normal, either is right.
            return encode(sign, 0, ty) if abs(x) < least_normal * (1 - 2.0**-12) else ANY
        return encode(sign, 0, ty) if x == 0 else Near(x, bits)

    return run


def quotient(a, b):
    if b == 0:
        return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)
    return a / b


def near_quotient(a, b):
    # The error of div.approx is bounded for divisors up to 2^126.
    if math.isfinite(b) and b != 0 and not 2.0**-126 <= abs(b) <= 2.0**126:
        return ANY
    return quotient(a, b)


def root(a):
    return math.nan if a < 0 else math.sqrt(a)


def inverse_root(a):
    return math.nan if a < 0 else math.copysign(math.inf, a) if a == 0 else 1 / math.sqrt(a)


def logarithm(a):
    return math.nan if a < 0 else -math.inf if a == 0 else math.inf if math.isinf(a) else math.log2(a)


def power(a):
    if math.isnan(a):
        return a
    return math.inf if a >= 1024 else 0.0 if a < -1080 else 2.0**a


def circular(f, most):
    def run(a):
        if not math.isfinite(a):
            return math.nan
        return f(a) if abs(a) <= most else ANY

    return run


def angles(most):
    """Rows for sine and cosine."""
    points = [k * most / 24 * (1 if k % 2 else -1) for k in range(25)]
    return [[values_f32(x)] for x in [0.0, -0.0, math.inf, -math.inf, math.nan, 1e-6, -1e-30, *points]]


def values_f32(x):
    from values import f32

    return f32(x)


def approximations(t):
    """The bounds are those of the PTX ISA, per instruction."""
    for ftz in ("", "ftz"):
        one = lambda name, f, **tol: t.form(f"{name}.approx{suffix(ftz, 'f32')}", ["f32"], ["f32"], approximate(f, "f32", ftz), **tol)
        t.form(f"div.approx{suffix(ftz, 'f32')}", ["f32"] * 2, ["f32"], approximate(near_quotient, "f32", ftz), ulp=2)
        t.form(f"div.full{suffix(ftz, 'f32')}", ["f32"] * 2, ["f32"], approximate(quotient, "f32", ftz), ulp=2)
        one("rcp", lambda a: quotient(1.0, a), ulp=1)
        one("sqrt", root, rel=-23, abs=-149)
        one("rsqrt", inverse_root, rel=-22.9)
        one("lg2", logarithm, abs=-22, rel=-22)
        one("ex2", power, rel=-22, abs=-149)
        for name, f in (("sin", math.sin), ("cos", math.cos)):
            for most, error in ((6.28, -20.5), (314.0, -14.7)):
                one(name, circular(f, most), abs=error, rows=angles(most))
    t.form("tanh.approx.f32", ["f32"], ["f32"], approximate(math.tanh, "f32"), rel=-10.987)
    for ty in ("bf16", "bf16x2"):
        halves(t, f"ex2.approx.ftz.{ty}", ty, 1, approximate(power, "bf16", True), rel=-7)
        halves(t, f"tanh.approx.{ty}", ty, 1, approximate(math.tanh, "bf16"), abs=-8)
    # One of the two functions of this name is of the full width, the others see the upper word alone.
    t.form("rsqrt.approx.f64", ["f64"], ["f64"], approximate(inverse_root, "f64", bits=52), rel=-50)
    t.form("rsqrt.approx.ftz.f64", ["f64"], ["f64"], approximate(inverse_root, "f64", True), rel=-19)
    t.form("rcp.approx.ftz.f64", ["f64"], ["f64"], approximate(lambda a: quotient(1.0, a), "f64", True), rel=-19)


FAMILIES = (single, double, brain, least, signs, comparisons, approximations)
