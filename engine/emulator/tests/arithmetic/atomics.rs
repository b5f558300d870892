//! Atomics on 16 bits, on pairs and on vectors.

use super::{gives, module};
use ptx_emulator::{Access, Arg, FaultKind, Launch, Machine};

/// A line between a store of `start` to the memory `at` and a load of all of it. The old value is in `%h1` or `%r1`.
fn around(space: &str, at: &str, start: u64, line: &str) -> String {
    format!("mov.b64 %d5, {start:#x};\nst.{space}.b64 [{at}], %d5;\n{line};\nld.{space}.b64 %d0, [{at}]")
}

#[test]
fn halves_are_swapped_and_added_beside_their_neighbours() {
    for (space, at) in [("global", "v"), ("shared", "s")] {
        let start = 0x3c00_8000_1234_ffff;
        let run = |line: &str, operands: &[u64], want: u64| {
            let line = line.replace("SPACE", space).replace("AT", at);
            gives(&around(space, at, start, &line), operands, want);
        };
        run("atom.SPACE.cas.b16 %h1, [AT+2], %h2, %h3", &[0, 0x1234, 0x5678], 0x3c00_8000_5678_ffff);
        run("atom.SPACE.cas.b16 %h1, [AT+2], %h2, %h3", &[0, 0x1235, 0x5678], start);
        // 1 + 2, and a sum of denormals, which are kept in both memories.
        run("atom.SPACE.add.noftz.f16 %h1, [AT+6], %h2", &[0, 0x4000], 0x4200_8000_1234_ffff);
        run("red.SPACE.add.noftz.bf16 [AT+4], %h2", &[0, 0x0001], 0x3c00_0001_1234_ffff);
        run("red.SPACE.add.noftz.f16x2 [AT+4], %r2", &[0, 0x0001_0001], 0x3c00_0001_1234_ffff);
        run("red.SPACE.add.noftz.f16x2 [AT+4], %r2", &[0, 0x3c00_8000], 0x4000_8000_1234_ffff);
        let old = format!(
            "{};\nmov.u64 %d0, 0;\ncvt.u64.u16 %d0, %h1",
            around(space, at, start, &format!("atom.{space}.add.noftz.f16 %h1, [{at}+6], %h2"))
        );
        gives(&old, &[0, 0x4000], 0x3c00);
    }
}

#[test]
fn elements_of_vectors_are_added_each_for_itself() {
    let start = 0x4000_0000_3f80_0000;
    let sum = "atom.global.add.v2.f32 {%r1, %r2}, [v], {%r2, %r1}";
    gives(&around("global", "v", start, sum), &[0x3f80_0000, 0x4040_0000], 0x4040_0000_4080_0000);
    // The old values take the place of the operands only at the end.
    let old = format!("{};\nmov.b64 %d0, {{%r1, %r2}}", around("global", "v", start, sum));
    gives(&old, &[0x3f80_0000, 0x4040_0000], start);
    let halves = "red.global.v4.add.noftz.f16 [v], {%h1, %h2, %h3, %h4}";
    let operands = [0x3c00, 0x4000, 0, 0xbc00];
    gives(&around("global", "v", 0x3c00_3c00_3c00_3c00, halves), &operands, 0x0000_3c00_4200_4000);
    let least = "red.global.min.noftz.v2.bf16x2 [v], {%r1, %r2}";
    gives(
        &around("global", "v", 0x3f80_bf80_3f80_0000, least),
        &[0x4000_4000, 0xc000_c000],
        0xc000_c000_3f80_0000,
    );
}

/// The whole vector lies at a multiple of its size.
#[test]
fn vectors_are_aligned() {
    let body = around("global", "v", 0, "red.global.add.v2.f32 [v+4], {%r1, %r2}");
    let machine = Machine::new();
    let at = machine.alloc(8);
    let mut args = vec![Arg::Buffer { at, bytes: 8, access: Access::Write }];
    args.extend((0..4).map(|_| Arg::U64(0)));
    let launch = Launch { grid: [1; 3], block: [1; 3], shared: 0 };
    let fault = machine.launch(&module(&body).unwrap(), "k", launch, &args).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Misaligned, "{fault}");
}
