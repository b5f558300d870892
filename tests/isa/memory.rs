//! Loads and stores of every width, alone and as vectors, in every space; addresses from registers, symbols and
//! offsets; generic addresses; asynchronous copies; atomics.

use super::program::{Expect, PARAM_F32, PARAM_U32, Program, Type, Type::*};

pub fn programs() -> Vec<Program> {
    [loads(), stores(), vectors(), spaces(), parameters(), copies(), atomics()].concat()
}

/// Bytes that differ everywhere, with the sign bits of all widths set.
const CELL: u64 = 0xF1E2_D3C4_B5A6_9788;

/// Suffix, register type, bits, and whether a narrow value is widened by its sign.
const SCALARS: [(&str, Type, u32, bool); 13] = [
    ("u8", B16, 8, false),
    ("s8", B16, 8, true),
    ("b8", B16, 8, false),
    ("u16", B16, 16, false),
    ("s16", B16, 16, true),
    ("b16", B16, 16, false),
    ("u32", B32, 32, false),
    ("s32", B32, 32, false),
    ("b32", B32, 32, false),
    ("f32", F32, 32, false),
    ("u64", B64, 64, false),
    ("s64", B64, 64, false),
    ("b64", B64, 64, false),
];

fn bits(register: Type) -> u32 {
    match register {
        B16 => 16,
        B64 => 64,
        _ => 32,
    }
}

fn loads() -> Vec<Program> {
    let mut programs = vec![];
    for (suffix, register, width, signed) in SCALARS {
        let low = CELL << (64 - width);
        let wide = if signed { (low as i64 >> (64 - width)) as u64 } else { low >> (64 - width) };
        for cache in ["", ".nc", ".ca", ".cg", ".cs"] {
            let want = wide & super::exact::mask(bits(register));
            let load = format!("ld.global{cache}.{suffix} %d0,");
            programs.push(Program::new(format!("{load} [%in];"), &[B64], &[register]).row(&[CELL], want));
            let second = Program::new(format!("{load} [%in+8];"), &[B64, B64], &[register]);
            programs.push(second.row(&[0, CELL], want));
        }
    }
    // Offsets point ahead and behind, and undo a shifted register.
    programs.push(Program::new("ld.global.u16 %d0, [%in+6];", &[B64], &[B16]).row(&[CELL], 0xF1E2));
    let back = Program::new("add.s64 %x, %in, 4096;\nld.global.u32 %d0, [%x+-4092];", &[B64], &[B32]);
    programs.push(back.locals(".reg .b64 %x;").row(&[CELL], 0xF1E2_D3C4));
    // A narrow value is loaded into a wider register.
    for (suffix, want) in [("u8", 0x88), ("s8", 0xFFFF_FF88), ("u16", 0x9788), ("s16", 0xFFFF_9788)] {
        let program = Program::new(format!("ld.global.{suffix} %d0, [%in];"), &[B64], &[B32]);
        programs.push(program.row(&[CELL], want));
    }
    programs
}

/// A store changes its own bytes and no others.
fn stores() -> Vec<Program> {
    let mut programs = vec![];
    for (suffix, register, width, signed) in SCALARS {
        if signed {
            continue;
        }
        for cache in ["", ".wb", ".cg", ".cs"] {
            let kept = if width == 64 { 0 } else { CELL >> width << width };
            let value = 0x0123_4567_89AB_CDEF & super::exact::mask(width);
            let store = format!("st.global{cache}.{suffix}");
            let body = format!("{store} [%in], %a1;\nld.global.u64 %d0, [%in];");
            let program = Program::new(body, &[B64, register], &[B64]);
            programs.push(program.row(&[CELL, value], kept | value));
            let body =
                format!("{store} [%in+8], %a2;\nld.global.u64 %d0, [%in];\nld.global.u64 %d1, [%in+8];");
            let second = Program::new(body, &[B64, B64, register], &[B64, B64]);
            let want = [CELL, kept | value].map(Expect::Bits).to_vec();
            programs.push(second.rows(vec![vec![CELL, CELL, value]], |_| want.clone()));
        }
    }
    let offset = Program::new("st.global.u8 [%in+7], 18;\nld.global.u64 %d0, [%in];", &[B64], &[B64]);
    programs.push(offset.row(&[CELL], 0x12E2_D3C4_B5A6_9788));
    let immediate =
        Program::new("st.global.f32 [%in], 0f3F800000;\nld.global.u64 %d0, [%in];", &[B64], &[B64]);
    programs.push(immediate.row(&[CELL], 0xF1E2_D3C4_3F80_0000));
    programs
}

