"""`wmma`: matrices are loaded from memory, multiplied, and stored. How a fragment is spread over the lanes is left to the machine, so
that the memory tells what is right. The factors are small whole numbers, so that sums are exact in every order.
"""
import functools
import operator

from matrices import encoded
from oracle import mask

# Where the small numbers of each type lie in `numbers`, which `run.rs` writes.
SIZES = {"f16": 2, "bf16": 2, "f32": 4, "tf32": 4, "f64": 8, "s32": 4, "s8": 1, "u8": 1}
PLACES = {ty: 4096 * k for k, ty in enumerate(("f16", "bf16", "f32", "f64", "s32", "s8"))} | {"tf32": 8192, "u8": 20480}
SHAPES = ((16, 16, 16), (8, 32, 16), (32, 8, 16))
# Bytes of each matrix in shared memory.
PART = 2048


@functools.cache
def number(i, ty):
    """Element `i` of the numbers of a type."""
    small = (i * 2654435761 & mask(32)) % 7 - 3
    if ty == "s32" and i % 5 == 0:
        # Sums with these leave the range of their type.
        return mask(31) - i % 16 if i % 2 else i % 16 - (1 << 31)
    return small & 255 if ty == "u8" else small


@functools.cache
def bits(x, ty):
    return encoded(x, ty)


class Matrix:
    """A matrix in memory; `stride` counts the elements from one row (or column) to the next."""

    def __init__(self, rows, columns, ty, layout, padded):
        self.rows, self.columns, self.ty, self.layout = rows, columns, ty, layout
        line = columns if layout == "row" else rows
        # PTX wants lines that begin at multiples of 16 bytes.
        self.stride = line + 16 // SIZES[ty] if padded else line

    def place(self, row, column):
        return row * self.stride + column if self.layout == "row" else column * self.stride + row

    def value(self, row, column):
        return number(self.place(row, column), self.ty)


def registers(role, ty, shape):
    """How many registers a fragment has."""
    m, n, k = shape
    if ty == "f16":
        return 8 if role in "ab" else 4
    if ty == "f64":
        return 2 if role == "c" else 1
    size = {"a": m * k, "b": k * n, "c": m * n}[role]
    return size * SIZES[ty] // 4 // 32


def load(matrix, role, shape, space, base, padded):
    name = f"m{shape[0]}n{shape[1]}k{shape[2]}"
    opcode = ".".join(x for x in (f"wmma.load.{role}.sync.aligned", matrix.layout, name, space, matrix.ty) if x)
    stride = f", {matrix.stride}" if padded else ""
    return f"{opcode} {fragment(role, role, matrix.ty, shape)}, [{base}]{stride};"


def fragment(letter, role, ty, shape):
    kind = "g" if ty == "f64" else "f"
    return "{" + ",".join(f"%{kind}{letter}{k}" for k in range(registers(role, ty, shape))) + "}"


