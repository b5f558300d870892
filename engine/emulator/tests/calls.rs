//! Calls that are not inlined: recursion, functions by their address, guarded calls, and their frames.

mod common;

use common::Bench;
use ptx_emulator::{Fault, FaultKind, Module};

/// A kernel that stores `%r0` of each thread, with `body` before.
fn bench(top: &str, body: &str) -> Bench {
    Bench::from_text(format!(
        ".version 8.4\n.target sm_80\n.address_size 64\n{top}
.visible .entry k(.param .u64 p0)
{{
    .reg .b32 %r<20>; .reg .b64 %rd<20>; .reg .pred %p<9>;
    ld.param.u64 %rd0, [p0];
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd1, %r1, 4;
    add.u64 %rd0, %rd0, %rd1;
    {body}
    st.global.b32 [%rd0], %r0;
    ret;
}}"
    ))
}

fn fault(top: &str, body: &str) -> Fault {
    bench(top, body).run(32, &[common::Out(128)]).unwrap_err()
}

/// `fib` with two calls of itself, and a call of it with the argument in `%r2`.
const FIB: &str = ".func (.param .b32 out) fib(.param .b32 n)
{
    .reg .b32 %r<9>; .reg .pred %p<2>;
    ld.param.u32 %r8, [n];
    setp.lt.s32 %p1, %r8, 2;
    @%p1 bra L;
    add.s32 %r4, %r8, -1;
    { .param .b32 a; st.param.b32 [a], %r4; .param .b32 v; call.uni (v), fib, (a); ld.param.b32 %r5, [v]; }
    add.s32 %r6, %r8, -2;
    { .param .b32 a; st.param.b32 [a], %r6; .param .b32 v; call.uni (v), fib, (a); ld.param.b32 %r7, [v]; }
    add.s32 %r8, %r7, %r5;
L:  st.param.b32 [out], %r8;
    ret;
}";
const CALL_FIB: &str =
    "{ .param .b32 a; st.param.b32 [a], %r2; .param .b32 v; call (v), fib, (a); ld.param.b32 %r0, [v]; }";

fn fib(n: u32) -> u32 {
    (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0
}

#[test]
fn each_lane_recurses_to_its_own_depth() {
    let body = format!("rem.u32 %r2, %r1, 13; {CALL_FIB}");
    let got = bench(FIB, &body).words(64, 64);
    assert_eq!(got, (0..64).map(|t| fib(t % 13)).collect::<Vec<_>>());
    // The registers of the kernel are as they were.
    let body = format!("mov.u32 %r2, 5; mov.u32 %r8, 100; {CALL_FIB} add.u32 %r0, %r0, %r8;");
    assert_eq!(bench(FIB, &body).words(32, 32), vec![105; 32]);
}

#[test]
fn functions_that_call_each_other() {
    let even = |name: &str, other: &str, at_zero: u32| {
        format!(
            ".func (.param .b32 out) {name}(.param .b32 n) {{
            .reg .b32 %r<4>; .reg .pred %p<2>;
            ld.param.u32 %r1, [n]; setp.ne.u32 %p1, %r1, 0; @%p1 bra L;
            st.param.b32 [out], {at_zero}; ret;
            L: add.u32 %r2, %r1, -1;
            .param .b32 a; st.param.b32 [a], %r2; .param .b32 v; call (v), {other}, (a);
            ld.param.b32 %r3, [v]; st.param.b32 [out], %r3; }}\n"
        )
    };
    let top = format!(
        ".func (.param .b32 out) odd(.param .b32 n);\n{}{}",
        even("even", "odd", 1),
        even("odd", "even", 0)
    );
    let body =
        ".param .b32 a; st.param.b32 [a], %r1; .param .b32 v; call (v), even, (a); ld.param.b32 %r0, [v];";
    let want: Vec<u32> = (0..32).map(|t| u32::from(t % 2 == 0)).collect();
    assert_eq!(bench(&top, body).words(32, 32), want);
}

/// An array of each call, which the calls inside of it must not touch: the digits of a number from the last to the first.
#[test]
fn every_call_has_its_own_local_variables() {
    let top = ".func (.param .b32 out) sum(.param .b32 n) {
        .local .align 32 .b8 kept[8]; .reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .pred %p<2>;
        ld.param.u32 %r1, [n];
        mov.u64 %rd1, kept; cvta.local.u64 %rd2, %rd1;
        st.u32 [%rd2+4], %r1;
        st.local.u32 [kept], 1000;
        setp.eq.u32 %p1, %r1, 0; @%p1 bra L;
        add.u32 %r2, %r1, -1;
        .param .b32 a; st.param.b32 [a], %r2; .param .b32 v; call (v), sum, (a);
        ld.param.b32 %r3, [v];
        ld.local.u32 %r4, [%rd1+4];
        and.b64 %rd3, %rd2, 31; cvt.u32.u64 %r5, %rd3;
        add.u32 %r3, %r3, %r4; add.u32 %r3, %r3, %r5;
        st.param.b32 [out], %r3; ret;
        L: st.param.b32 [out], 0; }";
    let body = ".local .b32 mine; st.local.b32 [mine], %r1;
        .param .b32 a; st.param.b32 [a], %r1; .param .b32 v; call (v), sum, (a); ld.param.b32 %r0, [v];
        ld.local.b32 %r2, [mine]; mad.lo.u32 %r0, %r2, 1000, %r0;";
    let want: Vec<u32> = (0..32).map(|n| n * (n + 1) / 2 + 1000 * n).collect();
    assert_eq!(bench(top, body).words(32, 32), want);
}

