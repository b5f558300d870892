//! Barriers in shared memory, bulk copies, and clusters of one block.

mod common;

use common::{Bench, In, Inout, Out};
use ptx_emulator::{Access, Arg, FaultKind, Launch, Machine, Module, Options};

/// A block in which thread 0 makes a barrier `b` of some arrivals, before all go on.
fn with_barrier(count: u32, code: &str) -> Bench {
    Bench::new(
        ".shared .align 16 .b8 b[8];\n.shared .align 16 .b8 s[256];",
        &format!(
            "mov.u32 %r0, %tid.x;\nsetp.eq.u32 %p0, %r0, 0;\n@%p0 mbarrier.init.shared.b64 [b], {count};\nbar.sync 0;\n{code}\nret;"
        ),
    )
}

/// Stores `%r9` to the thread's word of `p0`.
const STORE: &str =
    "ld.param.u64 %rd1, [p0];\nmad.wide.u32 %rd2, %r0, 4, %rd1;\nst.global.u32 [%rd2], %r9;\n";

/// Waits for the phase of a parity.
fn wait(parity: u32) -> String {
    format!(
        "W{parity}: mbarrier.try_wait.parity.shared.b64 %p1, [b], {parity};\n@%p1 bra D{parity};\nbra W{parity};\nD{parity}:\n"
    )
}

#[test]
fn phases_end_with_the_last_arrival() {
    // Every arrival sees how many are missing, and only after the last one the phase has ended.
    let code = format!(
        "mbarrier.test_wait.parity.shared.b64 %p1, [b], 0;
mbarrier.test_wait.parity.shared.b64 %p2, [b], 1;
bar.sync 0;
mbarrier.arrive.shared.b64 %rd3, [b];
mbarrier.pending_count.b64 %r1, %rd3;
bar.sync 0;
mbarrier.test_wait.shared.b64 %p3, [b], %rd3;
mbarrier.arrive.shared.b64 %rd4, [b];
mbarrier.test_wait.shared.b64 %p4, [b], %rd4;
selp.u32 %r2, 100, 0, %p1;
selp.u32 %r3, 200, 0, %p2;
selp.u32 %r4, 400, 0, %p3;
selp.u32 %r5, 800, 0, %p4;
add.u32 %r9, %r1, %r2;
add.u32 %r9, %r9, %r3;
add.u32 %r9, %r9, %r4;
add.u32 %r9, %r9, %r5;
{STORE}"
    );
    // The lanes of a warp arrive together, so that its second arrivals end the second phase for all of them.
    let want: Vec<u32> = (0..32).map(|t| 32 - t + 200 + 400 + 800).collect();
    assert_eq!(with_barrier(32, &code).words(32, 32), want);
}

#[test]
fn counts_of_later_phases_can_drop() {
    let code = format!(
        "mbarrier.arrive.noComplete.shared.b64 %rd3, [b], 1;
mbarrier.arrive_drop.shared.b64 %rd3, [b];
mbarrier.pending_count.b64 %r1, %rd3;
mbarrier.arrive.shared.b64 %rd4, [b];
mbarrier.pending_count.b64 %r2, %rd4;
mbarrier.test_wait.shared.b64 %p1, [b], %rd3;
mbarrier.test_wait.shared.b64 %p2, [b], %rd4;
selp.u32 %r3, 100, 0, %p1;
selp.u32 %r4, 200, 0, %p2;
add.u32 %r9, %r3, %r4;
mad.lo.u32 %r9, %r1, 10, %r9;
add.u32 %r9, %r9, %r2;
{STORE}"
    );
    // Of two, one is missing after the first arrival. From then on one is enough.
    assert_eq!(with_barrier(2, &code).words(1, 1), [100 + 200 + 10 + 1]);
}

#[test]
fn a_wait_orders_what_was_done_before_the_arrival() {
    let kind = |wait: &str, seed| {
        let code = format!(
            "setp.lt.u32 %p2, %r0, 32;
@%p2 bra READ;
shl.b32 %r1, %r0, 2;
mov.u32 %r2, s;
add.u32 %r2, %r2, %r1;
st.shared.u32 [%r2], %r0;
mbarrier.arrive.shared.b64 %rd3, [b];
bra END;
READ:
{wait}
shl.b32 %r1, %r0, 2;
mov.u32 %r2, s;
add.u32 %r2, %r2, %r1;
ld.shared.u32 %r9, [%r2+128];
{STORE}END:"
        );
        let bench = with_barrier(32, &code).seed(seed);
        bench.run(64, &[Inout::bytes(128)]).map(|_| ()).map_err(|e| e.kind)
    };
    for seed in 0..8 {
        assert_eq!(kind(&wait(0), seed), Ok(()), "seed {seed}");
        // Whether the phase before the first or the second has ended orders nothing.
        let other = "mbarrier.test_wait.parity.shared.b64 %p1, [b], 1;";
        let fault = kind(other, seed).unwrap_err();
        assert!(matches!(fault, FaultKind::Race | FaultKind::Uninitialised), "seed {seed}: {fault:?}");
    }
}

