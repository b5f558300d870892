//! Each check fires, names where, and stays silent on the corrected kernel.

mod common;

use common::{Bench, In, Inout, Out};
use ptx_emulator::{Arg, Checks, FaultKind, Machine, Module, Options};

/// The code of `shared[tid] = tid; BARRIER; out[tid] = shared[(tid + step) % threads]`.
fn exchange(barrier: &str) -> String {
    format!(
        "ld.param.u64 %rd1, [p0];
        mov.u32 %r1, %tid.x;
        shl.b32 %r2, %r1, 2;
        mov.u32 %r3, tile;
        add.s32 %r4, %r3, %r2;
        st.shared.u32 [%r4], %r1;
        {barrier}
        mov.u32 %r5, %ntid.x;
        ld.param.u32 %r10, [p1];
        add.s32 %r6, %r1, %r10;
        rem.u32 %r7, %r6, %r5;
        shl.b32 %r8, %r7, 2;
        add.s32 %r9, %r3, %r8;
        ld.shared.u32 %r11, [%r9];
        mul.wide.u32 %rd2, %r1, 4;
        add.s64 %rd3, %rd1, %rd2;
        st.global.u32 [%rd3], %r11;
        ret;"
    )
}

const TILE: &str = ".shared .align 4 .b8 tile[512];";

#[test]
fn a_missing_barrier_is_a_race_or_an_uninitialised_read() {
    for seed in 0..8 {
        let bench = Bench::new(TILE, &exchange("")).seed(seed);
        // Between warps, either the reader comes first and finds nothing, or the writer comes first and races.
        let fault = bench.run(128, &[Out(512), In::u32(64)]).unwrap_err();
        assert!(matches!(fault.kind, FaultKind::Race | FaultKind::Uninitialised), "{fault}");
        // Within a warp, all lanes store before any of them loads.
        let fault = bench.run(32, &[Out(128), In::u32(1)]).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Race, "{fault}");
        let bench = Bench::new(TILE, &exchange("bar.sync 0;")).seed(seed);
        bench.run(128, &[Out(512), In::u32(64)]).unwrap();
    }
}

#[test]
fn a_warp_barrier_orders_a_warp_but_not_a_block() {
    let bench = Bench::new(TILE, &exchange("bar.warp.sync -1;"));
    bench.run(32, &[Out(128), In::u32(1)]).unwrap();
    let fault = bench.run(64, &[Out(256), In::u32(32)]).unwrap_err();
    assert!(matches!(fault.kind, FaultKind::Race | FaultKind::Uninitialised), "{fault}");
    // Warp barriers of the halves of a warp only order the lanes within each half.
    let halves = "setp.lt.u32 %p1, %r1, 16; selp.b32 %r20, 65535, -65536, %p1; bar.warp.sync %r20;";
    let bench = Bench::new(TILE, &exchange(halves));
    assert_eq!(bench.run(32, &[Out(128), In::u32(16)]).unwrap_err().kind, FaultKind::Race);
    bench.run(32, &[Out(128), In::u32(0)]).unwrap();
}

#[test]
fn the_message_names_thread_block_line_source_and_address() {
    let body = ".loc 1 42 7
        ld.param.u64 %rd1, [p0];
        mov.u32 %r1, %ctaid.x;
        mov.u32 %r2, %tid.x;
        mad.lo.s32 %r3, %r1, 32, %r2;
        mul.wide.u32 %rd2, %r3, 4;
        add.s64 %rd3, %rd1, %rd2;
        st.global.u32 [%rd3], %r3;
        ret;";
    let bench = Bench::new("", body);
    let (machine, module) = (Machine::new(), bench.module());
    let at = machine.alloc(4 * 40);
    let arg = Arg::Buffer { at, bytes: 160, access: ptx_emulator::Access::Write };
    let fault = machine.launch(&module, "k", common::launch(2, 32), &[arg]).unwrap_err();
    let location = fault.location.as_ref().unwrap();
    assert_eq!((fault.kind, fault.address), (FaultKind::OutOfBounds, Some(at + 160)));
    assert_eq!((location.thread, location.block), ([8, 0, 0], [1, 0, 0]));
    assert_eq!(location.source.as_deref(), Some("test.cu:42"));
    let line = bench.text().lines().nth(location.line as usize - 1).unwrap().trim();
    assert_eq!(line, "st.global.u32 [%rd3], %r3;");
    let message = fault.to_string();
    for part in
        ["out of bounds in k", "thread (8, 0, 0) of block (1, 0, 0)", "(test.cu:42)", "`st.global.u32`"]
    {
        assert!(message.contains(part), "{message}");
    }
}