#[test]
fn frames_are_checked() {
    let recursive = |body: &str| {
        format!(
            ".func f(.param .b32 n) {{ .local .b8 x[8]; .reg .b32 %r<9>; .reg .b64 %rd<9>; .reg .pred %p<2>;
            ld.param.u32 %r1, [n]; setp.eq.u32 %p1, %r1, 0; @%p1 bra L; {body}
            .param .b32 a; st.param.b32 [a], 0; call f, (a); L: ret; }}"
        )
    };
    let call = ".param .b32 a; st.param.b32 [a], 1; call f, (a); mov.u32 %r0, 0;";
    let kind = |body: &str| fault(&recursive(body), call).kind;
    assert_eq!(kind("ld.local.u32 %r2, [x];"), FaultKind::Uninitialised);
    assert_eq!(kind("ld.local.u32 %r2, [x+8];"), FaultKind::OutOfBounds);
    assert_eq!(kind("st.local.u32 [x+-4], 1;"), FaultKind::OutOfBounds);
    assert_eq!(kind("add.u32 %r2, %r3, 1;"), FaultKind::Uninitialised);
    bench(&recursive("st.local.u32 [x+4], 1; ld.local.u32 %r2, [x+4];"), call).words(32, 32);
    // The address of a variable whose function has returned.
    let dangling = ".func (.param .b64 out) f(.param .b32 n) { .local .b8 x[8]; .reg .b64 %rd<3>; .reg .pred %p; .reg .b32 %r1;
        ld.param.u32 %r1, [n]; setp.eq.u32 %p, %r1, 0; @%p bra L; { .param .b32 a; .param .b64 v; st.param.b32 [a], 0; call (v), f, (a); } L:
        st.local.b32 [x], %r1; mov.u64 %rd1, x; st.param.b64 [out], %rd1; }";
    let body = ".param .b32 a; .param .b64 v; st.param.b32 [a], 1; call (v), f, (a); ld.param.b64 %rd2, [v]; ld.local.b32 %r0, [%rd2];";
    assert_eq!(fault(dangling, body).kind, FaultKind::OutOfBounds);
    // What a register held in the last call of the function counts for nothing in the next.
    let stale = ".func (.param .b32 out) f(.param .b32 n) { .reg .b32 %r<4>; .reg .pred %p<2>;
        ld.param.u32 %r1, [n]; setp.ne.u32 %p1, %r1, 0; @%p1 mov.u32 %r2, 7; @%p1 bra L;
        add.u32 %r2, %r2, 1; L: st.param.b32 [out], %r1; setp.lt.u32 %p1, %r1, 0;
        @%p1 bra M; ret; M: .param .b32 a; .param .b32 v; st.param.b32 [a], 0; call (v), f, (a); }";
    let twice = "{ .param .b32 a; .param .b32 v; st.param.b32 [a], 1; call (v), f, (a); }
        { .param .b32 a; .param .b32 v; st.param.b32 [a], 0; call (v), f, (a); } mov.u32 %r0, 0;";
    assert_eq!(fault(stale, twice).kind, FaultKind::Uninitialised);
}

#[test]
fn endless_recursion_overflows_the_stack() {
    let text = fault(".func f() { call f; ret; }", "call f; mov.u32 %r0, 0;");
    assert_eq!(text.kind, FaultKind::StackOverflow);
    assert!(text.to_string().contains("65536 bytes"), "{text}");
    let wide: String = (0..4000).map(|k| format!("mov.u32 %r{k}, {k};\n")).collect();
    let text =
        fault(&format!(".func f() {{ .reg .b32 %r<4000>; {wide} call f; ret; }}"), "call f; mov.u32 %r0, 0;");
    assert_eq!(text.kind, FaultKind::StackOverflow);
    assert!(text.to_string().contains("registers"), "{text}");
}

/// `inc` and `twice`, a table of both, and a call of the function at `%rd2`.
const TABLE: &str = ".func (.param .b32 out) inc(.param .b32 x);
.func (.param .b32 out) twice(.param .b32 x);
.func other(.param .b64 x) { ret; }
.global .align 8 .u64 table[3] = {inc, twice, other};
.func (.param .b32 out) inc(.param .b32 x) { .reg .b32 %r<3>; ld.param.u32 %r1, [x]; add.u32 %r2, %r1, 1; st.param.b32 [out], %r2; ret; }
.func (.param .b32 out) twice(.param .b32 x) { .reg .b32 %r<3>; ld.param.u32 %r1, [x]; shl.b32 %r2, %r1, 1; st.param.b32 [out], %r2; ret; }";
const CALL: &str = "{ .param .b32 a; st.param.b32 [a], %r1; .param .b32 v;
    proto: .callprototype (.param .b32 _) _ (.param .b32 _);
    call (v), %rd2, (a), proto; ld.param.b32 %r0, [v]; }";

