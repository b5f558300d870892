"""Barriers in shared memory, the bulk copies that report to them, and clusters of one block."""
import itertools

from oracle import mask
from wmma import PLACES, number

SPACES = ("", "shared", "shared::cta")
# What the functions below need: a barrier at `%b`, made by thread 0, and a buffer at `%s`.
BARRIER = (".shared .align 8 .b8 sb[8]; .shared .align 128 .b8 sh[1024]; .reg .b64 %b, %s, %n, %q, %x, %y; .reg .pred %w; mov.u64 %b, sb; "
           "mov.u64 %s, sh; mad.wide.u32 %q, %row, 4, %s; ld.param.u64 %n, [numbers]; setp.eq.u32 %zero, %row, 0;")
WAIT = "W1: mbarrier.try_wait.parity.shared.b64 %w, [%b], 0; @!%w bra W1;"
# The corner of a box, and the tensors that `run.rs` describes.
SIZES, BOXES, STRIDES = (20, 5, 3, 3, 2), (8, 3, 2, 2, 2), (4, 96, 480, 1440, 4320)


def dotted(*parts):
    return ".".join(p for p in parts if p)


def barrier(space, code, count, test="test_wait.parity"):
    """Operations of one thread on a barrier of some arrivals. `{x}` in the code is the operation `x` in a space; `test k` says whether phase
    0 has ended, and `pending k` how many arrivals a state misses."""
    generic = "" if space else "cvta.shared.u64 %b, %b; "
    at = f".{space}" if space else ""
    lines = [f"{BARRIER} {generic}mbarrier.init{at}.b64 [%b], {count};"]
    for line in code:
        name, *operands = line.split()
        if name == "test":
            lines.append(f"mbarrier.{test}{at}.b64 %d{operands[0]}, [%b], 0;")
        elif name == "pending":
            lines.append(f"mbarrier.pending_count.b64 %d{operands[0]}, %x;")
        else:
            inner = space if not name.endswith("@") else "shared::cluster"
            first = [operands[0]] if operands and not operands[0].isdigit() else []
            operands = ", ".join([*first, "[%b]", *operands[len(first):]])
            lines.append(f"mbarrier.{dotted(name.rstrip('@'), inner, 'b64')} {operands};")
    return " ".join(lines)


def phases(t):
    """A phase ends when all arrivals and all bytes are there; a state tells how many arrivals were missing before."""
    one = [[0]]

    def program(space, code, results, outputs, count, **more):
        opcode = dotted("mbarrier", code[0].split()[0].rstrip("@"), space if "@" not in code[0] else "shared::cluster", "b64")
        t.form(opcode, ["u32"], outputs, lambda _: results, rows=one, body=barrier(space, code, count, **more), also=True)

    p, w = "pred", "u32"
    for space in SPACES:
        for test in ("test_wait.parity", "try_wait.parity"):
            program(space, ("arrive _", "test 0", "arrive _", "test 1"), (0, 1), [p, p], 2, test=test)
            program(space, ("expect_tx 24", "arrive _", "test 0", "complete_tx 16", "test 1", "complete_tx 8", "test 2"), (0, 0, 1), [p] * 3, 1,
                    test=test)
        program(space, ("arrive.noComplete %x 2", "pending 0", "arrive %x", "pending 1", "test 2", "arrive _ 2", "test 3", "arrive %x",
                        "pending 4"), (5, 3, 0, 1, 5), [w, w, p, p, w], 5)
        program(space, ("arrive_drop %x", "pending 0", "arrive _ 2", "test 1", "arrive %x", "pending 2"), (3, 1, 2), [w, p, w], 3)
        program(space, ("arrive_drop %x 2", "pending 0", "test 1", "arrive _", "test 2", "arrive %x", "pending 3"), (3, 0, 1, 1), [w, p, p, w], 3)
        program(space, ("arrive_drop.noComplete %x 3", "pending 0", "arrive _", "test 1", "arrive %x", "pending 2"), (4, 1, 1), [w, p, w], 4)
        program(space, ("arrive.expect_tx %x 8", "pending 0", "test 1", "complete_tx 8", "test 2"), (1, 0, 1), [w, p, p], 1)
        program(space, ("arrive_drop.expect_tx %x 8", "pending 0", "arrive _", "test 1", "complete_tx 8", "test 2", "arrive %x", "pending 3"),
                (2, 0, 1, 1), [w, p, p, w], 2)
        program(space, ("inval", "init 7", "arrive %x", "pending 0"), (7,), [w], 2)
        for test in ("test_wait", "try_wait"):
            # The same by the state of an arrival.
            at = f".{space}" if space else ""
            generic = "" if space else "cvta.shared.u64 %b, %b; "
            t.form(f"mbarrier.{test}{at}.b64", ["u32"], [p] * 3, lambda _: (0, 1, 0), rows=one, also=True,
                   body=f"{BARRIER} {generic}mbarrier.init{at}.b64 [%b], 2; mbarrier.arrive{at}.b64 %x, [%b]; $ %d0, [%b], %x; "
                        f"mbarrier.arrive{at}.b64 _, [%b]; $ %d1, [%b], %x; mbarrier.arrive{at}.b64 %x, [%b]; $ %d2, [%b], %x;")
    # What the addresses of a cluster may be used for.
    program("shared::cta", ("expect_tx@ 8", "arrive@ _", "test 0", "complete_tx@ 8", "test 1"), (0, 1), [p, p], 1)
    program("shared::cta", ("arrive.expect_tx@ _ 8", "test 0", "complete_tx@ 8", "test 1"), (0, 1), [p, p], 1)
    program("shared::cta", ("arrive_drop@ _ 2", "test 0", "arrive _", "test 1", "arrive %x", "pending 2"), (0, 1, 1), [p, p, w], 3)
    program("shared::cta", ("arrive_drop.expect_tx@ _ 8", "test 0", "complete_tx 8", "test 1"), (0, 1), [p, p], 1)
    # Orders and scopes.
    for order, scope in itertools.product(("release", "relaxed"), ("cta", "cluster")):
        waits = {"release": "acquire"}.get(order, order)
        program("shared::cta", (f"arrive.{order}.{scope} _", "test 0", f"arrive.{order}.{scope} _", "test 1"), (0, 1), [p, p], 2,
                test=f"test_wait.parity.{waits}.{scope}")
    # Words pass from each thread to another.
    t.form("mbarrier.arrive.shared.b64", ["u32"], ["u32"], lambda k, rows: rows[k ^ 33][0], rows=[[3 * k + 5] for k in range(64)], lanes=True,
           body=f"{BARRIER} @%zero mbarrier.init.shared.b64 [%b], 64; bar.sync 0; st.shared.u32 [%q], %a0; $ _, [%b]; {WAIT} "
                "xor.b32 %t, %row, 33; mad.wide.u32 %q, %t, 4, %s; ld.shared.u32 %d0, [%q];")


