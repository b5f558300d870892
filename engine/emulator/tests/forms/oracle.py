"""Exact arithmetic on the float formats of PTX, by fractions.

A value is `NAN`, `(sign, INF)` or `(sign, Fraction)`. Results are bits, or one of the marks below where PTX leaves bits open.
"""
import math
from fractions import Fraction

FORMATS = {"f16": (5, 10), "bf16": (8, 7), "f32": (8, 23), "f64": (11, 52), "tf32": (8, 10)}
INF = "inf"
NAN = "nan"
# Marks in place of result bits: any NaN of the type, anything at all.
ANY_NAN, ANY = "n", "*"


class Either:
    """One of several results."""

    def __init__(self, *bits):
        self.bits = bits


class Near:
    """A result that may differ from `value` within the tolerance of its form."""

    def __init__(self, value, bits):
        """`bits` of the fraction stay: 52, or fewer where `value` comes from a mathematical library and is not the same on all systems."""
        self.value, self.bits = float(value), bits


def width(ty):
    """Bits of a type; 1 for a predicate."""
    if ty == "pred":
        return 1
    if ty in ("f16x2", "bf16x2"):
        return 32
    return int(ty.lstrip("usbf"))


def mask(bits):
    return (1 << bits) - 1


def signed(value, bits):
    value &= mask(bits)
    return value - (1 << bits) if value >> (bits - 1) else value


def decode(bits, ty):
    e, m = FORMATS[ty]
    sign, exponent, fraction = bits >> (e + m) & 1, bits >> m & mask(e), bits & mask(m)
    bias = (1 << (e - 1)) - 1
    if exponent == mask(e):
        return NAN if fraction else (sign, INF)
    if exponent == 0:
        return sign, Fraction(fraction, 1 << m) * Fraction(2) ** (1 - bias)
    return sign, (1 + Fraction(fraction, 1 << m)) * Fraction(2) ** (exponent - bias)


def number(x):
    """The signed value of a finite number."""
    return -x[1] if x[0] else x[1]


def infinity(sign, ty):
    e, m = FORMATS[ty]
    return sign << (e + m) | mask(e) << m


def negative(bits, ty):
    return bits >> (width(ty) - 1) & 1


def round_up(rest, last_is_odd, sign, mode):
    """Whether a magnitude is rounded away from zero; `rest` is the part of a unit in the last place that is cut off."""
    half = Fraction(1, 2)
    return {
        "rn": rest > half or rest == half and last_is_odd,
        "rz": False,
        "rm": rest > 0 and sign == 1,
        "rp": rest > 0 and sign == 0,
        "rna": rest >= half,
    }[mode]


def encode(sign, magnitude, ty, mode="rn"):
    """The bits of a magnitude that may be infinite, rounded."""
    e, m = FORMATS[ty]
    bias = (1 << (e - 1)) - 1
    if magnitude == INF:
        return infinity(sign, ty)
    if magnitude == 0:
        return sign << (e + m)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if Fraction(2) ** exponent > magnitude:
        exponent -= 1
    exponent = max(exponent, 1 - bias)
    quotient = magnitude / Fraction(2) ** (exponent - m)
    whole = quotient.numerator // quotient.denominator
    whole += round_up(quotient - whole, whole & 1, sign, mode)
    if whole >> (m + 1):
        whole >>= 1
        exponent += 1
    if exponent > bias:
        away = mode in ("rn", "rna") or mode == "rm" and sign or mode == "rp" and not sign
        return infinity(sign, ty) - (0 if away else 1)
    if whole >> m == 0:
        return sign << (e + m) | whole
    return sign << (e + m) | (exponent + bias) << m | whole & mask(m)


def of(value, ty, mode="rn", zero_sign=0):
    """The bits of a signed fraction."""
    return encode(zero_sign if value == 0 else int(value < 0), abs(value), ty, mode)


def flush(bits, ty):
    """Subnormal numbers become zeros of their sign."""
    e, m = FORMATS[ty]
    return bits & 1 << (e + m) if bits >> m & mask(e) == 0 else bits


def saturate(result, ty):
    """The result clamped to 0 up to 1, where NaN becomes 0."""
    if result == ANY_NAN:
        return 0
    x = decode(result, ty)
    if x[0] or x[1] == 0:
        return 0
    return of(Fraction(1), ty) if x[1] == INF or x[1] > 1 else result


def relu(result, ty):
    """Negative results become 0 and NaN stays; PTX does not say whether -0 is negative."""
    if result == ANY_NAN:
        return ANY_NAN
    zero = 1 << (width(ty) - 1)
    if result == zero:
        return Either(0, zero)
    return 0 if negative(result, ty) else result


