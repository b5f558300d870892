//! What messages name: both lines of a race, and the argument beside an address.

mod common;

use common::{Bench, In, Inout, Out, launch};
use ptx_emulator::{Access, Arg, Fault, FaultKind, Machine, Module, Options};

#[track_caller]
fn says(fault: Fault, kind: FaultKind, parts: &[&str]) {
    assert_eq!(fault.kind, kind, "{fault}");
    let message = fault.to_string();
    for part in parts {
        assert!(message.contains(part), "{part}: {message}");
    }
}

/// The line of the PTX file in which `code` stands.
fn line(bench: &Bench, code: &str) -> usize {
    1 + bench.text().lines().position(|l| l.contains(code)).unwrap()
}

#[test]
fn a_race_names_both_lines() {
    // The one thread writes in line 7 of the source, the other reads in line 9. Which comes first is up to the seed.
    let code = |space: &str, me: &str| {
        format!(
            "{} mov.u32 %r1, {me}; setp.eq.u32 %p1, %r1, 0; @%p1 bra W; setp.eq.u32 %p2, %r1, 32; @%p2 bra R; ret;
            W: .loc 1 7 3\nst.{space}.u32 [%rd1], 3; ret;
            R: .loc 1 9 3\nld.{space}.u32 %r2, [%rd1]; ret;",
            if space == "shared" { "mov.u64 %rd1, tile;" } else { "ld.param.u64 %rd1, [p0];" }
        )
    };
    let tile = ".shared .align 4 .b8 tile[4];";
    for (space, me, size) in [
        ("shared", "%tid.x", launch(1, 64)),
        ("global", "%tid.x", launch(1, 64)),
        ("global", "%ctaid.x", launch(40, 1)),
    ] {
        let mut orders = [0; 2];
        for seed in 0..12 {
            let options = Options { seed, threads: 1, ..Options::default() };
            let bench = Bench::new(tile, &code(space, me)).options(options);
            let args = if space == "shared" { vec![] } else { vec![Inout::bytes(4)] };
            let fault = bench.launch(size, &args).unwrap_err();
            if fault.kind == FaultKind::Uninitialised {
                continue;
            }
            let (wrote, read) = (line(&bench, "[%rd1], 3"), line(&bench, "%r2, [%rd1]"));
            let here = fault.location.as_ref().unwrap().line as usize;
            orders[usize::from(here == read)] += 1;
            if here == read {
                says(
                    fault,
                    FaultKind::Race,
                    &["(test.cu:9)", &format!("wrote at test.ptx:{wrote} (test.cu:7)")],
                );
            } else {
                says(
                    fault,
                    FaultKind::Race,
                    &["(test.cu:7)", &format!("read at test.ptx:{read} (test.cu:9)")],
                );
            }
        }
        assert!(orders[1] > 0 && (space == "shared" || orders[0] > 0), "{space} {me}: {orders:?}");
    }
}

#[test]
fn an_address_names_the_argument_beside_it() {
    let run = |code: &str, args: &[In]| {
        let code = format!("ld.param.u64 %rd1, [p0]; ld.param.u64 %rd2, [p1]; {code} ret;");
        let bench = Bench::new("", &code);
        let machine = Machine::new();
        let args: Vec<Arg> = args
            .iter()
            .map(|arg| match *arg {
                In::Memory { bytes, access, .. } => Arg::Buffer { at: machine.alloc(bytes), bytes, access },
                In::Word(x) => Arg::U32(x),
            })
            .collect();
        machine.launch(&bench.module(), "k", launch(1, 1), &args).unwrap_err()
    };
    let two = [Out(16), Out(40)];
    says(
        run("st.global.u32 [%rd2+52], 1;", &two),
        FaultKind::OutOfBounds,
        &["12 bytes past the end of argument 1, which has 40"],
    );
    says(run("st.global.u32 [%rd1+-8], 1;", &two), FaultKind::OutOfBounds, &["8 bytes before argument 0"]);
    says(
        run("st.global.u64 [%rd2+32], 1; ld.global.u32 %r1, [%rd2];", &two),
        FaultKind::Uninitialised,
        &["byte 0 of argument 1"],
    );
    says(
        run("st.global.u32 [%rd1], 1;", &[In::bytes(16), Out(40)]),
        FaultKind::ReadOnly,
        &["byte 0 of argument 0, given for reading"],
    );
    says(
        run("ld.global.u32 %r1, [%rd2+8];", &[Out(8), In::fresh(16)]),
        FaultKind::Uninitialised,
        &["byte 8 of argument 1, which nothing wrote"],
    );
}

#[test]
fn variables_and_reached_memory_have_their_names() {
    let text = ".version 8.4\n.target sm_80\n.address_size 64\n.global .align 4 .b8 table[16];
        .visible .entry k(.param .u64 p0) { .reg .b64 %rd<9>; .reg .b32 %r<9>;
        ld.param.u64 %rd1, [p0]; mov.u64 %rd2, table; OP ret; }";
    let run = |op: &str| {
        let module = Module::parse("t.ptx", &text.replace("OP", op)).unwrap();
        let machine = Machine::new();
        let at = machine.alloc(16);
        let args = [Arg::U64(at), Arg::Reached { at, bytes: 16, access: Access::Write }];
        machine.launch(&module, "k", launch(1, 1), &args).unwrap_err()
    };
    says(
        run("st.global.u32 [%rd2+20], 1;"),
        FaultKind::OutOfBounds,
        &["4 bytes past the end of variable `table`, which has 16"],
    );
    says(
        run("st.global.u32 [%rd1+16], 1;"),
        FaultKind::OutOfBounds,
        &["0 bytes past the end of reached memory 0"],
    );
}
