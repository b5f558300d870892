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

                t.form(f"cvt{suffix(sat, to, source)}", [register_of(source)], [register_of(to)], oracle, count=24)
    # A result is extended to a wider register, and a source taken from the low bits of one.
    for to in ("u8", "s8", "u16", "s16"):
        t.form(f"cvt.{to}.u32", ["u32"], ["u64"], lambda x: value(x, to), count=24)
        t.form(f"cvt.u32.{to}", ["u64"], ["u32"], lambda x: value(x, to), count=24)


def float_to_whole(t):
    for source in ("f16", "bf16", "f32", "f64"):
        for to in INTEGERS:
            if source == "bf16" and width(to) == 8:
                continue
            for rounding, mode in WHOLE.items():
                for ftz in ("", "ftz") if source == "f32" else ("",):
                    for sat in ("", "sat") if source != "bf16" else ("",):
                        t.form(f"cvt.{rounding}{suffix(ftz, sat, to, source)}", [source], [register_of(to)],
                               whole_part(to, source, mode, ftz), count=32)


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
            for to, ftz in (("f32", ""), ("f32", "ftz"), ("f64", ""), ("f16", ""), ("bf16", "")):
                if to == "bf16" and width(source) == 8:
                    continue
                for sat in ("", "sat") if to != "bf16" else ("",):
                    finish = (lambda r: o.saturate(r, to)) if sat else (lambda r: r)
                    t.form(f"cvt.{mode}{suffix(ftz, sat, to, source)}", [register_of(source)], [to],
                           lambda x: finish(o.of(Fraction(value(x, source)), to, mode)), count=24)


def changed(to, source, mode="rn", ftz=False, sat=False, relu=False, whole=None, finite=False):
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
        if finite and result in (o.infinity(0, to), o.infinity(1, to)):
            result -= 1
        if ftz and to == "f32" and result != ANY_NAN:
            result = flush(result, "f32")
        if sat:
            result = o.saturate(result, to)
        return o.relu(result, to) if relu else result

    return oracle


ROUNDINGS = ("rn", "rz", "rm", "rp")


def pairs_of_types():
    """The types, the roundings and the modifiers of the conversions between floats."""
    single, none, brain = ("", "ftz", "sat", "ftz.sat"), ("",), ("", "ftz")
    yield "f32", "f64", ROUNDINGS, single
    yield "f64", "f32", none, single
    yield "f32", "f16", none, single
    yield "f64", "f16", none, ("", "sat")
    yield "f32", "bf16", ("", *ROUNDINGS), brain
    yield "f64", "bf16", ("", *ROUNDINGS), none
    yield "f16", "f32", ROUNDINGS, single
    yield "bf16", "f32", ROUNDINGS, brain
    yield "f16", "f64", ROUNDINGS, ("", "sat")
    yield "bf16", "f64", ROUNDINGS, none
    yield "f16", "bf16", ROUNDINGS, none
    yield "bf16", "f16", ROUNDINGS, none
    for ty, modifiers in (("f32", single), ("f64", ("", "sat")), ("f16", ("", "sat")), ("bf16", none)):
        yield ty, ty, ("", *WHOLE), modifiers
    for to in ("f16", "bf16"):
        yield to, "f32", ("rn", "rz"), ("relu", "satfinite", "relu.satfinite")


def between_floats(t):
    for to, source, roundings, all_modifiers in pairs_of_types():
        for rounding in roundings:
            for modifiers in all_modifiers:
                has = lambda word: word in modifiers.split(".")
                oracle = changed(to, source, rounding if rounding in ROUNDINGS else "rn", has("ftz"), has("sat"), has("relu"),
                                 WHOLE.get(rounding), has("satfinite"))
                t.form(f"cvt{suffix(rounding, modifiers, to, source)}", [source], [to], oracle)


def to_pairs(t):
    for half in ("f16", "bf16"):
        for mode in ("rn", "rz"):
            for modifiers in ("", "relu", "satfinite", "relu.satfinite"):
                one = changed(half, "f32", mode, relu="relu" in modifiers, finite="satfinite" in modifiers)
                opcode = f"cvt.{mode}{suffix(modifiers, half)}x2.f32"
                body = f"{opcode} %t, %a0, %a1; mov.b32 {{%d0, %d1}}, %t;"
                t.form(opcode, ["f32"] * 2, [half] * 2, lambda high, low: (one(low), one(high)), body=body)