def copies_of_threads(t):
    """`cp.async` that reports to a barrier."""
    for space in SPACES:
        at = f".{space}" if space else ""
        for noinc in ("", ".noinc"):
            opcode = f"cp.async.mbarrier.arrive{noinc}{at}.b64"
            generic = "" if space else "cvta.shared.u64 %x, %x; "
            own = "" if noinc else "mbarrier.arrive.shared.b64 _, [%b];"
            t.form(opcode, ["u32"], ["u32"], lambda k, _: number(k ^ 5, "s32"), rows=[[0]] * 32, lanes=True,
                   body=f"{BARRIER} @%zero mbarrier.init.shared.b64 [%b], 32; bar.sync 0; mad.wide.u32 %n, %row, 4, %n; "
                        f"cp.async.ca.shared.global [%q], [%n+{PLACES['s32']}], 4; mov.u64 %x, %b; {generic}$ [%x]; {own} {WAIT} "
                        "xor.b32 %t, %row, 5; mad.wide.u32 %q, %t, 4, %s; ld.shared.u32 %d0, [%q];")


FROM = ("shared::cluster.global", "shared::cta.global")


def endings(to):
    """The options of a copy, and their operands."""
    for multicast, hint in itertools.product((False, True), repeat=2):
        if not (multicast and to.startswith("shared::cta")):
            words = dotted("multicast::cluster" if multicast else "", "L2::cache_hint" if hint else "")
            yield words, (", %m" if multicast else "") + (", %h" if hint else "")


OPTIONS = ".reg .b16 %m; mov.b16 %m, 1; .reg .b64 %h; mov.b64 %h, 0;"