/// A kernel that runs `code` on `%rd1`, its first argument.
fn one(code: &str) -> Bench {
    Bench::new("", &format!("ld.param.u64 %rd1, [p0]; {code} ret;"))
}

#[track_caller]
fn expect(bench: &Bench, args: &[In], kind: FaultKind) {
    let fault = bench.run(1, args).unwrap_err();
    assert_eq!(fault.kind, kind, "{fault}");
}

#[test]
fn global_bounds_alignment_and_roles() {
    let load = one("ld.global.u32 %r1, [%rd1+16];");
    expect(&load, &[In::bytes(16)], FaultKind::OutOfBounds);
    load.run(1, &[In::bytes(20)]).unwrap();
    expect(&one("ld.global.u32 %r1, [%rd1+-4];"), &[In::bytes(16)], FaultKind::OutOfBounds);
    // The last element lies across the end.
    expect(&one("ld.global.v2.u32 {%r1, %r2}, [%rd1+8];"), &[In::bytes(12)], FaultKind::OutOfBounds);
    expect(&one("ld.global.u32 %r1, [%rd1+2];"), &[In::bytes(16)], FaultKind::Misaligned);
    expect(&one("ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1+8];"), &[In::bytes(64)], FaultKind::Misaligned);
    expect(&one("st.global.u32 [%rd1], 7;"), &[In::bytes(16)], FaultKind::ReadOnly);
    one("st.global.u32 [%rd1], 7;").run(1, &[Out(16)]).unwrap();
    expect(&one("red.global.add.u32 [%rd1], 7;"), &[In::bytes(16)], FaultKind::ReadOnly);
    expect(&one("mov.u64 %rd2, 0; ld.global.u32 %r1, [%rd2];"), &[In::bytes(16)], FaultKind::OutOfBounds);
}

#[test]
fn outputs_hold_nothing_before_they_are_written() {
    let bench = one("ld.global.u32 %r1, [%rd1];");
    // The host wrote the buffer, but it is given as an output.
    expect(&bench, &[Out(16)], FaultKind::Uninitialised);
    expect(&bench, &[In::fresh(16)], FaultKind::Uninitialised);
    one("st.global.u32 [%rd1], 3; ld.global.u32 %r1, [%rd1];").run(1, &[Out(16)]).unwrap();
    // A store of half a word writes only that half.
    expect(
        &one("st.global.u16 [%rd1+2], 3; ld.global.u32 %r1, [%rd1];"),
        &[Inout::fresh(16)],
        FaultKind::Uninitialised,
    );
}

#[test]
fn host_reads_of_what_a_kernel_left_out() {
    let bench = one("st.global.u32 [%rd1], 3; st.global.u16 [%rd1+4], 3;");
    let machine = Machine::new();
    let at = machine.alloc(8);
    let arg = Arg::Buffer { at, bytes: 8, access: ptx_emulator::Access::Write };
    machine.launch(&bench.module(), "k", common::launch(1, 1), &[arg]).unwrap();
    machine.read(at, &mut [0; 6]).unwrap();
    let fault = machine.read(at, &mut [0; 8]).unwrap_err();
    assert_eq!((fault.kind, fault.address), (FaultKind::Uninitialised, Some(at + 6)));
    assert_eq!(machine.read(at + 4, &mut [0; 8]).unwrap_err().kind, FaultKind::Host);
    machine.free(at);
    assert_eq!(machine.read(at, &mut [0; 4]).unwrap_err().kind, FaultKind::Host);
}

#[test]
fn buffers_that_no_argument_names() {
    let bench = one("ld.param.u64 %rd2, [p1]; ld.global.u32 %r1, [%rd2];");
    let machine = Machine::new();
    let (a, b) = (machine.alloc(16), machine.alloc(16));
    machine.write(b, &[1; 16]).unwrap();
    let named = Arg::Buffer { at: a, bytes: 16, access: ptx_emulator::Access::Write };
    let launch = common::launch(1, 1);
    let fault = machine.launch(&bench.module(), "k", launch, &[named.clone(), Arg::U64(b)]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::UnnamedBuffer);
    let reached = Arg::Reached { at: b, bytes: 16, access: ptx_emulator::Access::Read };
    machine.launch(&bench.module(), "k", launch, &[named, Arg::U64(b), reached]).unwrap();
}

