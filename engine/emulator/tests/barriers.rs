//! Lanes that skip a barrier at which others of their warp wait are found where they run on behind it, and nowhere else.

mod common;

use common::{Bench, Inout};
use ptx_emulator::{Checks, Fault, FaultKind};

fn run(code: &str, checks: Checks) -> Result<(), Fault> {
    let start =
        "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2;
        setp.lt.u32 %p1, %r1, 16;";
    Bench::new("", &format!("{start} {code} ret;")).checks(checks).run(32, &[Inout::bytes(128)]).map(|_| ())
}

#[track_caller]
fn skips(code: &str) {
    let fault = run(code, Checks::default()).unwrap_err();
    assert_eq!(fault.kind, FaultKind::PartialBarrier, "{fault}");
    assert!(fault.detail.contains("has skipped it"), "{fault}");
    // The check has its switch.
    run(code, Checks { skipped_barriers: false, ..Checks::default() }).unwrap();
}

#[track_caller]
fn fine(code: &str) {
    run(code, Checks::default()).unwrap();
}

const STORE: &str = "st.global.u32 [%rd3], %r1;";

#[test]
fn lanes_that_run_on_behind_a_barrier_skipped_it() {
    skips(&format!("@!%p1 bra L; bar.sync 0; L: {STORE}"));
    skips(&format!("@!%p1 bra L; bar.red.popc.u32 %r2, 0, %p1; L: {STORE}"));
    // The other lanes come from code of their own, and fall into what is common.
    skips(&format!("@!%p1 bra ELSE; bar.sync 0; mov.u32 %r2, 1; bra L; ELSE: mov.u32 %r3, 2; L: {STORE}"));
    // Some lanes leave a loop with a barrier before the others.
    skips(&format!(
        "and.b32 %r2, %r1, 3; LOOP: bar.sync 0; sub.u32 %r2, %r2, 1; setp.gt.s32 %p2, %r2, 0; @%p2 bra LOOP; {STORE}"
    ));
    // The guard of the barrier itself leaves lanes out.
    skips(&format!("@%p1 bar.sync 0; {STORE}"));
}

#[test]
fn lanes_that_end_or_that_are_late_did_not_skip_it() {
    // An early return, alone, with work of its own, and out of a loop.
    fine(&format!("@!%p1 ret; bar.sync 0; {STORE}"));
    fine(&format!("@!%p1 bra END; bar.sync 0; {STORE} END:"));
    fine(&format!("@!%p1 bra OTHER; bar.sync 0; {STORE} bra END; OTHER: st.global.u32 [%rd3], 7; END:"));
    fine(&format!("@%p1 bra MORE; st.global.u32 [%rd3], 7; ret; MORE: bar.sync 0; {STORE}"));
    fine(&format!(
        "and.b32 %r2, %r1, 3; LOOP: sub.u32 %r2, %r2, 1; setp.lt.s32 %p2, %r2, 0; @%p2 ret; bar.sync 0; {STORE} bra LOOP;"
    ));
    // Lanes take a way that is laid out behind the loop, so that the others are at the barrier of the next round before.
    fine(&format!(
        "mov.u32 %r2, 0; LOOP: bar.sync 0; @%p1 bra FAR; BACK: add.u32 %r2, %r2, 1; setp.lt.u32 %p2, %r2, 5;
        @%p2 bra LOOP; {STORE} ret; FAR: add.u32 %r3, %r2, 1; bra BACK;"
    ));
    // The form that is not aligned asks nothing of a warp.
    fine(&format!("@!%p1 bra L; barrier.sync 0; L: {STORE}"));
}

/// Code of two warps, of which the first goes to `P`. `%r2` is the thread within its warp, `%rd3` its own word of `p0`.
fn two_warps(code: &str, seed: u64) -> Result<(), Fault> {
    let start =
        "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; and.b32 %r2, %r1, 31; mul.wide.u32 %rd2, %r2, 4;
        add.s64 %rd3, %rd1, %rd2; setp.lt.u32 %p1, %r1, 32; @%p1 bra P;";
    Bench::new("", &format!("{start} {code} ret;")).seed(seed).run(64, &[Inout::bytes(128)]).map(|_| ())
}

const SEEDS: std::ops::Range<u64> = 0..8;

