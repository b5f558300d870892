"""Products of matrices. The factors are small whole numbers, so that sums are exact in every order: this checks the layouts and types;
rounding has tests of its own."""
from fractions import Fraction

from conversions import SMALL, encode_small
from oracle import mask, of, signed
from values import Random

BITS = {"f16": 16, "bf16": 16, "tf32": 32, "e4m3": 8, "e5m2": 8, "s8": 8, "u8": 8, "s4": 4, "u4": 4, "b1": 1, "f64": 64}


def encoded(x, ty):
    """The bits of a small number."""
    if ty in SMALL:
        return encode_small((int(x < 0), Fraction(abs(x))), ty, False)
    if ty == "tf32":
        return of(Fraction(x), "f32")
    if ty in ("f16", "bf16", "f64", "f32"):
        return of(Fraction(x), ty)
    return x & mask(BITS.get(ty, 32))


def read(bits, ty):
    return signed(bits, BITS[ty]) if ty[0] == "s" else bits


def place_a(lane, register, i, each):
    group, thread = lane >> 2, lane & 3
    return group + 8 * (register & 1), thread * each + i + 4 * each * (register >> 1)


def place_b(lane, register, i, each):
    group, thread = lane >> 2, lane & 3
    return thread * each + i + 4 * each * register, group


def place_c(lane, i):
    return (lane >> 2) + 8 * (i >> 1), 2 * (lane & 3) + (i & 1)


def packed(matrix, places, ty):
    """A register of elements; the first lies in the low bits."""
    return sum(encoded(matrix[r][c], ty) << BITS.get(ty, 32) * i for i, (r, c) in enumerate(places))


