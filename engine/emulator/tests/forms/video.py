"""Video instructions: arithmetic on words, halves and bytes, which is clamped, joined with a third operand, or put into it.

As PTX has it, first results are exact, `.sat` clamps to the type of the result (to the part that is written), and the second operation
sees the third operand in that type.
"""
from oracle import mask, signed
from values import Random

COMPARISONS = ("eq", "ne", "lt", "le", "gt", "ge")
WORDS = (0, 1, 5, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x80FF7F01, 0x01807FFF, 0xFE02FD03,
         0x7F808001, 0x12345678, 0xDEADBEEF)
AMOUNTS = (0, 1, 3, 7, 8, 16, 31, 32, 33, 0x80FF7F01)


def rows_of(seed, shifts=False):
    """Four rows; there are eight such sets, which the forms share."""
    rng = Random(1000 + seed % 8)
    word = lambda: rng.choice(WORDS) if rng.below(4) else rng.bits(32)
    # Equal operands have to occur.
    first = word()
    rows = [[first, first, word()]] + [[word(), word(), word()] for _ in range(3)]
    if shifts:
        rows = [[a, rng.choice(AMOUNTS) if k else (seed * 7 % 34), c] for k, (a, _, c) in enumerate(rows)]
    return rows


def part(x, selector, is_signed):
    """The value of a word, or of the part that a selector such as `h1` names."""
    bits = {"": 32, "h": 16, "b": 8}[selector[:1]]
    x = x >> bits * int(selector[1:] or 0) & mask(bits)
    return signed(x, bits) if is_signed else x


def clamped(x, bits, is_signed):
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if is_signed else (0, (1 << bits) - 1)
    return min(max(x, low), high)


def average(x, y):
    return (x + y + 1) >> 1 if x + y >= 0 else (x + y) >> 1


FIRST = {"vadd": lambda x, y: x + y, "vsub": lambda x, y: x - y, "vabsdiff": lambda x, y: abs(x - y), "vmin": min, "vmax": max,
         "vavrg": average}
THEN = {"add": lambda x, y: x + y, "min": min, "max": max}


def holds(name):
    return lambda x, y: int({"eq": x == y, "ne": x != y, "lt": x < y, "le": x <= y, "gt": x > y, "ge": x >= y}[name])


def shifted(left, wrap):
    def oracle(x, n):
        n = n & 31 if wrap else min(n, 32)
        return x << n if left else x >> n

    return oracle


def types():
    """The signs of the result and of two operands, with their names."""
    for bits in range(8):
        signs = [bool(bits >> k & 1) for k in range(3)]
        yield signs, [f"{'s' if s else 'u'}32" for s in signs]


def selector(rng):
    return rng.choice(("", "b0", "b1", "b2", "b3", "h0", "h1"))


def dot(x):
    return f".{x}" if x else ""


def joined(*parts):
    return ".".join(p for p in parts if p)


def scalar(t, opcode, f, signs, sat=False, then="", seed=0, shifts=False):
    """An instruction on words or on a part of each; without a second operation it can also be put into the third operand."""
    to_signed, a_signed, b_signed = signs
    rng = Random(seed)
    a_part, b_part = selector(rng), selector(rng)
    rows = rows_of(seed, shifts)

    def result(a, b, c, into=""):
        x = f(part(a, a_part, a_signed), part(b, b_part, b_signed))
        bits = {"": 32, "h": 16, "b": 8}[into[:1]]
        x = clamped(x, bits, to_signed) if sat else x
        if then:
            return THEN[then](x, signed(c, 32) if to_signed else c)
        at = bits * int(into[1:] or 0)
        return c & ~(mask(bits) << at) | (x & mask(bits)) << at

    third = ", %a2" if then else ""
    t.form(opcode, ["u32"] * 3, ["u32"], result, rows=rows, body=f"$ %d0, %a0{dot(a_part)}, %a1{dot(b_part)}{third};")
    if not then:
        into = rng.choice(("b0", "b1", "b2", "b3", "h0", "h1"))
        t.form(opcode, ["u32"] * 3, ["u32"], lambda a, b, c: result(a, b, c, into), rows=rows,
               body=f"$ %d0.{into}, %a0{dot(a_part)}, %a1{dot(b_part)}, %a2;")


