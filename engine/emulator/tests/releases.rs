//! Flags, locks and counters that order threads are understood, and what they leave unordered is reported.

mod common;

use common::{Bench, Inout};
use ptx_emulator::{FaultKind, Machine, Options};

/// A kernel in which thread 0 of block 0 runs `writer` and another thread runs `reader`: thread 32 of the same block, or
/// thread 0 of block 1. `%rd1` is data, `%rd1 + 4` a flag.
fn pair(writer: &str, reader: &str, blocks: u32) -> (Bench, u32) {
    let me = if blocks == 1 { "%tid.x" } else { "%ctaid.x" };
    let other = if blocks == 1 { 32 } else { 1 };
    let code = format!(
        "ld.param.u64 %rd1, [p0]; mov.u32 %r1, {me}; mov.u32 %r20, %tid.x; setp.eq.u32 %p1, %r1, 0;
        setp.eq.u32 %p2, %r1, {other}; setp.ne.u32 %p3, %r20, 0;
        @%p1 bra WRITER; @%p2 bra READER; ret;
        WRITER: {} {writer} ret;
        READER: {} {reader} ret;",
        if blocks == 1 { "" } else { "@%p3 ret;" },
        if blocks == 1 { "" } else { "@%p3 ret;" },
    );
    (Bench::new("", &code), blocks)
}

/// Runs it in several orders, with one worker and with two.
#[track_caller]
fn outcomes(&(ref bench, blocks): &(Bench, u32)) -> Vec<Option<FaultKind>> {
    let launch = common::launch(blocks, 64);
    let mut all = Vec::new();
    for (threads, seed) in [(1, 0), (1, 5), (1, 11), (2, 0), (2, 7)] {
        let options = Options { threads, seed, ..Options::default() };
        let fault =
            Bench::from_text(bench.text().into()).options(options).launch(launch, &[Inout::bytes(64)]);
        all.push(fault.err().map(|f| f.kind));
    }
    all
}

#[track_caller]
fn passes(pair: (Bench, u32)) {
    assert_eq!(outcomes(&pair), [None; 5], "{}", pair.0.text());
}

/// It may depend on the order whether the two accesses meet, but a race must be found in each.
#[track_caller]
fn races(pair: (Bench, u32)) {
    assert_eq!(outcomes(&pair), [Some(FaultKind::Race); 5], "{}", pair.0.text());
}

const DATA: &str = "st.global.u32 [%rd1], 42;";
const READ: &str = "ld.global.u32 %r4, [%rd1]; st.global.u32 [%rd1+8], %r4;";

fn wait(load: &str) -> String {
    format!("LOOP: {load} %r3, [%rd1+4]; setp.eq.u32 %p4, %r3, 0; @%p4 bra LOOP;")
}

#[test]
fn a_flag_with_fences_orders() {
    let waiting = wait("ld.volatile.global.u32");
    for blocks in [1, 2] {
        for fence in ["membar.gl;", "membar.sys;", "fence.acq_rel.gpu;", "fence.sc.sys;"] {
            passes(pair(
                &format!("{DATA} {fence} st.volatile.global.u32 [%rd1+4], 1;"),
                &format!("{waiting} {fence} {READ}"),
                blocks,
            ));
        }
        // Plain data may be read by strong loads without a second fence.
        passes(pair(
            &format!("{DATA} membar.gl; st.volatile.global.u32 [%rd1+4], 1;"),
            &format!("{waiting} ld.volatile.global.u32 %r4, [%rd1];"),
            blocks,
        ));
        races(pair(
            &format!("{DATA} membar.gl; st.volatile.global.u32 [%rd1+4], 1;"),
            &format!("{waiting} {READ}"),
            blocks,
        ));
        races(pair(
            &format!("{DATA} st.volatile.global.u32 [%rd1+4], 1;"),
            &format!("{waiting} membar.gl; {READ}"),
            blocks,
        ));
        // What comes after the fence is not released.
        races(pair(
            &format!("membar.gl; {DATA} st.volatile.global.u32 [%rd1+4], 1;"),
            &format!("{waiting} membar.gl; {READ}"),
            blocks,
        ));
    }
}

