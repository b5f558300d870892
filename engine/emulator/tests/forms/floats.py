"""Arithmetic on floats, rounded and approximate."""
import math

import oracle as o
from integers import COMPARISONS, LOGIC, compared
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
    for name, f in BINARY.items():
        for mode in ("", *ROUNDINGS):
            t.form(f"{name}{suffix(mode, 'f64')}", ["f64"] * 2, ["f64"], rounded(f, "f64", mode or "rn"))
    for mode in ROUNDINGS:
        for name in ("fma", "mad"):
            t.form(f"{name}.{mode}.f64", ["f64"] * 3, ["f64"], rounded(o.fma, "f64", mode))
        t.form(f"div.{mode}.f64", ["f64"] * 2, ["f64"], rounded(o.div, "f64", mode))
        t.form(f"rcp.{mode}.f64", ["f64"], ["f64"], rounded(o.rcp, "f64", mode))
        t.form(f"sqrt.{mode}.f64", ["f64"], ["f64"], rounded(o.sqrt, "f64", mode))


HALVES = ("f16", "f16x2", "bf16", "bf16x2")


def half_arithmetic(t):
    for ty in HALVES:
        one = ty.removesuffix("x2")
        flushes = ("", "ftz") if one == "f16" else ("",)
        clamps = ("", "sat") if one == "f16" else ("",)
        for ftz in flushes:
            for sat in clamps:
                for name, f in BINARY.items():
                    for mode in ("", "rn"):
                        halves(t, f"{name}{suffix(mode, ftz, sat, ty)}", ty, 2, rounded(f, one, "rn", ftz, sat))
                halves(t, f"fma.rn{suffix(ftz, sat, ty)}", ty, 3, rounded(o.fma, one, "rn", ftz, sat))
            halves(t, f"fma.rn{suffix(ftz, 'relu', ty)}", ty, 3, rounded(o.fma, one, "rn", ftz, relu=True))


def halves(t, opcode, ty, count, f, **options):
    """A form on a 16-bit float or on a pair of them, of which each is checked by itself."""
    if not ty.endswith("x2"):
        t.form(opcode, [ty] * count, [ty], f, **options)
        return
    body = f"{opcode} %t, {', '.join(f'%a{k}' for k in range(count))}; mov.b32 {{%d0, %d1}}, %t;"
    both = lambda *x: (f(*(a & 0xFFFF for a in x)), f(*(a >> 16 for a in x)))
    t.form(opcode, [ty] * count, [ty[:-2]] * 2, both, body=body, **options)


def flushed(ty, ftz):
    return (lambda x: flush(x, ty)) if ftz else (lambda x: x)


def least(t):
    """`min` and `max`; with `.xorsign.abs` of magnitudes, with the sign of the product."""
    for ty in ("f32", "f64", *HALVES):
        one = ty.removesuffix("x2")
        top = 1 << (width(one) - 1)
        for ftz in ("", "ftz") if one in ("f32", "f16") else ("",):
            zero = flushed(one, ftz)
            for nan in ("", "NaN") if ty != "f64" else ("",):
                for name in ("min", "max"):
                    pick = lambda a, b: o.least_or_greatest(a, b, one, name == "max", nan)
                    halves(t, f"{name}{suffix(ftz, nan, ty)}", ty, 2, lambda a, b: pick(zero(a), zero(b)))
                    if ty == "f64":
                        continue

                    def signed_pick(a, b):
                        result = pick(zero(a) & ~top, zero(b) & ~top)
                        return result if result == ANY_NAN else result | (a ^ b) & top

                    halves(t, f"{name}{suffix(ftz, nan, 'xorsign', 'abs', ty)}", ty, 2, signed_pick)


def signs(t):
    """PTX leaves the bits of a NaN open for `neg` and `abs`."""
    for ty in ("f32", "f64", *HALVES):
        one = ty.removesuffix("x2")
        top = 1 << (width(one) - 1)
        for ftz in ("", "ftz") if one in ("f32", "f16") else ("",):
            zero = flushed(one, ftz)
            changed = lambda f: lambda a: ANY_NAN if decode(a, one) == o.NAN else f(zero(a))
            halves(t, f"neg{suffix(ftz, ty)}", ty, 1, changed(lambda a: a ^ top))
            halves(t, f"abs{suffix(ftz, ty)}", ty, 1, changed(lambda a: a & ~top))
        if ty in ("f32", "f64"):
            t.form(f"copysign.{ty}", [ty] * 2, [ty],
                   lambda a, b: ANY_NAN if decode(b, ty) == o.NAN else b & ~top | a & top)


