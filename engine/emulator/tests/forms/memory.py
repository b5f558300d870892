"""Loads, stores, atomics, asynchronous copies and addresses.

A program works on 16 bytes of its own in each space, at `%p`; constants and the variable `globals` hold the bytes `37 i + 129`.
"""
from oracle import mask, signed, width
from floats import rounded
import oracle as o

TYPES = ("b8", "u8", "s8", "b16", "u16", "s16", "b32", "u32", "s32", "b64", "u64", "s64", "f32", "f64")
VECTORS = (("", 1), ("v2", 2), ("v4", 4))
BYTES = bytes((37 * i + 129) & 255 for i in range(64))
# What places `%p`, for each space.
PLACES = {
    "": "mad.wide.u32 %p, %row, 16, %mem;",
    "global": "mad.wide.u32 %p, %row, 16, %mem;",
    "shared": ".shared .align 16 .b8 sh[1024]; mov.u64 %p, sh; mad.wide.u32 %p, %row, 16, %p;",
    "shared::cta": ".shared .align 16 .b8 sh[1024]; mov.u64 %p, sh; mad.wide.u32 %p, %row, 16, %p;",
    "shared::cluster": ".shared .align 16 .b8 sh[1024]; mov.u64 %p, sh; mad.wide.u32 %p, %row, 16, %p;",
    "local": ".local .align 16 .b8 lo[16]; mov.u64 %p, lo;",
}
TABLE = "and.b32 %t, %row, 3; mov.u64 %p, {name}; mad.wide.u32 %p, %t, 16, %p;"
ORDERS = {"ld": ("weak", "volatile", "relaxed", "acquire", "mmio", "cta", "cluster", "gpu", "sys"),
          "st": ("weak", "volatile", "relaxed", "release", "mmio", "cta", "cluster", "gpu", "sys")}
CACHES = {"ld": ("ca", "cg", "cs", "lu", "cv"), "st": ("wb", "cg", "cs", "wt")}
EVICTIONS = tuple(f"L1::{e}" for e in ("no_allocate", "evict_normal", "evict_first", "evict_last", "evict_unchanged"))
PREFETCHES = ("L2::64B", "L2::128B", "L2::256B")
HINTS = {
    "ld": ORDERS["ld"] + CACHES["ld"] + EVICTIONS + PREFETCHES + ("param::entry", "param::func"),
    "st": ORDERS["st"] + CACHES["st"] + EVICTIONS + ("param::func",),
    "atom": ("relaxed", "acquire", "release", "acq_rel", "cta", "cluster", "gpu", "sys"),
    "red": ("relaxed", "release", "cta", "cluster", "gpu", "sys"),
    "cp": (*PREFETCHES, "L2::cache_hint", "tile"),
    "mbarrier": ("release", "acquire", "relaxed", "cta", "cluster"),
}


def dotted(*parts):
    return ".".join(p for p in parts if p)


def part(data, k, ty, bits):
    """Element `k` of the 16 bytes, extended to a register."""
    x = data >> k * width(ty) & mask(width(ty))
    return (signed(x, width(ty)) if ty[0] == "s" else x) & mask(bits)


def loads_of(t, opcode, space, place, ty, vector, count, fill=True, data=None, bits=None):
    """A load of `count` elements into registers of `bits`."""
    bits = bits or max(16, width(ty))
    put = f"st{'.' + space if space else ''}.b64"
    store = f"{put} [%p], %a0; {put} [%p+8], %a1; " if fill else ""
    registers = ", ".join(f"%d{k}" for k in range(count))
    registers = f"{{{registers}}}" if count > 1 else registers
    body = f".reg .b64 %p; {place} {store}{dotted(opcode, vector, ty)} {registers}, [%p];"
    outputs = [f"b{bits}"] * count
    if fill:
        t.form(dotted(opcode, vector, ty), ["b64"] * 2, outputs,
               lambda a, b: tuple(part(a | b << 64, k, ty, bits) for k in range(count)), body=body, count=8)
    else:
        t.form(dotted(opcode, vector, ty), ["b32"], outputs,
               lambda row: tuple(part(data(row), k, ty, bits) for k in range(count)), body=body, rows=[[k] for k in range(4)])


