"""`cvt`, `cvta` and `isspacep`."""
from fractions import Fraction

import oracle as o
from floats import suffix
from oracle import ANY_NAN, NAN, decode, encode, flush, mask, signed, width

INTEGERS = ("u8", "s8", "u16", "s16", "u32", "s32", "u64", "s64")
WHOLE = {"rni": "rn", "rzi": "rz", "rmi": "rm", "rpi": "rp"}


def limits(ty):
    w = width(ty)
    return (0, mask(w)) if ty[0] == "u" else (-(1 << (w - 1)), mask(w - 1))


def value(x, ty):
    return signed(x, width(ty)) if ty[0] == "s" else x & mask(width(ty))


def register_of(ty):
    """A type as wide as the register of a value of 8 bits or more, to which it is extended."""
    return ty if width(ty) > 8 else ty[0] + "16"


def whole_to_whole(t):
    for to in INTEGERS:
        for source in INTEGERS:
            low, high = limits(to)
            # `.sat` is for types that do not hold every value of the source.
            inside = low <= limits(source)[0] and limits(source)[1] <= high
            for sat in ("",) if inside else ("", "sat"):

                def oracle(x):
                    x = value(x, source)
                    return min(max(x, low), high) if sat else value(x, to)

                t.form(f"cvt{suffix(sat, to, source)}", [register_of(source)], [register_of(to)], oracle, count=32)
    # A result is extended to a wider register, and a source taken from the low bits of one.
    for to in ("u8", "s8", "u16", "s16"):
        t.form(f"cvt.{to}.u32", ["u32"], ["u64"], lambda x: value(x, to), count=24)
        t.form(f"cvt.u32.{to}", ["u64"], ["u32"], lambda x: value(x, to), count=24)


def float_to_whole(t):
    for source in ("f32", "f64"):
        for to in INTEGERS:
            for rounding, mode in WHOLE.items():
                for ftz in ("", "ftz") if source == "f32" else ("",):
                    for sat in ("", "sat"):
                        t.form(f"cvt.{rounding}{suffix(ftz, sat, to, source)}", [source], [register_of(to)],
                               whole_part(to, source, mode, ftz))


def whole_part(to, source, mode, ftz):
    def oracle(x):
        x = decode(flush(x, source) if ftz else x, source)
        low, high = limits(to)
        if x == NAN:
            return value(1 << (width(to) - 1), to) if source == "f64" or width(to) == 64 else 0
        if x[1] == o.INF:
            return low if x[0] else high
        return min(max(o.to_whole(x, mode), low), high)

    return oracle


def whole_to_float(t):
    for source in INTEGERS:
        for mode in ("rn", "rz", "rm", "rp"):
            # No whole number becomes a subnormal one, so `.ftz` changes nothing.
            for to, ftz in (("f32", ""), ("f32", "ftz"), ("f64", "")):
                for sat in ("", "sat"):
                    finish = (lambda r: o.saturate(r, to)) if sat else (lambda r: r)
                    t.form(f"cvt.{mode}{suffix(ftz, sat, to, source)}", [register_of(source)], [to],
                           lambda x: finish(o.of(Fraction(value(x, source)), to, mode)), count=24)


def changed(to, source, mode="rn", ftz=False, sat=False, relu=False, whole=None):
    """The oracle of a conversion between floats."""

    def oracle(bits):
        if ftz and source == "f32":
            bits = flush(bits, "f32")
        x = decode(bits, source)
        if x == NAN:
            result = ANY_NAN
        elif x[1] == o.INF:
            result = o.infinity(x[0], to)
        elif whole:
            result = o.of(Fraction(o.to_whole(x, whole)), to, "rn", x[0])
        else:
            result = encode(x[0], x[1], to, mode)
        if ftz and to == "f32" and result != ANY_NAN:
            result = flush(result, "f32")
        if sat:
            result = o.saturate(result, to)
        return o.relu(result, to) if relu else result

    return oracle


def between_floats(t):
    for sat in ("", "sat"):
        for ftz in ("", "ftz"):
            for mode in ("rn", "rz", "rm", "rp"):
                t.form(f"cvt.{mode}{suffix(ftz, sat, 'f32', 'f64')}", ["f64"], ["f32"], changed("f32", "f64", mode, ftz, sat))
            t.form(f"cvt{suffix(ftz, sat, 'f64', 'f32')}", ["f32"], ["f64"], changed("f64", "f32", "rn", ftz, sat))
            t.form(f"cvt{suffix(ftz, sat, 'f32', 'f16')}", ["f16"], ["f32"], changed("f32", "f16", "rn", ftz, sat))
            t.form(f"cvt{suffix(ftz, sat, 'f32', 'f32')}", ["f32"], ["f32"], changed("f32", "f32", "rn", ftz, sat))
            for rounding, mode in WHOLE.items():
                t.form(f"cvt.{rounding}{suffix(ftz, sat, 'f32', 'f32')}", ["f32"], ["f32"],
                       changed("f32", "f32", "rn", ftz, sat, whole=mode))
        t.form(f"cvt{suffix(sat, 'f64', 'f64')}", ["f64"], ["f64"], changed("f64", "f64", sat=sat))
        for rounding, mode in WHOLE.items():
            t.form(f"cvt.{rounding}{suffix(sat, 'f64', 'f64')}", ["f64"], ["f64"], changed("f64", "f64", sat=sat, whole=mode))


def to_halves(t):
    t.form("cvt.rn.f16.f32", ["f32"], ["f16"], changed("f16", "f32"), count=64)
    t.form("cvt.rn.ftz.f16.f32", ["f32"], ["f16"], changed("f16", "f32", ftz=True), count=64)
    for mode in ("rn", "rz"):
        for relu in ("", "relu"):
            one = changed("bf16", "f32", mode, relu=relu)
            t.form(f"cvt.{mode}{suffix(relu, 'bf16', 'f32')}", ["f32"], ["bf16"], one, count=64)
            opcode = f"cvt.{mode}{suffix(relu, 'bf16x2', 'f32')}"
            body = f"{opcode} %t, %a0, %a1; mov.b32 {{%d0, %d1}}, %t;"
            t.form(opcode, ["f32"] * 2, ["bf16"] * 2, lambda high, low: (one(low), one(high)), body=body)


FAMILIES = (whole_to_whole, float_to_whole, whole_to_float, between_floats, to_halves)