/// Two or four elements at once, read into registers and written back in turned order.
fn vectors() -> Vec<Program> {
    let suffixes = [
        ("u8", B16, 8),
        ("b16", B16, 16),
        ("u16", B16, 16),
        ("u32", B32, 32),
        ("s32", B32, 32),
        ("b32", B32, 32),
        ("f32", F32, 32),
        ("u64", B64, 64),
        ("b64", B64, 64),
    ];
    let mut programs = vec![];
    for (suffix, register, width) in suffixes {
        for count in [2usize, 4] {
            // A vector has at most 16 bytes.
            if width * count as u32 > 128 {
                continue;
            }
            let registers = |order: &mut dyn Iterator<Item = usize>| {
                format!("{{{}}}", order.map(|i| format!("%d{i}")).collect::<Vec<_>>().join(", "))
            };
            let ahead = registers(&mut (0..count));
            let turned = registers(&mut (0..count).rev());
            let mut bytes = vec![];
            bytes.extend(CELL.to_le_bytes());
            bytes.extend(0x1122_3344_5566_7788u64.to_le_bytes());
            let size = width as usize / 8;
            let element = |i: usize| {
                bytes[i * size..(i + 1) * size].iter().rev().fold(0u64, |v, b| v << 8 | u64::from(*b))
            };
            let input = vec![vec![CELL, 0x1122_3344_5566_7788]];
            let elements = || (0..count).map(|i| Expect::Bits(element(i))).collect::<Vec<_>>();
            for load in ["ld.global", "ld.global.nc", "ld.global.ca", "ld.global.cg", "ld.global.cs"] {
                let load = format!("{load}.v{count}.{suffix} {ahead},");
                let types = vec![register; count];
                let program = Program::new(format!("{load} [%in];"), &[B64, B64], &types);
                programs.push(program.rows(input.clone(), |_| elements()));
                let second = Program::new(format!("{load} [%in+16];"), &[B64; 4], &types);
                programs.push(second.rows(vec![[vec![0, 0], input[0].clone()].concat()], |_| elements()));
            }
            let mut reversed = elements();
            reversed.reverse();
            for (space, cache) in
                [("global", ""), ("global", ".cs"), ("global", ".cg"), ("shared", ""), ("local", "")]
            {
                for offset in ["", "+16"] {
                    let at = if space == "global" { "%in" } else { "%at" };
                    let cells = if space == "global" { "" } else { "mov.u64 %at, cells;\n" };
                    let body = format!(
                        "{cells}ld.global.v{count}.{suffix} {ahead}, [%in];\n\
                         st.{space}{cache}.v{count}.{suffix} [{at}{offset}], {turned};\n\
                         ld.{space}.v{count}.{suffix} {ahead}, [{at}{offset}];"
                    );
                    let program = Program::new(body, &[B64; 4], &vec![register; count]);
                    let row = [input[0].clone(), vec![0, 0]].concat();
                    let locals = match space {
                        "global" => String::new(),
                        _ => format!(".{space} .align 16 .b8 cells[32];\n.reg .b64 %at;"),
                    };
                    // Only one thread runs, because all would share the cells.
                    let program = program.locals(&locals).block(1);
                    programs.push(program.rows(vec![row], |_| reversed.clone()));
                }
            }
        }
    }
    programs
}

