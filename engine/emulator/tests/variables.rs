//! Variables of a module, and single instructions whose results were wrong once. The right values are written out by hand.

use ptx_emulator::{Access, Arg, Launch, Machine, Module};

/// A kernel that stores `%r0` to its argument, after `body`, in a module with `top`.
fn module(top: &str, body: &str) -> Module {
    let text = format!(
        ".version 8.4\n.target sm_90\n.address_size 64\n{top}
.visible .entry k(.param .u64 o)
{{
    .reg .b32 %r<9>;
    .reg .b16 %h<9>;
    .reg .f64 %d<9>;
    .reg .b64 %rd<9>;
    .shared .align 4 .b32 cell;
    ld.param.u64 %rd0, [o];
    {body}
    st.global.b32 [%rd0], %r0;
    ret;
}}"
    );
    Module::parse_whole("k.ptx", &text).unwrap_or_else(|e| panic!("{e}"))
}

/// What a launch stores.
fn launch(machine: &Machine, module: &Module) -> u32 {
    let at = machine.alloc(4);
    let args = [Arg::Buffer { at, bytes: 4, access: Access::Write }];
    machine.launch(module, "k", Launch { grid: [1; 3], block: [1; 3], shared: 0 }, &args).unwrap();
    let mut bytes = [0; 4];
    machine.read(at, &mut bytes).unwrap();
    u32::from_le_bytes(bytes)
}

#[track_caller]
fn gives(top: &str, body: &str, want: u32) {
    let got = launch(&Machine::new(), &module(top, body));
    assert_eq!(got, want, "{top} {body}: {got:#x} in place of {want:#x}");
}

fn refused(top: &str) -> String {
    let text = format!(".version 8.4\n.target sm_90\n.address_size 64\n{top}\n");
    Module::parse("k.ptx", &text).unwrap_err().to_string()
}

#[test]
fn initial_values_have_the_type_of_the_variable() {
    let word = |at: u32| format!("ld.global.b32 %r0, [v+{at}];");
    gives(".global .f32 v = 1.5;", &word(0), 0x3fc0_0000);
    gives(".global .f32 v = -0f3F800000;", &word(0), 0xbf80_0000);
    gives(".global .f32 v[2] = {3, -3};", &word(4), 0xc040_0000);
    gives(".global .f64 v = -2.5;", &word(4), 0xc004_0000);
    gives(".global .f64 v = 0f3F800000;", &word(4), 0x3ff0_0000);
    gives(".global .f64 v = -2;", &word(4), 0xc000_0000);
    gives(".global .b32 v = 0f3F800000;", &word(0), 0x3f80_0000);
    gives(".global .s32 v = -2;", &word(0), 0xffff_fffe);
    gives(".global .b8 v[4] = {1, 2, -1};", &word(0), 0x00ff_0201);
    gives(".const .s64 v = -2;", "ld.const.b32 %r0, [v+4];", 0xffff_ffff);
    for wrong in ["0x7fffffffffffffff0", "{{1}", "1.5"] {
        assert!(refused(&format!(".global .u32 v = {wrong};")).starts_with("k.ptx:4: "), "{wrong}");
    }
    assert!(refused(".global .f16 v = 1;").contains("a number of the variable's type"));
}

#[test]
fn lists_in_lists_fill_their_part_of_an_array() {
    let word = |at: u32| format!("ld.global.b32 %r0, [v+{at}];");
    let rows = ".global .u32 v[2][4] = {{1, 2, 3}, {5, 6}};";
    for (at, want) in [(0, 1), (8, 3), (12, 0), (16, 5), (20, 6), (28, 0)] {
        gives(rows, &word(at), want);
    }
    let deep = ".global .u16 v[2][2][2] = {{{1}, {2}}, {{3}, {4, 5}}};";
    for (at, want) in [(0, 1), (4, 2), (8, 3), (12, 0x5_0004)] {
        gives(deep, &word(at), want);
    }
    gives(".global .u32 v[] = {7, 8, 9};", &word(8), 9);
    gives(".global .u32 v[][2] = {{1}, {2}};", &word(8), 2);
    assert!(refused(".global .u32 v[2][2] = {{1, 2, 3}};").contains("more than its part"));
    assert!(refused(".global .u32 v[2][2] = {{1}, {2}, {3}};").contains("more initial values"));
    assert!(refused(".global .u32 v[][1099511627776] = {{1}};").contains("more than its part"));
}

/// They live as long as the module is loaded.
#[test]
fn variables_keep_their_values_from_launch_to_launch() {
    let body = "ld.global.u32 %r0, [v];\nadd.u32 %r1, %r0, 1;\nst.global.u32 [v], %r1;";
    let counting = module(".global .u32 v = 5;", body);
    let (one, other) = (Machine::new(), Machine::new());
    assert_eq!([launch(&one, &counting), launch(&one, &counting), launch(&other, &counting)], [5, 6, 5]);
    let again = module(".global .u32 v = 5;", body);
    assert_eq!([launch(&one, &again), launch(&one, &counting)], [5, 7], "another module has its own");
}