#[test]
fn releases_and_acquires_order() {
    for blocks in [1, 2] {
        let store = format!("{DATA} st.release.gpu.global.u32 [%rd1+4], 1;");
        let load = wait("ld.acquire.gpu.global.u32");
        passes(pair(&store, &format!("{load} {READ}"), blocks));
        races(pair(&store, &format!("{} {READ}", wait("ld.relaxed.gpu.global.u32")), blocks));
        races(pair(
            &format!("{DATA} st.relaxed.gpu.global.u32 [%rd1+4], 1;"),
            &format!("{load} {READ}"),
            blocks,
        ));
        // The release orders what came before it only.
        races(pair(
            &format!("st.release.gpu.global.u32 [%rd1+4], 1; {DATA}"),
            &format!("{load} {READ}"),
            blocks,
        ));
        // Atomics release and acquire as well, and have to be asked to.
        let add = |order: &str| format!("{DATA} atom{order}.global.add.u32 %r5, [%rd1+4], 1;");
        let poll = |order: &str| {
            format!(
                "LOOP: atom{order}.global.add.u32 %r3, [%rd1+4], 0; setp.eq.u32 %p4, %r3, 0; @%p4 bra LOOP; {READ}"
            )
        };
        passes(pair(&add(".acq_rel.gpu"), &poll(".acquire.gpu"), blocks));
        passes(pair(
            &format!("{DATA} red.release.gpu.global.add.u32 [%rd1+4], 1;"),
            &poll(".acquire.sys"),
            blocks,
        ));
        races(pair(&add(""), &poll(".acquire.gpu"), blocks));
        races(pair(&add(".release.gpu"), &poll(""), blocks));
    }
}

#[test]
fn block_scope_does_not_reach_other_blocks() {
    let flag = |scope: &str| {
        (
            format!("{DATA} st.release.{scope}.global.u32 [%rd1+4], 1;"),
            format!("{} {READ}", wait(&format!("ld.acquire.{scope}.global.u32"))),
        )
    };
    let (store, load) = flag("cta");
    passes(pair(&store, &load, 1));
    races(pair(&store, &load, 2));
    let (far_store, far_load) = flag("gpu");
    races(pair(&store, &far_load, 2));
    races(pair(&far_store, &load, 2));
    let fenced = |fence: &str| {
        (
            format!("{DATA} {fence} st.volatile.global.u32 [%rd1+4], 1;"),
            format!("{} {fence} {READ}", wait("ld.volatile.global.u32")),
        )
    };
    let (store, load) = fenced("membar.cta;");
    passes(pair(&store, &load, 1));
    races(pair(&store, &load, 2));
}

/// A lock that each thread of `%p1` takes, around `inside`.
fn lock(inside: &str, unlock: &str) -> String {
    format!(
        "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; and.b32 %r2, %r1, 31; setp.ne.u32 %p1, %r2, 0; @%p1 ret;
        TRY: atom.global.cas.b32 %r3, [%rd1], 0, 1; setp.ne.u32 %p2, %r3, 0; @%p2 bra TRY;
        {inside} {unlock} ret;"
    )
}

#[test]
fn locks_order_what_they_protect() {
    let add = "ld.global.u32 %r4, [%rd1+4]; add.u32 %r4, %r4, 1; st.global.u32 [%rd1+4], %r4;";
    let unlock = "atom.global.exch.b32 %r5, [%rd1], 0;";
    for (blocks, threads) in [(1, 128), (5, 32), (3, 96)] {
        for (workers, seed) in [(1, 0), (1, 3), (2, 0)] {
            let run = |code: String| {
                let options = Options { threads: workers, seed, ..Options::default() };
                Bench::new("", &code)
                    .options(options)
                    .launch(common::launch(blocks, threads), &[Inout::bytes(8)])
            };
            run(lock(&format!("membar.gl; {add} membar.gl;"), unlock)).unwrap();
            for inside in [format!("{add} membar.gl;"), format!("membar.gl; {add}"), add.into()] {
                let fault = run(lock(&inside, unlock)).unwrap_err();
                assert_eq!(fault.kind, FaultKind::Race, "{fault}");
            }
        }
    }
}

