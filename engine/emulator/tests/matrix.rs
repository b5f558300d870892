//! Products of matrices by warps, and the loads and stores of matrices. Where an element lies is written here as the PTX ISA
//! says it, element by element; what comes out is computed from whole matrices.

use ptx_emulator::{Access, Arg, Class, Fault, FaultKind, Launch, Machine, Meter, Module, Space};

/// The words that a kernel leaves in its output.
type Words = Vec<u32>;

/// Runs a kernel `k` on inputs of words and one output of `words` words, if it has any, by one block.
fn run(text: &str, threads: u32, inputs: &[&[u32]], words: usize) -> Result<(Words, Meter), Fault> {
    let module = Module::parse("matrix.ptx", text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let machine = Machine::new();
    let mut args = Vec::new();
    for input in inputs {
        let bytes: Vec<u8> = input.iter().flat_map(|w| w.to_le_bytes()).collect();
        let at = machine.alloc(bytes.len());
        machine.write(at, &bytes)?;
        args.push(Arg::Buffer { at, bytes: bytes.len(), access: Access::Read });
    }
    let at = machine.alloc(4 * words);
    if words > 0 {
        args.push(Arg::Buffer { at, bytes: 4 * words, access: Access::Write });
    }
    let launch = Launch { grid: [1, 1, 1], block: [threads, 1, 1], shared: 0 };
    let meter = machine.launch(&module, "k", launch, &args)?;
    let mut bytes = vec![0; 4 * words];
    machine.read(at, &mut bytes)?;
    Ok((bytes.chunks_exact(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect(), meter))
}

fn list(first: usize, count: usize) -> String {
    let all: Vec<String> = (first..first + count).map(|r| format!("%r{r}")).collect();
    format!("{{{}}}", all.join(", "))
}

/// A kernel of the parameters `p0`, `p1`, ..., whose thread number is in `%t`.
fn kernel(params: usize, code: &str) -> String {
    let list: Vec<String> = (0..params).map(|p| format!(".param .u64 p{p}")).collect();
    format!(
        ".version 8.4\n.target sm_90\n.address_size 64\n.visible .entry k({})\n{{\n.reg .pred %p<9>;\n.reg .b32 %r<99>;
.reg .b32 %t;\n.reg .b64 %rd<9>;\nmov.u32 %t, %tid.x;\n{code}\nret;\n}}\n",
        list.join(", ")
    )
}

/// Moves `count` words of this lane between parameter `p` and the registers from `first` on.
fn words_of_lane(op: &str, p: usize, first: usize, count: usize) -> String {
    let mut code = format!("ld.param.u64 %rd0, [p{p}];\nmad.wide.u32 %rd1, %t, {}, %rd0;\n", 4 * count);
    for k in 0..count {
        code += &match op {
            "ld" => format!("ld.global.b32 %r{}, [%rd1+{}];\n", first + k, 4 * k),
            _ => format!("st.global.b32 [%rd1+{}], %r{};\n", 4 * k, first + k),
        };
    }
    code
}

/// A kernel that loads the registers of A, B and C, multiplies and stores those of D.
fn product(opcode: &str, [a, b, c]: [usize; 3]) -> String {
    let code = [
        words_of_lane("ld", 0, 10, a),
        words_of_lane("ld", 1, 30, b),
        words_of_lane("ld", 2, 50, c),
        format!("{opcode} {}, {}, {}, {};\n", list(70, c), list(10, a), list(30, b), list(50, c)),
        words_of_lane("st", 3, 70, c),
    ];
    kernel(4, &code.concat())
}

/// A small whole number as an element of a type.
fn encode(ty: &str, x: i64) -> u32 {
    match ty {
        "f16" => u32::from(half::f16::from_f32(x as f32).to_bits()),
        "bf16" => u32::from(half::bf16::from_f32(x as f32).to_bits()),
        "f32" | "tf32" => (x as f32).to_bits(),
        "e5m2" => u32::from(half::f16::from_f32(x as f32).to_bits()) >> 8,
        // The numbers from -4 to 4.
        "e4m3" => [0, 0x38, 0x40, 0x44, 0x48][x.unsigned_abs() as usize] | u32::from(x < 0) << 7,
        "s8" | "u8" => x as u32 & 0xff,
        "s4" | "u4" => x as u32 & 0xf,
        _ => x as u32,
    }
}