/// Shared (static and dynamic), local and constant memory, by symbol, by register and by generic address.
fn spaces() -> Vec<Program> {
    let mut programs = vec![];
    for (suffix, register, width, _) in SCALARS.iter().filter(|s| !s.3) {
        let value = CELL & super::exact::mask(*width);
        for space in ["shared", "local"] {
            let body = format!(
                "st.{space}.{suffix} [cells+8], %a0;\nmov.u64 %at, cells;\nld.{space}.{suffix} %d0, [%at+8];\n\
                 st.{space}.{suffix} [%at], %d0;\nld.{space}.{suffix} %d0, [cells];\n\
                 st.{space}.{suffix} [%at+8], %d0;\nld.{space}.{suffix} %d0, [cells+8];\n\
                 st.{space}.{suffix} [cells], %d0;\nld.{space}.{suffix} %d0, [%at];\n\
                 cvta.{space}.u64 %at, %at;\nld.{suffix} %d1, [%at+8];\nst.{suffix} [%at], %d1;\n\
                 cvta.to.{space}.u64 %at, %at;\nld.{space}.{suffix} %d1, [%at];"
            );
            let program = Program::new(body, &[*register], &[*register, *register]).block(1);
            let locals = format!(".{space} .align 8 .b8 cells[16];\n.reg .b64 %at;");
            programs
                .push(program.locals(&locals).rows(vec![vec![value]], |row| vec![Expect::Bits(row[0]); 2]));
        }
    }
    // In dynamic shared memory, each thread has its own word of 32.
    let body = "mov.u32 %at, cells;\nmad.lo.s32 %at, %thread, 4, %at;\nst.shared.u32 [%at], %a0;\n\
                ld.shared.u32 %d0, [%at];";
    let mut dynamic = Program::new(body, &[B32], &[B32]).block(32).shared(128);
    for thread in 0..32 {
        dynamic = dynamic.row(&[thread * 3], thread * 3);
    }
    programs.push(dynamic.globals(".extern .shared .align 16 .b8 cells[];").locals(".reg .b32 %at;"));
    // 32-bit shared addresses from 64-bit generic ones, as `__cvta_generic_to_shared` makes them.
    let body = "mov.u64 %at, cells;\ncvta.shared.u64 %at, %at;\ncvta.to.shared.u64 %at, %at;\n\
                cvt.u32.u64 %low, %at;\nst.shared.u32 [%low+4], %a0;\nld.shared.u32 %d0, [cells+4];";
    let low = Program::new(body, &[B32], &[B32]).block(1).row(&[77], 77);
    programs.push(low.locals(".shared .align 8 .b8 cells[8];\n.reg .b64 %at;\n.reg .b32 %low;"));
    // Constants are read as words, floats and bytes.
    let table = ".const .align 4 .u32 words[3] = {7, 0xFFFFFFFF, 9};\n\
                 .const .align 4 .f32 floats[2] = {0f3F800000, 0fC0000000};\n\
                 .const .align 4 .b8 bytes[8] = {1, 2, 3, 4, 255, 0, 0, 128};";
    let constant = |body: &str, to: Type| Program::new(body, &[], &[to]).globals(table);
    programs.push(constant("ld.const.u32 %d0, [words+4];", B32).row(&[], 0xFFFF_FFFF));
    programs.push(constant("ld.const.f32 %d0, [floats+4];", F32).row(&[], 0xC000_0000));
    programs.push(constant("ld.const.u32 %d0, [bytes+4];", B32).row(&[], 0x8000_00FF));
    let by_register = constant("mov.u64 %at, words;\nld.const.u32 %d0, [%at+8];", B32);
    programs.push(by_register.locals(".reg .b64 %at;").row(&[], 9));
    // A global address is used through generic space.
    let body = "cvta.to.global.u64 %at, %in;\nld.global.u64 %d0, [%at];\nld.u64 %d1, [%in];";
    let generic = Program::new(body, &[B64], &[B64, B64]).locals(".reg .b64 %at;");
    programs.push(generic.rows(vec![vec![CELL]], |_| vec![Expect::Bits(CELL); 2]));
    let float = Program::new("cvta.global.u64 %at, %in;\nld.f32 %d0, [%at];", &[B64], &[F32]);
    programs.push(float.locals(".reg .b64 %at;").row(&[CELL], CELL & 0xFFFF_FFFF));
    programs
}

fn parameters() -> Vec<Program> {
    let scalar = |form: &str, name: &str, to: Type| {
        Program::new(format!("ld.param.{form} %d0, [{name}];"), &[], &[to])
    };
    vec![
        scalar("u32", "isa_u32", B32).row(&[], PARAM_U32.into()),
        scalar("s32", "isa_u32", B32).row(&[], PARAM_U32.into()),
        scalar("b32", "isa_u32", B32).row(&[], PARAM_U32.into()),
        scalar("f32", "isa_f32", F32).row(&[], PARAM_F32.to_bits().into()),
        scalar("u16", "isa_u32+2", B16).row(&[], (PARAM_U32 >> 16).into()),
        scalar("u8", "isa_u32+3", B16).row(&[], (PARAM_U32 >> 24).into()),
        // A pointer reaches what it points to: the first row, here of one thread.
        Program::new("ld.param.u64 %at, [isa_in];\nld.global.u64 %d0, [%at];", &[B64], &[B64])
            .locals(".reg .b64 %at;")
            .block(1)
            .row(&[CELL], CELL),
    ]
}

