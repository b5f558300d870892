//! Arithmetic, one instruction at a time. The tables hold instructions, and under each its operands and its result in
//! hexadecimal digits. The results were computed with exact fractions, by a program that knows nothing of the emulator.

mod atomics;
mod predicates;

use ptx_emulator::{Access, Arg, Launch, Machine, Module, ParseError};

/// A module whose kernel `k` executes `body`, which finds its operands in `%h1 %r1 %d1` and so on by their width, and
/// stores the register `%h0`, `%r0` or `%d0` that it names first.
fn module(body: &str) -> Result<Module, ParseError> {
    let mut load = String::new();
    for k in 1..=4 {
        load +=
            &format!("ld.param.u64 %d{k}, [p{k}];\ncvt.u32.u64 %r{k}, %d{k};\ncvt.u16.u64 %h{k}, %d{k};\n");
    }
    let (half, word, double) = (body.find("%h0"), body.find("%r0"), body.find("%d0"));
    let before = |a: Option<usize>, b: Option<usize>| a.is_some_and(|a| b.is_none_or(|b| a < b));
    let widen = if before(half, word) && before(half, double) {
        "cvt.u64.u16 %d0, %h0;"
    } else if before(word, double) {
        "cvt.u64.u32 %d0, %r0;"
    } else {
        ""
    };
    let text = format!(
        ".version 8.4\n.target sm_90\n.address_size 64\n.global .align 16 .b8 v[16];\n.visible .entry k(\
         .param .u64 p0, .param .u64 p1, .param .u64 p2, .param .u64 p3, .param .u64 p4)\n{{
.reg .pred %p<5>;\n.reg .b16 %h<9>;\n.reg .b32 %r<9>;\n.reg .b64 %d<9>;\n.reg .b64 out;\n.shared .align 16 .b8 s[16];
ld.param.u64 out, [p0];\n{load}\n{body};\n{widen}\nst.global.b64 [out], %d0;\nret;\n}}"
    );
    Module::parse_whole("k.ptx", &text)
}

