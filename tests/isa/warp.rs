//! Shuffles, votes, masks, and the registers that tell threads apart.

use super::program::{Expect, Program, Row, Type, Type::*};

pub fn programs() -> Vec<Program> {
    [shuffles(), votes(), partial(), identities()].concat()
}

const LANES: u32 = 32;

/// A value that tells which lane it came from.
fn token(lane: u32) -> u64 {
    u64::from(lane.wrapping_mul(0x0101_0101) ^ 0xA5A5_0000)
}

/// A program of one warp, with the value that each lane has and the one it must get.
fn warp(
    body: &str,
    (inputs, outputs): (&[Type], &[Type]),
    has: impl Fn(u32) -> Vec<u64>,
    gets: impl Fn(u32) -> Vec<u64>,
) -> Program {
    let mut program = Program::new(body, inputs, outputs).block(LANES);
    let row = |lane| Row { inputs: has(lane), expected: gets(lane).into_iter().map(Expect::Bits).collect() };
    program.rows = (0..LANES).map(row).collect();
    program
}

/// The lane that is read, and whether it is in range, as the ISA defines it for the operands `b` and `c`.
fn source(mode: &str, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let (segment, clamp) = (c >> 8 & 31, c & 31);
    let (low, high) = (lane & segment, lane & segment | clamp & !segment);
    let (from, valid) = match mode {
        "up" => (lane as i32 - b as i32, lane as i32 - b as i32 >= high as i32),
        "down" => ((lane + b) as i32, lane + b <= high),
        "bfly" => ((lane ^ b) as i32, lane ^ b <= high),
        "idx" => ((low | b & !segment) as i32, low | b & !segment <= high),
        _ => unreachable!("{mode}"),
    };
    (if valid { from as u32 } else { lane }, valid)
}

fn shuffles() -> Vec<Program> {
    let mut programs = vec![];
    for mode in ["up", "down", "bfly", "idx"] {
        // Segments are the whole warp, or 16, 8 and 4 lanes: `c` holds the segment mask and the clamp.
        for width in [32, 16, 8, 4] {
            let c = (LANES - width) << 8 | if mode == "up" { 0 } else { 31 };
            for b in [0, 1, 2, 3, 4, 7, 8, 16, 31] {
                let form = format!("shfl.sync.{mode}.b32");
                let of = |lane| source(mode, lane, b, c);
                programs.push(warp(
                    &format!("{form} %d0|%d1, %a0, {b}, {c}, -1;"),
                    (&[B32], &[B32, Pred]),
                    |lane| vec![token(lane)],
                    |lane| vec![token(of(lane).0), u64::from(of(lane).1)],
                ));
            }
        }
        // All operands from registers; without the predicate, with a number for the mask.
        let c = if mode == "up" { 0 } else { 31 };
        programs.push(warp(
            &format!("shfl.sync.{mode}.b32 %d0|%d1, %a0, %a1, %a2, %a3;"),
            (&[B32, B32, B32, B32], &[B32, Pred]),
            |lane| vec![token(lane), 9, u64::from(c), 0xFFFF_FFFF],
            |lane| {
                let (from, valid) = source(mode, lane, 9, c);
                vec![token(from), u64::from(valid)]
            },
        ));
        programs.push(warp(
            &format!("shfl.sync.{mode}.b32 %d0, %a0, %a1, %a2, 0xffffffff;"),
            (&[F32, B32, B32], &[F32]),
            |lane| vec![token(lane), 5, u64::from(c)],
            |lane| vec![token(source(mode, lane, 5, c).0)],
        ));
    }
    // Each lane chooses its own source.
    programs.push(warp(
        "shfl.sync.idx.b32 %d0, %a0, %a1, 31, -1;",
        (&[B32, B32], &[B32]),
        |lane| vec![token(lane), u64::from(lane * 7 % 32)],
        |lane| vec![token(lane * 7 % 32)],
    ));
    programs
}

