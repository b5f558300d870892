//! Forms of the language: expressions, addresses as initial values, vector registers, and directives.

mod common;

use common::{Bench, In, Inout};
use ptx_emulator::{FaultKind, Machine, Module};

/// A module whose kernel `k` stores `%r0` in its argument.
fn gives(top: &str, body: &str, want: u32) {
    let text = format!(
        ".version 8.4\n.target sm_80\n.address_size 64\n{top}
.visible .entry k(.param .u64 p0)
{{
    .reg .b32 %r<9>; .reg .f32 %f<9>; .reg .b64 %rd<9>; .reg .pred %p<3>;
    ld.param.u64 %rd0, [p0];
    {body}
    st.global.b32 [%rd0], %r0;
    ret;
}}"
    );
    let got = Bench::from_text(text).words(1, 1)[0];
    assert_eq!(got, want, "{top} {body}: {got:#x}");
}

#[test]
fn constant_expressions_stand_for_numbers() {
    gives("", "mov.u32 %r0, 3 + 4 * (2 - 5);", (-9i32) as u32);
    gives("", "mov.u32 %r0, (1 << 5) | 0x3 ^ 1;", 34);
    gives("", "mov.u32 %r0, 7 % 4 == 3 ? 100/7 : 0;", 14);
    gives("", "mov.u32 %r0, -7 >> 1;", (-4i32) as u32);
    gives("", "add.u32 %r0, WARP_SZ, -(1);", 31);
    gives(".global .b32 v[2*3-1] = {1+1, ~0, !1, 5 > 4};", "ld.global.b32 %r0, [v+(2-1)*4];", u32::MAX);
    gives(
        ".global .b32 v[5] = {10, 11, 12, 13, 14};",
        "mov.u64 %rd1, v; ld.global.b32 %r0, [%rd1+2*8-4];",
        13,
    );
    gives(".global .f64 v = 3.0 / 2;", "ld.global.b32 %r0, [v+4];", 0x3ff8_0000);
    gives(".global .u64 v = (.u64) -1 >> 33;", "ld.global.b32 %r0, [v];", 0x7fff_ffff);
}

#[test]
fn initial_values_can_be_addresses() {
    let follow = |at: u32| format!("ld.global.u64 %rd1, [p+{at}]; ld.global.b32 %r0, [%rd1];");
    let a = ".global .b32 a[4] = {1, 2, 3, 4};\n";
    gives(&format!("{a}.global .u64 p = a;"), &follow(0), 1);
    gives(&format!("{a}.global .u64 p = a+8;"), &follow(0), 3);
    gives(&format!("{a}.global .u64 p[2] = {{0, generic(a)+12}};"), &follow(8), 4);
    gives(
        &format!("{a}.const .u64 p = generic(a)+4;"),
        "ld.const.u64 %rd1, [p]; ld.global.b32 %r0, [%rd1];",
        2,
    );
    // A variable that comes later.
    gives(&format!(".global .u64 p = a+4;\n{a}"), &follow(0), 2);
    // The bytes of an address, one by one.
    let bytes = (0..8).map(|k| format!("{:#x}(a+8)", 0xffu64 << (8 * k))).collect::<Vec<_>>().join(", ");
    gives(&format!("{a}.global .align 8 .u8 p[8] = {{{bytes}}};"), &follow(0), 3);
    gives(
        &format!("{a}.global .u32 p = a;"),
        "ld.global.u32 %r1, [p]; cvt.u64.u32 %rd1, %r1; ld.global.b32 %r0, [%rd1];",
        1,
    );
}

#[test]
fn vector_registers_and_variables() {
    let v = ".global .align 16 .v4 .b32 v[2] = {{1, 2, 3, 4}, {5, 6, 7, 8}};";
    gives(v, ".reg .v4 .b32 %v; ld.global.v4.b32 %v, [v+16]; add.u32 %r0, %v.x, %v.w;", 13);
    gives(v, ".reg .v2 .b32 %w<3>; ld.global.v2.b32 %w2, [v+8]; mov.b32 %r0, %w2.y;", 4);
    let there = ".reg .v2 .b32 %w, %u; mov.b32 %w.x, 5; mov.b32 %w.y, 6; st.global.v2.b32 [v], %w; ld.global.b32 %r0, [v+4];";
    gives(v, there, 6);
}

