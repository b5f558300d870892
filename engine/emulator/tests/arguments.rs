//! Arguments of every size: structs by value, small numbers, arrays.

use ptx_emulator::{Access, Arg, FaultKind, Launch, Machine, Module};

const LAUNCH: Launch = Launch { grid: [1; 3], block: [1; 3], shared: 0 };

/// Runs a kernel with these parameters after an output of eight bytes, which it fills from `%rd1`.
fn run(params: &str, body: &str, args: &[Arg]) -> Result<u64, FaultKind> {
    let text = format!(
        ".version 8.4\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 o, {params}) {{
        .reg .b16 %h<5>; .reg .b32 %r<5>; .reg .b64 %rd<5>; .reg .f32 %f<5>;
        ld.param.u64 %rd0, [o]; {body} st.global.u64 [%rd0], %rd1; ret; }}"
    );
    let module = Module::parse_whole("k.ptx", &text).unwrap();
    let machine = Machine::new();
    let at = machine.alloc(8);
    let mut all = vec![Arg::Buffer { at, bytes: 8, access: Access::Write }];
    all.extend_from_slice(args);
    machine.launch(&module, "k", LAUNCH, &all).map_err(|fault| fault.kind)?;
    let mut bytes = [0; 8];
    machine.read(at, &mut bytes).unwrap();
    Ok(u64::from_le_bytes(bytes))
}

#[test]
fn scalars_of_every_width() {
    let of = |ty: &str, arg: Arg| {
        let body = format!("ld.param.{ty} %rd1, [x];");
        run(&format!(".param .{ty} x"), &body, &[arg])
    };
    assert_eq!(of("s8", Arg::from(-3i8)), Ok(-3i64 as u64));
    assert_eq!(of("u8", Arg::from(250u8)), Ok(250));
    assert_eq!(of("u8", Arg::from(true)), Ok(1));
    assert_eq!(of("s16", Arg::from(-300i16)), Ok(-300i64 as u64));
    assert_eq!(of("u16", Arg::from(65_000u16)), Ok(65_000));
    assert_eq!(of("s32", Arg::from(-70_000i32)), Ok(-70_000i64 as u64));
    assert_eq!(of("u32", Arg::from(4_000_000_000u32)), Ok(4_000_000_000));
    assert_eq!(of("s64", Arg::from(i64::MIN)), Ok(1 << 63));
    assert_eq!(of("u64", Arg::from(u64::MAX)), Ok(u64::MAX));
    assert_eq!(of("b64", Arg::from(-2.5f64)), Ok(0xc004_0000_0000_0000));
    assert_eq!(of("b32", Arg::from(1.5f32)), Ok(0x3fc0_0000));
    assert_eq!(of("u16", Arg::from(1u8)), Err(FaultKind::Arguments));
    assert_eq!(of("u8", Arg::U32(1)), Err(FaultKind::Arguments));
}

#[test]
fn a_struct_lies_at_its_alignment() {
    let bytes: Vec<u8> = (1..=24).collect();
    let params = ".param .u8 c, .param .align 8 .b8 s[24], .param .u16 d";
    let args = [Arg::from(7u8), Arg::Bytes(bytes.clone()), Arg::from(0x1234u16)];
    assert_eq!(run(params, "ld.param.u64 %rd1, [s+8];", &args), Ok(0x100f_0e0d_0c0b_0a09));
    assert_eq!(run(params, "ld.param.u8 %rd1, [s+23];", &args), Ok(24));
    assert_eq!(
        run(params, "ld.param.v2.u32 {%r1, %r2}, [s+16]; mov.b64 %rd1, {%r2, %r1};", &args),
        Ok(0x1413_1211_1817_1615)
    );
    assert_eq!(run(params, "ld.param::entry.u16 %rd1, [d];", &args), Ok(0x1234));
    assert_eq!(run(params, "mov.u64 %rd2, s; ld.param.u32 %rd1, [%rd2+4];", &args), Ok(0x0807_0605));
    let wrong = [Arg::from(7u8), Arg::Bytes(bytes[1..].to_vec()), Arg::from(0u16)];
    assert_eq!(run(params, "mov.u64 %rd1, 0;", &wrong), Err(FaultKind::Arguments));
    // Loads outside of the parameters, and at no multiple of their width.
    assert_eq!(run(params, "ld.param.u64 %rd1, [s+40];", &args), Err(FaultKind::OutOfBounds));
    assert_eq!(run(params, "ld.param.u32 %rd1, [s+2];", &args), Err(FaultKind::Misaligned));
}

/// A pointer in a struct leads to memory that another argument names.
#[test]
fn pointers_in_structs_are_named_beside() {
    let text = ".version 8.4\n.target sm_80\n.address_size 64\n.visible .entry k(.param .align 8 .b8 s[16]) {
        .reg .b32 %r<5>; .reg .b64 %rd<5>;
        ld.param.u64 %rd0, [s]; ld.param.u32 %r0, [s+8]; st.global.u32 [%rd0], %r0; ret; }";
    let module = Module::parse_whole("k.ptx", text).unwrap();
    let machine = Machine::new();
    let at = machine.alloc(4);
    let mut bytes = at.to_le_bytes().to_vec();
    bytes.extend([9, 0, 0, 0, 0, 0, 0, 0]);
    let unnamed = machine.launch(&module, "k", LAUNCH, &[Arg::Bytes(bytes.clone())]).unwrap_err();
    assert_eq!(unnamed.kind, FaultKind::UnnamedBuffer);
    let reached = Arg::Reached { at, bytes: 4, access: Access::Write };
    machine.launch(&module, "k", LAUNCH, &[Arg::Bytes(bytes), reached]).unwrap();
    let mut word = [0; 4];
    machine.read(at, &mut word).unwrap();
    assert_eq!(word, [9, 0, 0, 0]);
}