#[test]
fn lanes_call_the_functions_of_their_addresses() {
    let body = format!(
        "and.b32 %r2, %r1, 1; mul.wide.u32 %rd3, %r2, 8; mov.u64 %rd4, table; add.u64 %rd4, %rd4, %rd3;
         ld.global.u64 %rd2, [%rd4]; {CALL}"
    );
    let want: Vec<u32> = (0..64).map(|t| if t % 2 == 0 { t + 1 } else { 2 * t }).collect();
    assert_eq!(bench(TABLE, &body).words(64, 64), want);
    // By a list of targets, and with the address in an instruction.
    let body = "mov.u64 %rd2, twice; { .param .b32 a; st.param.b32 [a], %r1; .param .b32 v;
        list: .calltargets inc, twice; call (v), %rd2, (a), list; ld.param.b32 %r0, [v]; }";
    assert_eq!(bench(TABLE, body).words(32, 32), (0..32).map(|t| 2 * t).collect::<Vec<_>>());
}

#[test]
fn a_call_of_another_address_is_a_fault() {
    for (address, part) in [
        ("mov.u64 %rd2, 0;", "no function"),
        ("mov.u64 %rd2, table;", "no function"),
        ("ld.global.u64 %rd2, [table]; add.u64 %rd2, %rd2, 4;", "no function"),
        ("ld.global.u64 %rd2, [table+16];", "other sizes"),
        ("ld.global.u64 %rd2, [table]; add.u64 %rd2, %rd2, 16000;", "or of none"),
    ] {
        let fault = fault(TABLE, &format!("{address} {CALL}"));
        assert_eq!(fault.kind, FaultKind::OutOfBounds, "{fault}");
        assert!(fault.to_string().contains(part), "{fault}");
    }
    // Functions are no data.
    assert_eq!(fault(TABLE, "mov.u64 %rd2, inc; ld.global.u32 %r0, [%rd2];").kind, FaultKind::OutOfBounds);
}

#[test]
fn calls_have_guards() {
    let guarded = |call: &str| {
        format!(
            "setp.lt.u32 %p1, %r1, 5; mov.u32 %r0, 77; {{ .param .b32 a; st.param.b32 [a], %r1; .param .b32 v; st.param.b32 [v], 9;
             {call} ld.param.b32 %r0, [v]; }}"
        )
    };
    let want = |negated: bool, f: fn(u32) -> u32| -> Vec<u32> {
        (0..32).map(|t| if (t < 5) != negated { f(t) } else { 9 }).collect()
    };
    assert_eq!(bench(TABLE, &guarded("@%p1 call (v), inc, (a);")).words(32, 32), want(false, |t| t + 1));
    assert_eq!(
        bench(TABLE, &guarded("@!%p1 call.uni (v), twice, (a);")).words(32, 32),
        want(true, |t| 2 * t)
    );
    assert_eq!(bench(FIB, &guarded("@%p1 call (v), fib, (a);")).words(32, 32), want(false, fib));
    let by_address = "proto: .callprototype (.param .b32 _) _ (.param .b32 _); mov.u64 %rd2, inc; @%p1 call (v), %rd2, (a), proto;";
    assert_eq!(bench(TABLE, &guarded(by_address)).words(32, 32), want(false, |t| t + 1));
    // Lanes whose guard does not hold step over a table of branches too.
    let table = "setp.lt.u32 %p1, %r1, 5; mov.u32 %r0, 1; t: .branchtargets A, B; and.b32 %r2, %r1, 1;
        @%p1 brx.idx %r2, t; mov.u32 %r0, 2; bra B; A: mov.u32 %r0, 3; B:";
    let want: Vec<u32> = (0..32)
        .map(|t| {
            if t >= 5 {
                2
            } else if t % 2 == 0 {
                3
            } else {
                1
            }
        })
        .collect();
    assert_eq!(bench("", table).words(32, 32), want);
}

#[test]
fn calls_that_do_not_fit_refuse_their_kernel() {
    for (call, part) in [
        ("call inc;", "another number of parameters"),
        (".param .b64 a; .param .b32 v; call (v), inc, (a);", "8 bytes are given"),
        ("call %rd2;", "`%rd2`"),
        ("call inc, 5, 6;", "a call needs"),
        ("p: .callprototype _ (.param .b32 _); call %rd2, p;", "another number"),
        ("l: .calltargets nothing; call %rd2, l;", "no function"),
        ("call (%r1), inc, (%r1);", ".param variables"),
        ("call vprintf;", "other parameters"),
    ] {
        let text = bench(TABLE, call).text().to_string();
        let error = Module::parse_whole("k.ptx", &text).unwrap_err();
        assert!(
            error.message.contains(part) || part.starts_with('8') && error.message.contains("8 are given"),
            "{error}"
        );
    }
}
