//! What a driver provides to kernels: `printf`, assertions, `malloc` and `free`.

mod common;

use common::{Bench, Inout, launch};
use ptx_emulator::{Access, Arg, Checks, Fault, FaultKind, Machine, Options};

const EXTERNS: &str = ".extern .func (.param .b32 r) vprintf(.param .b64 a, .param .b64 b);
.extern .func __assertfail(.param .b64 a, .param .b64 b, .param .b32 c, .param .b64 d, .param .b64 e);
.extern .func (.param .b64 r) malloc(.param .b64 n);
.extern .func free(.param .b64 p);";

/// A variable with a text and a zero at its end.
fn text(name: &str, text: &str) -> String {
    let bytes: Vec<String> = text.bytes().chain([0]).map(|b| b.to_string()).collect();
    format!(".global .b8 {name}[{}] = {{{}}};\n", text.len() + 1, bytes.join(", "))
}

fn bench(top: &str, body: &str) -> Bench {
    Bench::from_text(format!(
        ".version 8.4\n.target sm_80\n.address_size 64\n{EXTERNS}\n{top}
.visible .entry k(.param .u64 p0)
{{
    .reg .b32 %r<20>; .reg .b64 %rd<20>; .reg .pred %p<9>;
    ld.param.u64 %rd0, [p0]; mov.u32 %r1, %tid.x;
    {body}
    ret;
}}"
    ))
}

/// Calls with an unused argument.
fn run(machine: &Machine, bench: &Bench, blocks: u32, threads: u32) -> Result<(), Fault> {
    machine.launch(&bench.module(), "k", launch(blocks, threads), &[Arg::U64(0)]).map(drop)
}

/// A call of `vprintf` with the block of arguments in `block`.
const PRINT: &str = "{ .param .b64 a; .param .b64 b; .param .b32 v; mov.u64 %rd8, format; cvta.global.u64 %rd8, %rd8; st.param.b64 [a], %rd8;
    mov.u64 %rd9, block; cvta.local.u64 %rd9, %rd9; st.param.b64 [b], %rd9; call.uni (v), vprintf, (a, b); ld.param.b32 %r9, [v]; }";

#[test]
fn printed_text_comes_in_the_order_of_the_blocks() {
    let top = text("format", "%d-%d %5.1f %s %c\n") + &text("name", "abc");
    let body = format!(
        ".local .align 8 .b8 block[40]; setp.gt.u32 %p1, %r1, 1; @%p1 bra E; mov.u32 %r2, %ctaid.x; add.u32 %r3, %r1, -5;
        st.local.u32 [block], %r2; st.local.u32 [block+4], %r3; st.local.u64 [block+8], 0d4000000000000000;
        mov.u64 %rd1, name; st.local.u64 [block+16], %rd1; st.local.u32 [block+24], 65; {PRINT} E:"
    );
    let bench = bench(&top, &body);
    let want: String =
        (0..6).flat_map(|b| (0..2).map(move |t| format!("{b}-{}   2.0 abc A\n", t - 5))).collect();
    for threads in [1, 4] {
        let machine = Machine::with(Options { threads, ..Options::default() });
        run(&machine, &bench, 6, 64).unwrap();
        assert_eq!(machine.take_output(), want);
        assert_eq!(machine.take_output(), "");
    }
}

#[test]
fn printing_reads_memory_as_loads_do() {
    let top = text("format", "%d %s\n");
    let one = |stores: &str| {
        let machine = Machine::new();
        let body = format!(".local .align 8 .b8 block[16]; {stores} {PRINT} st.global.u32 [%rd0], %r9;");
        let at = machine.alloc(4);
        let out = Arg::Buffer { at, bytes: 4, access: Access::Write };
        let result = machine.launch(&bench(&top, &body).module(), "k", launch(1, 1), &[out]).map(drop);
        let mut word = [0; 4];
        let count = machine.read(at, &mut word).map(|()| u32::from_le_bytes(word));
        (result.map_err(|f| f.kind), machine.take_output(), count.ok())
    };
    // The result is the number of arguments.
    assert_eq!(
        one("st.local.u32 [block], 3; st.local.u64 [block+8], 0;"),
        (Ok(()), "3 (null)\n".into(), Some(2))
    );
    assert_eq!(one("st.local.u32 [block], 3;").0, Err(FaultKind::Uninitialised));
    assert_eq!(one("st.local.u32 [block], 3; st.local.u64 [block+8], 99;").0, Err(FaultKind::OutOfBounds));
}