fn bits(ty: &str) -> usize {
    match ty {
        "b1" => 1,
        "s4" | "u4" => 4,
        "f16" | "bf16" => 16,
        "f32" | "tf32" | "s32" => 32,
        _ => 8,
    }
}

/// The row and column of element `i` of A that a lane with `g = lane / 4` and `t = lane % 4` holds.
fn place_a(ty: &str, [m, _, k]: [usize; 3], g: usize, t: usize, i: usize) -> (usize, usize) {
    // The elements of a register, which lie side by side in a row.
    let w = 32 / bits(ty);
    match (ty, m) {
        ("tf32", _) => (if i.is_multiple_of(2) { g } else { g + 8 }, if i < 2 { t } else { t + 4 }),
        (_, 8) => (g, t * w + i),
        _ if k == 4 * w => (if i < w { g } else { g + 8 }, t * w + i % w),
        _ => {
            let upper = i < w || (2 * w..3 * w).contains(&i);
            (if upper { g } else { g + 8 }, t * w + i % w + if i < 2 * w { 0 } else { 4 * w })
        }
    }
}

fn place_b(ty: &str, g: usize, t: usize, i: usize) -> (usize, usize) {
    let w = 32 / bits(ty);
    (t * w + i % w + if i < w { 0 } else { 4 * w }, g)
}

fn place_c(g: usize, t: usize, i: usize) -> (usize, usize) {
    (if i < 2 { g } else { g + 8 }, t * 2 + i % 2)
}

/// Puts the elements of all lanes into the words of their registers.
fn registers(ty: &str, each: usize, element: impl Fn(usize, usize) -> i64) -> Words {
    let per_word = 32 / bits(ty);
    let mut words = Vec::new();
    for lane in 0..32 {
        for first in (0..each).step_by(per_word) {
            words.push(
                (0..per_word)
                    .fold(0, |word, e| word | encode(ty, element(lane, first + e)) << (bits(ty) * e)),
            );
        }
    }
    words
}

/// Multiplies matrices of small numbers, whose results are exact in every type.
fn check_product([d, a, b]: [&str; 3], size: [usize; 3], modifier: &str) {
    let [m, n, k] = size;
    let least = |ty: &str| if ty.starts_with('u') || ty == "b1" { 0 } else { -2 };
    let most = |ty: &str| if ty == "b1" { 1 } else { 4 };
    let mut state = 12345u64;
    let mut draw = |least: i64, most: i64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        least + (state >> 33) as i64 % (most - least + 1)
    };
    let mut matrix = |rows: usize, columns: usize, least, most| -> Vec<Vec<i64>> {
        (0..rows).map(|_| (0..columns).map(|_| draw(least, most)).collect()).collect()
    };
    let (x, y) = (matrix(m, k, least(a), most(a)), matrix(k, n, least(b), most(b)));
    let z = matrix(m, n, -20, 20);
    let per_lane = [m * k / 32, k * n / 32, m * n / 32];
    let of_a = registers(a, per_lane[0], |l, i| {
        let (row, column) = place_a(a, size, l / 4, l % 4, i);
        x[row][column]
    });
    let of_b = registers(b, per_lane[1], |l, i| {
        let (row, column) = place_b(b, l / 4, l % 4, i);
        y[row][column]
    });
    let of_c = registers(d, per_lane[2], |l, i| {
        let (row, column) = place_c(l / 4, l % 4, i);
        z[row][column]
    });
    let want = registers(d, per_lane[2], |l, i| {
        let (row, column) = place_c(l / 4, l % 4, i);
        let products = (0..k).map(|q| match modifier {
            ".xor.popc" => x[row][q] ^ y[q][column],
            _ => x[row][q] * y[q][column],
        });
        z[row][column] + products.sum::<i64>()
    });
    let opcode = format!("mma.sync.aligned.m{m}n{n}k{k}.row.col.{d}.{a}.{b}.{d}{modifier}");
    let counts = [of_a.len() / 32, of_b.len() / 32, of_c.len() / 32];
    let (got, meter) = run(&product(&opcode, counts), 32, &[&of_a, &of_b, &of_c], want.len())
        .unwrap_or_else(|e| panic!("{opcode}: {e}"));
    assert_eq!(got, want, "{opcode}");
    assert_eq!(meter.multiply_adds, (m * n * k) as u64, "{opcode}");
    assert_eq!(meter.class(Class::Mma).warps, 1, "{opcode}");
}

