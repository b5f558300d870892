//! What threads do together: divergence, shuffles, votes, barriers and atomics. Also the memory of a single thread.

mod common;

use common::Bench;

/// A kernel whose threads run `code`, which finds `tid` in `%r1`, and then store `%r9` as word `tid` of the output.
fn each(variables: &str, code: &str) -> Bench {
    let code = format!(
        "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.s64 %rd1, %rd1, %rd2;
        {code}
        st.global.u32 [%rd1], %r9; ret;"
    );
    Bench::new(variables, &code)
}

fn expect(bench: &Bench, threads: u32, f: impl Fn(u32) -> u32) {
    let want: Vec<u32> = (0..threads).map(f).collect();
    assert_eq!(bench.words(threads, threads as usize), want, "{}", bench.text());
}

#[test]
fn lanes_part_and_meet_again() {
    // The code counts Collatz steps, so every lane loops for its own number of turns.
    let code = "mov.u32 %r9, 0; add.u32 %r2, %r1, 1;
        L: setp.eq.u32 %p1, %r2, 1; @%p1 bra DONE;
        and.b32 %r3, %r2, 1; setp.eq.u32 %p2, %r3, 0; @%p2 bra EVEN;
        mad.lo.u32 %r2, %r2, 3, 1; bra NEXT;
        EVEN: shr.u32 %r2, %r2, 1;
        NEXT: add.u32 %r9, %r9, 1; bra L;
        DONE:";
    let steps = |t: u32| {
        let (mut n, mut k) = (t + 1, 0);
        while n != 1 {
            n = if n % 2 == 0 { n / 2 } else { 3 * n + 1 };
            k += 1;
        }
        k
    };
    expect(&each("", code), 96, steps);
    let meter = each("", code).run(32, &[common::Out(128)]).unwrap();
    assert!(meter.instructions().partial > 0);
    // After DONE, the warp is whole again.
    let store = meter.class(ptx_emulator::Class::Store);
    assert_eq!((store.warps, store.partial), (1, 0));
}

#[test]
fn branch_tables() {
    let code = "and.b32 %r2, %r1, 3; T: .branchtargets A, B, C, B; brx.idx %r2, T;
        A: mov.u32 %r9, 10; bra END; B: mov.u32 %r9, 20; bra END; C: mov.u32 %r9, 30; END:";
    expect(&each("", code), 40, |t| [10, 20, 30, 20][t as usize % 4]);
}

#[test]
fn shuffles() {
    let shuffle = |what: &str| {
        each("", &format!("add.u32 %r2, %r1, 100; shfl.sync.{what}, -1; selp.b32 %r9, %r9, 7, %p1;"))
    };
    expect(&shuffle("bfly.b32 %r9|%p1, %r2, 5, 31"), 64, |t| 100 + (t ^ 5));
    expect(&shuffle("up.b32 %r9|%p1, %r2, 3, 0"), 64, |t| if t % 32 < 3 { 7 } else { 97 + t });
    expect(&shuffle("down.b32 %r9|%p1, %r2, 3, 31"), 64, |t| if t % 32 > 28 { 7 } else { 103 + t });
    expect(&shuffle("idx.b32 %r9|%p1, %r2, 9, 31"), 64, |t| 109 + t / 32 * 32);
    // The upper byte of the clamp is the segment mask; these segments have 8 lanes.
    let segments = 0b11000 << 8;
    expect(&shuffle(&format!("down.b32 %r9|%p1, %r2, 2, {}", segments | 31)), 32, |t| {
        if t % 8 > 5 { 7 } else { 102 + t }
    });
    expect(&shuffle(&format!("idx.b32 %r9|%p1, %r2, 1, {}", segments | 31)), 32, |t| 101 + t / 8 * 8);
    expect(
        &shuffle(&format!("up.b32 %r9|%p1, %r2, 1, {segments}")),
        32,
        |t| if t % 8 < 1 { 7 } else { 99 + t },
    );
}