#[test]
fn what_printing_reads_has_the_switch_of_loads() {
    let top = text("format", "%d\n");
    let bench = bench(&top, &format!(".local .align 8 .b8 block[8]; {PRINT}"));
    let kind = |uninitialised_memory| {
        let which = Checks { uninitialised_memory, ..Checks::default() };
        let machine = Machine::with(Options { which, ..Options::default() });
        run(&machine, &bench, 1, 1).map_err(|fault| fault.kind)
    };
    assert_eq!(kind(true), Err(FaultKind::Uninitialised));
    assert_eq!(kind(false), Ok(()));
}

#[test]
fn output_is_bounded() {
    let top = text("format", "%1000d\n");
    let body = format!(".local .align 8 .b8 block[8]; st.local.u32 [block], 3; {PRINT}");
    let machine = Machine::new();
    run(&machine, &bench(&top, &body), 4, 512).unwrap();
    let printed = machine.take_output();
    assert!(
        printed.len() < (1 << 20) + 100 && printed.ends_with("the rest is dropped]\n"),
        "{}",
        printed.len()
    );
}

#[test]
fn a_failed_assertion_is_a_fault_with_its_text() {
    let top = text("message", "x > 0")
        + &text("file", "dir/k.cu")
        + &text("name", "void k(int *)")
        + &text("format", "before\n");
    let body = format!(
        ".local .align 8 .b8 block[8]; setp.eq.u32 %p1, %r1, 0; @!%p1 bra P; {PRINT} P: setp.ne.u32 %p1, %r1, 7; @%p1 bra E;
        {{ .param .b64 a; .param .b64 b; .param .b32 c; .param .b64 d; .param .b64 e;
        mov.u64 %rd1, message; st.param.b64 [a], %rd1; mov.u64 %rd1, file; st.param.b64 [b], %rd1; st.param.b32 [c], 12;
        mov.u64 %rd1, name; st.param.b64 [d], %rd1; st.param.b64 [e], 1; call.uni __assertfail, (a, b, c, d, e); }} E:"
    );
    let machine = Machine::new();
    let fault = run(&machine, &bench(&top, &body), 1, 32).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Assertion);
    assert_eq!(fault.location.as_ref().unwrap().thread, [7, 0, 0]);
    assert!(fault.to_string().ends_with("dir/k.cu:12: void k(int *): Assertion `x > 0` failed"), "{fault}");
    // What came before is printed.
    assert_eq!(machine.take_output(), "before\n");
}

/// `%rd2 = malloc(bytes)` and `free(%rd2)`.
fn malloc(bytes: u64) -> String {
    format!(
        "{{ .param .b64 a; st.param.b64 [a], {bytes}; .param .b64 v; call.uni (v), malloc, (a); ld.param.b64 %rd2, [v]; }}\n"
    )
}
const FREE: &str = "{ .param .b64 a; st.param.b64 [a], %rd2; call.uni free, (a); }\n";

#[test]
fn every_thread_has_its_own_memory() {
    let body = malloc(64)
        + "st.u32 [%rd2+60], %r1; mul.wide.u32 %rd3, %r1, 4; add.u64 %rd3, %rd0, %rd3; ld.u32 %r2, [%rd2+60];
        atom.add.u32 %r3, [%rd2+60], 5; ld.u32 %r4, [%rd2+60]; add.u32 %r2, %r2, %r4; st.global.u32 [%rd3], %r2;"
        + FREE;
    let got = bench("", &body).words(256, 256);
    assert_eq!(got, (0..256).map(|t| 2 * t + 5).collect::<Vec<_>>());
}