#[test]
fn products_of_floats_follow_the_layouts() {
    for k in [8, 16] {
        check_product(["f32", "f16", "f16"], [16, 8, k], "");
        check_product(["f16", "f16", "f16"], [16, 8, k], "");
        check_product(["f32", "bf16", "bf16"], [16, 8, k], "");
        check_product(["f32", "tf32", "tf32"], [16, 8, k / 2], "");
    }
    for a in ["e4m3", "e5m2"] {
        for b in ["e4m3", "e5m2"] {
            check_product(["f32", a, b], [16, 8, 32], "");
        }
    }
}

#[test]
fn products_of_whole_numbers_and_bits_follow_the_layouts() {
    for (signed, unsigned, sizes) in [
        ("s8", "u8", [[8, 8, 16], [16, 8, 16], [16, 8, 32]]),
        ("s4", "u4", [[8, 8, 32], [16, 8, 32], [16, 8, 64]]),
    ] {
        for size in sizes {
            for (a, b) in [(signed, signed), (signed, unsigned), (unsigned, signed), (unsigned, unsigned)] {
                check_product(["s32", a, b], size, "");
            }
        }
    }
    for size in [[8, 8, 128], [16, 8, 128], [16, 8, 256]] {
        check_product(["s32", "b1", "b1"], size, ".and.popc");
        check_product(["s32", "b1", "b1"], size, ".xor.popc");
    }
}

#[test]
fn products_of_f64_follow_the_layout() {
    let double = |first: usize| format!("cvt.rn.f64.s32 %d{first}, %r{first};\n");
    let code = [
        ".reg .f64 %d<60>;\n".to_string(),
        words_of_lane("ld", 0, 10, 1),
        words_of_lane("ld", 1, 30, 1),
        words_of_lane("ld", 2, 50, 2),
        [10, 30, 50, 51].map(double).concat(),
        "mma.sync.aligned.m8n8k4.row.col.f64.f64.f64.f64 {%d50, %d51}, {%d10}, {%d30}, {%d50, %d51};\n"
            .into(),
        "cvt.rni.s32.f64 %r50, %d50;\ncvt.rni.s32.f64 %r51, %d51;\n".into(),
        words_of_lane("st", 3, 50, 2),
    ];
    // A[row][k] = row - k, B[k][column] = 3 k + column, C[row][column] = 100 row + column.
    let a: Words =
        (0..32).map(|l| l / 4u32).zip((0..32).map(|l| l % 4)).map(|(g, t)| g.wrapping_sub(t)).collect();
    let b: Words = (0..32).map(|l| 3 * (l % 4) + l / 4).collect();
    let c: Words = (0..64).map(|e| 100 * (e / 8) + e % 8).collect();
    let want: Words = (0..64i32)
        .map(|e| {
            let (row, column) = (e / 8, e % 8);
            (100 * row + column + (0..4).map(|k| (row - k) * (3 * k + column)).sum::<i32>()) as u32
        })
        .collect();
    assert_eq!(run(&kernel(4, &code.concat()), 32, &[&a, &b, &c], 64).unwrap().0, want);
}

/// The first element of D where row 0 of A and column 0 of B begin with these elements of 16 bits, and C with `c`.
fn first_of(opcode: &str, a: [u16; 2], b: [u16; 2], c: u32) -> u32 {
    let sums = if opcode.ends_with("f16.f16.f16.f16") { 2 } else { 4 };
    let pair = |[low, high]: [u16; 2]| u32::from(low) | u32::from(high) << 16;
    let with_first = |count: usize, first: u32| {
        let mut words = vec![0u32; 32 * count];
        words[0] = first;
        words
    };
    let inputs = [with_first(4, pair(a)), with_first(2, pair(b)), with_first(sums, c)];
    let inputs: Vec<&[u32]> = inputs.iter().map(Vec::as_slice).collect();
    run(&product(opcode, [4, 2, sums]), 32, &inputs, 32 * sums).unwrap().0[0]
}

const BF16: &str = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32";
const F16: &str = "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32";
const F16_SUMS: &str = "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16";

