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
