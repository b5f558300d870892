"""Whole numbers, bits and predicates."""
from oracle import ANY, compare, mask, signed, width

INTEGERS = ("u16", "s16", "u32", "s32", "u64", "s64")


LOGIC = {"and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b}


def value(x, ty):
    return signed(x, width(ty)) if ty[0] == "s" else x


def twice(ty):
    return ty[0] + str(2 * width(ty))


def quotient(a, b):
    q = abs(a) // abs(b)
    return q if (a < 0) == (b < 0) else -q


def divide(ty, rest):
    def oracle(a, b):
        x, y = value(a, ty), value(b, ty)
        # PTX leaves division by zero open, and the quotient that has no room in its type.
        if y == 0 or y == -1 and a == 1 << (width(ty) - 1):
            return ANY
        return x - quotient(x, y) * y if rest else quotient(x, y)

    return oracle


def arithmetic(t):
    for ty in INTEGERS:
        w = width(ty)
        v = lambda x: value(x, ty)
        t.form(f"add.{ty}", [ty] * 2, [ty], lambda a, b: a + b)
        t.form(f"sub.{ty}", [ty] * 2, [ty], lambda a, b: a - b)
        t.form(f"mul.lo.{ty}", [ty] * 2, [ty], lambda a, b: a * b)
        t.form(f"mul.hi.{ty}", [ty] * 2, [ty], lambda a, b: v(a) * v(b) >> w)
        t.form(f"mad.lo.{ty}", [ty] * 3, [ty], lambda a, b, c: a * b + c)
        t.form(f"mad.hi.{ty}", [ty] * 3, [ty], lambda a, b, c: (v(a) * v(b) >> w) + c)
        if w < 64:
            double = twice(ty)
            t.form(f"mul.wide.{ty}", [ty] * 2, [double], lambda a, b: v(a) * v(b))
            t.form(f"mad.wide.{ty}", [ty] * 2 + [double], [double], lambda a, b, c: v(a) * v(b) + c)
        t.form(f"div.{ty}", [ty] * 2, [ty], divide(ty, False))
        t.form(f"rem.{ty}", [ty] * 2, [ty], divide(ty, True))
        t.form(f"min.{ty}", [ty] * 2, [ty], lambda a, b: min(v(a), v(b)))
        t.form(f"max.{ty}", [ty] * 2, [ty], lambda a, b: max(v(a), v(b)))
        t.form(f"sad.{ty}", [ty] * 3, [ty], lambda a, b, c: abs(v(a) - v(b)) + c)
        if ty[0] == "s":
            t.form(f"neg.{ty}", [ty], [ty], lambda a: -a)
            t.form(f"abs.{ty}", [ty], [ty], lambda a: abs(v(a)))


def bit_field_insert(w):
    def oracle(a, b, position, length):
        position, length = position & 255, length & 255
        field = mask(min(length, w)) << position & mask(w)
        return b & ~field | a << position & field

    return oracle


def bit_field_extract(ty):
    w = width(ty)

    def oracle(a, position, length):
        position, length = position & 255, length & 255
        fill = 0
        if ty[0] == "s" and length:
            fill = a >> min(position + length - 1, w - 1) & 1
        bits = [a >> position + i & 1 if i < length and position + i < w else fill for i in range(w)]
        return sum(bit << i for i, bit in enumerate(bits))

    return oracle


def find_leading(ty, shift):
    w = width(ty)

    def oracle(a):
        if ty[0] == "s" and a >> (w - 1):
            a = ~a & mask(w)
        at = a.bit_length() - 1
        return w - 1 - at if shift and at >= 0 else at

    return oracle


def bits(t):
    for w in (16, 32, 64):
        b = f"b{w}"
        t.form(f"and.{b}", [b] * 2, [b], lambda x, y: x & y)
        t.form(f"or.{b}", [b] * 2, [b], lambda x, y: x | y)
        t.form(f"xor.{b}", [b] * 2, [b], lambda x, y: x ^ y)
        t.form(f"not.{b}", [b], [b], lambda x: ~x)
        t.form(f"cnot.{b}", [b], [b], lambda x: x == 0)
        t.form(f"shl.{b}", [b, "amount"], [b], lambda x, n: x << min(n, w))
        for ty in (b, f"u{w}", f"s{w}"):
            t.form(f"shr.{ty}", [ty, "amount"], [ty], lambda x, n: value(x, ty) >> min(n, w))
        if w == 16:
            continue
        t.form(f"popc.{b}", [b], ["u32"], lambda x: bin(x).count("1"))
        t.form(f"clz.{b}", [b], ["u32"], lambda x: w - x.bit_length())
        t.form(f"brev.{b}", [b], [b], lambda x: int(f"{x:0{w}b}"[::-1], 2))
        t.form(f"bfi.{b}", [b, b, "amount", "amount"], [b], bit_field_insert(w))
        for ty in (f"u{w}", f"s{w}"):
            t.form(f"bfe.{ty}", [ty, "amount", "amount"], [ty], bit_field_extract(ty))
            t.form(f"bfind.{ty}", [ty], ["u32"], find_leading(ty, False))
            t.form(f"bfind.shiftamt.{ty}", [ty], ["u32"], find_leading(ty, True))


def funnel(left, wrap):
    def oracle(low, high, n):
        n = n & 31 if wrap else min(n, 32)
        both = high << 32 | low
        return (both << n) >> 32 if left else both >> n

    return oracle


def permute(a, b, selector):
    bytes_ = [(b << 32 | a) >> 8 * i & 255 for i in range(8)]
    result = 0
    for i in range(4):
        nibble = selector >> 4 * i & 15
        byte = bytes_[nibble & 7]
        result |= (255 * (byte >> 7) if nibble & 8 else byte) << 8 * i
    return result


def lop3(table):
    def oracle(a, b, c):
        return sum((table >> ((a >> i & 1) << 2 | (b >> i & 1) << 1 | c >> i & 1) & 1) << i for i in range(32))

    return oracle


def dot4(a_type, b_type):
    def part(x, i, ty):
        byte = x >> 8 * i & 255
        return signed(byte, 8) if ty[0] == "s" else byte

    return lambda a, b, c: c + sum(part(a, i, a_type) * part(b, i, b_type) for i in range(4))


def words(t):
    for left in (True, False):
        for wrap in (True, False):
            name = f"shf.{'l' if left else 'r'}.{'wrap' if wrap else 'clamp'}.b32"
            t.form(name, ["b32", "b32", "amount"], ["b32"], funnel(left, wrap))
    t.form("prmt.b32", ["b32"] * 3, ["b32"], permute)
    for table in (0x96, 0xE8, 0xCA, 0x01, 0x80, 0x1B):
        t.form("lop3.b32", ["b32"] * 3, ["b32"], lop3(table), body=f"lop3.b32 %d0, %a0, %a1, %a2, {table};")
    for a in ("u32", "s32"):
        for b in ("u32", "s32"):
            t.form(f"dp4a.{a}.{b}", ["b32"] * 3, ["b32"], dot4(a, b))


def clamp(x, low, high):
    return min(max(x, low), high)


def signed_clamp(x, bits=32):
    return clamp(x, -(1 << bits - 1), (1 << bits - 1) - 1)


def saturating(t):
    s = lambda x: signed(x, 32)
    t.form("add.sat.s32", ["s32"] * 2, ["s32"], lambda a, b: signed_clamp(s(a) + s(b)))
    t.form("sub.sat.s32", ["s32"] * 2, ["s32"], lambda a, b: signed_clamp(s(a) - s(b)))
    t.form("mad.hi.sat.s32", ["s32"] * 3, ["s32"], lambda a, b, c: signed_clamp((s(a) * s(b) >> 32) + s(c)))
    for name, f in (("min", min), ("max", max)):
        t.form(f"{name}.relu.s32", ["s32"] * 2, ["s32"], lambda a, b: max(f(s(a), s(b)), 0))
        for relu in ("", ".relu"):
            floor = (lambda x: max(x, 0)) if relu else (lambda x: x)
            t.form(f"{name}{relu}.s16x2", ["b32"] * 2, ["b32"], by_halves(lambda x, y: floor(f(signed(x, 16), signed(y, 16)))))
        t.form(f"{name}.u16x2", ["b32"] * 2, ["b32"], by_halves(f))
    for ty in ("u16x2", "s16x2"):
        t.form(f"add.{ty}", ["b32"] * 2, ["b32"], by_halves(lambda x, y: x + y))


def by_halves(f):
    return lambda a, b: f(a & 0xFFFF, b & 0xFFFF) & 0xFFFF | (f(a >> 16, b >> 16) & 0xFFFF) << 16


def bit_mask(clamped):
    def oracle(a, b):
        if clamped:
            return mask(min(b, 32)) << a if a < 32 else 0
        return mask(b & 31) << (a & 31)

    return oracle


def sign_extend(ty, clamped):
    def oracle(a, b):
        n = min(b, 32) if clamped else b & 31
        if n == 0:
            return 0
        return signed(a, n) if ty == "s32" else a & mask(n)

    return oracle


def find_set(bits_, base, offset):
    """`fns`: the position of a set bit, counted from `base`."""
    offset = signed(offset, 32)
    if offset == 0:
        return base if bits_ >> base & 1 else mask(32)
    found, at, step = 0, base, 1 if offset > 0 else -1
    while 0 <= at < 32:
        if bits_ >> at & 1:
            found += 1
            if found == abs(offset):
                return at
        at += step
    return mask(32)


def dot2(a_type, b_type, high):
    def oracle(a, b, c):
        total = c
        for i in range(2):
            x = a >> 16 * i & 0xFFFF
            y = b >> 8 * (i + (2 if high else 0)) & 255
            total += (signed(x, 16) if a_type == "s32" else x) * (signed(y, 8) if b_type == "s32" else y)
        return total

    return oracle


def product24(ty, high, add, sat):
    def oracle(a, b, c=0):
        x, y = (signed(v, 24) if ty == "s32" else v & mask(24) for v in (a, b))
        part = x * y >> 16 if high else x * y
        if not add:
            return part
        if sat:
            return signed_clamp(signed(part, 32) + signed(c, 32))
        return part + c

    return oracle


PERMUTATIONS = {"f4e": lambda i, s: i + s, "b4e": lambda i, s: (s - i) & 7, "rc8": lambda i, s: s, "ecl": max, "ecr": min,
                "rc16": lambda i, s: (i & 1) + 2 * (s & 1)}


def rare_words(t):
    for name, pick in PERMUTATIONS.items():
        t.form(f"prmt.b32.{name}", ["b32"] * 3, ["b32"],
               lambda a, b, c: sum(((b << 32 | a) >> 8 * (pick(i, c & 3) & 7) & 255) << 8 * i for i in range(4)))
    for clamped in (False, True):
        mode = "clamp" if clamped else "wrap"
        t.form(f"bmsk.{mode}.b32", ["amount"] * 2, ["b32"], bit_mask(clamped))
        for ty in ("u32", "s32"):
            t.form(f"szext.{mode}.{ty}", [ty, "amount"], [ty], sign_extend(ty, clamped))
    rows = [[x, base, n & mask(32)] for x in (0, 0xFFFFFFFF, 0x80000001, 0x00F0A050, 0x12345678) for base in (0, 1, 7, 31)
            for n in (0, 1, -1, 2, -3, 5, 32)]
    t.form("fns.b32", ["b32"] * 3, ["b32"], find_set, rows=rows)
    for a in ("u32", "s32"):
        for b in ("u32", "s32"):
            for half in ("lo", "hi"):
                t.form(f"dp2a.{half}.{a}.{b}", ["b32"] * 3, ["b32"], dot2(a, b, half == "hi"))
    for ty in ("u32", "s32"):
        for half in ("lo", "hi"):
            t.form(f"mul24.{half}.{ty}", [ty] * 2, [ty], product24(ty, half == "hi", False, False))
            t.form(f"mad24.{half}.{ty}", [ty] * 3, [ty], product24(ty, half == "hi", True, False))
    t.form("mad24.hi.sat.s32", ["s32"] * 3, ["s32"], product24("s32", True, True, True))
    for logic in ("and", "or"):
        f = LOGIC[logic]
        t.form(f"lop3.{logic}.b32", ["b32"] * 3 + ["pred"], ["b32", "pred"],
               lambda a, b, c, q: ((x := lop3(0xE8)(a, b, c)), f(int(x != 0), q)),
               body=f"lop3.{logic}.b32 %d0|%d1, %a0, %a1, %a2, 0xE8, %a3;")


def carry_step(name, ty, w, a, b, c, flag):
    """The result and the carry flag of one instruction. `sub` sets the flag where nothing was borrowed, as `subc` and `addc` see it."""
    parts = name.split(".")
    v = lambda x: value(x, ty)
    extra = flag if parts[0].endswith("c") else 0
    if parts[0] in ("sub", "subc"):
        total = a + (~b & mask(w)) + (extra if parts[0] == "subc" else 1)
    elif parts[0] in ("add", "addc"):
        total = a + b + extra
    else:
        product = v(a) * v(b)
        half = product & mask(w) if "lo" in parts else product >> w & mask(w)
        total = half + c + extra
    return total & mask(w), total >> w & 1


CARRY_WRITERS = ("add.cc", "sub.cc", "mad.lo.cc", "mad.hi.cc")
CARRY_MIDDLES = ("addc.cc", "subc.cc", "madc.lo.cc", "madc.hi.cc")
CARRY_READERS = ("addc", "subc", "madc.lo", "madc.hi")


def carry_line(name, ty, d, first):
    sources = [f"%a{(first + k) % 3}" for k in range(3 if name.startswith("mad") else 2)]
    return f"{name}.{ty} {d}, {', '.join(sources)};"


def carries(t, types=("u32", "s32", "u64", "s64")):
    """Each writer of the carry flag before each reader, alone and with one that does both between them."""
    for ty in types:
        w = width(ty)
        chains = [(x, y) for x in CARRY_WRITERS for y in CARRY_READERS]
        chains += [(x, m, "addc") for x in CARRY_WRITERS for m in CARRY_MIDDLES]
        for chain in chains:

            def oracle(*abc):
                flag, out = 0, []
                for k, name in enumerate(chain):
                    a, b, c = (abc[(k + j) % 3] for j in range(3))
                    result, new = carry_step(name, ty, w, a, b, c, flag)
                    flag = new if "cc" in name.split(".") else flag
                    out.append(result)
                return tuple(out)

            body = " ".join(carry_line(name, ty, f"%d{k}", k) for k, name in enumerate(chain))
            which = next((n for n in chain[1:] if n.endswith("cc")), None)
            for name in [which] if which else chain:
                t.form(f"{name}.{ty}", [ty] * 3, [ty] * len(chain), oracle, body=body, count=32)


COMPARISONS = {"b": ("eq", "ne"), "s": ("eq", "ne", "lt", "le", "gt", "ge"),
               "u": ("eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs"),
               "f": ("eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan")}


def comparisons(t):
    for w in (16, 32, 64):
        for kind in "bus":
            ty = f"{kind}{w}"
            for name in COMPARISONS[kind]:
                compared(t, name, "", ty)


def all_ones(result):
    """What `set` gives where the comparison holds."""
    return {"f32": 0x3F800000, "f16": 0x3C00, "bf16": 0x3F80}.get(result) or mask(width(result))


def compared(t, name, ftz, ty, flush=lambda x: x, sets=("u32", "s32", "f32", "f16", "bf16"), two=True):
    """`setp` and `set`, alone and joined with a predicate; `two` says that `setp` can give two results."""
    holds = lambda a, b: int(compare(name, flush(a), flush(b), ty))
    ftz = ".ftz" if ftz else ""
    for logic, f in (("", lambda h, p: h), *LOGIC.items()):
        joined = ["pred"] if logic else []
        last = ", !%a2" if logic else ""
        opcode = f"setp.{name}{'.' + logic if logic else ''}{ftz}.{ty}"
        oracle = lambda a, b, p=0: (f(holds(a, b), 1 - p), f(1 - holds(a, b), 1 - p))
        if two:
            t.form(opcode, [ty] * 2 + joined, ["pred"] * 2, oracle, body=f"{opcode} %d0|%d1, %a0, %a1{last};", count=8)
        else:
            t.form(opcode, [ty] * 2 + joined, ["pred"], lambda *a: oracle(*a)[0], body=f"{opcode} %d0, %a0, %a1{last};", count=16)
        for result in sets:
            if ftz and result == "bf16":
                continue
            opcode = f"set.{name}{'.' + logic if logic else ''}{ftz}.{result}.{ty}"
            t.form(opcode, [ty] * 2 + joined, [result], lambda a, b, p=1: all_ones(result) * f(holds(a, b), p),
                   count=4 if logic else 8)


def predicates(t):
    for name, f in LOGIC.items():
        t.form(f"{name}.pred", ["pred"] * 2, ["pred"], f, rows=[[a, b] for a in (0, 1) for b in (0, 1)])
    t.form("not.pred", ["pred"], ["pred"], lambda a: 1 - a, rows=[[0], [1]])
    t.form("mov.pred", ["pred"], ["pred"], lambda a: a, rows=[[0], [1]])
    t.form("mov.pred", [], ["pred"] * 2, lambda: (1, 0), body="mov.pred %d0, 1; mov.pred %d1, 0;", rows=[[]])
    for kind in "bus":
        for w in (16, 32, 64):
            selected(t, f"{kind}{w}")
    for ty in ("f32", "f64"):
        selected(t, ty)


def selected(t, ty):
    t.form(f"selp.{ty}", [ty, ty, "pred"], [ty] * 2, lambda a, b, p: (a, b) if p else (b, a),
           body=f"selp.{ty} %d0, %a0, %a1, %a2; selp.{ty} %d1, %a0, %a1, !%a2;", count=24)


def selected_by_sign(t):
    """`slct`: the first where the third is not negative. NaN selects the second."""
    for ty in [f"{kind}{w}" for kind in "bus" for w in (16, 32, 64)] + ["f32", "f64"]:
        t.form(f"slct.{ty}.s32", [ty, ty, "s32"], [ty], lambda a, b, c: b if c >> 31 else a, count=24)
        for ftz in ("", ".ftz"):
            zero = (lambda x: x & 0x80000000 if x & 0x7F800000 == 0 else x) if ftz else (lambda x: x)
            t.form(f"slct{ftz}.{ty}.f32", [ty, ty, "f32"], [ty], lambda a, b, c: a if compare("ge", zero(c), 0, "f32") else b, count=24)


def moves(t):
    for w in (16, 32, 64):
        for kind in "bus":
            t.form(f"mov.{kind}{w}", [f"b{w}"], [f"b{w}"], lambda a: a, count=16)
    for ty in ("f32", "f64"):
        t.form(f"mov.{ty}", [ty], [ty], lambda a: a, count=32)
    packs = [("b32", 2, 16), ("b64", 2, 32), ("b64", 4, 16)]
    for ty, n, w in packs:
        t.form(f"mov.{ty}", [ty], [f"b{w}"] * n, lambda a: tuple(a >> k * w & mask(w) for k in range(n)),
               body=f"mov.{ty} {{{', '.join(f'%d{k}' for k in range(n))}}}, %a0;", count=16)
        t.form(f"mov.{ty}", [f"b{w}"] * n, [ty], lambda *a: sum(x << k * w for k, x in enumerate(a)),
               body=f"mov.{ty} %d0, {{{', '.join(f'%a{k}' for k in range(n))}}};", count=16)
        t.form(f"mov.{ty}", [ty], [f"b{w}"], lambda a: a >> (n - 1) * w,
               body=f"mov.{ty} {{{', '.join(['_'] * (n - 1) + ['%d0'])}}}, %a0;", count=16)


def immediates(t):
    """Numbers in place of registers, in every notation."""
    t.form("add.s32", ["s32"], ["s32"], lambda a: a - 5, body="add.s32 %d0, %a0, -5;", count=16)
    t.form("add.u32", ["u32"], ["u32"], lambda a: a + 0xFFFFFFFF, body="add.u32 %d0, %a0, 0xFFFFFFFFU;", count=16)
    t.form("sub.s64", ["s64"], ["s64"], lambda a: 0x7FFFFFFFFFFFFFFF - a, body="sub.s64 %d0, 0x7fffffffffffffff, %a0;", count=16)
    t.form("and.b32", ["b32"], ["b32"], lambda a: a & 0o17, body="and.b32 %d0, %a0, 017;", count=16)
    t.form("xor.b32", ["b32"], ["b32"], lambda a: a ^ 0b1011, body="xor.b32 %d0, %a0, 0b1011;", count=16)
    t.form("mul.lo.s16", ["s16"], ["s16"], lambda a: a * -3, body="mul.lo.s16 %d0, %a0, -3;", count=16)
    t.form("setp.lt.s16", ["s16"], ["pred"], lambda a: signed(a, 16) < -1, body="setp.lt.s16 %d0, %a0, -1;", count=16)
    t.form("mov.u16", [], ["u16"], lambda: 0xFFFE, body="mov.u16 %d0, -2;", rows=[[]])
    t.form("mov.f32", [], ["f32"], lambda: 0xBF800000, body="mov.f32 %d0, 0fBF800000;", rows=[[]])
    t.form("mov.f64", [], ["f64"], lambda: 0x3FF8000000000000, body="mov.f64 %d0, 0d3FF8000000000000;", rows=[[]])
    t.form("mov.f32", [], ["f32"], lambda: 0x40200000, body="mov.f32 %d0, 2.5;", rows=[[]])


FAMILIES = (arithmetic, saturating, bits, words, rare_words, carries, comparisons, predicates, selected_by_sign, moves, immediates)