#[test]
fn shared_and_local_memory() {
    let tile = ".shared .align 8 .b8 tile[10]; .shared .align 4 .b8 other[4]; .local .align 4 .b8 spot[8];";
    let bench =
        |code: &str| Bench::new(tile, &format!("mov.u64 %rd1, tile; mov.u64 %rd2, spot; {code} ret;"));
    bench("st.shared.u16 [%rd1+8], 1; ld.shared.u16 %rs1, [%rd1+8];").run(1, &[]).unwrap();
    expect(&bench("st.shared.u16 [%rd1+10], 1;"), &[], FaultKind::OutOfBounds);
    expect(&bench("st.shared.u32 [%rd1+8], 1;"), &[], FaultKind::OutOfBounds);
    expect(&bench("mov.u64 %rd3, 0; st.shared.u32 [%rd3], 1;"), &[], FaultKind::OutOfBounds);
    expect(&bench("ld.shared.u16 %rs1, [%rd1];"), &[], FaultKind::Uninitialised);
    expect(&bench("st.shared.u8 [%rd1], 1; ld.shared.u16 %rs1, [%rd1];"), &[], FaultKind::Uninitialised);
    expect(&bench("st.shared.u32 [%rd1+2], 1;"), &[], FaultKind::Misaligned);
    bench("st.local.u32 [%rd2+4], 1; ld.local.u32 %r1, [%rd2+4];").run(1, &[]).unwrap();
    expect(&bench("st.local.u32 [%rd2+8], 1;"), &[], FaultKind::OutOfBounds);
    expect(&bench("ld.local.u32 %r1, [%rd2];"), &[], FaultKind::Uninitialised);
    // The same memory is reached through generic addresses.
    bench("cvta.local.u64 %rd3, %rd2; st.u32 [%rd3], 1; ld.local.u32 %r1, [%rd2];").run(1, &[]).unwrap();
    bench("cvta.shared.u64 %rd3, %rd1; st.u32 [%rd3], 1; ld.shared.u32 %r1, [%rd1];").run(1, &[]).unwrap();
    expect(&bench("cvta.shared.u64 %rd3, %rd1; st.u32 [%rd3+12], 1;"), &[], FaultKind::OutOfBounds);
}

#[test]
fn neighbouring_halves_of_a_word_are_no_race() {
    let store = |step: u32| {
        format!(
            "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, {step}; add.s64 %rd3, %rd1, %rd2;
            cvt.u16.u32 %rs1, %r1; st.global.u16 [%rd3], %rs1; ret;"
        )
    };
    Bench::new("", &store(2)).run(128, &[Out(256)]).unwrap();
    let fault = Bench::new("", &store(0)).run(128, &[Out(256)]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Race, "{fault}");
}

#[test]
fn blocks_race_in_global_memory() {
    let code = "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %ctaid.x; st.global.u32 [%rd1], %r1; ret;";
    let launch = common::launch(2, 1);
    let fault = Bench::new("", code).launch(launch, &[Out(4)]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Race, "{fault}");
    // One block reads what the other writes.
    let code = "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %ctaid.x; setp.eq.u32 %p1, %r1, 0;
        @%p1 st.global.u32 [%rd1], %r1; @!%p1 ld.global.u32 %r2, [%rd1]; ret;";
    for seed in 0..4 {
        let fault = Bench::new("", code).seed(seed).launch(launch, &[Inout::bytes(4)]).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Race, "{fault}");
    }
    let code = "ld.param.u64 %rd1, [p0]; red.global.add.u32 [%rd1], 1; ret;";
    Bench::new("", code).launch(launch, &[Inout::bytes(4)]).unwrap();
}

#[test]
fn the_read_only_cache_must_not_see_stores_of_the_launch() {
    let code = "st.global.u32 [%rd1], 1; ld.global.nc.u32 %r1, [%rd1];";
    expect(&one(code), &[Inout::bytes(4)], FaultKind::Race);
    one("ld.global.nc.u32 %r1, [%rd1]; st.global.u32 [%rd1], %r1;").run(1, &[Inout::bytes(4)]).unwrap();
}

