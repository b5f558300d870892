"""Instructions that the lanes of a warp execute together."""
from oracle import mask, signed
from values import Random

FULL = mask(32)
HALVES = (0x0000FFFF, 0xFFFF0000)


def shuffled(mode, lane, b, c):
    """The source lane and the predicate, as the PTX ISA writes them down."""
    b, clamp, segment = b & 31, c & 31, c >> 8 & 31
    most = lane & segment | clamp & ~segment & 31
    least = lane & segment
    j = {"up": lane - b, "down": lane + b, "bfly": lane ^ b, "idx": least | b & ~segment & 31}[mode]
    inside = j >= most if mode == "up" else j <= most
    return (j if inside else lane), int(inside)


def shuffles(t):
    rng = Random(7)
    for mode in ("up", "down", "bfly", "idx"):
        for segment in (0, 0x1800, 0x1C00):
            for b in (0, 1, 5, 16, 31):
                c = segment | (0 if mode == "up" else 31)
                rows = [[rng.bits(32), b, c] for _ in range(64)]

                def oracle(k, rows):
                    j, p = shuffled(mode, k & 31, b, c)
                    return rows[k & 32 | j][0], p

                t.form(f"shfl.sync.{mode}.b32", ["b32"] * 3, ["b32", "pred"], oracle, rows=rows, lanes=True,
                       body=f"shfl.sync.{mode}.b32 %d0|%d1, %a0, %a1, %a2, -1;")
    # Each lane asks for a lane of its own.
    rows = [[rng.bits(32), rng.bits(6)] for _ in range(32)]
    t.form("shfl.sync.idx.b32", ["b32"] * 2, ["b32"], lambda k, rows: rows[rows[k][1] & 31][0], rows=rows, lanes=True,
           body="shfl.sync.idx.b32 %d0, %a0, %a1, 31, -1;")


def group(rows, k, column):
    """The rows of the lanes in the mask of lane `k`."""
    return [rows[k & 32 | j] for j in range(32) if rows[k][column] >> j & 1]


def votes(t):
    rng = Random(8)
    patterns = ([1] * 32, [0] * 32, [k & 1 for k in range(32)], [rng.bits(1) for _ in range(32)])
    rows = []
    for pattern in patterns:
        rows += [[p, FULL] for p in pattern]
        rows += [[p, HALVES[k // 16]] for k, p in enumerate(pattern)]

    def lanes(k, rows):
        base = k & ~31
        return [(j, rows[base + j][0]) for j in range(32) if rows[k][1] >> j & 1]

    votes_ = {
        "all": ("pred", lambda v: int(all(p for _, p in v))),
        "any": ("pred", lambda v: int(any(p for _, p in v))),
        "uni": ("pred", lambda v: int(len({p for _, p in v}) == 1)),
        "ballot": ("b32", lambda v: sum(p << j for j, p in v)),
    }
    for name, (ty, f) in votes_.items():
        t.form(f"vote.sync.{name}.{ty}", ["pred", "b32"], [ty], lambda k, rows: f(lanes(k, rows)), rows=rows, lanes=True)
    inverted = [[1 - p, m] for p, m in rows]
    t.form("vote.sync.ballot.b32", ["pred", "b32"], ["b32"],
           lambda k, rows: sum((1 - p) << j for j, p in lanes(k, rows)), rows=inverted, lanes=True,
           body="vote.sync.ballot.b32 %d0, !%a0, %a1;")


def matches(t):
    rng = Random(9)
    for w in (32, 64):
        pool = [rng.bits(w) for _ in range(3)] + [0, 1 << (w - 1)]
        warps = [[[rng.choice(pool), FULL] for _ in range(32)], [[pool[0], FULL] for _ in range(32)],
                 [[pool[k // 16], HALVES[k // 16]] for k in range(32)], [[rng.choice(pool[:2]), HALVES[k // 16]] for k in range(32)]]
        rows = sum(warps, [])

        def lanes(k, rows):
            base = k & ~31
            return [(j, rows[base + j][0]) for j in range(32) if rows[k][1] >> j & 1]

        t.form(f"match.any.sync.b{w}", [f"b{w}", "b32"], ["b32"],
               lambda k, rows: sum(1 << j for j, x in lanes(k, rows) if x == rows[k][0]), rows=rows, lanes=True)

        def every(k, rows):
            same = len({x for _, x in lanes(k, rows)}) == 1
            return (rows[k][1] if same else 0), int(same)

        t.form(f"match.all.sync.b{w}", [f"b{w}", "b32"], ["b32", "pred"], every, rows=rows, lanes=True,
               body=f"match.all.sync.b{w} %d0|%d1, %a0, %a1;")


def reductions(t):
    rng = Random(10)
    rows = [[rng.bits(32), FULL] for _ in range(32)] + [[rng.bits(32), HALVES[k // 16]] for k in range(32)]
    rows += [[FULL, FULL] for _ in range(32)] + [[k, FULL] for k in range(32)]

    def fold(f, start=None):
        def oracle(k, rows):
            base = k & ~31
            values = [rows[base + j][0] for j in range(32) if rows[k][1] >> j & 1]
            result = values[0]
            for x in values[1:]:
                result = f(result, x)
            return result & FULL

        return oracle

    s = lambda x: signed(x, 32)
    operations = {"add": (lambda a, b: a + b, ("u32", "s32")), "and": (lambda a, b: a & b, ("b32",)),
                  "or": (lambda a, b: a | b, ("b32",)), "xor": (lambda a, b: a ^ b, ("b32",))}
    for name, (f, types) in operations.items():
        for ty in types:
            t.form(f"redux.sync.{name}.{ty}", ["b32", "b32"], ["b32"], fold(f), rows=rows, lanes=True)
    for name, pick in (("min", min), ("max", max)):
        t.form(f"redux.sync.{name}.u32", ["b32", "b32"], ["b32"], fold(pick), rows=rows, lanes=True)
        t.form(f"redux.sync.{name}.s32", ["b32", "b32"], ["b32"], fold(lambda a, b: pick(s(a), s(b)) & FULL), rows=rows, lanes=True)


def active(t):
    t.form("activemask.b32", [], ["b32"], lambda: 1, rows=[[]])
    # Two halves of a warp take different ways.
    rows = [[k] for k in range(32)]
    t.form("activemask.b32", ["b32"], ["b32"], lambda k: HALVES[k // 16], rows=rows,
           body="setp.lt.u32 %zero, %a0, 16; @%zero bra low; activemask.b32 %d0; bra done; low: activemask.b32 %d0; done:")


FAMILIES = (shuffles, votes, matches, reductions, active)