/// Each block stores its part, and the last one to count itself sums them.
fn last_block(before: &str, after: &str) -> String {
    format!(
        "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mul.wide.u32 %rd2, %r2, 128;
        mul.wide.u32 %rd3, %r1, 4; add.s64 %rd4, %rd1, %rd2; add.s64 %rd4, %rd4, %rd3; st.global.u32 [%rd4+128], %r2;
        {before}
        mov.u32 %r6, last; setp.ne.u32 %p1, %r1, 0; @%p1 bra JOIN;
        atom.global.add.u32 %r3, [%rd1], 1; st.shared.u32 [%r6], %r3;
        JOIN: bar.sync 0; ld.shared.u32 %r3, [%r6]; mov.u32 %r4, %nctaid.x; sub.u32 %r4, %r4, 1;
        setp.ne.u32 %p2, %r3, %r4; @%p2 ret; {after} mov.u32 %r5, 0; mov.u32 %r7, 0; add.s64 %rd5, %rd1, %rd3;
        SUM: ld.global.u32 %r8, [%rd5+128]; add.u32 %r7, %r7, %r8; add.s64 %rd5, %rd5, 128; add.u32 %r5, %r5, 1;
        setp.le.u32 %p3, %r5, %r4; @%p3 bra SUM; add.s64 %rd6, %rd1, %rd3; add.u32 %r7, %r7, %r5;
        st.global.u32 [%rd6+2048], %r7; ret;"
    )
}

#[test]
fn the_last_block_knows_the_others() {
    let run = |before: &str, after: &str, threads, seed| {
        let options = Options { threads, seed, ..Options::default() };
        let tile = ".shared .align 4 .b8 last[4];";
        let bench = Bench::new(tile, &last_block(before, after)).options(options);
        bench.launch(common::launch(7, 32), &[Inout::bytes(4096)])
    };
    for (threads, seed) in [(1, 0), (1, 4), (2, 0)] {
        // All threads fence, and meet before the first counts.
        run("membar.gl; bar.sync 0;", "membar.gl;", threads, seed).unwrap();
        // The first thread fences what it knows through the barrier.
        run("bar.sync 0; membar.gl;", "membar.gl;", threads, seed).unwrap();
        for (before, after) in
            [("membar.gl; bar.sync 0;", ""), ("bar.sync 0;", "membar.gl;"), ("membar.gl;", "membar.gl;")]
        {
            let fault = run(before, after, threads, seed).unwrap_err();
            assert_eq!(fault.kind, FaultKind::Race, "{before} {after}: {fault}");
        }
    }
}

/// `old = *p; do { assumed = old; old = atomicCAS(p, assumed, assumed + 1); } while (old != assumed);`
const CAS_LOOP: &str = "ld.global.u32 %r2, [%rd1];
    AGAIN: mov.u32 %r3, %r2; add.u32 %r4, %r3, 1; atom.global.cas.b32 %r2, [%rd1], %r3, %r4;
    setp.ne.u32 %p1, %r2, %r3; @%p1 bra AGAIN;";