#[test]
fn votes_matches_and_reductions() {
    let odd = "and.b32 %r2, %r1, 1; setp.eq.u32 %p1, %r2, 1;";
    expect(&each("", &format!("{odd} vote.sync.ballot.b32 %r9, %p1, -1;")), 32, |_| 0xaaaa_aaaa);
    expect(&each("", &format!("{odd} vote.sync.any.pred %p2, %p1, -1; selp.u32 %r9, 1, 0, %p2;")), 32, |_| 1);
    expect(&each("", &format!("{odd} vote.sync.all.pred %p2, %p1, -1; selp.u32 %r9, 1, 0, %p2;")), 32, |_| 0);
    expect(
        &each("", &format!("{odd} vote.sync.uni.pred %p2, !%p1, -1; selp.u32 %r9, 1, 0, %p2;")),
        32,
        |_| 0,
    );
    expect(
        &each("", &format!("{odd} @%p1 bra L; activemask.b32 %r9; bra M; L: mov.u32 %r9, 9; M:")),
        4,
        |t| {
            if t % 2 == 1 { 9 } else { 0b0101 }
        },
    );
    let third = "rem.u32 %r2, %r1, 3;";
    let residue = |t: u32| (0..32).filter(|k| k % 3 == t % 3).fold(0, |m, k| m | 1 << k);
    expect(&each("", &format!("{third} match.any.sync.b32 %r9, %r2, -1;")), 32, residue);
    expect(&each("", &format!("{third} match.all.sync.b32 %r9|%p1, %r2, -1;")), 32, |_| 0);
    expect(&each("", "match.all.sync.b32 %r9|%p1, 4, -1;"), 32, |_| u32::MAX);
    expect(&each("", "redux.sync.add.u32 %r9, %r1, -1;"), 32, |_| 496);
    expect(&each("", "sub.s32 %r2, 5, %r1; redux.sync.min.s32 %r9, %r2, -1;"), 32, |_| -26i32 as u32);
    expect(&each("", "redux.sync.xor.b32 %r9, %r1, -1;"), 32, |_| 0);
    // The two halves of a warp reduce apart, with masks of their own.
    let halves = "setp.lt.u32 %p1, %r1, 16; selp.b32 %r3, 65535, -65536, %p1;";
    expect(&each("", &format!("{halves} redux.sync.add.u32 %r9, %r1, %r3;")), 32, |t| {
        if t < 16 { 120 } else { 376 }
    });
}

#[test]
fn barriers_that_reduce() {
    let third = "rem.u32 %r2, %r1, 3; setp.eq.u32 %p1, %r2, 0;";
    expect(&each("", &format!("{third} bar.red.popc.u32 %r9, 0, %p1;")), 96, |_| 32);
    expect(&each("", &format!("{third} bar.red.and.pred %p2, 0, %p1; selp.u32 %r9, 1, 0, %p2;")), 96, |_| 0);
    expect(&each("", &format!("{third} bar.red.or.pred %p2, 0, !%p1; selp.u32 %r9, 1, 0, %p2;")), 96, |_| 1);
}

/// One warp fills and another takes, through a barrier of 64 threads.
#[test]
fn named_barriers_order_their_threads() {
    let variables = ".shared .align 4 .b8 tile[128];";
    let code = |arrive: &str| {
        format!(
            "mov.u32 %r3, tile; and.b32 %r4, %r1, 31; shl.b32 %r5, %r4, 2; add.s32 %r3, %r3, %r5;
            setp.lt.u32 %p1, %r1, 32; @!%p1 bra TAKE;
            add.u32 %r6, %r1, 7; st.shared.u32 [%r3], %r6; {arrive} mov.u32 %r9, 1; bra END;
            TAKE: bar.sync 1, 64; ld.shared.u32 %r9, [%r3]; END:"
        )
    };
    for seed in 0..4 {
        let bench = each(variables, &code("bar.arrive 1, 64;")).seed(seed);
        expect(&bench, 64, |t| if t < 32 { 1 } else { t - 32 + 7 });
    }
}

/// Four warps pass a barrier of two warps in pairs.
#[test]
fn a_barrier_of_a_count_lets_that_many_pass() {
    let meter = each("", "bar.sync 1, 64; mov.u32 %r9, 0;").run(128, &[common::Out(512)]).unwrap();
    assert_eq!(meter.barriers, 2);
    let fault = each("", "bar.sync 1, 64; mov.u32 %r9, 0;").run(96, &[common::Out(384)]).unwrap_err();
    assert_eq!(fault.kind, ptx_emulator::FaultKind::PartialBarrier);
}

#[test]
fn atomics_in_shared_and_global_memory() {
    let variables = ".shared .align 8 .b8 sums[16];";
    let start = "mov.u32 %r3, sums; setp.eq.u32 %p1, %r1, 0; mov.u64 %rd3, 0; @%p1 st.shared.u64 [%r3], %rd3; bar.sync 0;";
    let code = format!("{start} red.shared.add.u32 [%r3], %r1; bar.sync 0; ld.shared.u32 %r9, [%r3];");
    expect(&each(variables, &code), 96, |_| 95 * 48);
    let code = format!("{start} atom.shared.max.u32 %r4, [%r3], %r1; bar.sync 0; ld.shared.u32 %r9, [%r3];");
    expect(&each(variables, &code), 96, |_| 95);
    let code = format!(
        "{start} cvt.rn.f32.u32 %f1, %r1; red.shared.add.f32 [%r3], %f1; bar.sync 0; ld.shared.u32 %r9, [%r3];"
    );
    expect(&each(variables, &code), 96, |_| (95.0f32 * 48.0).to_bits());
    let code = format!(
        "{start} cvt.u64.u32 %rd4, %r1; shl.b64 %rd4, %rd4, 30; red.shared.add.u64 [%r3], %rd4; bar.sync 0;
        ld.shared.u64 %rd5, [%r3]; shr.u64 %rd5, %rd5, 30; cvt.u32.u64 %r9, %rd5;"
    );
    expect(&each(variables, &code), 96, |_| 95 * 48);
    // Every thread takes a number, and together they take all numbers.
    let code = format!("{start} atom.shared.inc.u32 %r9, [%r3], 40;");
    let mut numbers = each(variables, &code).words(64, 64);
    numbers.sort_unstable();
    let mut want: Vec<u32> = (0..64).map(|k| k % 41).collect();
    want.sort_unstable();
    assert_eq!(numbers, want);
    let code = format!(
        "{start} atom.shared.cas.b32 %r4, [%r3], 0, 9; setp.eq.u32 %p2, %r4, 0; selp.u32 %r9, 1, 0, %p2;"
    );
    assert_eq!(each(variables, &code).words(64, 64).iter().sum::<u32>(), 1);
}