def program(t, opcode, shape, types, layouts, space, padded):
    """Loads A, B and C, multiplies, stores D, and compares a number that all words of its memory go into."""
    m, n, k = shape
    d_type, a_type, c_type = types
    a_layout, b_layout, c_layout, d_layout = layouts
    a, b = Matrix(m, k, a_type, a_layout, padded), Matrix(k, n, a_type, b_layout, padded)
    c, d = Matrix(m, n, c_type, c_layout, padded), Matrix(m, n, d_type, d_layout, padded)
    shared = space.startswith("shared")
    of_a, of_c = PLACES[a_type], PLACES[c_type]
    start, bases = "", (f"%n+{of_a}", f"%n+{of_c}", "%mem")
    if shared:
        bases = "%s", f"%s+{PART}", f"%s+{2 * PART}"
        start = (f".shared .align 32 .b8 sh[{3 * PART}]; .reg .u64 %s; mov.u64 %s, sh; mov.u32 %i, %row; A1: mad.wide.u32 %o, %i, 4, %s; "
                 f"mad.wide.u32 %p, %i, 4, %n; ld.global.b32 %t, [%p+{of_a}]; st.shared.b32 [%o], %t; ld.global.b32 %t, [%p+{of_c}]; "
                 f"st.shared.b32 [%o+{PART}], %t; st.shared.b32 [%o+{2 * PART}], 0; add.u32 %i, %i, 32; setp.lt.u32 %zero, %i, {PART // 4}; "
                 "@%zero bra A1; bar.warp.sync -1;")
    loads = " ".join(load(x, role, shape, space, base, padded)
                     for x, role, base in ((a, "a", bases[0]), (b, "b", bases[0]), (c, "c", bases[1])))
    opcode_d = ".".join(x for x in ("wmma.store.d.sync.aligned", d_layout, f"m{m}n{n}k{k}", space, d_type) if x)
    parts = [fragment(x, role, ty, shape) for x, role, ty in (("d", "c", d_type), ("a", "a", a_type), ("b", "b", a_type), ("c", "c", c_type))]
    rows = [[a.value(i, x) for x in range(k)] for i in range(m)]
    columns = [[b.value(x, j) for x in range(k)] for j in range(n)]
    product = [[c.value(i, j) + sum(map(operator.mul, rows[i], columns[j])) for j in range(n)] for i in range(m)]
    if opcode.endswith(".satfinite"):
        product = [[min(max(x, -(1 << 31)), mask(31)) for x in row] for row in product]
    size = SIZES[d_type]
    words = [0] * (-(-(d.place(m - 1, n - 1) + 1) * size // 128) * 32)
    for i in range(m):
        for j in range(n):
            at = d.place(i, j) * size
            for piece in range(max(1, size // 4)):
                words[at // 4 + piece] |= (bits(product[i][j], d_type) >> 32 * piece & mask(32)) << 8 * (at & 3)

    total = 0
    for lane in range(32):
        of_lane = lane
        for word in words[lane::32]:
            of_lane = of_lane * 31 + word & mask(32)
        total ^= of_lane
    last = f", {d.stride}" if padded else ""
    kind = "g" if a_type == "f64" else "f"
    fragments = ", ".join(f"%{kind}{x}<8>" for x in "abcd")
    body = (f".reg .b{64 if a_type == 'f64' else 32} {fragments}; .reg .u64 %n, %p, %o; .reg .u32 %i; ld.param.u64 %n, [numbers]; {start} {loads} $ {', '.join(parts)}; "
            f"{opcode_d} [{bases[2]}], {parts[0]}{last}; bar.warp.sync -1; mov.u32 %d0, %row; mov.u32 %i, %row; "
            f"E1: mad.wide.u32 %p, %i, 4, {'%s' if shared else '%mem'}; ld.{'shared' if shared else 'global'}.b32 %t, "
            f"[%p{f'+{2 * PART}' if shared else ''}]; mad.lo.u32 %d0, %d0, 31, %t; add.u32 %i, %i, 32; "
            f"setp.lt.u32 %zero, %i, {len(words)}; @%zero bra E1; redux.sync.xor.b32 %d0, %d0, -1;")
    t.form(opcode, ["u32"], ["u32"], lambda _: total, rows=[[0]] * 32, body=body, also=True)


def kinds():
    """The products: shape, types of D, A and C, the types as the opcode writes them, and what follows."""
    for shape in SHAPES:
        for d in ("f16", "f32"):
            for c in ("f16", "f32"):
                yield shape, (d, "f16", c), f"{d}.{c}", ""
        yield shape, ("f32", "bf16", "f32"), "f32.bf16.bf16.f32", ""
        for a in ("s8", "u8"):
            for tail in ("", ".satfinite"):
                yield shape, ("s32", a, "s32"), f"s32.{a}.{a}.s32", tail
    yield (16, 16, 8), ("f32", "tf32", "f32"), "f32.tf32.tf32.f32", ""
    for rounding in ("", ".rn"):
        yield (8, 8, 4), ("f64", "f64", "f64"), f"f64.f64.f64.f64", rounding


SPACES = ("", "global", "shared", "shared::cta")


def products(t):
    """Every product, and every load and store with it: programs go on until all spaces and layouts of a kind were there."""
    step = 0
    done = set()
    for shape, types, names, tail in kinds():
        m, n, k = shape
        for round_ in range(4):
            for a_layout in ("row", "col"):
                for b_layout in ("row", "col"):
                    space = SPACES[(step + round_) % 4]
                    c_layout, d_layout = ("row", "col")[step // 4 % 2], ("row", "col")[(step // 8 + step) % 2]
                    # What the program would check.
                    loads = {("a", shape, types[1], a_layout, space), ("b", shape, types[1], b_layout, space),
                             ("c", shape, types[2], c_layout, space), ("d", shape, types[0], d_layout, space)}
                    step += 1
                    if round_ and loads <= done:
                        continue
                    done |= loads
                    head = f"wmma.mma.sync.aligned.{a_layout}.{b_layout}.m{m}n{n}k{k}"
                    opcode = f"{head}{tail}.{names}" if tail == ".rn" else f"{head}.{names}{tail}"
                    program(t, opcode, shape, types, (a_layout, b_layout, c_layout, d_layout), space, step % 3 != 0)


FAMILIES = (products,)