def vectors(ty):
    return [(v, n) for v, n in VECTORS if n * width(ty) <= 128]


def table_of(row):
    return int.from_bytes(BYTES[16 * (row & 3):16 * (row & 3) + 16], "little")


def loads(t):
    for ty in TYPES:
        for vector, count in vectors(ty):
            for space, place in PLACES.items():
                loads_of(t, dotted("ld", space), space, place, ty, vector, count)
                if ty[0] != "f" and width(ty) < 64:
                    # A narrow value is extended to a wide register.
                    loads_of(t, dotted("ld", space), space, place, ty, vector, count, bits=64)
            loads_of(t, "ld.const", "const", TABLE.format(name="constants"), ty, vector, count, False, table_of)
            for opcode in ("ld.global.nc", "ldu.global", "ldu"):
                loads_of(t, opcode, "global", TABLE.format(name="globals"), ty, vector, count, False, table_of)
            if count * width(ty) <= 64:
                registers = ", ".join(f"%d{k}" for k in range(count))
                registers = f"{{{registers}}}" if count > 1 else registers
                bits = max(16, width(ty))
                opcode = dotted("ld.param", vector, ty)
                t.form(opcode, [], [f"b{bits}"] * count, lambda: tuple(part(0x8899AABBCCDDEEFF, k, ty, bits) for k in range(count)),
                       body=f".reg .b64 %p; mov.u64 %p, double; {opcode} {registers}, [%p];", rows=[[]])
    t.form("ld.param.u32", [], ["b32"], lambda: 0xFEDCBA98, body="ld.param.u32 %d0, [word];", rows=[[]])
    t.form("ld.param.u16", [], ["b16"], lambda: 0xFEDC, body="ld.param.u16 %d0, [word+2];", rows=[[]])


def parameters(t):
    """Loads and stores of the parameters of calls: `same` returns the 16 bytes that it gets."""
    declared = ".param .align 16 .b8 q[16]; .param .align 16 .b8 r[16];"
    call = "call (r), same, (q);"
    for ty in TYPES:
        bits = max(16, width(ty))
        for vector, count in vectors(ty):
            names = lambda letter: f"{{{', '.join(f'%{letter}{k}' for k in range(count))}}}" if count > 1 else f"%{letter}0"
            opcode = dotted("ld.param", vector, ty)
            t.form(opcode, ["b64"] * 2, [f"b{bits}"] * count, lambda a, b: tuple(part(a | b << 64, k, ty, bits) for k in range(count)),
                   body=f"{declared} st.param.b64 [q], %a0; st.param.b64 [q+8], %a1; {call} {opcode} {names('d')}, [r];", count=4)
            opcode = dotted("st.param", vector, ty)
            size = count * width(ty)
            t.form(opcode, [ty] * count, ["b64"] * 2,
                   lambda *v: ((x := sum(a << k * width(ty) for k, a in enumerate(v)) | mask(128) >> size << size) & mask(64), x >> 64),
                   body=f"{declared} st.param.b64 [q], -1; st.param.b64 [q+8], -1; {opcode} [q], {names('a')}; {call} "
                        "ld.param.b64 %d0, [r]; ld.param.b64 %d1, [r+8];", count=4)


def stores(t):
    for ty in TYPES:
        # Registers wider than the type give their low bits.
        wide = ty if ty[0] == "f" else f"b{max(32, width(ty))}"
        for vector, count in vectors(ty):
            for space, place in PLACES.items():
                opcode = dotted("st", space, vector, ty)
                mid = f".{space}" if space else ""
                registers = ", ".join(f"%a{k}" for k in range(count))
                registers = f"{{{registers}}}" if count > 1 else registers
                body = (f".reg .b64 %p; {place} st{mid}.b64 [%p], -1; st{mid}.b64 [%p+8], -1; {opcode} [%p], {registers}; "
                        f"ld{mid}.b64 %d0, [%p]; ld{mid}.b64 %d1, [%p+8];")

                def oracle(*values):
                    w = width(ty)
                    data = mask(128) >> w * count << w * count
                    for k, x in enumerate(values):
                        data |= (x & mask(w)) << w * k
                    return data & mask(64), data >> 64

                t.form(opcode, [wide] * count, ["b64"] * 2, oracle, body=body, count=8)


