//! Threads that wait for others in a loop let those go on.

mod common;

use common::{Bench, Inout, launch};
use ptx_emulator::{Access, Arg, FaultKind, Launch, Machine, Options};

/// Runs it on zeros in several orders, with one worker and with two, and returns the words after each.
fn results(code: &str, launch: Launch, words: usize) -> Vec<Vec<u32>> {
    let module = Bench::new("", &format!("ld.param.u64 %rd1, [p0]; {code} ret;")).module();
    let mut all = Vec::new();
    for (threads, seed) in [(1, 0), (1, 1), (1, 6), (1, 13), (2, 0)] {
        let machine =
            Machine::with(Options { threads, seed, max_instructions: 1 << 22, ..Options::default() });
        let at = machine.alloc(4 * words);
        machine.write(at, &vec![0; 4 * words]).unwrap();
        let arg = Arg::Buffer { at, bytes: 4 * words, access: Access::ReadWrite };
        machine.launch(&module, "k", launch, &[arg]).unwrap_or_else(|e| panic!("{e}"));
        let mut bytes = vec![0; 4 * words];
        machine.read(at, &mut bytes).unwrap();
        all.push(bytes.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect());
    }
    all
}

/// Thread (or warp, or block) number `n`, in `%r1`, waits for the number before it and then counts.
const CHAIN: &str = "WAIT: atom.global.add.u32 %r2, [%rd1], 0; setp.ne.u32 %p1, %r2, %r1; @%p1 bra WAIT;
    atom.global.add.u32 %r3, [%rd1], 1;";

#[test]
fn lanes_warps_and_blocks_wait_for_each_other() {
    let lanes = format!("mov.u32 %r1, %tid.x; {CHAIN}");
    assert!(results(&lanes, launch(1, 32), 1).iter().all(|w| w == &[32]));
    // From the last lane to the first, whose code comes first.
    let backwards = format!("mov.u32 %r4, %tid.x; sub.u32 %r1, 31, %r4; {CHAIN}");
    assert!(results(&backwards, launch(1, 32), 1).iter().all(|w| w == &[32]));
    let warps = format!(
        "mov.u32 %r4, %tid.x; and.b32 %r5, %r4, 31; setp.ne.u32 %p2, %r5, 0; @%p2 ret; shr.u32 %r6, %r4, 5;
        sub.u32 %r1, 7, %r6; {CHAIN}"
    );
    assert!(results(&warps, launch(1, 256), 1).iter().all(|w| w == &[8]));
    // Block 0 starts first and is the last that can end.
    let blocks = format!("mov.u32 %r4, %ctaid.x; sub.u32 %r1, 19, %r4; {CHAIN}");
    assert!(results(&blocks, launch(20, 1), 1).iter().all(|w| w == &[20]));
}

/// A warp waits in a loop for another one, which waits at barriers with a third.
#[test]
fn barriers_open_beside_a_warp_that_waits() {
    let code = "mov.u32 %r1, %tid.x; setp.ge.u32 %p1, %r1, 32; @%p1 bra OTHERS;
        WAIT: ld.volatile.global.u32 %r2, [%rd1]; setp.eq.u32 %p2, %r2, 0; @%p2 bra WAIT; ret;
        OTHERS: bar.sync 1, 64; bar.sync 1, 64; setp.ne.u32 %p3, %r1, 64; @%p3 ret; st.volatile.global.u32 [%rd1], 5;";
    assert!(results(code, launch(1, 96), 1).iter().all(|w| w == &[5]));
}

/// All blocks meet twice, as cooperative groups do: each writes, and reads what the next one wrote.
#[test]
fn a_whole_grid_meets() {
    let meet = |n: u32, target: u32| {
        format!(
            "bar.sync 0; setp.ne.u32 %p1, %r1, 0; @%p1 bra MET{n}; membar.gl; atom.global.add.u32 %r9, [%rd1], 1;
            WAIT{n}: ld.volatile.global.u32 %r9, [%rd1]; setp.lt.u32 %p2, %r9, {target}; @%p2 bra WAIT{n}; membar.gl;
            MET{n}: bar.sync 0;"
        )
    };
    let code = format!(
        "mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mad.lo.u32 %r3, %r2, 64, %r1; mul.wide.u32 %rd2, %r3, 4;
        add.s64 %rd3, %rd1, %rd2; st.global.u32 [%rd3+4], %r3; {}
        add.u32 %r4, %r3, 64; rem.u32 %r4, %r4, 640; mul.wide.u32 %rd4, %r4, 4; add.s64 %rd5, %rd1, %rd4;
        ld.global.u32 %r5, [%rd5+4]; {} st.global.u32 [%rd3+4], %r5;",
        meet(1, 10),
        meet(2, 20)
    );
    for words in results(&code, launch(10, 64), 641) {
        assert_eq!(words[0], 20);
        assert!((0..640).all(|k| words[k + 1] == (k as u32 + 64) % 640));
    }
}

#[test]
fn what_nobody_releases_is_an_endless_loop() {
    let code = "ld.param.u64 %rd1, [p0]; WAIT: ld.volatile.global.u32 %r2, [%rd1]; setp.eq.u32 %p1, %r2, 0;
        @%p1 bra WAIT; ret;";
    for (blocks, threads) in [(1, 1), (1, 64), (3, 64)] {
        let options = Options { max_instructions: 1 << 16, ..Options::default() };
        let fault = Bench::new("", code).options(options).launch(launch(blocks, threads), &[Inout::bytes(4)]);
        let fault = fault.unwrap_err();
        assert_eq!(fault.kind, FaultKind::EndlessLoop);
        assert!(fault.to_string().contains("the other threads were let run"), "{fault}");
    }
}

/// The fault of a block is not hidden by another that waits for it.
#[test]
fn a_fault_comes_before_those_that_wait_for_it() {
    let code = "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %ctaid.x; setp.eq.u32 %p1, %r1, 3; @%p1 trap;
        WAIT: ld.volatile.global.u32 %r2, [%rd1]; setp.eq.u32 %p2, %r2, 0; @%p2 bra WAIT; ret;";
    for seed in 0..4 {
        let options = Options { max_instructions: 1 << 22, threads: 1, seed, ..Options::default() };
        let fault = Bench::new("", code).options(options).launch(launch(4, 32), &[Inout::bytes(4)]);
        assert_eq!(fault.unwrap_err().kind, FaultKind::Trap);
    }
}