#[test]
fn lanes_of_one_warp_wait_for_each_other() {
    for wanted in ["lt", "ge"] {
        let code = format!(
            "setp.{wanted}.u32 %p2, %r0, 16;\n@%p2 bra WAIT;
mbarrier.arrive.shared.b64 %rd3, [b];\nbra END;\nWAIT:\n{}mov.u32 %r9, 7;\n{STORE}END:",
            wait(0)
        );
        with_barrier(16, &code).run(32, &[Inout::bytes(128)]).unwrap();
    }
}

#[test]
fn misuse_of_barriers_is_found() {
    let kind = |count, code: &str| with_barrier(count, code).run(32, &[]).map(|_| ()).map_err(|e| e.kind);
    assert_eq!(kind(32, "mbarrier.arrive.shared.b64 %rd3, [b];"), Ok(()));
    // Memory without a barrier, one that is gone, and one that was overwritten.
    assert_eq!(kind(32, "mbarrier.arrive.shared.b64 %rd3, [s];"), Err(FaultKind::Uninitialised));
    let gone = "@%p0 mbarrier.inval.shared.b64 [b];\nbar.sync 0;\n";
    assert_eq!(kind(32, gone), Ok(()));
    assert_eq!(
        kind(32, &format!("{gone}mbarrier.test_wait.parity.shared.b64 %p1, [b], 0;")),
        Err(FaultKind::Uninitialised)
    );
    let store = "@%p0 st.shared.u32 [b+4], 0;\nbar.sync 0;\nmbarrier.arrive.shared.b64 %rd3, [b];";
    assert_eq!(kind(32, store), Err(FaultKind::Uninitialised));
    assert_eq!(kind(32, "ld.shared.u64 %rd3, [b];"), Err(FaultKind::Uninitialised));
    assert_eq!(kind(32, "mbarrier.arrive.shared.b64 %rd3, [b+4];"), Err(FaultKind::Misaligned));
    assert_eq!(kind(0, ""), Err(FaultKind::PartialBarrier));
    // More arrivals than a phase has, a .noComplete that completes, more bytes than can be counted, a third parity.
    assert_eq!(kind(32, "mbarrier.arrive.shared.b64 %rd3, [b], 33;"), Err(FaultKind::PartialBarrier));
    assert_eq!(
        kind(32, "mbarrier.arrive.noComplete.shared.b64 %rd3, [b], 1;"),
        Err(FaultKind::PartialBarrier)
    );
    assert_eq!(kind(33, "mbarrier.arrive.noComplete.shared.b64 %rd3, [b], 1;"), Ok(()));
    assert_eq!(kind(32, "mbarrier.expect_tx.shared.b64 [b], 40000;"), Err(FaultKind::PartialBarrier));
    assert_eq!(kind(32, "mbarrier.test_wait.parity.shared.b64 %p1, [b], 2;"), Err(FaultKind::PartialBarrier));
}

#[test]
fn a_phase_that_never_ends_is_an_endless_loop() {
    let bench = with_barrier(33, &format!("mbarrier.arrive.shared.b64 %rd3, [b];\n{}", wait(0)));
    let machine = Machine::with(Options { max_instructions: 10_000, ..Options::default() });
    let launch = Launch { grid: [1; 3], block: [32, 1, 1], shared: 0 };
    let fault = machine.launch(&bench.module(), "k", launch, &[]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::EndlessLoop);
}

/// A block that copies 128 bytes of `p1` to `s`, and gives the words to `p0`.
fn bulk(bytes: u32, before: &str, after: &str) -> Bench {
    with_barrier(
        1,
        &format!(
            "ld.param.u64 %rd1, [p0];\nld.param.u64 %rd2, [p1];\n{before}
@%p0 mbarrier.arrive.expect_tx.shared.b64 _, [b], 128;
@%p0 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd2], {bytes}, [b];
{after}shl.b32 %r1, %r0, 2;
mov.u32 %r2, s;
add.u32 %r2, %r2, %r1;
ld.shared.u32 %r9, [%r2];
{STORE}"
        ),
    )
}

