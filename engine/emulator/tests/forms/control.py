"""Branches, calls, barriers, fences, special registers, and what changes nothing."""
from oracle import ANY, mask

ROWS = [[k] for k in range(64)]


def branches(t):
    for uni in ("", ".uni"):
        t.form(f"bra{uni}", ["u32"], ["u32"], lambda a: 7, rows=[[0], [1]], body=f"mov.u32 %d0, 7; bra{uni} L1; mov.u32 %d0, 8; L1:")
        t.form(f"brx.idx{uni}", ["u32"], ["u32"], lambda a: (10, 11, 12)[a], rows=[[1]] * 4 if uni else [[0], [1], [2], [1]],
               body=f"T1: .branchtargets X0, X1, X2; brx.idx{uni} %a0, T1; X0: mov.u32 %d0, 10; bra L1; "
                    "X1: mov.u32 %d0, 11; bra L1; X2: mov.u32 %d0, 12; L1:")
        t.form(f"ret{uni}", ["u32"], ["u32"], lambda a: 0, rows=[[0], [1]], body=f"mov.u32 %d0, 1; ret{uni};")
        t.form(f"call{uni}", ["u32"], ["u32"], lambda a: 3 * a + 1, rows=[[0], [5], [0xFFFFFFFF]],
               body=f".param .b32 q0; .param .b32 r0; st.param.b32 [q0], %a0; call{uni} (r0), triple, (q0); ld.param.b32 %d0, [r0];")
        t.form(f"call{uni}", ["u32"], ["u32"], lambda a: a, rows=[[3]], body=f"mov.u32 %d0, %a0; call{uni} f1;")
        # The address of a function, which threads may have different ones of.
        listed = ("T1: .calltargets triple, seventh;", "T1: .callprototype (.param .b32 _) _ (.param .b32 _);")
        for declared in listed:
            t.form(f"call{uni}", ["u32"], ["u32"], lambda a: 3 * a + 1 if uni or a & 1 else a + 7, rows=[[0], [5], [0xFFFFFFFF], [2]],
                   body=f".reg .b64 %f, %g; .param .b32 q0; .param .b32 r0; {declared} mov.u64 %f, triple; mov.u64 %g, seventh; "
                        f"and.b32 %t, %a0, {0 if uni else 1}; setp.ne.u32 %zero, %t, {1 if uni else 0}; selp.b64 %f, %f, %g, %zero; "
                        f"st.param.b32 [q0], %a0; call{uni} (r0), %f, (q0), T1; ld.param.b32 %d0, [r0];")
    # Threads with an odd number go around a loop as often as it says.
    t.form("bra", ["u32"], ["u32"], lambda a: a * (a + 1) // 2, rows=[[k] for k in range(40)],
           body=".reg .u32 %n; mov.u32 %n, %a0; mov.u32 %d0, 0; again: setp.eq.u32 %zero, %n, 0; @%zero bra L1; add.u32 %d0, %d0, %n; "
                "sub.u32 %n, %n, 1; bra again; L1:")
    t.form("exit", ["u32"], ["u32"], lambda a: 0 if a & 1 else 9, rows=[[k] for k in range(8)],
           body="mov.u32 %d0, 9; and.b32 %t, %a0, 1; setp.ne.u32 %zero, %t, 0; @%zero exit;")
    for name in ("trap", "brkpt"):
        t.form(name, ["u32"], ["u32"], lambda a: a, rows=[[1]], body=f"mov.u32 %d0, %a0; setp.eq.u32 %zero, %a0, 0; @%zero {name};")


def barriers(t):
    """A value of the thread beside passes through shared memory."""
    place = (".shared .align 4 .b8 sh[256]; .reg .b64 %p, %q; mov.u64 %q, sh; mad.wide.u32 %p, %row, 4, %q; st.shared.u32 [%p], %a0;")
    beside = "xor.b32 %t, %row, 33; mad.wide.u32 %p, %t, 4, %q; ld.shared.u32 %d0, [%p];"
    rows = [[3 * k + 5] for k in range(64)]
    other = lambda k, rows: rows[k ^ 33][0]
    for name in ("bar.sync", "bar.cta.sync", "barrier.sync", "barrier.sync.aligned", "barrier.cta.sync", "barrier.cta.sync.aligned"):
        for operands in ("0", "3, 64", "%zeros"):
            zeros = ".reg .u32 %zeros; mov.u32 %zeros, 2;" if operands == "%zeros" else ""
            t.form(name, ["u32"], ["u32"], other, rows=rows, lanes=True, body=f"{place} {zeros} {name} {operands}; {beside}")
    for name in ("bar.arrive", "bar.cta.arrive", "barrier.arrive", "barrier.arrive.aligned", "barrier.cta.arrive", "barrier.cta.arrive.aligned"):
        wait = "barrier.sync" if name.startswith("barrier") else "bar.sync"
        t.form(name, ["u32"], ["u32"], lambda k, rows: rows[k ^ 33][0] if k < 32 else 1, rows=rows, lanes=True,
               body=f"{place} setp.ge.u32 %zero, %row, 32; @%zero bra W1; {wait} 1, 64; {beside} bra L1; "
                    f"W1: {name} 1, 64; mov.u32 %d0, 1; L1:")
    some = [[k % 3 == 0] for k in range(64)]
    for cta in ("", ".cta"):
        for name, aligned in (("bar", ""), ("barrier", ""), ("barrier", ".aligned")):
            for count in ("", ", 64"):
                t.form(f"{name}{cta}.red.popc{aligned}.u32", ["pred"], ["u32"], lambda k, rows: sum(r[0] for r in rows), rows=some,
                       lanes=True, body=f"{name}{cta}.red.popc{aligned}.u32 %d0, 1{count}, %a0;")
                for op, f in (("and", all), ("or", any)):
                    for case in (some, [[True]] * 64, [[False]] * 64):
                        t.form(f"{name}{cta}.red.{op}{aligned}.pred", ["pred"], ["pred"], lambda k, rows: int(f(not r[0] for r in rows)),
                               rows=case, lanes=True, body=f"{name}{cta}.red.{op}{aligned}.pred %d0, 1{count}, !%a0;")
    warp = "xor.b32 %t, %row, 5; mad.wide.u32 %p, %t, 4, %q; ld.shared.u32 %d0, [%p];"
    t.form("bar.warp.sync", ["u32"], ["u32"], lambda k, rows: rows[k ^ 5][0], rows=rows, lanes=True,
           body=f"{place} bar.warp.sync -1; {warp}")