#[test]
fn sums_of_floats_are_rounded_in_the_stated_order() {
    let bf16 = |x: f32| half::bf16::from_f32(x).to_bits();
    let f16 = |x: f32| half::f16::from_f32(x).to_bits();
    let f32s = |x: f32| x.to_bits();
    // 2^24 + 1 is rounded to 2^24, twice. The other way round the sum would be 2^24 + 2.
    let large = 2f32.powi(24);
    assert_eq!(first_of(BF16, [bf16(1.0); 2], [bf16(1.0); 2], f32s(large)), f32s(large));
    assert_eq!(first_of(BF16, [bf16(large), bf16(1.0)], [bf16(1.0); 2], 0), f32s(large));
    assert_eq!(first_of(F16, [f16(1.0); 2], [f16(1.0); 2], f32s(large)), f32s(large));
    // 2^128 does not fit f32, but the product is exact and the sum fits.
    let half_way = bf16(2f32.powi(64));
    assert_eq!(first_of(BF16, [half_way, 0], [half_way, 0], f32s(-2f32.powi(127))), f32s(2f32.powi(127)));
    assert_eq!(first_of(BF16, [half_way, 0], [half_way, 0], 0), f32s(f32::INFINITY));
    // A product below the smallest denormal, 1.5 2^-150, is rounded to that: it is not lost and not kept.
    let tiny = [bf16(1.5 * 2f32.powi(-75)), 0];
    assert_eq!(first_of(BF16, tiny, [bf16(2f32.powi(-75)), 0], 0), 1);
    assert_eq!(first_of(BF16, [bf16(2f32.powi(-75)), 0], [bf16(2f32.powi(-75)), 0], 0), 0);
    // f16 sums are rounded at the end: 2048 + 0.75 + 0.75 is 2049.5, and 2050 is the nearest f16.
    let sum = first_of(F16_SUMS, [f16(0.75); 2], [f16(1.0); 2], u32::from(f16(2048.0)));
    assert_eq!(sum & 0xffff, u32::from(f16(2050.0)));
    assert_eq!(first_of(F16_SUMS, [f16(65504.0); 2], [f16(1.0); 2], 0) & 0xffff, 0x7c00);
}

#[test]
fn nan_and_infinity_are_those_of_ieee() {
    let bf16 = |x: f32| half::bf16::from_f32(x).to_bits();
    let infinity = bf16(f32::INFINITY);
    assert_eq!(first_of(BF16, [infinity, 0], [bf16(2.0), 0], 0), f32::INFINITY.to_bits());
    assert_eq!(first_of(BF16, [infinity, 0], [0, 0], 0), 0x7fff_ffff);
    assert_eq!(first_of(BF16, [infinity, infinity], [bf16(1.0), bf16(-1.0)], 0), 0x7fff_ffff);
    assert_eq!(first_of(BF16, [0, 0], [0, 0], 0xffc0_1234), 0x7fff_ffff);
    assert_eq!(first_of(F16_SUMS, [0x7c00, 0], [0, 0], 0) & 0xffff, 0x7fff);
    // The negative zero of C stays only where nothing is added: -0 + 0 is 0.
    assert_eq!(first_of(BF16, [0, 0], [0, 0], 0x8000_0000), 0);
}

#[test]
fn the_low_bits_of_tf32_are_ignored() {
    let opcode = "mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32";
    let mut a = vec![0u32; 64];
    let mut b = vec![0u32; 32];
    (a[0], b[0]) = (1f32.to_bits() | 0x1fff, 3f32.to_bits() | 0x1000);
    let got = run(&product(opcode, [2, 1, 4]), 32, &[&a, &b, &[0; 128]], 128).unwrap().0;
    assert_eq!(got[0], 3f32.to_bits());
}

#[test]
fn sums_of_whole_numbers_wrap_or_are_clamped() {
    for (modifier, low, high) in [("", i32::MAX - 27, i32::MIN + 27), (".satfinite", i32::MIN, i32::MAX)] {
        let opcode = format!("mma.sync.aligned.m8n8k16.row.col{modifier}.s32.s8.s8.s32");
        // Row 0 of A is 1, 0, ..., and B is 28, 0, ... in column 0 and -28, 0, ... in column 1.
        let (mut a, mut b, mut c) = (vec![0u32; 32], vec![0u32; 32], vec![0u32; 64]);
        (a[0], b[0], b[4]) = (1, 28, -28i32 as u32 & 0xff);
        (c[0], c[1]) = (i32::MAX as u32, i32::MIN as u32);
        let got = run(&product(&opcode, [1, 1, 2]), 32, &[&a, &b, &c], 64).unwrap().0;
        assert_eq!((got[0] as i32, got[1] as i32), (high, low), "{opcode}");
    }
}