def hinted(t):
    """Orders, scopes and hints to caches, which must not change a value."""
    place = PLACES["global"]
    strong = ("relaxed.cta", "relaxed.cluster", "relaxed.gpu", "relaxed.sys", "acquire.gpu", "release.gpu", "mmio.relaxed.sys", "volatile", "weak")
    for order in (*strong, *CACHES["ld"], *EVICTIONS, *PREFETCHES):
        if not order.startswith("release"):
            opcode = dotted("ld", order, "global", "u32")
            t.form(opcode, ["b32"], ["b32"], lambda a: a, count=4,
                   body=f".reg .b64 %p; {place} st.global.u32 [%p], %a0; {opcode} %d0, [%p];")
    for order in (*strong, *CACHES["st"], *EVICTIONS):
        if not order.startswith("acquire"):
            opcode = dotted("st", order, "global", "u32")
            t.form(opcode, ["b32"], ["b32"], lambda a: a, count=4,
                   body=f".reg .b64 %p; {place} {opcode} [%p], %a0; ld.global.u32 %d0, [%p];")
    t.form("ld.param::entry.u32", [], ["b32"], lambda: 0xFEDCBA98, body="ld.param::entry.u32 %d0, [word];", rows=[[]])
    for opcode, put, get in (("st.param::func.b32", "st.param::func.b32", "ld.param.b32"),
                             ("ld.param::func.b32", "st.param.b32", "ld.param::func.b32")):
        t.form(opcode, ["u32"], ["u32"], lambda a: 3 * a + 1, rows=[[0], [5]],
               body=f".param .b32 q0; .param .b32 r0; {put} [q0], %a0; call (r0), triple, (q0); {get} %d0, [r0];")
    orders = ("relaxed.cta", "relaxed.cluster", "relaxed.gpu", "relaxed.sys", "acquire.gpu", "release.gpu", "acq_rel.gpu")
    for order in orders:
        atomic(t, "atom", order, "global", "add", "u32", count=4)
        if not order.startswith("ac"):
            atomic(t, "red", order, "global", "add", "u32", count=4)


def integer_operations(ty):
    v = lambda x: signed(x, width(ty)) if ty[0] == "s" else x
    return {
        "add": lambda a, b: a + b,
        "min": lambda a, b: min(v(a), v(b)),
        "max": lambda a, b: max(v(a), v(b)),
        "and": lambda a, b: a & b,
        "or": lambda a, b: a | b,
        "xor": lambda a, b: a ^ b,
        "exch": lambda a, b: b,
        "inc": lambda a, b: 0 if a >= b else a + 1,
        "dec": lambda a, b: b if a == 0 or a > b else a - 1,
    }


ATOMICS = [("add", ("u32", "s32", "u64", "f32", "f64")), ("min", ("u32", "s32", "u64", "s64")), ("max", ("u32", "s32", "u64", "s64")),
           ("and", ("b32", "b64")), ("or", ("b32", "b64")), ("xor", ("b32", "b64")), ("exch", ("b32", "b64")), ("inc", ("u32",)),
           ("dec", ("u32",)), ("cas", ("b32", "b64"))]