FENCES = ("membar.cta", "membar.gl", "membar.sys", "membar.proxy.alias", "fence.cta", "fence.gpu", "fence.sys", "fence.cluster",
          *(f"fence.{kind}.{scope}" for kind in ("sc", "acq_rel") for scope in ("cta", "cluster", "gpu", "sys")), "fence.proxy.alias",
          *(f"fence.{kind}.{scope}" for kind in ("acquire", "release") for scope in ("cta", "cluster", "gpu", "sys")), "fence.mbarrier_init.release.cluster", "fence.proxy.async", "fence.proxy.async.global", "fence.proxy.async.shared::cta", "fence.proxy.async.shared::cluster")
NOTHING = ("prefetch.L1 [%mem]", "prefetch.L2 [%mem]", "prefetch.global.L1 [%mem]", "prefetch.global.L2 [%mem]",
           "prefetch.local.L1 [%mem]", "prefetch.local.L2 [%mem]", "prefetch.global.L2::evict_last [%mem]",
           "prefetch.global.L2::evict_normal [%mem]", "prefetchu.L1 [%mem]", "applypriority.global.L2::evict_normal [%mem], 128",
           "applypriority.L2::evict_normal [%mem], 128", "nanosleep.u32 20", "nanosleep.u32 %a0", "pmevent 3")


def unchanged(t):
    """Fences and hints: the value stays."""
    for text in (*FENCES, *NOTHING):
        t.form(text.split()[0], ["u32"], ["u32"], lambda a: a, rows=[[k] for k in range(4)],
               body=f".reg .b64 %p; mad.wide.u32 %p, %row, 4, %mem; st.global.u32 [%p], %a0; {text}; ld.global.u32 %d0, [%p];")


def special(t):
    """Special registers of a block of 64 threads, alone in its grid."""
    lane = lambda k: k & 31
    registers = {"%tid.x": lambda k: k, "%tid.y": 0, "%tid.z": 0, "%ntid.x": 64, "%ntid.y": 1, "%ntid.z": 1, "%ctaid.x": 0,
                 "%ctaid.y": 0, "%ctaid.z": 0, "%nctaid.x": 1, "%nctaid.y": 1, "%nctaid.z": 1, "%laneid": lane,
                 "%warpid": lambda k: k >> 5, "%nwarpid": 2, "%lanemask_eq": lambda k: 1 << lane(k),
                 "%lanemask_lt": lambda k: (1 << lane(k)) - 1, "%lanemask_le": lambda k: (2 << lane(k)) - 1,
                 "%lanemask_gt": lambda k: mask(32) & ~((2 << lane(k)) - 1), "%lanemask_ge": lambda k: mask(32) & ~((1 << lane(k)) - 1),
                 "%dynamic_smem_size": 0, "WARP_SZ": 32, "%cluster_ctarank": 0, "%cluster_nctarank": 1}
    # A cluster is one block.
    for axis in "xyz":
        registers |= {f"%clusterid.{axis}": 0, f"%nclusterid.{axis}": 1, f"%cluster_ctaid.{axis}": 0, f"%cluster_nctaid.{axis}": 1}
    for name, value in registers.items():
        want = value if callable(value) else (lambda k: value)
        t.form("mov.u32", ["u32"], ["u32"], want, rows=ROWS, body=f"mov.u32 %d0, {name};")
    # PTX does not say which multiprocessor runs a block, or how much shared memory the system takes.
    t.form("mov.u32", [], ["pred"], lambda: 1, rows=[[]], body=".reg .u32 %s, %n; mov.u32 %s, %smid; mov.u32 %n, %nsmid; setp.lt.u32 %d0, %s, %n;")
    t.form("mov.u32", [], ["u32"], lambda: ANY, rows=[[]], body="mov.u32 %d0, %total_smem_size;")
    for ty, name in (("u64", "%clock64"), ("u64", "%globaltimer"), ("u32", "%clock")):
        t.form(f"mov.{ty}", [], ["pred"], lambda: 1, rows=[[]],
               body=f".reg .{ty} %s, %n; mov.{ty} %s, {name}; mov.{ty} %n, {name}; setp.ge.{ty} %d0, %n, %s;")
    for name in ("%clock_hi", "%globaltimer_lo", "%globaltimer_hi", "%gridid", *(f"%envreg{k}" for k in range(32)),
                 *(f"%reserved_smem_offset_{k}" for k in ("begin", "end", "cap", "0", "1"))):
        t.form("mov.u32", [], ["u32"], lambda: ANY, rows=[[]], body=f"mov.u32 %d0, {name};")
    t.form("mov.u64", [], ["u64"], lambda: ANY, rows=[[]], body="mov.u64 %d0, %gridid;")
    t.form("mov.pred", [], ["pred"], lambda: 0, rows=[[]], body="mov.pred %d0, %is_explicit_cluster;")


FAMILIES = (branches, barriers, unchanged, special)