#[test]
fn local_arrays() {
    let variables = ".local .align 16 .b8 depot[64]; .reg .b64 %SPL;";
    let code = "mov.u64 %SPL, depot; mov.u32 %r2, 1; mov.u32 %r3, 2;
        st.local.v4.u32 [%SPL], {%r1, %r2, %r3, %r1}; st.local.u16 [%SPL+16], 9; st.local.u16 [%SPL+18], 1;
        and.b32 %r4, %r1, 3; mul.wide.u32 %rd3, %r4, 4; add.s64 %rd4, %SPL, %rd3; ld.local.u32 %r9, [%rd4];
        ld.local.u32 %r5, [%SPL+16]; add.u32 %r9, %r9, %r5;";
    expect(&each(variables, code), 40, |t| [t, 1, 2, t][t as usize % 4] + 0x1_0009);
}

#[test]
fn calls_are_inlined() {
    let bench = each(
        "",
        "{ .param .b32 a; .param .b32 b; .param .b32 result;
        st.param.b32 [a+0], %r1; st.param.b32 [b+0], 3; call.uni (result), power, (a, b); ld.param.b32 %r9, [result+0]; }
        { .param .b32 a; .param .b32 b; .param .b32 result;
        st.param.b32 [a+0], %r9; st.param.b32 [b+0], 1; call.uni (result), power, (a, b); ld.param.b32 %r9, [result+0]; }",
    );
    let function = ".func (.param .b32 out) power(.param .b32 x, .param .b32 n)
        { .reg .pred %p<2>; .reg .b32 %r<5>;
        ld.param.u32 %r1, [x]; ld.param.u32 %r2, [n]; mov.u32 %r3, 1;
        L: setp.eq.u32 %p1, %r2, 0; @%p1 bra END; mul.lo.u32 %r3, %r3, %r1; sub.u32 %r2, %r2, 1; bra L;
        END: st.param.u32 [out+0], %r3; ret; }\n";
    let text = bench.text().replace(".visible .entry", &format!("{function}.visible .entry"));
    let bench = Bench::from_text(text);
    expect(&bench, 40, |t| t.wrapping_pow(3));
}

#[test]
fn constants_of_a_module() {
    let bench = each(
        "",
        "and.b32 %r2, %r1, 3; mul.wide.u32 %rd3, %r2, 4; mov.u64 %rd4, table; add.s64 %rd5, %rd4, %rd3; ld.const.u32 %r9, [%rd5];",
    );
    let table = ".const .align 4 .b8 table[16] = {1, 0, 0, 0, 2, 1, 0, 0, 3};\n";
    let text = bench.text().replace(".visible .entry", &format!("{table}.visible .entry"));
    expect(&Bench::from_text(text), 8, |t| [1, 258, 3, 0][t as usize % 4]);
}

/// Results and counts depend neither on the number of workers nor on the order of blocks and warps.
#[test]
fn order_does_not_show() {
    use ptx_emulator::{Access, Arg, Launch, Machine, Options};
    let code =
        "ld.param.u64 %rd1, [p0]; mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mad.lo.u32 %r3, %r2, 64, %r1;
        mul.wide.u32 %rd2, %r3, 4; add.s64 %rd3, %rd1, %rd2; st.global.u32 [%rd3], %r3; ret;";
    let module = Bench::new("", code).module();
    let mut first = None;
    for (threads, seed) in [(1, 0), (1, 9), (4, 0), (4, 77)] {
        let machine = Machine::with(Options { threads, seed, ..Options::default() });
        let at = machine.alloc(4 * 64 * 37);
        let out = Arg::Buffer { at, bytes: 4 * 64 * 37, access: Access::Write };
        let launch = Launch { grid: [37, 1, 1], block: [64, 1, 1], shared: 0 };
        let meter = machine.launch(&module, "k", launch, &[out]).unwrap();
        let mut bytes = vec![0; 4 * 64 * 37];
        machine.read(at, &mut bytes).unwrap();
        assert!(bytes.chunks_exact(4).enumerate().all(|(k, c)| c == (k as u32).to_le_bytes()));
        assert_eq!(*first.get_or_insert(meter.clone()), meter);
    }
}
