//! Registers that some path leaves unwritten may be moved, shuffled and computed with. They must not be used.

mod common;

use common::{Bench, Inout};
use ptx_emulator::{Checks, Fault, FaultKind};

/// Runs lanes 0 to 31; `%p1` holds for odd lanes, `%rd3` is the address of the lane's element.
fn run(code: &str) -> Result<(), Fault> {
    let start =
        "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd3, %rd1, %rd2;
        and.b32 %r2, %r1, 1; setp.eq.u32 %p1, %r2, 1;";
    let bench = Bench::new("", &format!("{start} {code} ret;"));
    bench.run(32, &[Inout::bytes(512)]).map(|_| ())
}

/// Thread 0 uses what it did not write, and the message has all of `parts`.
#[track_caller]
fn uses(code: &str, parts: &[&str]) {
    let fault = run(code).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Uninitialised, "{fault}");
    assert_eq!(fault.location.as_ref().unwrap().thread, [0, 0, 0], "{fault}");
    for part in parts {
        assert!(fault.detail.contains(part), "{fault}");
    }
}

#[track_caller]
fn fine(code: &str) {
    run(code).unwrap_or_else(|fault| panic!("{fault}"));
}

/// Odd lanes write `%r5`.
const HALF: &str = "@!%p1 bra L; mov.u32 %r5, 5; L:";
const STORE: &str = "st.global.u32 [%rd3], %r9;";

#[test]
fn stores_addresses_and_guards_are_uses() {
    uses(
        &format!("{HALF} mov.u32 %r9, %r5; {STORE}"),
        &["uses `%r9`, which was computed from `%r5`, which nothing wrote"],
    );
    uses(&format!("{HALF} st.global.u32 [%rd3], %r5;"), &["uses `%r5`, which nothing wrote"]);
    fine(&format!("{HALF} mov.u32 %r9, %r5; @%p1 {STORE}"));
    fine(&format!("{HALF} add.u32 %r9, %r5, 1; xor.b32 %r9, %r9, %r5; @%p1 {STORE}"));
    uses(&format!("{HALF} add.u32 %r8, %r5, 1; mul.lo.u32 %r9, %r8, 3; {STORE}"), &["`%r9`", "`%r5`"]);
    uses(
        &format!("{HALF} mul.wide.u32 %rd4, %r5, 4; add.s64 %rd5, %rd1, %rd4; ld.global.u32 %r6, [%rd5];"),
        &["`%rd5`", "`%r5`"],
    );
    uses(&format!("{HALF} setp.eq.u32 %p2, %r5, 5; @%p2 st.global.u32 [%rd3], 1;"), &["`%p2`", "`%r5`"]);
    uses("@%p3 mov.u32 %r1, 1;", &["uses `%p3`, which nothing wrote"]);
    uses(&format!("{HALF} red.global.add.u32 [%rd1], %r5;"), &["`%r5`"]);
    uses(&format!("{HALF} vote.sync.ballot.b32 %r9, %p4, -1;"), &["`%p4`"]);
    uses(&format!("{HALF} redux.sync.add.s32 %r9, %r5, -1;"), &["`%r5`"]);
    // What overwrites a value with an unwritten one leaves it unwritten.
    uses(&format!("{HALF} mov.u32 %r9, 1; mov.u32 %r9, %r5; {STORE}"), &["`%r9`"]);
    fine(&format!("{HALF} mov.u32 %r9, %r5; mov.u32 %r9, 1; {STORE}"));
    // The switch of the check.
    let code = format!("ld.param.u64 %rd3, [p0]; {STORE} ret;");
    let bench = Bench::new("", &code).checks(Checks { uninitialised_registers: false, ..Checks::default() });
    bench.run(1, &[Inout::bytes(4)]).unwrap();
}

#[test]
fn selections_copy_what_they_choose() {
    fine(&format!("{HALF} selp.b32 %r9, %r5, 7, %p1; {STORE}"));
    fine(
        &format!(
            "{HALF} cvt.u64.u32 %rd6, %r5; selp.b64 %rd7, %rd6, %rd3, %p1; st.global.u64 [%rd1+256], %rd7;"
        )
        .replace("st.global.u64 [%rd1+256], %rd7;", "cvt.u32.u64 %r9, %rd7; st.global.u32 [%rd3], %r9;"),
    );
    uses(&format!("{HALF} selp.b32 %r9, 7, %r5, %p1; {STORE}"), &["`%r9`", "`%r5`"]);
    uses(&format!("{HALF} setp.eq.u32 %p2, %r5, 5; selp.b32 %r9, 1, 2, %p2; {STORE}"), &["`%r9`", "`%r5`"]);
}