#[test]
fn an_arrival_orders_what_came_before_it_and_nothing_else() {
    for seed in SEEDS {
        two_warps(
            "bar.sync 1, 64; ld.global.u32 %r3, [%rd3]; ret; P: st.global.u32 [%rd3], 1; bar.arrive 1, 64;",
            seed,
        )
        .unwrap();
        // What a warp does after its arrival may come after what the others do behind the barrier.
        let late =
            "bar.sync 1, 64; ld.global.u32 %r3, [%rd3]; ret; P: bar.arrive 1, 64; st.global.u32 [%rd3], 1;";
        assert_eq!(two_warps(late, seed).unwrap_err().kind, FaultKind::Race, "seed {seed}");
        // Those that arrive learn nothing of those that wait.
        let blind =
            "st.global.u32 [%rd3], 1; bar.sync 1, 64; ret; P: bar.arrive 1, 64; ld.global.u32 %r3, [%rd3];";
        assert_eq!(two_warps(blind, seed).unwrap_err().kind, FaultKind::Race, "seed {seed}");
    }
}

#[test]
fn every_arrival_belongs_to_one_use_of_a_barrier() {
    // The producer waits for the consumer before it fills again.
    let again = "add.u32 %r4, %r4, 1; setp.lt.u32 %p2, %r4, 3; @%p2 bra";
    let rounds = format!(
        "mov.u32 %r4, 0; C: bar.sync 1, 64; ld.global.u32 %r3, [%rd3]; bar.arrive 2, 64; {again} C; ret;
        P: mov.u32 %r4, 0; L: st.global.u32 [%rd3], %r4; bar.arrive 1, 64; bar.sync 2, 64; {again} L;"
    );
    // Two arrivals of 32 threads each are a whole barrier of 64, for which nobody waited: the next one to wait is alone.
    let twice = "bar.sync 2, 64; bar.sync 1, 64; ret; P: bar.arrive 1, 64; bar.arrive 1, 64; bar.sync 2, 64;";
    // Half a warp arrives at a barrier that is for whole ones.
    let half = "bar.sync 1, 64; ret; P: setp.lt.u32 %p3, %r2, 16; @%p3 bar.arrive 1, 64;";
    for seed in SEEDS {
        two_warps(&rounds, seed).unwrap();
        assert_eq!(two_warps(twice, seed).unwrap_err().kind, FaultKind::PartialBarrier, "seed {seed}");
        assert_eq!(two_warps(half, seed).unwrap_err().kind, FaultKind::PartialBarrier, "seed {seed}");
    }
}

#[test]
fn lanes_may_wait_at_two_instructions_of_a_barrier_that_is_not_aligned() {
    // Each half writes the words that the other one reads.
    let two =
        "xor.b32 %r4, %r1, 31; mul.wide.u32 %rd4, %r4, 4; add.s64 %rd4, %rd1, %rd4; selp.u32 %r6, 1, 2, %p1;
        @%p1 bra L; st.global.u32 [%rd3], 1; FIRST; bra END; L: st.global.u32 [%rd3], 2; SECOND;
        END: ld.global.u32 %r5, [%rd4]; setp.ne.u32 %p2, %r5, %r6; @%p2 trap;";
    let with = |first: &str, second: &str| two.replace("FIRST", first).replace("SECOND", second);
    fine(&with("barrier.sync 0", "barrier.cta.sync 0"));
    fine(&with("barrier.sync 0, 32", "barrier.sync 0, 32"));
    // 16 lanes count at each of the two.
    let sum = "setp.ne.u32 %p3, %r7, 8; @%p3 trap";
    fine(&with(
        &format!("and.b32 %r8, %r1, 3; setp.eq.u32 %p4, %r8, 0; barrier.red.popc.u32 %r7, 0, %p4; {sum}"),
        &format!("and.b32 %r8, %r1, 3; setp.eq.u32 %p4, %r8, 1; barrier.red.popc.u32 %r7, 0, %p4; {sum}"),
    ));
    // Some lanes pass it more often than others, which have left by then.
    fine(&format!(
        "and.b32 %r2, %r1, 3; LOOP: barrier.sync 0; sub.u32 %r2, %r2, 1; setp.gt.s32 %p2, %r2, 0; @%p2 bra LOOP; {STORE}"
    ));
    for (first, second) in [
        ("bar.sync 0", "bar.sync 0"),
        ("barrier.sync.aligned 0", "barrier.sync 0"),
        ("barrier.sync 0", "bar.sync 0"),
        ("barrier.sync 0", "barrier.sync 1"),
        ("barrier.sync 1, 32", "barrier.sync 1, 64"),
    ] {
        let fault = run(&with(first, second), Checks::default()).unwrap_err();
        assert_eq!(fault.kind, FaultKind::PartialBarrier, "{first} and {second}: {fault}");
    }
}