#[test]
fn bulk_copies_arrive_with_their_barrier() {
    let run = |bench: &Bench| {
        let machine = Machine::new();
        let (from, to) = (machine.alloc(128), machine.alloc(128));
        let data: Vec<u8> = (0..128u32).map(|k| (k * 3 % 251) as u8).collect();
        machine.write(from, &data).unwrap();
        let args = [
            Arg::Buffer { at: to, bytes: 128, access: Access::Write },
            Arg::Buffer { at: from, bytes: 128, access: Access::Read },
        ];
        let launch = Launch { grid: [1; 3], block: [32, 1, 1], shared: 0 };
        let meter = machine.launch(&bench.module(), "k", launch, &args).map_err(|e| e.kind)?;
        let mut out = vec![0; 128];
        machine.read(to, &mut out).unwrap();
        assert_eq!(out, data);
        Ok::<_, FaultKind>(meter)
    };
    let meter = run(&bulk(128, "", &wait(0))).unwrap();
    let loads = meter.traffic(ptx_emulator::Space::Global, ptx_emulator::Class::Load);
    assert_eq!((loads.requests, loads.bytes, loads.sectors), (1, 128, 4));
    // What is read before the wait is not there yet.
    assert_eq!(run(&bulk(128, "", "")).unwrap_err(), FaultKind::Uninitialised);
    assert_eq!(run(&bulk(128, "", "bar.sync 0;\n")).unwrap_err(), FaultKind::Uninitialised);
    assert_eq!(run(&bulk(120, "", &wait(0))).unwrap_err(), FaultKind::Misaligned);
    assert_eq!(run(&bulk(144, "", &wait(0))).unwrap_err(), FaultKind::OutOfBounds);
    assert_eq!(run(&bulk(128, "add.u64 %rd2, %rd2, 4;", &wait(0))).unwrap_err(), FaultKind::Misaligned);
    // Too few bytes come, so that the phase does not end.
    let fewer = bulk(112, "", "mbarrier.test_wait.parity.shared.b64 %p1, [b], 0;\n@!%p1 trap;\n");
    assert_eq!(run(&fewer).unwrap_err(), FaultKind::Trap);
}

#[test]
fn bulk_copies_go_back_to_global_memory() {
    let code = |sync: &str| {
        format!(
            "ld.param.u64 %rd1, [p0];\nshl.b32 %r1, %r0, 2;\nmov.u32 %r2, s;\nadd.u32 %r2, %r2, %r1;
mul.lo.u32 %r9, %r0, 5;\nst.shared.u32 [%r2], %r9;\nfence.proxy.async.shared::cta;\n{sync}
setp.eq.u32 %p2, %r0, 63;
@%p2 cp.async.bulk.global.shared::cta.bulk_group [%rd1], [s], 256;
@%p2 cp.async.bulk.commit_group;\n@%p2 cp.async.bulk.wait_group.read 0;"
        )
    };
    let want: Vec<u32> = (0..64).map(|t| t * 5).collect();
    assert_eq!(with_barrier(1, &code("bar.sync 0;")).words(64, 64), want);
    let fault = with_barrier(1, &code("")).run(64, &[Out(256)]).unwrap_err();
    assert!(matches!(fault.kind, FaultKind::Race | FaultKind::Uninitialised), "{fault}");
    let fault = with_barrier(1, &code("bar.sync 0;")).run(64, &[In::bytes(256)]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::ReadOnly);
}

#[test]
fn copies_of_threads_arrive_at_barriers() {
    for (counted, count) in [(".noinc", 32), ("", 1)] {
        let arrive = if counted.is_empty() { "@%p0 mbarrier.arrive.shared.b64 %rd4, [b];\n" } else { "" };
        let code = format!(
            "ld.param.u64 %rd1, [p0];\nld.param.u64 %rd2, [p1];\nmad.wide.u32 %rd3, %r0, 4, %rd2;
shl.b32 %r1, %r0, 2;\nmov.u32 %r2, s;\nadd.u32 %r3, %r2, %r1;
cp.async.ca.shared.global [%r3], [%rd3], 4;
cp.async.mbarrier.arrive{counted}.shared.b64 [b];\n{arrive}{}xor.b32 %r1, %r1, 124;\nadd.u32 %r3, %r2, %r1;
ld.shared.u32 %r9, [%r3];\n{STORE}",
            wait(0)
        );
        with_barrier(count, &code).run(32, &[Out(128), In::bytes(128)]).unwrap();
    }
}

#[test]
fn a_cluster_has_one_block() {
    let kernel = |directive: &str, code: &str| {
        format!(
            ".version 8.4\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 p0)\n{directive}\n{{
.reg .pred %p<4>;\n.reg .b32 %r<16>;\n.reg .b64 %rd<8>;\n.shared .align 16 .b8 s[256];\nmov.u32 %r0, %tid.x;
shl.b32 %r1, %r0, 2;\nmov.u32 %r2, s;\nadd.u32 %r3, %r2, %r1;\n{code}\nret;\n}}\n"
        )
    };
    let neighbour = "st.shared.u32 [%r3], %r0;