#[test]
fn packed_registers_are_followed_in_their_parts() {
    fine(&format!("{HALF} mov.b64 %rd4, {{%r1, %r5}}; mov.b64 {{%r9, %r8}}, %rd4; {STORE}"));
    uses(
        &format!("{HALF} mov.b64 %rd4, {{%r1, %r5}}; mov.b64 {{%r8, %r9}}, %rd4; {STORE}"),
        &["`%r9`", "`%r5`"],
    );
    uses(
        &format!(
            "{HALF} mov.b64 %rd4, {{%r1, %r5}}; st.global.b32 [%rd3], %r1; mul.wide.u32 %rd5, %r1, 8; add.s64 %rd6, %rd1, %rd5; st.global.b64 [%rd6], %rd4;"
        ),
        &["`%rd4`", "`%r5`"],
    );
    let halves = "@!%p1 bra L; mov.u16 %rs2, 3; L: cvt.u16.u32 %rs1, %r1; mov.b32 %r8, {%rs1, %rs2}; mov.b32 {%rs3, %rs4}, %r8;";
    fine(&format!("{halves} cvt.u32.u16 %r9, %rs3; {STORE}"));
    uses(&format!("{halves} cvt.u32.u16 %r9, %rs4; {STORE}"), &["`%r9`", "`%rs2`"]);
}

#[test]
fn shuffles_copy_from_the_lane_they_take() {
    // Even lanes take from odd ones, which have written, and odd lanes take what even ones have not.
    let swap = "shfl.sync.bfly.b32 %r9|%p2, %r5, 1, 31, -1;";
    fine(&format!("{HALF} {swap} @!%p1 {STORE}"));
    let fault = run(&format!("{HALF} {swap} {STORE}")).unwrap_err();
    assert_eq!(
        (fault.kind, fault.location.as_ref().unwrap().thread),
        (FaultKind::Uninitialised, [1, 0, 0]),
        "{fault}"
    );
    assert!(fault.detail.contains("`%r9`") && fault.detail.contains("`%r5`"), "{fault}");
    // In place, and back again.
    fine(&format!(
        "{HALF} shfl.sync.bfly.b32 %r5, %r5, 1, 31, -1; shfl.sync.bfly.b32 %r9, %r5, 1, 31, -1; @%p1 {STORE}"
    ));
    // The lane to take from is a use.
    uses(&format!("{HALF} shfl.sync.idx.b32 %r9, %r1, %r5, 31, -1;"), &["`%r5`"]);
}

/// How Triton sums over the warps of a block: the first lanes load the partial sums, the whole warp adds them up by
/// shuffles, and only the first thread stores. Four values of 1 to 4.
#[test]
fn sums_over_warps_as_triton_writes_them() {
    let code = |guard: &str| {
        format!(
            "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; mov.u32 %r2, tile; shl.b32 %r3, %r1, 2; add.u32 %r4, %r2, %r3;
            setp.lt.s32 %p1, %r1, 4; setp.eq.s32 %p2, %r1, 0; add.u32 %r5, %r1, 1; cvt.rn.f32.u32 %f1, %r5;
            mov.b32 %r6, %f1; @%p1 st.shared.b32 [%r4], %r6; bar.sync 0;
            @%p1 ld.shared.b32 %r7, [%r4]; mov.b32 %f2, %r7;
            shfl.sync.bfly.b32 %r8, %r7, 2, 31, -1; mov.b32 %f3, %r8; add.f32 %f4, %f2, %f3; mov.b32 %r9, %f4;
            shfl.sync.bfly.b32 %r10, %r9, 1, 31, -1; mov.b32 %f5, %r10; add.f32 %f6, %f4, %f5; mov.b32 %r11, %f6;
            {guard} st.shared.b32 [%r4], %r11; bar.sync 0; ld.shared.b32 %r12, [%r2]; @%p2 st.global.b32 [%rd1], %r12; ret;"
        )
    };
    let tile = ".shared .align 4 .b8 tile[512];";
    assert_eq!(Bench::new(tile, &code("@%p2")).words(32, 1), [10f32.to_bits()]);
    let fault = Bench::new(tile, &code("")).run(32, &[common::Out(4)]).unwrap_err();
    assert_eq!((fault.kind, fault.location.unwrap().thread), (FaultKind::Uninitialised, [4, 0, 0]));
}

#[test]
fn registers_are_unwritten_again_in_the_next_block() {
    let code =
        "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %ctaid.x; setp.ne.u32 %p1, %r1, 0; @%p1 bra L; mov.u32 %r2, 1;
        L: st.global.u32 [%rd1], %r2; ret;";
    let fault = Bench::new("", code).launch(common::launch(2, 1), &[Inout::bytes(4)]).unwrap_err();
    assert_eq!((fault.kind, fault.location.unwrap().block), (FaultKind::Uninitialised, [1, 0, 0]));
    Bench::new("", code).launch(common::launch(1, 1), &[Inout::bytes(4)]).unwrap();
}
