//! Matrices: products of bf16 and the loads of their operands. A lane has g = lane / 4 and t = lane % 4.

use super::program::{Expect, Program, Row, Type, Type::*};

const LANES: usize = 32;

pub fn programs() -> Vec<Program> {
    [loads(), vec![product()]].concat()
}

/// A program of one warp, with the values that each lane has and those that it must get.
fn warp(
    body: &str,
    (inputs, outputs): (&[Type], &[Type]),
    has: impl Fn(usize) -> Vec<u64>,
    gets: impl Fn(usize) -> Vec<u64>,
) -> Program {
    let mut program = Program::new(body, inputs, outputs).block(LANES as u32);
    let row = |lane| Row { inputs: has(lane), expected: gets(lane).into_iter().map(Expect::Bits).collect() };
    program.rows = (0..LANES).map(row).collect();
    program
}

/// Four matrices of 8 x 8. Each lane stores a row of 16 bytes, and row j of matrix i is that of lane 8 i + j.
fn loads() -> Vec<Program> {
    let element = |row: usize, column: usize| (1000 + 40 * row + column) as u64;
    let pair = |low: u64, high: u64| low | high << 16;
    let has = |lane: usize| (0..4).map(|i| pair(element(lane, 2 * i), element(lane, 2 * i + 1))).collect();
    let load = |transposed: bool| {
        let form = if transposed { ".trans" } else { "" };
        let body = format!(
            "mov.u32 %at, cells;\nmad.lo.s32 %at, %thread, 16, %at;\n\
             st.shared.v4.u32 [%at], {{%a0, %a1, %a2, %a3}};\nbar.sync 0;\n\
             ldmatrix.sync.aligned.m8n8.x4{form}.shared.b16 {{%d0, %d1, %d2, %d3}}, [%at];"
        );
        let gets = |lane: usize| {
            let (g, two) = (lane / 4, lane % 4 * 2);
            let of = |i: usize| match transposed {
                false => pair(element(8 * i + g, two), element(8 * i + g, two + 1)),
                true => pair(element(8 * i + two, g), element(8 * i + two + 1, g)),
            };
            (0..4).map(of).collect()
        };
        let locals = ".shared .align 16 .b8 cells[512];\n.reg .b32 %at;";
        warp(&body, (&[B32; 4], &[B32; 4]), has, gets).locals(locals)
    };
    vec![load(false), load(true)]
}

/// A product of whole numbers, whose sums are exact in any order.
fn product() -> Program {
    let a = |row: usize, k: usize| ((7 * row + 3 * k) % 11) as f32 - 5.0;
    let b = |k: usize, column: usize| ((5 * k + column) % 9) as f32 - 4.0;
    let c = |row: usize, column: usize| (100 * row + column) as f32;
    let bf16 = |x: f32| u64::from(x.to_bits() >> 16);
    let f32 = |x: f32| u64::from(x.to_bits());
    let sums = |lane: usize| {
        let (g, two) = (lane / 4, lane % 4 * 2);
        [(g, two), (g, two + 1), (g + 8, two), (g + 8, two + 1)]
    };
    let has = |lane: usize| {
        let (g, two) = (lane / 4, lane % 4 * 2);
        let of_a = [(g, two), (g + 8, two), (g, two + 8), (g + 8, two + 8)];
        let of_a = of_a.map(|(row, k)| bf16(a(row, k)) | bf16(a(row, k + 1)) << 16);
        let of_b = [two, two + 8].map(|k| bf16(b(k, g)) | bf16(b(k + 1, g)) << 16);
        let of_c = sums(lane).map(|(row, column)| f32(c(row, column)));
        [&of_a[..], &of_b, &of_c].concat()
    };
    let gets = |lane: usize| {
        let sum = |(row, column): (usize, usize)| {
            f32((0..16).map(|k| a(row, k) * b(k, column)).sum::<f32>() + c(row, column))
        };
        sums(lane).map(sum).to_vec()
    };
    let body = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%d0, %d1, %d2, %d3}, {%a0, %a1, %a2, %a3}, \
                {%a4, %a5}, {%a6, %a7, %a8, %a9};";
    let inputs = [[B32; 6].as_slice(), &[F32; 4]].concat();
    warp(body, (&inputs, &[F32; 4]), has, gets)
}