#[test]
fn all_lanes_must_come() {
    let fault = |threads, before: &str, guard: &str, after: &str| {
        let zeros: String = (10..60).map(|r| format!("mov.b32 %r{r}, 0;\n")).collect();
        let mma =
            format!("{guard}{BF16} {}, {}, {}, {};\n", list(50, 4), list(10, 4), list(30, 2), list(50, 4));
        let code =
            format!("setp.lt.u32 %p1, %t, 16;\n{zeros}{before}{mma}{after}{}", words_of_lane("st", 0, 50, 1));
        run(&kernel(1, &code), threads, &[], 32).map(|_| ()).map_err(|e| e.kind)
    };
    assert_eq!(fault(32, "", "", ""), Ok(()));
    assert_eq!(fault(16, "", "", ""), Err(FaultKind::Mask));
    assert_eq!(fault(32, "", "@%p1 ", ""), Err(FaultKind::ExitBeforeBarrier));
    assert_eq!(fault(32, "", "@%p1 ", "bar.sync 0;\n"), Err(FaultKind::Mask));
    assert_eq!(fault(32, "@%p1 exit;\n", "", ""), Err(FaultKind::ExitBeforeBarrier));
    // Lanes that come by other ways are waited for.
    assert_eq!(
        fault(32, "@%p1 bra L1;\nmov.b32 %r10, 0;\nbra L2;\nL1: mov.b32 %r10, 0;\nL2:\n", "", ""),
        Ok(())
    );
}

#[test]
fn registers_that_nothing_wrote_are_found() {
    let zeros: String = (10..60).filter(|r| *r != 31).map(|r| format!("mov.b32 %r{r}, 0;\n")).collect();
    let code = format!("{zeros}{BF16} {}, {}, {}, {};\n", list(50, 4), list(10, 4), list(30, 2), list(50, 4));
    let fault = run(&kernel(0, &code), 32, &[], 0).unwrap_err();
    assert_eq!(fault.kind, FaultKind::Uninitialised, "{fault}");
}

/// Fills the 512 bytes of `s` with the numbers of its elements of 16 bits, each thread 16 bytes.
const FILL: &str = ".shared .align 16 .b8 s[512];
mad.lo.u32 %r1, %t, 524296, 65536;
mov.u32 %r3, s;
mad.lo.u32 %r2, %t, 16, %r3;
st.shared.b32 [%r2], %r1;
add.u32 %r1, %r1, 131074;
st.shared.b32 [%r2+4], %r1;
add.u32 %r1, %r1, 131074;
st.shared.b32 [%r2+8], %r1;
add.u32 %r1, %r1, 131074;
st.shared.b32 [%r2+12], %r1;
";

#[test]
fn ldmatrix_takes_rows_from_the_lanes() {
    for transpose in [false, true] {
        for count in [1, 2, 4] {
            let trans = if transpose { ".trans" } else { "" };
            // Lane l names row 31 - l.
            let code = format!(
                "{FILL}bar.sync 0;\nsub.u32 %r4, 31, %t;\nmad.lo.u32 %r5, %r4, 16, %r3;
ldmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 {}, [%r5];\n{}",
                list(10, count),
                words_of_lane("st", 0, 10, count)
            );
            let (got, meter) = run(&kernel(1, &code), 32, &[], 32 * count).unwrap();
            for lane in 0..32 {
                for matrix in 0..count {
                    let element = |row: usize, column: usize| ((31 - (8 * matrix + row)) * 8 + column) as u32;
                    let (row, column) = (lane / 4, lane % 4 * 2);
                    let (low, high) = if transpose {
                        (element(column, row), element(column + 1, row))
                    } else {
                        (element(row, column), element(row, column + 1))
                    };
                    assert_eq!(got[lane * count + matrix], low | high << 16, "lane {lane}, x{count}{trans}");
                }
            }
            let traffic = meter.traffic(Space::Shared, Class::Load);
            assert_eq!((traffic.bytes, traffic.wavefronts), (128 * count as u64, count as u64));
        }
    }
}