def bulk_copies(t):
    rows = [[5 * k + 3] for k in range(64)]
    start = f"{BARRIER} {OPTIONS} @%zero mbarrier.init.shared.b64 [%b], 1; bar.sync 0;"
    expect = "mbarrier.arrive.expect_tx.shared.b64 _, [%b], "
    for to in FROM:
        for words, operands in endings(to):
            opcode = dotted("cp.async.bulk", to, "mbarrier::complete_tx::bytes", words)
            t.form(opcode, ["u32"], ["u32"], lambda k, _: number(k + 4, "s32"), rows=rows, lanes=True,
                   body=f"{start} add.u64 %n, %n, {PLACES['s32'] + 16}; @%zero {expect}256; @%zero $ [%s], [%n], 256, [%b]{operands}; {WAIT} "
                        "ld.shared.u32 %d0, [%q];")
    t.form("cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes", ["u32"], ["u32"], lambda a: a, rows=rows,
           body=f"{start} st.shared.u32 [%q], %a0; fence.proxy.async.shared::cta; bar.sync 0; add.u64 %x, %s, 256; @%zero {expect}256; "
                f"@%zero $ [%x], [%s], 256, [%b]; {WAIT} ld.shared.u32 %d0, [%q+256];")
    back = "bar.sync 0; mad.wide.u32 %q, %row, 4, %mem; ld.global.u32 %d0, [%q];"
    for words, operands in (("", ""), ("L2::cache_hint", ", %h")):
        opcode = dotted("cp.async.bulk.global.shared::cta.bulk_group", words)
        send = f"{start} st.shared.u32 [%q], %a0; fence.proxy.async.shared::cta; bar.sync 0; @%zero {opcode} [%mem], [%s], 256{operands};"
        t.form(opcode, ["u32"], ["u32"], lambda a: a, rows=rows,
               body=f"{send} cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; {back}", also=True)
        t.form("cp.async.bulk.wait_group.read", ["u32"], ["u32"], lambda a: a, rows=rows,
               body=f"{send} cp.async.bulk.commit_group; $ 0; cp.async.bulk.wait_group 0; {back}")
    for words, operands in (("", ""), ("L2::cache_hint", ", %h")):
        t.form(dotted("cp.async.bulk.prefetch.L2.global", words), ["u32"], ["u32"], lambda a: a, rows=rows[:2],
               body=f"{BARRIER} {OPTIONS} $ [%n], 64{operands}; mov.u32 %d0, %a0;")


def summed(words, lanes=32):
    """For each lane, a number that every 32nd word goes into."""
    out = []
    for lane in range(lanes):
        total = 0
        for word in words[lane::lanes]:
            total = total * 31 + word & mask(32)
        out.append(total)
    return out


def loop(label, count, work):
    """Does some work for every word `%i` that falls to a lane."""
    return f"mov.u32 %i, %row; {label}: setp.ge.u32 %w, %i, {count}; @%w bra {label}E; {work} add.u32 %i, %i, 32; bra {label}; {label}E:"


def tensors(t):
    """Boxes of tensors of one to five dimensions, over an edge; what is outside of the tensor is 0 and is not written."""
    for n in range(1, 6):
        corner = [16, 3, -1, 2, 1][:n]
        total = 2160
        inside, places = [], []
        count = 1
        for k in range(n):
            count *= BOXES[k]
        for element in range(count):
            rest, at, fits = element, 0, True
            for k in range(n):
                index = corner[k] + rest % BOXES[k]
                rest //= BOXES[k]
                fits &= 0 <= index < SIZES[k]
                at += index * STRIDES[k] // 4
            inside.append(fits)
            places.append(at)
        loaded = [3 * at + 1 if fits else 0 for at, fits in zip(places, inside)]
        stored = [0] * total
        for element, (at, fits) in enumerate(zip(places, inside)):
            if fits:
                stored[at] = 7 * element + 2
        loaded, stored = summed(loaded), summed(stored)
        tensor = f"[%n, {{{', '.join(str(c) for c in corner)}}}]"
        start = (f"{BARRIER} {OPTIONS} .reg .u32 %i; mov.u32 %d0, 0; @%zero mbarrier.init.shared.b64 [%b], 1; ld.param.u64 %n, [maps]; "
                 f"add.u64 %n, %n, {128 * (n - 1)};")
        fill = loop("F1", total, "mad.wide.u32 %q, %i, 4, %mem; mad.lo.u32 %t, %i, 3, 1; st.global.u32 [%q], %t;")
        read = loop("R1", count, "mad.wide.u32 %q, %i, 4, %s; ld.shared.u32 %t, [%q]; mad.lo.u32 %d0, %d0, 31, %t;")
        for to, tile in itertools.product(FROM, ("", "tile")):
            for words, operands in endings(to):
                opcode = dotted(f"cp.async.bulk.tensor.{n}d", to, tile, "mbarrier::complete_tx::bytes", words)
                t.form(opcode, ["u32"], ["u32"], lambda k, _: loaded[k], rows=[[0]] * 32, lanes=True,
                       body=f"{start} {fill} fence.proxy.async; bar.sync 0; @%zero mbarrier.arrive.expect_tx.shared.b64 _, [%b], {4 * count}; "
                            f"@%zero $ [%s], {tensor}, [%b]{operands}; {WAIT} {read}")
        fill = loop("F1", count, "mad.wide.u32 %q, %i, 4, %s; mad.lo.u32 %t, %i, 7, 2; st.shared.u32 [%q], %t;")
        read = loop("R1", total, "mad.wide.u32 %q, %i, 4, %mem; ld.global.u32 %t, [%q]; mad.lo.u32 %d0, %d0, 31, %t;")
        for tile, (words, operands) in itertools.product(("", "tile"), (("", ""), ("L2::cache_hint", ", %h"))):
            opcode = dotted(f"cp.async.bulk.tensor.{n}d.global.shared::cta", tile, "bulk_group", words)
            t.form(opcode, ["u32"], ["u32"], lambda k, _: stored[k], rows=[[0]] * 32, lanes=True,
                   body=f"{start} {fill} fence.proxy.async.shared::cta; bar.sync 0; @%zero $ {tensor}, [%s]{operands}; "
                        f"cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; bar.sync 0; {read}")
            t.form(dotted(f"cp.async.bulk.prefetch.tensor.{n}d.L2.global", tile, words), ["u32"], ["u32"], lambda a: a, rows=[[7]],
                   body=f"{start} $ {tensor}{operands}; mov.u32 %d0, %a0;")