barrier.cluster.arrive.release.aligned;\nbarrier.cluster.wait.acquire.aligned;
xor.b32 %r4, %r1, 252;\nadd.u32 %r4, %r2, %r4;\nmapa.shared::cluster.u32 %r5, %r4, 0;
ld.shared::cluster.u32 %r6, [%r5];\nmov.u32 %r7, %cluster_nctarank;\nmov.u32 %r8, %cluster_ctaid.y;
add.u32 %r6, %r6, %r7;\nadd.u32 %r9, %r6, %r8;\n";
    let text = kernel(".explicitcluster\n.reqnctapercluster 1, 1, 1", &format!("{neighbour}{STORE}"));
    let want: Vec<u32> = (0..64).map(|t| 64 - t).collect();
    assert_eq!(Bench::from_text(text).words(64, 64), want);

    let kind = |code: &str| {
        let bench = Bench::from_text(kernel(".maxclusterrank 8", code));
        bench.run(64, &[Out(256)]).map(|_| ()).map_err(|e| e.kind)
    };
    let half = "setp.lt.u32 %p0, %r0, 32;\n@%p0 exit;\n";
    let (arrive, wait) = ("barrier.cluster.arrive;\n", "barrier.cluster.wait;\n");
    // Threads that have left are not waited for. Nobody waits who has not arrived, or arrives twice.
    assert_eq!(kind(&format!("{half}{arrive}{wait}")), Ok(()));
    assert_eq!(kind(&format!("{arrive}{half}{wait}{arrive}{wait}")), Ok(()));
    assert_eq!(kind(wait), Err(FaultKind::PartialBarrier));
    assert_eq!(kind(&format!("{arrive}{arrive}")), Err(FaultKind::PartialBarrier));
    assert_eq!(kind("mapa.shared::cluster.u32 %r5, %r3, 1;"), Err(FaultKind::OutOfBounds));

    let module = Module::parse("k.ptx", &kernel(".reqnctapercluster 2, 1, 1", "")).unwrap();
    assert_eq!(module.entry("k").unwrap().cluster, [2, 1, 1]);
    let launch = Launch { grid: [2, 1, 1], block: [32, 1, 1], shared: 0 };
    let fault = Machine::new().launch(&module, "k", launch, &[Arg::U64(0)]).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Limits);
}

#[test]
fn one_lane_is_elected() {
    let code = format!(
        "mov.u32 %r0, %tid.x;\nsetp.lt.u32 %p0, %r0, 8;\nmov.u32 %r9, 1000;\n@%p0 bra SKIP;
elect.sync %r1|%p1, 0xffffff00;\nselp.u32 %r9, 100, 0, %p1;\nadd.u32 %r9, %r9, %r1;\nSKIP:
setmaxnreg.inc.sync.aligned.u32 232;\ngriddepcontrol.wait;\n{STORE}ret;"
    );
    let want: Vec<u32> = (0..32).map(|t| [1000, 108, 8][usize::from(t >= 8) + usize::from(t > 8)]).collect();
    assert_eq!(Bench::new("", &code).words(32, 32), want);
}

#[test]
fn bulk_copies_within_shared_memory_and_to_the_blocks_of_a_cluster() {
    // Each thread's word goes from the first half of `s` to the second.
    let code = format!(
        "shl.b32 %r1, %r0, 2;\nmov.u32 %r2, s;\nadd.u32 %r3, %r2, %r1;\nadd.u32 %r4, %r0, 11;
st.shared.u32 [%r3], %r4;\nbar.sync 0;\n@%p0 mbarrier.arrive.expect_tx.shared.b64 _, [b], 128;
@%p0 cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [s+128], [s], 128, [b];
{}ld.shared.u32 %r9, [%r3+128];\n{STORE}",
        wait(0)
    );
    let want: Vec<u32> = (11..43).collect();
    assert_eq!(with_barrier(1, &code).words(32, 32), want);

    for (mask, want) in [(1, None), (3, Some(FaultKind::OutOfBounds))] {
        let code = format!(
            "ld.param.u64 %rd1, [p0];\nmov.u16 %rs1, {mask};\nmov.u64 %rd5, 0;
@%p0 mbarrier.arrive.expect_tx.shared.b64 _, [b], 64;
@%p0 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster.L2::cache_hint [s], [%rd1], 64, [b], %rs1, %rd5;
{}",
            wait(0)
        );
        let fault = with_barrier(1, &code).run(32, &[In::bytes(64)]).err();
        assert_eq!(fault.map(|f| f.kind), want, "mask {mask}");
    }
}