#[test]
fn a_guess_before_cas_is_no_race() {
    for (threads, seed) in [(1, 0), (1, 9), (2, 0)] {
        let options = Options { threads, seed, ..Options::default() };
        let run = |code: &str| {
            let code = format!("ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; {code} ret;");
            Bench::new("", &code).options(options).launch(common::launch(3, 96), &[Inout::bytes(64)])
        };
        run(CAS_LOOP).unwrap();
        // A plain read that no `cas` of the same thread follows stays a race, in the same kernel, too.
        let reads = "setp.lt.u32 %p2, %r1, 32; @!%p2 bra CAS; ld.global.u32 %r5, [%rd1]; ret; CAS:";
        let fault = run(&format!("{reads} {CAS_LOOP}")).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Race, "{fault}");
        let fault = run(&format!("{CAS_LOOP} ld.global.u32 %r5, [%rd1];")).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Race, "{fault}");
        // So does a plain write.
        let fault = run(&format!("{CAS_LOOP} st.global.u32 [%rd1], 1;")).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Race, "{fault}");
    }
}

/// The results of what waits are right, whatever waits.
#[test]
fn a_lock_loses_nothing() {
    let add = "membar.gl; ld.global.u32 %r4, [%rd1+4]; add.u32 %r4, %r4, 1; st.global.u32 [%rd1+4], %r4; membar.gl;";
    let module = Bench::new("", &lock(add, "atom.global.exch.b32 %r5, [%rd1], 0;")).module();
    for threads in [1, 2] {
        let machine = Machine::with(Options { threads, ..Options::default() });
        let at = machine.alloc(8);
        machine.write(at, &[0; 8]).unwrap();
        let arg = ptx_emulator::Arg::Buffer { at, bytes: 8, access: ptx_emulator::Access::ReadWrite };
        machine.launch(&module, "k", common::launch(9, 1024), &[arg]).unwrap();
        let mut out = [0; 4];
        machine.read(at + 4, &mut out).unwrap();
        assert_eq!(u32::from_le_bytes(out), 9 * 32);
    }
}

/// The forms that `ptxas` has, and those that it has not.
#[test]
fn orders_and_scopes_are_read_as_ptx_has_them() {
    let parses = |op: &str| {
        let text = Bench::new("", "ld.param.u64 %rd1, [p0]; mov.u32 %r1, 1; ret;")
            .text()
            .replace("ret;", &format!("{op} ret;"));
        ptx_emulator::Module::parse_whole("t.ptx", &text).is_ok()
    };
    for op in [
        "red.release.gpu.global.add.u32 [%rd1], %r1;",
        "atom.acquire.global.add.u32 %r2, [%rd1], %r1;",
        "atom.relaxed.global.add.u32 %r2, [%rd1], %r1;",
        "atom.cta.global.add.u32 %r2, [%rd1], %r1;",
        "fence.gpu;",
        "fence.sc.cta;",
        "membar.cta;",
        "fence.proxy.alias;",
        "ld.weak.global.u32 %r1, [%rd1];",
        "ld.mmio.relaxed.sys.global.u32 %r1, [%rd1];",
        "ld.volatile.shared.u32 %r1, [%rd1];",
        "st.release.sys.global.u32 [%rd1], %r1;",
    ] {
        assert!(parses(op), "{op}");
    }
    for op in [
        "ld.release.gpu.global.u32 %r1, [%rd1];",
        "ld.acq_rel.gpu.global.u32 %r1, [%rd1];",
        "st.acquire.gpu.global.u32 [%rd1], %r1;",
        "st.acq_rel.gpu.global.u32 [%rd1], %r1;",
        "red.acquire.gpu.global.add.u32 [%rd1], %r1;",
        "red.acq_rel.gpu.global.add.u32 [%rd1], %r1;",
        "atom.weak.global.add.u32 %r2, [%rd1], %r1;",
        "atom.volatile.global.add.u32 %r2, [%rd1], %r1;",
        "ld.relaxed.global.u32 %r1, [%rd1];",
        "ld.volatile.gpu.global.u32 %r1, [%rd1];",
        "ld.gpu.global.u32 %r1, [%rd1];",
        "fence.acq_rel;",
        "membar;",
        "fence.gpu.what;",
    ] {
        assert!(!parses(op), "{op}");
    }
}