def classes(t):
    """`testp`"""
    for ty in ("f32", "f64"):
        e, m = o.FORMATS[ty]
        exponent, fraction = (lambda a: a >> m & mask(e)), (lambda a: a & mask(m))
        tests = {
            "finite": lambda a: exponent(a) != mask(e),
            "infinite": lambda a: exponent(a) == mask(e) and fraction(a) == 0,
            "number": lambda a: exponent(a) != mask(e) or fraction(a) == 0,
            "notanumber": lambda a: exponent(a) == mask(e) and fraction(a) != 0,
            # PTX counts zeros as normal.
            "normal": lambda a: 0 < exponent(a) < mask(e) or fraction(a) == exponent(a) == 0,
            "subnormal": lambda a: exponent(a) == 0 and fraction(a) != 0,
        }
        for name, test in tests.items():
            t.form(f"testp.{name}.{ty}", [ty], ["pred"], lambda a: int(test(a)))


def comparisons(t):
    for name in COMPARISONS["f"]:
        for ty in ("f32", "f64"):
            for ftz in ("", "ftz") if ty == "f32" else ("",):
                compared(t, name, ftz, ty, flushed("f32", ftz))
        for ty in ("f16", "bf16"):
            for ftz in ("", "ftz") if ty == "f16" else ("",):
                compared(t, name, ftz, ty, flushed("f16", ftz), sets=("u16", "s16", "u32", "s32", ty), two=False)
                pairs_compared(t, name, ftz, ty, flushed("f16", ftz))


def pairs_compared(t, name, ftz, ty, zero):
    """Comparisons of pairs: `setp` gives a predicate for each half, lower first, and `set` a half for each."""
    both = lambda a, b: [int(o.compare(name, zero(a >> s & 0xFFFF), zero(b >> s & 0xFFFF), ty)) for s in (0, 16)]
    for logic, f in (("", lambda h, p: h), *LOGIC.items()):
        joined = ["pred"] if logic else []
        opcode = f"setp{suffix(name, logic, ftz, ty)}x2"
        last = ", !%a2" if logic else ""
        t.form(opcode, [f"{ty}x2"] * 2 + joined, ["pred"] * 2, lambda a, b, p=0: tuple(f(h, 1 - p) for h in both(a, b)),
               body=f"{opcode} %d0|%d1, %a0, %a1{last};", count=16)
        for result, yes in (("u32", mask(16)), ("s32", mask(16)), (f"{ty}x2", 0x3C00 if ty == "f16" else 0x3F80)):
            t.form(f"set{suffix(name, logic, ftz, result, ty)}x2", [f"{ty}x2"] * 2 + joined, ["b32"],
                   lambda a, b, p=1: sum(yes * f(h, p) << 16 * k for k, h in enumerate(both(a, b))), count=6 if logic else 14)


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
    for pair in ("", "x2"):
        halves(t, f"ex2.approx.ftz.bf16{pair}", f"bf16{pair}", 1, approximate(power, "bf16", True), rel=-7)
        halves(t, f"tanh.approx.bf16{pair}", f"bf16{pair}", 1, approximate(math.tanh, "bf16"), abs=-8)
        # Of a subnormal result of f16, half a unit in the last place is lost to its format.
        halves(t, f"ex2.approx.f16{pair}", f"f16{pair}", 1, approximate(power, "f16"), rel=-9.9, abs=-25)
        halves(t, f"tanh.approx.f16{pair}", f"f16{pair}", 1, approximate(math.tanh, "f16"), abs=-10.987)
    # One of the two functions of this name is of the full width, the others see the upper word alone.
    t.form("rsqrt.approx.f64", ["f64"], ["f64"], approximate(inverse_root, "f64", bits=52), rel=-50)
    t.form("rsqrt.approx.ftz.f64", ["f64"], ["f64"], approximate(inverse_root, "f64", True), rel=-19)
    t.form("rcp.approx.ftz.f64", ["f64"], ["f64"], approximate(lambda a: quotient(1.0, a), "f64", True), rel=-19)


FAMILIES = (single, double, half_arithmetic, least, signs, classes, comparisons, approximations)