def product(t, shape, sum_type, a_type, b_type, modifier="", combine=None, rng_seed=1):
    m, n, k = shape
    each = max(1, 32 // BITS[a_type])
    rng = Random(rng_seed)
    small = lambda ty: rng.below(2) if ty == "b1" else rng.below(7) - (0 if ty[0] == "u" else 3)
    a = [[small(a_type) for _ in range(k)] for _ in range(m)]
    b = [[small(b_type) for _ in range(n)] for _ in range(k)]
    c = [[rng.below(41) - 20 for _ in range(n)] for _ in range(m)]
    combine = combine or (lambda x, y: x * y)
    d = [[c[i][j] + sum(combine(a[i][x], b[x][j]) for x in range(k)) for j in range(n)] for i in range(m)]
    a_count, b_count, c_count = m * k // 32 // each, n * k // 32 // each, m * n // 32
    if m == 8:
        a_places = lambda lane, r: [((lane >> 2), (lane & 3) * each + i + 4 * each * r) for i in range(each)]
    else:
        a_places = lambda lane, r: [place_a(lane, r, i, each) for i in range(each)]
    halves = sum_type == "f16"
    c_places = lambda lane: [place_c(lane, i) for i in range(c_count)]

    def sums(matrix, lane):
        bits = [encoded(matrix[r][q], sum_type) for r, q in c_places(lane)]
        return [bits[i] | bits[i + 1] << 16 for i in range(0, c_count, 2)] if halves else bits

    rows = []
    for lane in range(32):
        row = [packed(a, a_places(lane, r), a_type) for r in range(a_count)]
        row += [packed(b, [place_b(lane, r, i, each) for i in range(each)], b_type) for r in range(b_count)]
        rows.append(row + sums(c, lane))
    results = len(sums(c, 0))
    word = "b64" if sum_type == "f64" else "b32"
    group = lambda letter, first, count: "{" + ", ".join(f"%{letter}{first + i}" for i in range(count)) + "}"
    head, _, tail = modifier.partition("/")
    types = f"{sum_type}.{a_type}.{b_type}.{sum_type}"
    opcode = f"mma.sync.aligned.m{m}n{n}k{k}.row.col{'.' + head if head else ''}.{types}{'.' + tail if tail else ''}"
    t.form(opcode, [word] * len(rows[0]), [word] * results, lambda lane, _: tuple(sums(d, lane)), rows=rows, lanes=True,
           body=f"{opcode} {group('d', 0, results)}, {group('a', 0, a_count)}, {group('a', a_count, b_count)}, "
                f"{group('a', a_count + b_count, results)};")


def products(t):
    for k in (8, 16):
        product(t, (16, 8, k), "f32", "f16", "f16")
        product(t, (16, 8, k), "f16", "f16", "f16")
        product(t, (16, 8, k), "f32", "bf16", "bf16")
        product(t, (16, 8, k // 2), "f32", "tf32", "tf32")
    for a in SMALL:
        for b in SMALL:
            product(t, (16, 8, 32), "f32", a, b)
    for shape in ((8, 8, 4), (16, 8, 4), (16, 8, 8), (16, 8, 16)):
        for modifier in ("", "rn"):
            product(t, shape, "f64", "f64", "f64", modifier)
    for types, shapes in ((("s8", "u8"), ((8, 8, 16), (16, 8, 16), (16, 8, 32))), (("s4", "u4"), ((8, 8, 32), (16, 8, 32), (16, 8, 64)))):
        for shape in shapes:
            for a in types:
                for b in types:
                    for modifier in ("", "satfinite"):
                        product(t, shape, "s32", a, b, modifier)
    for shape in ((8, 8, 128), (16, 8, 128), (16, 8, 256)):
        product(t, shape, "s32", "b1", "b1", "/and.popc", lambda x, y: x & y)
        product(t, shape, "s32", "b1", "b1", "/xor.popc", lambda x, y: x ^ y)


def rows_of_matrices(t):
    """`ldmatrix`, `stmatrix` and `movmatrix` on 8x8 matrices of 16 bits; lane `l` names row `l % 8` of matrix `l / 8`."""
    rows = [[(16 * lane + k) * 0x01010101 + 0x00010002 * k & mask(32) for k in range(4)] for lane in range(32)]
    element = lambda matrix, r, c: rows[8 * matrix + r][c >> 1] >> 16 * (c & 1) & 0xFFFF
    stored = "st.shared.v4.b32 [%p], {%a0, %a1, %a2, %a3}; bar.sync 0;"
    from memory import PLACES

    for space in ("", "shared", "shared::cta"):
        place = f".reg .b64 %p; {PLACES['shared']} {stored}" + ("" if space else " cvta.shared.u64 %p, %p;")
        for count in (1, 2, 4):
            for trans in ("", "trans"):
                def lanes(lane, matrix):
                    r, c = lane >> 2, 2 * (lane & 3)
                    both = [(r, c), (r, c + 1)] if not trans else [(c, r), (c + 1, r)]
                    return element(matrix, *both[0]) | element(matrix, *both[1]) << 16

                opcode = ".".join(x for x in ("ldmatrix.sync.aligned.m8n8", f"x{count}", trans, space, "b16") if x)
                names = ", ".join(f"%d{k}" for k in range(count))
                t.form(opcode, ["b32"] * 4, ["b32"] * count, lambda lane, _: tuple(lanes(lane, k) for k in range(count)), rows=rows,
                       lanes=True, body=f"{place} {opcode} {{{names}}}, [%p];")

                def kept(lane, _):
                    """The row that lane `lane` named, after the matrices were stored."""
                    matrix, r = lane >> 3, lane & 7
                    if matrix >= count:
                        return tuple([mask(32)] * 4)
                    value = lambda c: (rows[4 * r + (c >> 1)][matrix] >> 16 * (c & 1) if not trans
                                       else rows[4 * c + (r >> 1)][matrix] >> 16 * (r & 1)) & 0xFFFF
                    return tuple(value(2 * k) | value(2 * k + 1) << 16 for k in range(4))

                opcode = ".".join(x for x in ("stmatrix.sync.aligned.m8n8", f"x{count}", trans, space, "b16") if x)
                names = ", ".join(f"%a{k}" for k in range(count))
                t.form(opcode, ["b32"] * 4, ["b32"] * 4, kept, rows=rows, lanes=True,
                       body=f".reg .b64 %p; {PLACES['shared']} st.shared.v4.b32 [%p], {{-1, -1, -1, -1}}; bar.sync 0; "
                            f"{'' if space else 'cvta.shared.u64 %p, %p; '}{opcode} [%p], {{{names}}}; bar.sync 0; "
                            f"ld{'.' + space if space else ''}.v4.b32 {{%d0, %d1, %d2, %d3}}, [%p];")

    def transposed(lane, _):
        r, c = lane >> 2, 2 * (lane & 3)
        part = lambda i, j: rows[4 * i + (j >> 1)][0] >> 16 * (j & 1) & 0xFFFF
        return part(c, r) | part(c + 1, r) << 16

    t.form("movmatrix.sync.aligned.m8n8.trans.b16", ["b32"] * 4, ["b32"], transposed, rows=rows, lanes=True,
           body="movmatrix.sync.aligned.m8n8.trans.b16 %d0, %a0;")


FAMILIES = (products, rows_of_matrices)