fn votes() -> Vec<Program> {
    let ballots = [0u32, u32::MAX, 1, 0x8000_0000, 0x0F0F_1234];
    let mut programs = vec![];
    for ballot in ballots {
        let says = |lane: u32| vec![u64::from(ballot >> lane & 1)];
        let mut pred = |form: &str, want: bool| {
            let body = format!("vote.sync.{form}.pred %d0, %a0, -1;");
            programs.push(warp(&body, (&[Pred], &[Pred]), says, |_| vec![u64::from(want)]));
        };
        pred("any", ballot != 0);
        pred("all", ballot == u32::MAX);
        pred("uni", ballot == 0 || ballot == u32::MAX);
        let body = "vote.sync.ballot.b32 %d0, %a0, 0xffffffff;";
        programs.push(warp(body, (&[Pred], &[B32]), says, |_| vec![u64::from(ballot)]));
    }
    // The mask comes from a register.
    programs.push(warp(
        "vote.sync.all.pred %d0, %a0, %a1;",
        (&[Pred, B32], &[Pred]),
        |lane| vec![u64::from(lane != 5), 0xFFFF_FFFF],
        |_| vec![0],
    ));
    programs.push(warp("activemask.b32 %d0;", (&[], &[B32]), |_| vec![], |_| vec![0xFFFF_FFFF]));
    programs
}

/// Half a warp under a guard meets alone. The others pass by, and all meet again.
fn partial() -> Vec<Program> {
    let low = |lane: u32| lane < 16;
    let shuffle = "setp.lt.u32 %p, %thread, 16;\nmov.b32 %d0, 0;\n@!%p bra $after;\n\
                   shfl.sync.down.b32 %d0, %a0, 8, 4127, 0xffff;\n$after:\nbar.warp.sync -1;";
    let vote = "setp.lt.u32 %p, %thread, 16;\nmov.b32 %d0, 0;\n@%p bra $low;\n\
                vote.sync.ballot.b32 %d0, %a0, 0xffff0000;\nbra.uni $after;\n$low:\n\
                vote.sync.ballot.b32 %d0, %a0, 0x0000ffff;\n$after:\nbar.warp.sync 0xffffffff;";
    // In a segment of 16 lanes, lanes 8 to 15 reach past it and keep their own value.
    let got = |lane: u32| if low(lane) { token(if lane < 8 { lane + 8 } else { lane }) } else { 0 };
    let shuffled = warp(shuffle, (&[B32], &[B32]), |lane| vec![token(lane)], |lane| vec![got(lane)]);
    let voted = warp(
        vote,
        (&[Pred], &[B32]),
        |lane| vec![u64::from(lane.is_multiple_of(3))],
        |lane| {
            let side = |other: &u32| low(*other) == low(lane) && other.is_multiple_of(3);
            vec![(0..LANES).filter(side).map(|other| 1 << other).sum()]
        },
    );
    vec![shuffled.locals(".reg .pred %p;"), voted.locals(".reg .pred %p;")]
}

fn identities() -> Vec<Program> {
    let threads = 96;
    let of = |register: &str, want: &dyn Fn(u32, u32) -> u64| {
        let mut program = Program::new(format!("mov.u32 %d0, %{register};"), &[], &[B32]).block(threads);
        for (block, thread) in (0..2).flat_map(|block| (0..threads).map(move |thread| (block, thread))) {
            program = program.row(&[], want(block, thread));
        }
        program
    };
    let below = |lane: u32| (1u64 << lane) - 1;
    let all = u64::from(u32::MAX);
    vec![
        of("tid.x", &|_, thread| u64::from(thread)),
        of("tid.y", &|_, _| 0),
        of("tid.z", &|_, _| 0),
        of("ntid.x", &|_, _| u64::from(threads)),
        of("ntid.y", &|_, _| 1),
        of("ntid.z", &|_, _| 1),
        of("ctaid.x", &|block, _| u64::from(block)),
        of("ctaid.y", &|_, _| 0),
        of("ctaid.z", &|_, _| 0),
        of("nctaid.x", &|_, _| 2),
        of("nctaid.y", &|_, _| 1),
        of("nctaid.z", &|_, _| 1),
        of("laneid", &|_, thread| u64::from(thread % 32)),
        of("lanemask_eq", &|_, thread| 1 << (thread % 32)),
        of("lanemask_lt", &|_, thread| below(thread % 32)),
        of("lanemask_le", &|_, thread| below(thread % 32 + 1)),
        of("lanemask_gt", &|_, thread| all & !below(thread % 32 + 1)),
        of("lanemask_ge", &|_, thread| all & !below(thread % 32)),
    ]
}