def atomic(t, name, order, space, op, ty, count=24):
    opcode = dotted(name, order, space, op, ty)
    mid = f".{space}" if space else ""
    b = f"b{width(ty)}"
    place = f".reg .b64 %p; {PLACES[space]} st{mid}.{b} [%p], %a0;"
    then = f"ld{mid}.{b} %d{int(name == 'atom')}, [%p];"
    if op == "cas":
        rows = [[x, x if k % 2 else y, z] for k, (x, y, z) in enumerate(zip(SAMPLES[width(ty)], SAMPLES[width(ty)][1:], SAMPLES[width(ty)][2:]))]
        t.form(opcode, [ty] * 3, [ty] * 2, lambda a, x, y: (a, y if a == x else a), rows=rows,
               body=f"{place} {opcode} %d0, [%p], %a1, %a2; {then}")
        return
    if ty[0] == "f":
        # Global memory flushes the denormals of f32, shared memory keeps them.
        new = rounded(o.add, ty, "rn", ftz=ty == "f32" and not space.startswith("shared"))
    else:
        new = integer_operations(ty)[op]
    if name == "atom":
        t.form(opcode, [ty] * 2, [b, ty], lambda a, x: (a, new(a, x)), body=f"{place} {opcode} %d0, [%p], %a1; {then}", count=count)
    else:
        t.form(opcode, [ty] * 2, [ty], new, body=f"{place} {opcode} [%p], %a1; {then}", count=count)


SAMPLES = {w: [0, 1, mask(w), 5, 5, 1 << (w - 1), mask(w - 1), 0x12345678, 7, 0] for w in (32, 64)}


def half_atomics(t):
    """Sums of 16-bit floats keep subnormals; the compare and swap of 16 bits has no neighbours to disturb."""
    for space in ("", "global", "shared", "shared::cta", "shared::cluster"):
        mid = f".{space}" if space else ""
        for one in ("f16", "bf16"):
            new = rounded(o.add, one)
            for ty, both in ((one, False), (f"{one}x2", True)):
                w = width(ty)
                start = f".reg .b64 %p; {PLACES[space]} st{mid}.b{w} [%p], %a0;"
                outputs = [one] * (2 if both else 1)
                read = f"ld{mid}.b32 %t, [%p]; mov.b32 {{%d0, %d1}}, %t;" if both else f"ld{mid}.b16 %d0, [%p];"
                oracle = (lambda a, b: (new(a & 0xFFFF, b & 0xFFFF), new(a >> 16, b >> 16))) if both else new
                opcode = dotted("red", space, "add.noftz", ty)
                t.form(opcode, [ty] * 2, outputs, oracle, body=f"{start} {opcode} [%p], %a1; {read}", count=24)
                opcode = dotted("atom", space, "add.noftz", ty)
                t.form(opcode, [ty] * 2, [f"b{w}"], lambda a, b: a, body=f"{start} {opcode} %d0, [%p], %a1;", count=8)
                t.form(opcode, [ty] * 2, outputs, oracle, body=f"{start} {opcode} _, [%p], %a1; {read}", count=16)
        opcode = dotted("atom", space, "cas.b16")
        rows = [[0, 0, 5], [7, 7, 0xFFFF], [7, 8, 9], [0xFFFF, 0xFFFF, 0], [0x8000, 0, 1]]
        t.form(opcode, ["b16"] * 3, ["b16", "b64"], lambda a, x, y: (a, mask(64) >> 16 << 16 | (y if a == x else a)), rows=rows,
               body=f".reg .b64 %p; {PLACES[space]} st{mid}.b64 [%p], -1; st{mid}.b16 [%p], %a0; {opcode} %d0, [%p], %a1, %a2; "
                    f"ld{mid}.b64 %d1, [%p];")