def to_tf32(t):
    """The low 13 bits of a tf32 have no meaning, and are cut off here."""
    for mode, all_modifiers in (("rn", ("", "relu")), ("rz", ("", "relu")), ("rna", ("", "satfinite"))):
        for modifiers in all_modifiers:
            def oracle(bits):
                x = decode(bits, "f32")
                if x == NAN:
                    return ANY_NAN
                result = encode(x[0], x[1], "tf32", mode)
                if modifiers == "satfinite" and x[1] == o.INF or modifiers == "satfinite" and result & 0x3FC00 == 0x3FC00:
                    result = o.infinity(x[0], "tf32") - 1
                if modifiers == "relu" and result >> 18:
                    return o.Either(0, 1 << 31) if result == 1 << 18 else 0
                return result << 13

            opcode = f"cvt.{mode}{suffix(modifiers)}.tf32.f32"
            t.form(opcode, ["f32"], ["f32"], oracle, body=f"{opcode} %t, %a0; and.b32 %d0, %t, 0xFFFFE000;", count=64)


# Exponent and fraction bits, and the greatest finite number.
SMALL = {"e4m3": (4, 3, 0x7E), "e5m2": (5, 2, 0x7B)}


def decode_small(byte, ty):
    e, m, most = SMALL[ty]
    sign, rest = byte >> 7, byte & 0x7F
    if rest > most:
        return (sign, o.INF) if ty == "e5m2" and rest == 0x7C else NAN
    exponent, fraction = rest >> m, Fraction(rest & mask(m), 1 << m)
    bias = (1 << e - 1) - 1
    return sign, fraction * Fraction(2) ** (1 - bias) if exponent == 0 else (1 + fraction) * Fraction(2) ** (exponent - bias)


def encode_small(x, ty, relu):
    """Rounded to the nearest, of two the even one, and never beyond the greatest finite number. NaN has one encoding."""
    if x == NAN:
        return 0x7F
    sign, magnitude = x
    most = SMALL[ty][2]
    byte = most
    if magnitude != o.INF:
        values = [decode_small(k, ty)[1] for k in range(most + 1)]
        byte = min(range(most + 1), key=lambda k: (abs(values[k] - magnitude), k & 1))
    if relu and sign:
        return 0 if byte else None
    return sign << 7 | byte


def joined(high, low):
    """Two bytes. PTX does not say whether `.relu` takes -0 for negative, which is `None` here."""
    if None in (high, low):
        return o.Either(*(h << 8 | l for h in ((high,) if high is not None else (0, 0x80)) for l in ((low,) if low is not None else (0, 0x80))))
    return high << 8 | low


def eight_bits(t):
    for ty in SMALL:
        for relu in ("", "relu"):
            one = lambda bits, source: encode_small(decode(bits, source), ty, relu)
            opcode = f"cvt.rn.satfinite{suffix(relu, ty)}x2.f32"
            t.form(opcode, ["f32"] * 2, ["b16"], lambda high, low: joined(one(high, "f32"), one(low, "f32")), count=40)
            opcode = f"cvt.rn.satfinite{suffix(relu, ty)}x2.f16x2"
            t.form(opcode, ["f16x2"], ["b16"], lambda x: joined(one(x >> 16, "f16"), one(x & 0xFFFF, "f16")), count=40)
            opcode = f"cvt.rn{suffix(relu)}.f16x2.{ty}x2"

            def back(byte):
                x = decode_small(byte, ty)
                result = ANY_NAN if x == NAN else encode(x[0], x[1], "f16")
                return o.relu(result, "f16") if relu else result

            t.form(opcode, ["b16"], ["f16"] * 2, lambda x: (back(x & 255), back(x >> 8)),
                   rows=[[k | (255 - k) << 8] for k in range(0, 256, 3)],
                   body=f"{opcode} %t, %a0; mov.b32 {{%d0, %d1}}, %t;")


def packed(t):
    s = lambda x: signed(x, 32)
    for ty in ("u16", "s16"):
        low, high = limits(ty)
        one = lambda x: min(max(s(x), low), high) & mask(16)
        t.form(f"cvt.pack.sat.{ty}.s32", ["s32"] * 2, ["b32"], lambda a, b: one(a) << 16 | one(b), count=24)
    for ty in ("u8", "s8", "u4", "s4", "u2", "s2"):
        w = int(ty[1:])
        low, high = (0, mask(w)) if ty[0] == "u" else (-(1 << w - 1), mask(w - 1))
        few = lambda x: min(max(s(x), low), high) & mask(w)
        t.form(f"cvt.pack.sat.{ty}.s32.b32", ["s32"] * 2 + ["b32"], ["b32"], lambda a, b, c: c << 2 * w | few(a) << w | few(b), count=24)


FAMILIES = (whole_to_whole, float_to_whole, whole_to_float, between_floats, to_pairs, to_tf32, eight_bits, packed)