/// What `body` makes of the operands.
fn compute(module: &Module, operands: &[u64]) -> u64 {
    let machine = Machine::new();
    let at = machine.alloc(8);
    let mut args = vec![Arg::Buffer { at, bytes: 8, access: Access::Write }];
    args.extend((0..4).map(|k| Arg::U64(operands.get(k).copied().unwrap_or_default())));
    let launch = Launch { grid: [1; 3], block: [1; 3], shared: 0 };
    machine.launch(module, "k", launch, &args).unwrap_or_else(|e| panic!("{e}"));
    let mut bytes = [0; 8];
    machine.read(at, &mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

/// Asserts what `body` makes of the operands.
#[track_caller]
fn gives(body: &str, operands: &[u64], want: u64) {
    let module = module(body).unwrap_or_else(|e| panic!("{e}"));
    let got = compute(&module, operands);
    assert_eq!(got, want, "{body} of {operands:x?}: {got:#x} in place of {want:#x}");
}

/// Asserts every line of a table, of which there are `rows`.
#[track_caller]
fn holds(table: &str, rows: usize) {
    let number = |word: &str| u64::from_str_radix(word, 16).unwrap();
    let mut current = None;
    let mut seen = 0;
    for line in table.lines().filter(|line| !line.starts_with('#')) {
        let Some((operands, want)) = line.split_once(" = ").filter(|_| line.starts_with(' ')) else {
            current = Some((line, module(line).unwrap_or_else(|e| panic!("{e}"))));
            continue;
        };
        let (body, module) = current.as_ref().unwrap();
        let operands: Vec<u64> = operands.split_whitespace().map(number).collect();
        let (got, want) = (compute(module, &operands), number(want));
        assert_eq!(got, want, "{body} of {operands:x?}: {got:#x} in place of {want:#x}");
        seen += 1;
    }
    assert_eq!(seen, rows, "the table has been cut");
}

#[test]
fn floats_of_16_bits_and_their_conversions_round_once() {
    holds(include_str!("half.txt"), 246);
}

#[test]
fn f64_rounds_to_every_side() {
    holds(include_str!("double.txt"), 186);
}

#[test]
fn words_are_masked_clamped_and_carried() {
    holds(include_str!("words.txt"), 143);
}

#[test]
fn video_instructions_take_parts_of_words() {
    holds(include_str!("video.txt"), 137);
}

/// The bytes of the pair are 00 to 77.
#[test]
fn bytes_are_permuted_by_mode() {
    for (mode, want) in [
        ("f4e", [0x3322_1100, 0x4433_2211, 0x5544_3322, 0x6655_4433]),
        ("b4e", [0x5566_7700, 0x6677_0011, 0x7700_1122, 0x0011_2233]),
        ("rc8", [0x0000_0000, 0x1111_1111, 0x2222_2222, 0x3333_3333]),
        ("ecl", [0x3322_1100, 0x3322_1111, 0x3322_2222, 0x3333_3333]),
        ("ecr", [0x0000_0000, 0x1111_1100, 0x2222_1100, 0x3322_1100]),
        ("rc16", [0x1100_1100, 0x3322_3322, 0x1100_1100, 0x3322_3322]),
    ] {
        for (selector, want) in want.into_iter().enumerate() {
            let body = format!("prmt.b32.{mode} %r0, %r1, %r2, %r3");
            gives(&body, &[0x3322_1100, 0x7766_5544, 0xfffc | selector as u64], want);
        }
    }
}

#[test]
fn set_bits_are_counted_from_a_position() {
    let find = |base: u64, offset: i32, want: u64| {
        gives("fns.b32 %r0, %r1, %r2, %r3", &[0xaaaa_aaaa, base, offset as u32 as u64], want);
    };
    find(3, 0, 3);
    find(4, 0, 0xffff_ffff);
    find(3, 1, 3);
    find(4, 2, 7);
    find(4, -1, 3);
    find(3, -2, 1);
    find(3, -3, 0xffff_ffff);
    find(0, 16, 31);
    find(0, 17, 0xffff_ffff);
}

/// The `.approx` functions of 16 bits lie within the errors that PTX allows, over all of their operands.
#[test]
fn functions_of_16_bits_are_near() {
    let f16 = |x: u64| f64::from(half::f16::from_bits(x as u16));
    let bf16 = |x: u64| f64::from(half::bf16::from_bits(x as u16));
    let close = |body: &str, f: fn(f64) -> f64, value: &dyn Fn(u64) -> f64, relative: f64, absolute: f64| {
        let module = module(body).unwrap();
        for x in (0..0x1_0000).step_by(97) {
            let (got, want) = (value(compute(&module, &[x])), f(value(x)));
            let error = (got - want).abs();
            let same = got == want || got.is_nan() && want.is_nan();
            assert!(
                same || error <= absolute.max(relative * want.abs()),
                "{body} of {x:#x}: {got}, not {want}"
            );
        }
    };
    let ex2 = |x: f64| if x >= 16.0 { f64::INFINITY } else { x.exp2() };
    close("ex2.approx.f16 %h0, %h1", ex2, &f16, 2f64.powf(-9.9), 2f64.powi(-24));
    close("tanh.approx.f16 %h0, %h1", f64::tanh, &f16, 0.0, 2f64.powf(-10.987));
    close("tanh.approx.bf16 %h0, %h1", f64::tanh, &bf16, 2f64.powi(-8), 0.0);
    let ex2 = |x: f64| {
        let y = x.exp2();
        match y {
            y if y < 2f64.powi(-126) => 0.0,
            y if y >= 2f64.powi(128) => f64::INFINITY,
            y => y,
        }
    };
    close("ex2.approx.ftz.bf16 %h0, %h1", ex2, &bf16, 2f64.powi(-7), 0.0);
}

#[test]
fn forms_that_ptx_does_not_have_are_refused() {
    for body in [
        "add.rz.f16 %h0, %h1, %h2",
        "add.sat.bf16 %h0, %h1, %h2",
        "fma.f16 %h0, %h1, %h2, %h3",
        "fma.rn.oob.f16 %h0, %h1, %h2, %h3",
        "fma.rn.sat.relu.f16 %h0, %h1, %h2, %h3",
        "min.xorsign.f16 %h0, %h1, %h2",
        "ex2.approx.bf16 %h0, %h1",
        "cvt.f16.f32 %h0, %r1",
        "cvt.rm.relu.f16.f32 %h0, %r1",
        "cvt.rn.bf16.u8 %h0, %h1",
        "cvt.rn.f32.f16x2 %r0, %r1, %r2",
        "cvt.rn.e4m3x2.f32 %h0, %r1, %r2",
        "cvt.rz.satfinite.e4m3x2.f32 %h0, %r1, %r2",
        "cvt.rn.satfinite.e4m3x2.bf16x2 %h0, %r1",
        "cvt.rn.satfinite.tf32.f32 %r0, %r1",
        "cvt.rn.satfinite.e2m1x2.f32 %h0, %r1, %r2",
        "cvt.pack.sat.u8.s32 %r0, %r1, %r2",
        "setp.lt.f16x2 %p1, %r1, %r2",
        "set.lt.f32.f16 %r0, %h1, %h2",
        "setp.num.s32 %p1, %r1, %r2",
        "min.relu.u32 %r0, %r1, %r2",
        "add.sat.u32 %r0, %r1, %r2",
        "add.relu.s16x2 %r0, %r1, %r2",
        "mad.lo.sat.s32 %r0, %r1, %r2, %r3",
        "addc.u16 %h0, %h1, %h2",
        "lop3.xor.b32 %r0|%p1, %r1, %r2, %r3, 0x96, %p1",
        "vadd.s32.s32.s32.min %r0, %r1, %r2, %r3",
        "vadd4.s32.s32.s32.sat.add %r0, %r1, %r2, %r3",
        "vadd4.s32.s32.s32 %r0.b13, %r1, %r2, %r3",
        "vadd2.s32.s32.s32 %r0, %r1.h4, %r2, %r3",
        "vmad.u32.s32.u32 %r0, %r1, %r2, %r3",
        "vshl.u32.u32.u32 %r0, %r1, %r2",
        "atom.global.add.f16 %h0, [v], %h1",
        "atom.global.min.noftz.f16 %h0, [v], %h1",
        "atom.shared.add.v2.f32 {%r0, %r1}, [s], {%r2, %r3}",
        "red.global.cas.b16 [v], %h1, %h2",
    ] {
        let error = module(body).err().unwrap_or_else(|| panic!("{body} is taken"));
        assert!(error.message.contains(body.split(' ').next().unwrap()), "{body}: {error}");
    }
}