#[test]
fn barriers_that_not_all_reach() {
    let tid = "mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, ";
    let run = |threads, code: &str, which| Bench::new("", code).checks(which).run(threads, &[]);
    let kind = |threads, code: &str| run(threads, code, Checks::ALL).unwrap_err().kind;
    // A warp skips the barrier and ends.
    assert_eq!(
        kind(64, &format!("{tid} 32; @!%p1 bra L; bar.sync 0; L: ret;")),
        FaultKind::ExitBeforeBarrier
    );
    // Half a warp skips the barrier and ends.
    assert_eq!(
        kind(32, &format!("{tid} 16; @!%p1 bra L; bar.sync 0; L: ret;")),
        FaultKind::ExitBeforeBarrier
    );
    // The halves of a warp wait at two barriers.
    let two = format!("{tid} 16; @%p1 bra L; bar.sync 0; bra M; L: bar.sync 0; M: ret;");
    assert_eq!(kind(32, &two), FaultKind::PartialBarrier);
    // Two warps wait at different barriers.
    let ids = format!("{tid} 32; @%p1 bra L; bar.sync 0; bra M; L: bar.sync 1; M: ret;");
    assert_eq!(kind(64, &ids), FaultKind::PartialBarrier);
    // The count of a barrier is never reached.
    assert_eq!(kind(64, "bar.sync 1, 96; ret;"), FaultKind::PartialBarrier);
    Bench::new("", "bar.sync 1, 64; ret;").run(64, &[]).unwrap();
    Bench::new("", &format!("{tid} 32; @%p1 bra L; bar.sync 1, 32; L: bar.sync 0; ret;"))
        .run(64, &[])
        .unwrap();
    // Some threads return before a barrier that the others reach.
    let early = format!("{tid} 40; @!%p1 ret; bar.sync 0; ret;");
    assert_eq!(kind(64, &early), FaultKind::ExitBeforeBarrier);
    // GPUs since Volta allow that, as they do where the end of the kernel is what comes after the barrier.
    run(64, &early, Checks::default()).unwrap();
    run(32, &format!("{tid} 16; @!%p1 bra L; bar.sync 0; L: ret;"), Checks::default()).unwrap();
}

#[test]
fn shuffles_of_lanes_that_are_not_there() {
    let tid = "mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 16;";
    let shuffle = "shfl.sync.bfly.b32 %r2|%p2, %r1, 16, 31, -1;";
    let kind = |code: &str| Bench::new("", &format!("{tid} {code} ret;")).run(32, &[]).unwrap_err().kind;
    assert_eq!(kind(&format!("@!%p1 bra L; {shuffle} L:")), FaultKind::ExitBeforeBarrier);
    assert_eq!(kind(&format!("@%p1 {shuffle} bar.sync 0;")), FaultKind::Mask);
    assert_eq!(kind("shfl.sync.idx.b32 %r2, %r1, 0, 31, 65535;"), FaultKind::Mask);
    assert_eq!(kind("@%p1 shfl.sync.idx.b32 %r2, %r1, 20, 31, 65535;"), FaultKind::Mask);
    Bench::new("", &format!("{tid} @%p1 shfl.sync.idx.b32 %r2, %r1, 9, 31, 65535; ret;"))
        .run(32, &[])
        .unwrap();
    // Lanes come to one shuffle on different ways.
    let ways = format!("@%p1 bra L; mov.u32 %r3, 1; L: {shuffle}");
    Bench::new("", &format!("{tid} {ways} ret;")).run(32, &[]).unwrap();
}

#[test]
fn copies_arrive_when_they_are_waited_for() {
    let tile = ".shared .align 16 .b8 tile[16];";
    let copy = |wait: &str| {
        format!(
            "ld.param.u64 %rd1, [p0]; mov.u32 %r1, tile; cp.async.ca.shared.global [%r1], [%rd1], 16;
            cp.async.commit_group; {wait} ld.shared.u32 %r2, [%r1+12]; ret;"
        )
    };
    expect(&Bench::new(tile, &copy("")), &[In::bytes(16)], FaultKind::Uninitialised);
    expect(&Bench::new(tile, &copy("cp.async.wait_group 1;")), &[In::bytes(16)], FaultKind::Uninitialised);
    for wait in ["cp.async.wait_group 0;", "cp.async.wait_all;"] {
        Bench::new(tile, &copy(wait)).run(1, &[In::bytes(16)]).unwrap();
    }
}

#[test]
fn endless_loops_and_traps_end() {
    let bench = Bench::new("", "L: bra L; ret;");
    let machine = Machine::with(Options { max_instructions: 1000, ..Options::default() });
    let fault = machine.launch(&bench.module(), "k", common::launch(1, 64), &[]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::EndlessLoop);
    expect(&one("trap;"), &[Out(4)], FaultKind::Trap);
}