#[test]
fn set_compares_floats_of_16_bits() {
    let half =
        |how: &str, a: u32, b: u32| format!("mov.b16 %h0, {a};\nmov.b16 %h1, {b};\nset.{how} %r0, %h0, %h1;");
    // -1 < 1, and whole numbers of these bits are the other way round.
    gives("", &half("lt.u32.f16", 0xbc00, 0x3c00), u32::MAX);
    gives("", &half("lt.s32.bf16", 0xbf80, 0x3f80), u32::MAX);
    gives("", &half("eq.u32.f16", 0x8000, 0), u32::MAX);
    gives("", &half("eq.u32.f16", 0x7e00, 0x7e00), 0);
    gives("", &half("nan.u32.f16", 0x7e00, 0x3c00), u32::MAX);
    // The least denormal, which `ftz` takes for 0.
    gives("", &half("gt.u32.f16", 1, 0), u32::MAX);
    gives("", &half("gt.ftz.u32.f16", 1, 0), 0);
    gives("", &half("gt.u32.f16", 0x7c00, 0x7bff), u32::MAX);
    let pair =
        |how: &str, a: u32, b: u32| format!("mov.b32 %r1, {a};\nmov.b32 %r2, {b};\nset.{how} %r0, %r1, %r2;");
    gives("", &pair("lt.u32.f16x2", 0x3c00_bc00, 0), 0x0000_ffff);
    gives("", &pair("gt.s32.bf16x2", 0x3f80_bf80, 0), 0xffff_0000);
}

#[test]
fn the_root_of_f64_has_all_its_bits() {
    let root = |how: &str, of: u64, half: &str| {
        format!(
            "mov.b64 %d0, {of:#x};\n{how} %d1, %d0;\nmov.b64 %rd1, %d1;\nmov.b64 {{%r1, %r2}}, %rd1;\nmov.b32 %r0, {half};"
        )
    };
    gives("", &root("rsqrt.approx.f64", 2f64.to_bits(), "%r1"), 0x667f_3bcd);
    gives("", &root("rsqrt.approx.f64", 2f64.to_bits(), "%r2"), 0x3fe6_a09e);
    gives("", &root("rsqrt.approx.ftz.f64", 2f64.to_bits(), "%r1"), 0);
    gives("", &root("rsqrt.approx.f64", 4f64.to_bits(), "%r2"), 0x3fe0_0000);
    gives("", &root("rsqrt.approx.f64", 0, "%r2"), 0x7ff0_0000);
    gives("", &root("rsqrt.approx.f64", (-0f64).to_bits(), "%r2"), 0xfff0_0000);
    gives("", &root("rsqrt.approx.f64", f64::INFINITY.to_bits(), "%r2"), 0);
}

/// Beside global memory denormals are flushed, in shared memory they are kept.
#[test]
fn sums_in_global_memory_have_no_denormals() {
    let sum = |space: &str, to: &str, start: u32, add: u32| {
        format!(
            "mov.b32 %r1, {start};\nst.{space}.b32 [{to}], %r1;\nmov.b32 %r2, {add};\n\
             atom.{space}.add.f32 %r3, [{to}], %r2;\nld.{space}.b32 %r0, [{to}];"
        )
    };
    let top = ".global .b32 v;";
    for (start, add, global, shared) in [
        (1, 1, 0, 2),
        (0x8000_0001, 0x8000_0001, 0x8000_0000, 0x8000_0002),
        (0x0080_0000, 0x8000_0001, 0x0080_0000, 0x007f_ffff),
        (0x3f80_0000, 0x3f80_0000, 0x4000_0000, 0x4000_0000),
    ] {
        gives(top, &sum("global", "v", start, add), global);
        gives(top, &sum("shared", "cell", start, add), shared);
    }
}

/// After a subtraction the flag is set where nothing was borrowed, which shows where additions and subtractions are mixed.
#[test]
fn the_carry_of_a_subtraction_is_that_of_a_gpu() {
    let chain = |first: &str, a: u32, b: u32, second: &str| {
        format!(
            "mov.u32 %r1, {a};\nmov.u32 %r2, {b};\n{first}.cc.u32 %r3, %r1, %r2;\n{second}.u32 %r0, 5, 0;"
        )
    };
    gives("", &chain("sub", 0, 1, "addc"), 5);
    gives("", &chain("sub", 1, 1, "addc"), 6);
    gives("", &chain("sub", 0, 1, "subc"), 4);
    gives("", &chain("sub", 1, 1, "subc"), 5);
    gives("", &chain("add", u32::MAX, 1, "addc"), 6);
    gives("", &chain("add", u32::MAX, 1, "subc"), 5);
    gives("", &chain("add", 1, 1, "subc"), 4);
}