/// `cp.async` copies from global to shared memory. The data is there once it is waited for, and short sources are
/// filled with zeros.
fn copies() -> Vec<Program> {
    let forms = [
        ("cp.async.ca.shared.global [cells], [%in], 4;", 4),
        ("cp.async.ca.shared.global [cells], [%in], 8;", 8),
        ("cp.async.ca.shared.global [cells], [%in], 16;", 16),
        ("cp.async.cg.shared.global [cells], [%in], 16;", 16),
        ("cp.async.ca.shared.global [cells], [%in], 16, 4;", 4),
        ("cp.async.cg.shared.global [cells], [%in], 16, 12;", 12),
        ("cp.async.cg.shared.global [cells], [%in], 16, 0;", 0),
        ("mov.u32 %size, 8;\ncp.async.ca.shared.global [cells], [%in], 16, %size;", 8),
        ("mov.u32 %size, 16;\ncp.async.cg.shared.global [cells], [%in], 16, %size;", 16),
        ("mov.u32 %size, 0;\ncp.async.ca.shared.global [cells], [%in], 4, %size;", 0),
    ];
    let waits = [
        "cp.async.commit_group;\ncp.async.wait_group 0;",
        "cp.async.wait_all;",
        "cp.async.commit_group;\ncp.async.commit_group;\ncp.async.wait_group 1;",
    ];
    let mut programs = vec![];
    for (form, bytes) in forms {
        for wait in waits {
            for at in ["cells", "%at"] {
                // Zeros are stored first, so what a short copy leaves alone reads as zero too.
                let body = format!(
                    "mov.u32 %at, cells;\nmov.b64 %zero, 0;\nst.shared.v2.u64 [cells], {{%zero, %zero}};\n\
                     {}\n{wait}\nld.shared.v2.u64 {{%d0, %d1}}, [cells];",
                    form.replace("cells", at)
                );
                let locals = ".shared .align 16 .b8 cells[16];\n.reg .b64 %zero;\n.reg .b32 %at, %size;";
                let program = Program::new(body, &[B64, B64], &[B64, B64]).block(1).locals(locals);
                let part = |value: u64, first: u32| {
                    let kept = (bytes - first as i32).clamp(0, 8) as u32;
                    Expect::Bits(if kept == 0 { 0 } else { value & super::exact::mask(8 * kept) })
                };
                let want = |row: &[u64]| vec![part(row[0], 0), part(row[1], 8)];
                programs.push(program.rows(vec![vec![CELL, !CELL]], want));
            }
        }
    }
    programs
}

/// Atomics read, change and write, and return the old value. First each thread works on a cell of its own, then all on
/// one.
fn atomics() -> Vec<Program> {
    type Update = fn(u64, u64) -> u64;
    let operations: [(&str, Update); 12] = [
        ("add.u32", |old, b| u64::from((old as u32).wrapping_add(b as u32))),
        ("add.s32", |old, b| u64::from((old as u32).wrapping_add(b as u32))),
        ("min.u32", |old, b| old.min(b)),
        ("max.u32", |old, b| old.max(b)),
        ("min.s32", |old, b| u64::from((old as i32).min(b as i32) as u32)),
        ("max.s32", |old, b| u64::from((old as i32).max(b as i32) as u32)),
        ("and.b32", |old, b| old & b),
        ("or.b32", |old, b| old | b),
        ("xor.b32", |old, b| old ^ b),
        ("exch.b32", |_, b| b),
        // `inc` counts up to `b` and then from zero; `dec` counts down to zero and then from `b`.
        ("inc.u32", |old, b| if old >= b { 0 } else { old + 1 }),
        ("dec.u32", |old, b| if old == 0 || old > b { b } else { old - 1 }),
    ];
    let values = [0, 1, 5, 6, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF];
    let rows: Vec<Vec<u64>> = values.iter().flat_map(|&a| values.map(|b| vec![a, b])).collect();
    let mut programs = vec![];
    for (operation, update) in operations {
        let body = format!("atom.global.{operation} %d0, [%in], %a1;\nld.global.u32 %d1, [%in];");
        programs.push(
            Program::new(body, &[B32, B32], &[B32, B32])
                .rows(rows.clone(), |row| vec![Expect::Bits(row[0]), Expect::Bits(update(row[0], row[1]))]),
        );
        if operation != "exch.b32" {
            let body = format!("red.global.{operation} [%in], %a1;\nld.global.u32 %d0, [%in];");
            let red = Program::new(body, &[B32, B32], &[B32]);
            programs.push(red.exact(rows.clone(), |row| update(row[0], row[1])));
        }
    }
    let swap = Program::new(
        "atom.global.cas.b32 %d0, [%in], %a1, %a2;\nld.global.u32 %d1, [%in];",
        &[B32; 3],
        &[B32, B32],
    );
    programs.push(swap.rows(vec![vec![5, 5, 9], vec![5, 6, 9]], |row| {
        let now = if row[0] == row[1] { row[2] } else { row[0] };
        vec![Expect::Bits(row[0]), Expect::Bits(now)]
    }));
    // Every thread of two warps adds to one shared word.
    let mut all = Program::new(
        "setp.ne.s32 %p, %thread, 0;\n@%p bra $zeroed;\nst.shared.u32 [cell], 100;\n$zeroed:\nbar.sync 0;\n\
         atom.shared.add.u32 %d0, [cell], %a0;\nbar.sync 0;\nld.shared.u32 %d0, [cell];",
        &[B32],
        &[B32],
    )
    .block(64)
    .locals(".shared .align 4 .b8 cell[4];\n.reg .pred %p;");
    for thread in 0..64 {
        all = all.row(&[thread], 100 + 63 * 64 / 2);
    }
    programs.push(all);
    programs
}