#[test]
fn arguments_and_limits() {
    let text = one("").text().replace(")\n{", ")\n.maxntid 64, 1, 1\n{");
    let module = Module::parse("t.ptx", &text).unwrap();
    let machine = Machine::new();
    let run = |launch, args: &[Arg]| machine.launch(&module, "k", launch, args).unwrap_err().kind;
    let launch = common::launch(1, 64);
    assert_eq!(run(launch, &[]), FaultKind::Arguments);
    assert_eq!(run(launch, &[Arg::U32(0)]), FaultKind::Arguments);
    assert_eq!(run(launch, &[Arg::U64(0), Arg::U64(0)]), FaultKind::Arguments);
    assert_eq!(run(common::launch(1, 65), &[Arg::U64(0)]), FaultKind::Limits);
    assert_eq!(run(common::launch(0, 64), &[Arg::U64(0)]), FaultKind::Limits);
    let large = ptx_emulator::Launch { shared: 228 << 10, ..launch };
    assert_eq!(run(large, &[Arg::U64(0)]), FaultKind::Limits);
    assert_eq!(machine.launch(&module, "other", launch, &[]).unwrap_err().kind, FaultKind::Arguments);
    machine.launch(&module, "k", launch, &[Arg::U64(0)]).unwrap();
}

#[test]
fn unknown_text_is_named_with_its_line() {
    let bench = Bench::new("", "ret;");
    for (code, part) in [
        ("tex.2d.v4.f32.s32 {%r1}, [x, {%r1}];", "`tex.2d.v4.f32.s32`"),
        ("add.rz.f16 %rs1, %rs1, %rs1;", "`add.rz.f16`"),
        ("add.rn.sat.s32 %r1, %r1, %r1;", "`add.rn.sat.s32`"),
        ("ld.global.weird.u32 %r1, [%rd1];", "`ld.global.weird.u32`"),
        ("add.s32 %r1, %rd1, %r1;", "64 bits"),
        ("add.s32 %r1, %r1;", "3 are needed"),
        ("mov.u32 %r1, %nothing;", "`%nothing`"),
        ("bra NOWHERE;", "`NOWHERE`"),
        ("mov.u32 %r1 %r2;", "expected"),
    ] {
        let text = bench.text().replace("ret;", &format!("\n\n{code}\nret;"));
        let line = text.lines().position(|l| l == code).unwrap() as u32 + 1;
        let error = Module::parse_whole("bad.ptx", &text).unwrap_err();
        assert_eq!((error.file.as_str(), error.line), ("bad.ptx", line), "{error}");
        assert!(error.message.contains(part), "{error}");
    }
}

#[test]
fn equal_values_in_shared_memory_are_no_race() {
    // Two warps store to one word, which both read behind a barrier.
    let store = |value: &str| {
        let code = format!(
            "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; shr.u32 %r2, %r1, 5; mov.u32 %r3, tile; {value}
            st.shared.u32 [%r3], %r4; bar.sync 0; ld.shared.u32 %r5, [%r3]; mul.wide.u32 %rd2, %r1, 4;
            add.s64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r5; ret;"
        );
        Bench::new(TILE, &code).run(64, &[Out(256)])
    };
    store("mov.u32 %r4, 7;").unwrap();
    assert_eq!(store("mov.u32 %r4, %r2;").unwrap_err().kind, FaultKind::Race);
    // Whoever reads beside such a store still races with it.
    let code = "mov.u32 %r1, %tid.x; mov.u32 %r3, tile; st.shared.u32 [%r3], 7; bar.sync 0; setp.lt.u32 %p1, %r1, 32;
        @%p1 st.shared.u32 [%r3], 7; @!%p1 ld.shared.u32 %r5, [%r3]; ret;";
    for seed in 0..4 {
        let fault = Bench::new(TILE, code).seed(seed).run(64, &[]).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Race, "{fault}");
    }
}

#[test]
fn what_the_driver_reserves_in_shared_memory_is_no_variable() {
    let code = |register: &str| format!("mov.u32 %r1, {register}; st.shared.u32 [%r1], 1; ret;");
    for register in ["%reserved_smem_offset_begin", "%reserved_smem_offset_0", "%reserved_smem_offset_1"] {
        let fault = Bench::new(TILE, &code(register)).run(1, &[]).unwrap_err();
        assert_eq!(fault.kind, FaultKind::OutOfBounds, "{fault}");
    }
    Bench::new(TILE, "mov.u32 %r1, %reserved_smem_offset_end; mov.u32 %r2, %reserved_smem_offset_cap; ret;")
        .run(1, &[])
        .unwrap();
}