def clusters(t):
    rows = [[3 * k + 5] for k in range(64)]
    place = ".shared .align 4 .b8 sh[256]; .reg .b64 %p, %q; mov.u64 %q, sh; mad.wide.u32 %p, %row, 4, %q; st.shared.u32 [%p], %a0;"
    beside = "xor.b32 %t, %row, 33; mad.wide.u32 %p, %t, 4, %q; ld.shared.u32 %d0, [%p];"
    for aligned in ("", "aligned"):
        for arrive, wait in (("", ""), ("release", "acquire")):
            names = dotted("barrier.cluster.arrive", arrive, aligned), dotted("barrier.cluster.wait", wait, aligned)
            t.form(names[0], ["u32"], ["u32"], lambda k, rows: rows[k ^ 33][0], rows=rows, lanes=True, also=True,
                   body=f"{place} $; {names[1]}; {beside}")
        # This order says nothing about memory.
        t.form(dotted("barrier.cluster.arrive.relaxed", aligned), ["u32"], ["u32"], lambda a: a, rows=rows,
               body="$; barrier.cluster.wait; mov.u32 %d0, %a0;")
    for ty in ("u32", "u64"):
        bits = ty[1:]
        make = f".reg .b{bits} %m, %x; " + ("cvt.u32.u64 %m, %p;" if ty == "u32" else "mov.u64 %m, %p;")
        t.form(f"mapa.shared::cluster.{ty}", ["u32"], ["u32"], lambda a: a, rows=rows, body=f"{place} {make} $ %x, %m, 0; ld.shared::cluster.u32 %d0, [%x];")
        t.form(f"getctarank.shared::cluster.{ty}", ["u32"], ["u32"], lambda a: 0, rows=rows[:4], body=f"{place} {make} $ %d0, %m;")
        t.form(f"getctarank.{ty}", ["u32"], ["u32"], lambda a: 0, rows=rows[:4],
               body=f"{place} cvta.shared.u64 %p, %p; {make} $ %d0, %m;")
    t.form("mapa.u64", ["u32"], ["u32"], lambda a: a, rows=rows,
           body=f"{place} .reg .b64 %m, %x; cvta.shared.u64 %m, %p; $ %x, %m, 0; ld.u32 %d0, [%x];")
    for members in (0xFFFFFFFF, 0xFFFF0000, 0x00000F00):
        first = (members & -members).bit_length() - 1
        t.form("elect.sync", ["u32"], ["u32", "pred"], lambda k, _: (first, int(k == first)) if members >> k & 1 else (99, 0), rows=[[0]] * 32,
               lanes=True, body=f"mov.u32 %d0, 99; setp.ne.u32 %d1, %a0, %a0; shr.u32 %t, {members}, %row; and.b32 %t, %t, 1; "
                                f"setp.eq.u32 %zero, %t, 0; @%zero bra L1; $ %d0|%d1, {members}; L1:")
    for text in ("setmaxnreg.inc.sync.aligned.u32 232", "setmaxnreg.dec.sync.aligned.u32 24", "griddepcontrol.wait",
                 "griddepcontrol.launch_dependents"):
        t.form(text.split()[0], ["u32"], ["u32"], lambda a: a, rows=rows[:32], body=f"{text}; mov.u32 %d0, %a0;")


FAMILIES = (phases, copies_of_threads, bulk_copies, tensors, clusters)