#[test]
fn directives_need_no_space() {
    gives(".global.align 4 .b32 v = 9;", ".reg.b32 %x<2>; ld.global.b32 %x1, [v]; mov.b32 %r0, %x1;", 9);
    gives(
        ".weak .global .b32 v = 3;\n.common .global .b32 w;",
        "ld.global.b32 %r0, [v]; ld.global.b32 %r1, [w]; add.u32 %r0, %r0, %r1;",
        3,
    );
    gives(".global .attribute(.managed) .align 4 .b32 v = 4;", "ld.global.b32 %r0, [v];", 4);
    gives("", ".local .b8 empty[0]; mov.b32 %r0, 5; .pragma \"nounroll\"; bra E; E:", 5);
    let aliased = ".func (.param .b32 r) f() { .reg .b32 %x; mov.b32 %x, 77; st.param.b32 [r], %x; ret; }\n.alias g, f;";
    gives(aliased, "{ .param .b32 r; call (r), g; ld.param.b32 %r0, [r]; }", 77);
    let text = ".version 8.4\n.target sm_80\n.address_size 64\n.entry k(.param .u64.ptr.global.align 16 a, .param .u64 .ptr .align 4 b) .maxnreg 32 .maxntid 64 { L: }";
    let module = Module::parse_whole("k.ptx", text).unwrap();
    assert_eq!((module.entries()[0].params.len(), module.entries()[0].max_registers), (2, Some(32)));
}

#[test]
fn special_registers_of_a_launch() {
    gives("", "mov.u32 %r0, %envreg0; mov.u32 %r1, %envreg31; or.b32 %r0, %r0, %r1;", 0);
    gives(
        "",
        "mov.u32 %r0, %clock_hi; mov.u32 %r1, %globaltimer_hi; mov.u64 %rd1, %globaltimer; mov.u32 %r2, %globaltimer_lo;",
        0,
    );
    gives("", "mov.pred %p1, %is_explicit_cluster; selp.u32 %r0, 1, 2, %p1;", 2);
    let bench = Bench::new("", "mov.u32 %r1, %pm0; ret;");
    assert!(Module::parse_whole("k.ptx", bench.text()).unwrap_err().message.contains("%pm0"));
    // The workspace of the grid is zeroed, and kernels may use it.
    let workspace = "mov.u32 %r1, %envreg2; mov.u32 %r2, %envreg1; mov.b64 %rd1, {%r1, %r2};
        ld.acquire.gpu.u32 %r3, [%rd1+4]; atom.add.release.gpu.u32 %r4, [%rd1+4], 5; ld.acquire.gpu.u32 %r5, [%rd1+4];
        add.u32 %r0, %r3, %r5;";
    gives("", workspace, 5);
    // Each launch has its number.
    let text =
        Bench::new("", "ld.param.u64 %rd1, [p0]; mov.u64 %rd2, %gridid; st.global.u64 [%rd1], %rd2; ret;")
            .module();
    let machine = Machine::new();
    let number = || {
        let at = machine.alloc(8);
        let out = ptx_emulator::Arg::Buffer { at, bytes: 8, access: ptx_emulator::Access::Write };
        machine.launch(&text, "k", common::launch(1, 1), &[out]).unwrap();
        let mut bytes = [0; 8];
        machine.read(at, &mut bytes).unwrap();
        u64::from_le_bytes(bytes)
    };
    assert_ne!(number(), number());
}

/// A pragma names the bytes of a load that are used; the others may be padding that nothing wrote.
#[test]
fn a_load_is_checked_in_the_bytes_that_are_used() {
    let load = |space: &str, pragma: &str| {
        format!(
            "mov.u32 %r1, 1; st.{space}.b32 [x], %r1; st.{space}.b8 [x+4], %r1; {pragma}
             ld.{space}.v2.b32 {{%r2, %r3}}, [x]; ret;"
        )
    };
    for (space, variable) in
        [("shared", ".shared .align 8 .b8 x[8];"), ("local", ".local .align 8 .b8 x[8];")]
    {
        let run = |pragma: &str| Bench::new(variable, &load(space, pragma)).run(1, &[]);
        run(".pragma \"used_bytes_mask 0x1f\";").unwrap();
        for pragma in
            ["", ".pragma \"used_bytes_mask 0x3f\";", ".pragma \"used_bytes_mask 0x1f\"; mov.u32 %r4, 1;"]
        {
            let fault = run(pragma).map(drop);
            assert_eq!(fault.unwrap_err().kind, FaultKind::Uninitialised, "{space} {pragma}");
        }
    }
    let global = |pragma: &str| {
        let code = format!(
            "ld.param.u64 %rd1, [p0]; mov.u32 %r1, 1; st.global.b32 [%rd1], %r1; st.global.b8 [%rd1+4], %r1; {pragma}
             ld.global.v2.b32 {{%r2, %r3}}, [%rd1]; ret;"
        );
        Bench::new("", &code).run(1, &[Inout::fresh(8)])
    };
    global(".pragma \"used_bytes_mask 31\";").unwrap();
    assert_eq!(global(".pragma \"used_bytes_mask 63\";").unwrap_err().kind, FaultKind::Uninitialised);
    assert_eq!(global("").unwrap_err().kind, FaultKind::Uninitialised);
    // All bytes must lie in memory.
    let code =
        "ld.param.u64 %rd1, [p0]; .pragma \"used_bytes_mask 1\"; ld.global.v2.b32 {%r2, %r3}, [%rd1]; ret;";
    assert_eq!(Bench::new("", code).run(1, &[In::bytes(4)]).unwrap_err().kind, FaultKind::OutOfBounds);
}
