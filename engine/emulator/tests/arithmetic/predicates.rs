//! Comparisons, tests and selections.

use super::gives;

const NAN: u64 = 0x7e00;

/// Two predicates as two bits.
fn both(line: &str) -> String {
    format!("{line};\nselp.u32 %r7, 1, 0, %p1;\nselp.u32 %r8, 2, 0, %p2;\nadd.u32 %r0, %r7, %r8")
}

#[test]
fn halves_are_compared() {
    let one = |line: &str| format!("setp.eq.u32 %p2, 0, 0;\n{line};\nselp.u32 %r0, 1, 0, %p1");
    // -1 < 1, and -0 is not below 0.
    gives(&one("setp.lt.f16 %p1, %h1, %h2"), &[0xbc00, 0x3c00], 1);
    gives(&one("setp.lt.f16 %p1, %h1, %h2"), &[0x8000, 0], 0);
    gives(&one("setp.lt.bf16 %p1, %h1, %h2"), &[0xbf80, 0x3f80], 1);
    gives(&one("setp.ne.f16 %p1, %h1, %h2"), &[NAN, 0], 0);
    gives(&one("setp.neu.f16 %p1, %h1, %h2"), &[NAN, 0], 1);
    gives(&one("setp.nan.f16 %p1, %h1, %h2"), &[0, 0xfe00], 1);
    gives(&one("setp.gt.ftz.f16 %p1, %h1, %h2"), &[1, 0], 0);
    gives(&one("setp.gt.f16 %p1, %h1, %h2"), &[1, 0], 1);
    gives(&one("setp.gt.and.f16 %p1, %h1, %h2, !%p2"), &[1, 0], 0);
    gives(&one("setp.lt.or.bf16 %p1, %h1, %h2, %p2"), &[1, 0], 1);
}

/// The first predicate is that of the low halves, the second that of the high ones; not its opposite.
#[test]
fn pairs_give_two_predicates() {
    let line = both("setp.lt.f16x2 %p1|%p2, %r1, %r2");
    gives(&line, &[0x3c00_bc00, 0], 1);
    gives(&line, &[0xbc00_3c00, 0], 2);
    gives(&line, &[0xbc00_bc00, 0], 3);
    gives(&line, &[0x7e00_7e00, 0], 0);
    gives(&both("setp.gtu.bf16x2 %p1|%p2, %r1, %r2"), &[0x7fc0_bf80, 0], 2);
    let joined = "setp.eq.u32 %p3, %r3, 1;\nsetp.lt.xor.f16x2 %p1|%p2, %r1, %r2, %p3";
    gives(&both(joined), &[0x3c00_bc00, 0, 1], 2);
    gives(&both(joined), &[0x3c00_bc00, 0, 0], 1);
}

#[test]
fn results_of_set_are_joined_with_predicates() {
    let with = |line: &str| format!("setp.eq.u32 %p1, %r3, 1;\n{line}");
    let line = with("set.lt.and.f16x2.f16x2 %r0, %r1, %r2, %p1");
    gives(&line, &[0x3c00_bc00, 0, 1], 0x3c00);
    gives(&line, &[0x3c00_bc00, 0, 0], 0);
    gives(&with("set.lt.or.u32.s32 %r0, %r1, %r2, !%p1"), &[5, 4, 0], 0xffff_ffff);
    gives(&with("set.lt.xor.f32.f64 %r0, %d1, %d2, %p1"), &[0, 1, 1], 0);
    gives("set.lt.bf16.s32 %h0, %r1, %r2", &[0xffff_ffff, 0], 0x3f80);
}

#[test]
fn floats_are_classified() {
    let test = |what: &str, operand: u64, want: u64| {
        let register = if what.ends_with("f64") { "%d1" } else { "%r1" };
        gives(&format!("testp.{what} %p1, {register};\nselp.u32 %r0, 1, 0, %p1"), &[operand], want);
    };
    for (x, finite, normal, subnormal, nan) in [
        (0x8000_0000, 1, 1, 0, 0),
        (0x3f80_0000, 1, 1, 0, 0),
        (0x0000_0001, 1, 0, 1, 0),
        (0x7f80_0000, 0, 0, 0, 0),
        (0xff80_0001, 0, 0, 0, 1),
    ] {
        test("finite.f32", x, finite);
        test("normal.f32", x, normal);
        test("subnormal.f32", x, subnormal);
        test("notanumber.f32", x, nan);
        test("number.f32", x, 1 - nan);
        test("infinite.f32", x, u64::from(x & 0x7fff_ffff == 0x7f80_0000));
    }
    test("subnormal.f64", 1, 1);
    test("normal.f64", 0x0010_0000_0000_0000, 1);
    test("infinite.f64", 0xfff0_0000_0000_0000, 1);
}

#[test]
fn values_are_selected_by_a_sign() {
    gives("slct.u32.s32 %r0, %r1, %r2, %r3", &[5, 6, 0], 5);
    gives("slct.u32.s32 %r0, %r1, %r2, %r3", &[5, 6, 0x8000_0000], 6);
    gives("slct.b64.f32 %d0, %d1, %d2, %r3", &[5, 6, 0x8000_0000], 5);
    gives("slct.b16.f32 %h0, %h1, %h2, %r3", &[5, 6, 0x8000_0001], 6);
    gives("slct.ftz.b16.f32 %h0, %h1, %h2, %r3", &[5, 6, 0x8000_0001], 5);
    gives("slct.f32.f32 %r0, %r1, %r2, %r3", &[5, 6, 0x7fc0_0000], 6);
}