#[test]
fn misuse_of_the_heap_is_a_fault() {
    let kind = |body: &str| bench("", body).run(1, &[Inout::bytes(8)]).map(drop).map_err(|f| f.kind);
    let get = malloc(8);
    assert_eq!(kind(&format!("{get} ld.u32 %r2, [%rd2];")), Err(FaultKind::Uninitialised));
    assert_eq!(kind(&format!("{get} st.u32 [%rd2+8], 1;")), Err(FaultKind::OutOfBounds));
    assert_eq!(
        kind(&format!("{get} st.u32 [%rd2+4], 1; ld.u64 %rd3, [%rd2];")),
        Err(FaultKind::Uninitialised)
    );
    assert_eq!(kind(&format!("{get} {FREE} {FREE}")), Err(FaultKind::Heap));
    assert_eq!(kind(&format!("{get} {FREE} st.u32 [%rd2], 1;")), Err(FaultKind::Heap));
    assert_eq!(kind(&format!("{get} add.u64 %rd2, %rd2, 16; {FREE}")), Err(FaultKind::Heap));
    assert_eq!(kind(&format!("mov.u64 %rd2, %rd0; {FREE}")), Err(FaultKind::Heap));
    assert_eq!(kind(&format!("mov.u64 %rd2, 0; {FREE}")), Ok(()));
    assert_eq!(kind(&format!("{get} st.u32 [%rd2], 1; ld.u32 %r2, [%rd2]; {FREE}")), Ok(()));
    // Two threads of different warps store to one place.
    let race = format!(
        "setp.ne.u32 %p1, %r1, 0; @%p1 bra E; {get} st.global.u64 [%rd0], %rd2; E: bar.sync 0; ld.global.u64 %rd2, [%rd0]; st.u32 [%rd2], %r1;"
    );
    let fault = bench("", &race).run(64, &[Inout::bytes(8)]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Race, "{fault}");
}

#[test]
fn the_heap_is_bounded_and_is_used_again() {
    // Null where there is no room, and room again after a free. The loop passes through the whole heap several times.
    let body = malloc(9 << 20)
        + "mov.u64 %rd4, %rd2; mov.u32 %r5, 0; L: "
        + &malloc(1 << 19)
        + "setp.eq.u64 %p1, %rd2, 0; @%p1 trap; add.u64 %rd5, %rd2, 524280; st.u32 [%rd5], %r5; ld.u32 %r6, [%rd5];"
        + FREE
        + "add.u32 %r5, %r5, 1; setp.lt.u32 %p1, %r5, 100; @%p1 bra L; cvt.u32.u64 %r7, %rd4; st.global.u32 [%rd0], %r7;";
    assert_eq!(bench("", &body).words(1, 1), [0]);
    let small = Machine::with(Options { heap: 32 << 10, ..Options::default() });
    let body = malloc(20 << 10)
        + "mov.u64 %rd3, %rd2;"
        + &malloc(20 << 10)
        + "setp.ne.u64 %p1, %rd2, 0; @%p1 trap; setp.eq.u64 %p1, %rd3, 0; @%p1 trap;";
    run(&small, &bench("", &body), 1, 1).unwrap();
}

/// Memory lives on, and a kernel that calls no `malloc` may use it.
#[test]
fn memory_outlives_its_launch() {
    let machine = Machine::new();
    let at = machine.alloc(8);
    machine.write(at, &[0; 8]).unwrap();
    let args = [Arg::Buffer { at, bytes: 8, access: Access::ReadWrite }];
    let first = bench("", &(malloc(16) + "st.u32 [%rd2+12], 41; st.global.u64 [%rd0], %rd2;"));
    let second = bench(
        "",
        "ld.global.u64 %rd2, [%rd0]; ld.u32 %r2, [%rd2+12]; add.u32 %r2, %r2, 1; st.u64 [%rd0], %r2;",
    )
    .text()
    .replace("st.u64 [%rd0], %r2", "cvt.u64.u32 %rd3, %r2; st.global.u64 [%rd0], %rd3");
    machine.launch(&first.module(), "k", launch(1, 1), &args).unwrap();
    machine.launch(&Bench::from_text(second).module(), "k", launch(1, 1), &args).unwrap();
    let mut bytes = [0; 8];
    machine.read(at, &mut bytes).unwrap();
    assert_eq!(u64::from_le_bytes(bytes), 42);
}