def scalars(t):
    seed = 0
    for signs, (d, a, b) in types():
        for name in ("vadd", "vsub", "vabsdiff", "vmin", "vmax"):
            for sat in ("", "sat"):
                for then in ("", *THEN):
                    # How wide a sum is when it is compared, PTX does not say; the emulator refuses it.
                    if sat or name in ("vmin", "vmax") or then not in ("min", "max"):
                        seed += 1
                        scalar(t, joined(name, d, a, b, sat, then), FIRST[name], signs, sat, then, seed)
        if not signs[2]:
            for name, left in (("vshl", True), ("vshr", False)):
                for sat in ("", "sat"):
                    for mode in ("clamp", "wrap"):
                        for then in ("", *THEN):
                            if sat or not left or then not in ("min", "max"):
                                seed += 1
                                scalar(t, joined(name, d, a, b, sat, mode, then), shifted(left, mode == "wrap"), signs, sat, then, seed, True)
        if not signs[0]:
            for name in COMPARISONS:
                for then in ("", *THEN):
                    seed += 1
                    scalar(t, joined("vset", a, b, name, then), holds(name), signs, False, then, seed)


def multiply_and_add(t):
    """`vmad`: the product and the sum are exact, then they are shifted and clamped; they are signed where an operand is."""
    for seed, (signs, (d, a, b)) in enumerate(types()):
        is_signed = signs[1] or signs[2]
        if signs[0] != is_signed:
            continue
        for plus_one in ("", "po"):
            for sat in ("", "sat"):
                for scale in ("", "shr7", "shr15"):
                    rng = Random(seed * 31 + len(plus_one + sat + scale))
                    a_part, b_part = selector(rng), selector(rng)

                    def oracle(x, y, z):
                        total = part(x, a_part, signs[1]) * part(y, b_part, signs[2]) + (signed(z, 32) if is_signed else z)
                        total = total + (1 if plus_one else 0) >> int(scale[3:] or 0)
                        return clamped(total, 32, is_signed) if sat else total

                    t.form(joined("vmad", d, a, b, plus_one, sat, scale), ["u32"] * 3, ["u32"], oracle, rows=rows_of(rng.below(8)),
                           body=f"$ %d0, %a0{dot(a_part)}, %a1{dot(b_part)}, %a2;")


def packed(t, opcode, f, count, signs, how, seed):
    """An instruction on halves or bytes: those that a selector picks from both operands, and those of the result that a mask names."""
    to_signed, a_signed, b_signed = signs
    rng = Random(seed)
    bits, letter = 32 // count, "h" if count == 2 else "b"
    lanes = lambda: [rng.below(2 * count) for _ in range(count)]
    plain = rng.below(3) == 0
    from_a, from_b = (list(range(count)), list(range(count, 2 * count))) if plain else (lanes(), lanes())
    written = list(range(count)) if plain else [k for k in range(count) if rng.below(2)] or [count - 1]
    name = lambda numbers: "" if plain else "." + letter + "".join(str(n) for n in reversed(numbers))

    def pick(a, b, lane, is_signed):
        x = (b << 32 | a) >> bits * lane & mask(bits)
        return signed(x, bits) if is_signed else x

    def oracle(a, b, c):
        d = c
        for k in written:
            x = f(pick(a, b, from_a[k], a_signed), pick(a, b, from_b[k], b_signed))
            x = clamped(x, bits, to_signed) if how == "sat" else x
            d = d + x if how == "add" else d & ~(mask(bits) << bits * k) | (x & mask(bits)) << bits * k
        return d

    t.form(opcode, ["u32"] * 3, ["u32"], oracle, rows=rows_of(seed),
           body=f"$ %d0{name(written)}, %a0{name(from_a)}, %a1{name(from_b)}, %a2;")


def packs(t):
    seed = 0
    for count in (2, 4):
        for signs, (d, a, b) in types():
            for name, f in FIRST.items():
                for how in ("", "sat", "add"):
                    seed += 1
                    packed(t, joined(f"{name}{count}", d, a, b, how), f, count, signs, how, seed)
            if not signs[0]:
                for name in COMPARISONS:
                    for how in ("", "add"):
                        seed += 1
                        packed(t, joined(f"vset{count}", a, b, name, how), holds(name), count, signs, how, seed)


FAMILIES = (scalars, multiply_and_add, packs)