#[test]
fn ldmatrix_is_checked_row_by_row() {
    let fault = |fill: &str, before: &str, address: &str| {
        let code = format!(
            ".shared .align 16 .b8 other[16];\n{fill}{before}mad.lo.u32 %r5, %t, 16, %r3;\n{address}
ldmatrix.sync.aligned.m8n8.x4.shared.b16 {}, [%r5];\n",
            list(10, 4)
        );
        run(&kernel(0, &code), 32, &[], 0).map(|_| ()).map_err(|e| e.kind)
    };
    let barrier = "bar.sync 0;\n";
    assert_eq!(fault(FILL, barrier, ""), Ok(()));
    assert_eq!(
        fault(FILL, barrier, "setp.eq.u32 %p1, %t, 9;\n@%p1 add.u32 %r5, %r5, 8;"),
        Err(FaultKind::Misaligned)
    );
    assert_eq!(fault(FILL, barrier, "add.u32 %r5, %r5, 16;"), Err(FaultKind::OutOfBounds));
    let last_unwritten =
        FILL.replace("st.shared.b32 [%r2+12]", "setp.ne.u32 %p2, %t, 31;\n@%p2 st.shared.b32 [%r2+12]");
    assert_eq!(fault(&last_unwritten, barrier, ""), Err(FaultKind::Uninitialised));
    // Without the barrier, lanes read the rows of others.
    assert_eq!(fault(FILL, "", "xor.b32 %r5, %r5, 16;"), Err(FaultKind::Race));
}

#[test]
fn stmatrix_and_movmatrix_mirror_ldmatrix() {
    for trans in ["", ".trans"] {
        let code = format!(
            "{FILL}bar.sync 0;\nmad.lo.u32 %r5, %t, 16, %r3;
ldmatrix.sync.aligned.m8n8.x4.shared.b16 {r}, [%r5];\nbar.sync 0;
stmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 [%r5], {r};\nbar.sync 0;
ldmatrix.sync.aligned.m8n8.x4{trans}.shared.b16 {r}, [%r5];\n{}",
            words_of_lane("st", 0, 10, 4),
            r = list(10, 4)
        );
        let got = run(&kernel(1, &code), 32, &[], 128).unwrap().0;
        let want = |lane: u32, matrix: u32| {
            let first = matrix * 64 + lane * 2;
            first | (first + 1) << 16
        };
        let want: Words = (0..32).flat_map(|l| (0..4).map(move |m| want(l, m))).collect();
        assert_eq!(got, want, "stmatrix{trans}");
    }
    let code = format!(
        "shl.b32 %r1, %t, 1;\nmad.lo.u32 %r2, %r1, 65537, 65536;
movmatrix.sync.aligned.m8n8.trans.b16 %r3, %r2;\n{}",
        words_of_lane("st", 0, 3, 1)
    );
    let got = run(&kernel(1, &code), 32, &[], 32).unwrap().0;
    let want: Words =
        (0..32).map(|l| (l / 4 + 8 * (l % 4 * 2)) | (l / 4 + 8 * (l % 4 * 2 + 1)) << 16).collect();
    assert_eq!(got, want);
}

/// The kernel of `wmma` on f16 matrices with f32 sums, whose layouts these are.
fn wmma(shape: &str, [a, b, c]: [&str; 3], stride_of_b: usize) -> String {
    let code = format!(
        "ld.param.u64 %rd0, [p0];\nld.param.u64 %rd1, [p1];\nld.param.u64 %rd2, [p2];
wmma.load.a.sync.aligned.{a}.{shape}.global.f16 {ra}, [%rd0];
wmma.load.b.sync.aligned.{b}.{shape}.f16 {rb}, [%rd1], {stride_of_b};
{zero}wmma.mma.sync.aligned.{a}.{b}.{shape}.f32.f32 {rc}, {ra}, {rb}, {rc};
wmma.store.d.sync.aligned.{c}.{shape}.global.f32 [%rd2], {rc};\n",
        ra = list(10, 8),
        rb = list(20, 8),
        rc = list(30, 8),
        zero = (30..38).map(|r| format!("mov.b32 %r{r}, 0;\n")).collect::<String>(),
    );
    kernel(3, &code)
}