def vector_atomics(t):
    """Each element of a vector is an atomic of its own."""
    for space in ("", "global"):
        mid = f".{space}" if space else ""
        for ty, counts in (("f32", (2, 4)), ("f16", (2, 4, 8)), ("bf16", (2, 4, 8)), ("f16x2", (2, 4)), ("bf16x2", (2, 4))):
            w, one = width(ty), ty.removesuffix("x2")
            for op in ("add", "min", "max") if ty != "f32" else ("add",):
                if op == "add":
                    new = rounded(o.add, one, "rn", ftz=ty == "f32")
                else:
                    new = lambda a, b: o.least_or_greatest(a, b, one, op == "max", False)
                if ty.endswith("x2"):
                    # Numbers alone, so that the halves need not be told apart.
                    f = lambda a, b: new(a & 0xFFFF, b & 0xFFFF) | new(a >> 16, b >> 16) << 16
                else:
                    f = new
                for count in counts:
                    values = [1, 2, 3, 5, -2, -7, 4, 6]
                    code = lambda x: o.of(o.Fraction(x), one) * (0x10001 if ty.endswith("x2") else 1)
                    rows = [[code(values[k % 8]) for k in range(count)] + [code(values[(3 * k + 1) % 8]) for k in range(count)]]
                    registers = lambda letter, first: "{" + ", ".join(f"%{letter}{k + first}" for k in range(count)) + "}"
                    noftz = "" if ty == "f32" else "noftz"
                    start = ".reg .b64 %p; " + PLACES[space] + " " + " ".join(f"st{mid}.b{w} [%p+{k * w // 8}], %a{k};" for k in range(count))
                    then = " ".join(f"ld{mid}.b{w} %d{k}, [%p+{k * w // 8}];" for k in range(count))
                    opcode = dotted("red", space, op, noftz, f"v{count}", ty)
                    t.form(opcode, [ty] * 2 * count, [f"b{w}"] * count, lambda *v: tuple(f(v[k], v[k + count]) for k in range(count)),
                           rows=rows, body=f"{start} {opcode} [%p], {registers('a', count)}; {then}")
                    opcode = dotted("atom", space, op, noftz, f"v{count}", ty)
                    t.form(opcode, [ty] * 2 * count, [f"b{w}"] * count, lambda *v: v[:count], rows=rows,
                           body=f"{start} {opcode} {registers('d', 0)}, [%p], {registers('a', count)};")


def atomics(t):
    for space in ("", "global", "shared", "shared::cta", "shared::cluster"):
        for op, types in ATOMICS:
            for ty in types:
                atomic(t, "atom", "", space, op, ty)
                if op not in ("exch", "cas"):
                    atomic(t, "red", "", space, op, ty)
    # All threads of a block on one address.
    rows = [[k * k + 1] for k in range(64)]
    total = sum(r[0] for r in rows)
    for name, space, address in (("red", "global", "%mem"), ("red", "shared", "%p")):
        place = ".shared .align 16 .b8 sh[16]; .reg .b64 %p; mov.u64 %p, sh; setp.eq.u32 %zero, %row, 0; @%zero st.shared.u32 [%p], 0; bar.sync 0;" if space == "shared" else ""
        t.form(f"{name}.{space}.add.u32", ["u32"], ["u32"], lambda a: total, rows=rows,
               body=f"{place} {name}.{space}.add.u32 [{address}], %a0; bar.sync 0; ld.{space}.u32 %d0, [{address}];")


def copies(t):
    source = TABLE.format(name="globals").replace("%p", "%q")
    place = f".reg .b64 %p, %q; {PLACES['shared']} {source} st.shared.b64 [%p], -1; st.shared.b64 [%p+8], -1;"
    out = "ld.shared.b64 %d0, [%p]; ld.shared.b64 %d1, [%p+8];"
    every = "cp.async.wait_all;"

    def oracle(size, used):
        def run(row):
            data = table_of(row) & mask(8 * min(used, size))
            data |= mask(128) >> 8 * size << 8 * size
            return data & mask(64), data >> 64

        return run

    rows = [[k] for k in range(8)]
    for shared in ("shared", "shared::cta"):
        for cache, sizes in (("ca", (4, 8, 16)), ("cg", (16,))):
            for size in sizes:
                opcode = f"cp.async.{cache}.{shared}.global"
                t.form(opcode, ["b32"], ["b64"] * 2, oracle(size, size), rows=rows,
                       body=f"{place} {opcode} [%p], [%q], {size}; {every} {out}")
                for used in (0, 3, size):
                    t.form(opcode, ["b32"], ["b64"] * 2, oracle(size, used), rows=rows,
                           body=f"{place} {opcode} [%p], [%q], {size}, {used}; {every} {out}")
    for prefetch in PREFETCHES:
        opcode = f"cp.async.ca.shared.global.{prefetch}"
        t.form(opcode, ["b32"], ["b64"] * 2, oracle(8, 8), rows=rows, body=f"{place} {opcode} [%p], [%q], 8; {every} {out}")
    for form, wait in (("commit_group", "cp.async.wait_group 0;"), ("wait_group", "cp.async.wait_group 0;")):
        t.form(f"cp.async.{form}", ["b32"], ["b64"] * 2, oracle(16, 16), rows=rows,
               body=f"{place} cp.async.cg.shared.global [%p], [%q], 16; cp.async.commit_group; {wait} {out}")
    t.form("cp.async.wait_group", ["b32"], ["b64"] * 2, oracle(16, 16), rows=rows,
           body=f"{place} cp.async.cg.shared.global [%p], [%q], 16; cp.async.commit_group; cp.async.commit_group; cp.async.wait_group 1; {out}")
    t.form("cp.async.wait_all", ["b32"], ["b64"] * 2, oracle(4, 4), rows=rows,
           body=f"{place} cp.async.ca.shared.global [%p], [%q], 4; cp.async.wait_all; {out}")


