"""Input rows: special values of each type, and seeded numbers between them."""
import struct
from fractions import Fraction

from oracle import FORMATS, mask, of, width


class Random:
    """SplitMix64, so that the table does not depend on a version of Python."""

    def __init__(self, seed):
        self.state = seed

    def bits(self, count):
        self.state = self.state + 0x9E3779B97F4A7C15 & mask(64)
        x = self.state
        x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & mask(64)
        x = (x ^ x >> 27) * 0x94D049BB133111EB & mask(64)
        return (x ^ x >> 31) & mask(count)

    def below(self, n):
        return self.bits(63) % n

    def choice(self, items):
        return items[self.below(len(items))]


def seed_of(text):
    seed = 0
    for c in text.encode():
        seed = seed * 131 + c & mask(60)
    return seed


def f32(x):
    return struct.unpack("<I", struct.pack("<f", x))[0]


def f64(x):
    return struct.unpack("<Q", struct.pack("<d", x))[0]


def specials(ty):
    """Values at which instructions go wrong: zeros, subnormals, ties, limits, infinities, NaN."""
    if ty in FORMATS:
        e, m = FORMATS[ty]
        top = 1 << (e + m)
        one, inf, least = ((1 << (e - 1)) - 1) << m, mask(e) << m, 1 << m
        half = one - (1 << m)
        list_ = [0, top, 1, top | 1, least - 1, top | least - 1, least, top | least, one, top | one, one | 1, one - 1, inf - 1,
                 top | inf - 1, inf, top | inf, inf | 1 << (m - 1), top | inf | 1, half, half | 1 << (m - 1), top | half,
                 of(Fraction(3, 2), ty), of(Fraction(5, 2), ty), of(Fraction(-7, 2), ty), of(Fraction(100), ty)]
        if ty in ("f32", "f64"):
            list_ += [of(Fraction(x), ty) for x in (2**31, -(2**31), 2**32, 2**63, -(2**63), 2**64, 255, 256, 65535, 32768, -129,
                                                   65504, 65520, 2**127, Fraction(1, 2**24), Fraction(1, 2**25))]
        if ty == "f64":
            list_ += [f64(3.4028235677973366e38), f64(1e-40), f64(-1e-46), f64(1 + 2**-24), f64(1 + 2**-24 + 2**-50), f64(2147483647.5)]
        return list_
    w = width(ty)
    list_ = [0, 1, 2, mask(w), 1 << (w - 1), mask(w - 1), (1 << (w - 1)) + 1, mask(w) - 1, 3, 31, 32, 33, 63, 64, 127, 128, 255]
    if w > 16:
        list_ += [256, 0x7FFF, 0x8000, 0xFFFF, 0x10000]
    if w > 32:
        list_ += [0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 32]
    return [x & mask(w) for x in list_]


def random(ty, rng, near=None):
    """A number; `near` is another operand, whose exponent a float may take."""
    w = width(ty)
    if ty in FORMATS:
        e, m = FORMATS[ty]
        kind = rng.below(8)
        if kind == 0:
            return rng.bits(w)
        bias = (1 << (e - 1)) - 1
        if kind < 4 and near is not None:
            exponent = (near >> m & mask(e)) + rng.below(4) - 1
        else:
            exponent = bias + rng.below(20) - 10
        exponent = min(max(exponent, 0), mask(e) - 1)
        fraction = rng.bits(m) if rng.below(3) else rng.bits(3) << (m - 3)
        return rng.bits(1) << (e + m) | exponent << m | fraction
    return rng.bits(1 + rng.below(w)) if rng.below(2) else rng.bits(w)


# Amounts of shifts, positions and lengths.
AMOUNTS = [0, 1, 2, 7, 8, 15, 16, 17, 24, 31, 32, 33, 40, 63, 64, 65, 127, 128, 255, 256, 257, 0x100, 0x10001, 0x7FFFFFFF, 0x80000000,
           0xFFFFFFFF]


def column_values(ty):
    if ty == "amount":
        return AMOUNTS
    if ty == "pred":
        return [0, 1]
    if ty in ("f16x2", "bf16x2"):
        return None
    return specials(ty)


def one(ty, rng, near=None):
    if ty == "pred":
        return rng.bits(1)
    if ty == "amount":
        return rng.below(70) if rng.below(4) else rng.choice(AMOUNTS)
    if ty in ("f16x2", "bf16x2"):
        half = ty[:-2]
        pick = lambda: rng.choice(specials(half)) if rng.below(2) else random(half, rng, None if near is None else near & 0xFFFF)
        return pick() | pick() << 16
    if rng.below(3) == 0:
        return rng.choice(specials(ty))
    return random(ty, rng, near)


def rows(types, count, salt=""):
    """`count` rows: every special value of each column first, against others, then seeded ones."""
    rng = Random(seed_of(" ".join(types) + salt))
    out = []
    lists = [column_values(ty) for ty in types]
    longest = max((len(x) for x in lists if x), default=0)
    for i in range(min(longest, count * 2 // 3)):
        row = []
        for k, (ty, special) in enumerate(zip(types, lists)):
            row.append(special[(i * (1, 5, 7)[min(k, 2)] + 3 * k) % len(special)] if special else one(ty, rng))
        out.append(row)
    while len(out) < count:
        row = []
        for ty in types:
            row.append(one(ty, rng, row[0] if row else None))
        out.append(row)
    return out