#[test]
fn wmma_loads_multiplies_and_stores() {
    for [m, n] in [[16, 16], [8, 32], [32, 8]] {
        for layouts in [["row", "col", "row"], ["col", "row", "col"], ["row", "row", "col"]] {
            let at = |layout: &str, rows: usize, columns: usize, row: usize, column: usize| {
                if layout == "row" { row * columns + column } else { column * rows + row }
            };
            let a = |row: usize, k: usize| (row * 3 + k) as i64 % 7 - 3;
            let b = |k: usize, column: usize| (k * 5 + column) as i64 % 9 - 4;
            // Rows (columns) of B lie 8 elements further apart than they are long.
            let (long, short) = if layouts[1] == "row" { (n, 16) } else { (16, n) };
            let mut halves = [vec![0u16; m * 16], vec![0u16; (long + 8) * short]];
            for k in 0..16 {
                for row in 0..m {
                    halves[0][at(layouts[0], m, 16, row, k)] = encode("f16", a(row, k)) as u16;
                }
                for column in 0..n {
                    let (row_b, column_b) = if layouts[1] == "row" { (16, n + 8) } else { (24, n) };
                    halves[1][at(layouts[1], row_b, column_b, k, column)] =
                        encode("f16", b(k, column)) as u16;
                }
            }
            let words = halves.map(|all| {
                all.chunks_exact(2).map(|p| u32::from(p[0]) | u32::from(p[1]) << 16).collect::<Words>()
            });
            let text = wmma(&format!("m{m}n{n}k16"), layouts, long + 8);
            let (got, meter) = run(&text, 32, &[&words[0], &words[1]], m * n).unwrap();
            for row in 0..m {
                for column in 0..n {
                    let want: i64 = (0..16).map(|k| a(row, k) * b(k, column)).sum();
                    let index = at(layouts[2], m, n, row, column);
                    assert_eq!(
                        f32::from_bits(got[index]),
                        want as f32,
                        "m{m}n{n} {layouts:?} {row} {column}"
                    );
                }
            }
            assert_eq!(meter.multiply_adds, 16 * 256);
            assert_eq!(meter.traffic(Space::Global, Class::Store).bytes, 1024);
        }
    }
}

#[test]
fn wmma_is_checked() {
    let zeros = [0u32; 200];
    let text = wmma("m16n16k16", ["row", "row", "row"], 16);
    let kind = |text: &str, a: &[u32]| run(text, 32, &[a, &zeros], 256).map(|_| ()).map_err(|e| e.kind);
    assert_eq!(kind(&text, &zeros), Ok(()));
    assert_eq!(kind(&text, &zeros[..127]), Err(FaultKind::OutOfBounds));
    assert_eq!(kind(&text.replace("[%rd0]", "[%rd0+8]"), &zeros), Err(FaultKind::Misaligned));
    assert_eq!(kind(&text.replace("[%rd1], 16", "[%rd1], 18"), &zeros), Err(FaultKind::Misaligned));
    let other = "mad.wide.u32 %rd0, %t, 32, %rd0;\nwmma.load.a";
    assert_eq!(kind(&text.replace("wmma.load.a", other), &zeros), Err(FaultKind::Mask));
}

#[test]
fn what_is_not_there_is_refused_by_name() {
    for opcode in [
        "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32",
        "mma.sync.aligned.m16n8k16.col.row.f32.f16.f16.f32",
        "mma.sync.aligned.m16n8k16.row.col.f32.f16.bf16.f32",
        "mma.sync.aligned.m16n8k16.row.col.f16.bf16.bf16.f16",
        "mma.sync.aligned.m16n8k16.row.col.satfinite.f32.f16.f16.f32",
        "mma.sp.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32",
        "mma.sync.aligned.m8n8k128.row.col.s32.b1.b1.s32",
        "wmma.mma.sync.aligned.row.col.m16n16k16.f32.f16.f16.f32",
        "wmma.mma.sync.aligned.row.col.m8n8k32.s32.s4.s4.s32",
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16",
        "tcgen05.mma.cta_group::1.kind::f16",
        "ldmatrix.sync.aligned.m16n16.x1.trans.shared.b8",
    ] {
        let text = kernel(
            0,
            &format!("{opcode} {}, {}, {}, {};\n", list(50, 4), list(10, 4), list(30, 2), list(50, 4)),
        );
        let error = Module::parse("matrix.ptx", &text).unwrap_err().to_string();
        assert!(error.contains(opcode), "{error}");
    }
}