def addresses(t):
    """Generic addresses of each space lead to the same bytes, and back."""
    for space in ("global", "shared", "shared::cta", "shared::cluster", "local"):
        opcode = f"cvta.{space}.u64"
        put = f"st.{space}.b32 [%p], %a0;"
        t.form(opcode, ["b32"], ["b32"], lambda a: a, count=8,
               body=f".reg .b64 %p, %q; {PLACES[space]} {put} {opcode} %q, %p; ld.b32 %d0, [%q];")
        opcode = f"cvta.to.{space}.u64"
        t.form(opcode, ["b32"], ["b32"], lambda a: a, count=8,
               body=f".reg .b64 %p, %q; {PLACES[space]} {put} cvta.{space}.u64 %q, %p; {opcode} %q, %q; ld.{space}.b32 %d0, [%q];")
    constant = f".reg .b64 %p, %q; {TABLE.format(name='constants')} cvta.const.u64 %q, %p;"
    word = lambda row: table_of(row) & mask(32)
    rows = [[k] for k in range(4)]
    t.form("cvta.const.u64", ["b32"], ["b32"], word, body=f"{constant} ld.b32 %d0, [%q];", rows=rows)
    t.form("cvta.to.const.u64", ["b32"], ["b32"], word, body=f"{constant} cvta.to.const.u64 %q, %q; ld.const.b32 %d0, [%q];", rows=rows)
    for space in ("param", "param::entry"):
        address = f".reg .b64 %p, %q; mov.u64 %p, word; cvta.{space}.u64 %q, %p;"
        t.form(f"cvta.{space}.u64", [], ["b32"], lambda: 0xFEDCBA98, rows=[[]], body=f"{address} ld.b32 %d0, [%q];")
        t.form(f"cvta.to.{space}.u64", [], ["b32"], lambda: 0xFEDCBA98, rows=[[]],
               body=f"{address} cvta.to.{space}.u64 %q, %q; ld.param.b32 %d0, [%q];")
    places = {"global": "mov.u64 %g, globals; cvta.global.u64 %g, %g;",
              "shared": ".shared .b8 sh[16]; mov.u64 %s, sh; cvta.shared.u64 %s, %s;",
              "local": ".local .b8 lo[16]; mov.u64 %l, lo; cvta.local.u64 %l, %l;",
              "const": "mov.u64 %c, constants; cvta.const.u64 %c, %c;",
              "param": "mov.u64 %p, word; cvta.param.u64 %p, %p;"}
    # The window of the parameters is a part of that of global memory.
    for space in ("global", "shared", "shared::cta", "shared::cluster", "local", "const", "param", "param::entry"):
        asked = " ".join(f"isspacep.{space} %d{k}, %{name[0]};" for k, name in enumerate(places))
        t.form(f"isspacep.{space}", [], ["pred"] * 5, lambda: tuple(int(name == space.split(":")[0] or (space, name) == ("global", "param")) for name in places), rows=[[]],
               body=f".reg .b64 %g, %s, %l, %c, %p; {' '.join(places.values())} {asked}")


FAMILIES = (loads, stores, parameters, hinted, atomics, half_atomics, vector_atomics, copies, addresses)