def add(a, b, ty, mode):
    if NAN in (a, b):
        return ANY_NAN
    if INF in (a[1], b[1]):
        if a[1] == b[1] and a[0] != b[0]:
            return ANY_NAN
        return infinity(a[0] if a[1] == INF else b[0], ty)
    total = number(a) + number(b)
    both = a[1] == 0 and b[1] == 0 and a[0] == b[0]
    return of(total, ty, mode, a[0] if both else int(mode == "rm"))


def negate(a):
    return a if a == NAN else (1 - a[0], a[1])


def sub(a, b, ty, mode):
    return add(a, negate(b), ty, mode)


def mul(a, b, ty, mode):
    if NAN in (a, b):
        return ANY_NAN
    sign = a[0] ^ b[0]
    if INF in (a[1], b[1]):
        return ANY_NAN if 0 in (a[1], b[1]) else infinity(sign, ty)
    return encode(sign, a[1] * b[1], ty, mode)


def fma(a, b, c, ty, mode):
    if NAN in (a, b, c):
        return ANY_NAN
    sign = a[0] ^ b[0]
    if INF in (a[1], b[1]):
        if 0 in (a[1], b[1]) or c[1] == INF and c[0] != sign:
            return ANY_NAN
        return infinity(sign, ty)
    return add((sign, a[1] * b[1]), c, ty, mode)


def div(a, b, ty, mode):
    if NAN in (a, b):
        return ANY_NAN
    sign = a[0] ^ b[0]
    if a[1] == INF or b[1] == 0:
        return ANY_NAN if a[1] == b[1] else infinity(sign, ty)
    return encode(sign, Fraction(0) if b[1] == INF else a[1] / b[1], ty, mode)


def rcp(a, ty, mode):
    return div((0, Fraction(1)), a, ty, mode)


def sqrt(a, ty, mode):
    if a == NAN or a[0] and a[1] != 0:
        return ANY_NAN
    if a[1] in (0, INF):
        return encode(a[0], a[1], ty)
    shift = 1300
    scaled = (a[1].numerator << 2 * shift) // a[1].denominator
    root = math.isqrt(scaled)
    exact = root * root == scaled and (a[1].numerator << 2 * shift) % a[1].denominator == 0
    # A root that is not exact lies strictly between two neighbours, and never on a tie.
    return encode(0, Fraction(2 * root + (0 if exact else 1), 2 << shift), ty, mode)


def key(bits, ty):
    """Orders numbers, with -0 below +0."""
    sign, x = decode(bits, ty)
    x = Fraction(10) ** 400 if x == INF else x
    return (-x if sign else x, -sign)


def least_or_greatest(a, b, ty, greatest, nan):
    """`min` and `max`: NaN wins with `.NaN`, otherwise the number does."""
    nans = [decode(x, ty) == NAN for x in (a, b)]
    if all(nans) or nan and any(nans):
        return ANY_NAN
    if any(nans):
        return b if nans[0] else a
    return (max if greatest else min)((a, b), key=lambda x: key(x, ty))


def compare(name, a, b, ty):
    """A comparison of bits of any type. `lo ls hi hs` compare as unsigned; those that end in `u` hold for NaN."""
    name = {"lo": "lt", "ls": "le", "hi": "gt", "hs": "ge"}.get(name, name)
    if ty in FORMATS:
        unordered = NAN in (decode(a, ty), decode(b, ty))
        if name in ("num", "nan"):
            return unordered == (name == "nan")
        if unordered:
            return len(name) == 3
        a, b = (key(x, ty)[0] for x in (a, b))
        name = name[:2]
    elif ty[0] == "s":
        a, b = signed(a, width(ty)), signed(b, width(ty))
    return {"eq": a == b, "ne": a != b, "lt": a < b, "le": a <= b, "gt": a > b, "ge": a >= b}[name]


def to_whole(x, mode):
    """A finite value rounded to a whole number."""
    value = number(x)
    down = value.numerator // value.denominator
    if mode == "rn":
        return round(value)
    return {"rz": math.trunc(value), "rm": down, "rp": -((-value).numerator // (-value).denominator)}[mode]


def as_float(bits, ty):
    """A Python float of the same value. All formats fit."""
    x = decode(bits, ty)
    if x == NAN:
        return math.nan
    if x[1] == INF:
        return -math.inf if x[0] else math.inf
    return math.copysign(float(x[1]), -1 if x[0] else 1)
