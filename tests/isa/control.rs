//! Guards, branches, loops that lanes leave at different times, barriers.

use super::program::{Program, Type::*};

pub fn programs() -> Vec<Program> {
    [guards(), branches(), barriers()].concat()
}

/// A guard covers the whole instruction: where it is false nothing is read, written, jumped to or ended.
fn guards() -> Vec<Program> {
    let choose = |body: &str, yes: u64, no: u64| {
        let program = Program::new(body, &[Pred, B32], &[B32]);
        program.locals(".reg .b64 %wild;").row(&[1, 7], yes).row(&[0, 7], no)
    };
    vec![
        choose("mov.b32 %d0, 1;\n@%a0 mov.u32 %d0, 0xFFFFFFF0;", 0xFFFF_FFF0, 1),
        choose("mov.b32 %d0, 1;\n@!%a0 mov.u32 %d0, 2;", 1, 2),
        choose("mov.b32 %d0, 1;\n@%a0 add.s32 %d0, %a1, 100;", 107, 1),
        choose("mov.b32 %d0, 1;\n@%a0 ld.global.u32 %d0, [%in+8];", 7, 1),
        // The address faults, under a guard that is false for both rows in turn.
        choose(
            "mov.b32 %d0, 1;\nmov.b64 %wild, 3;\nselp.b64 %wild, %in, %wild, %a0;\n\
             @%a0 ld.global.u32 %d0, [%wild+8];",
            7,
            1,
        ),
        choose("@%a0 st.global.u32 [%in+8], 9;\nld.global.u32 %d0, [%in+8];", 9, 7),
        choose(
            "@!%a0 st.global.u32 [%in+12], 9;\n@!%a0 st.global.u32 [%in+8], 9;\nld.global.u32 %d0, [%in+8];",
            7,
            9,
        ),
        choose("mov.b32 %d0, 1;\n@%a0 bra $over;\nmov.b32 %d0, 2;\n$over:", 1, 2),
        choose("mov.b32 %d0, 1;\n@!%a0 bra $over;\nmov.b32 %d0, 2;\n$over:", 2, 1),
        choose("mov.b32 %d0, 5;\nst.global.u32 [%out], 3;\n@%a0 ret;", 3, 5),
        choose("mov.b32 %d0, 5;\nst.global.u32 [%out], 3;\n@!%a0 exit;", 5, 3),
    ]
}

fn branches() -> Vec<Program> {
    let collatz = |start: u64| {
        let (mut value, mut steps) = (start, 0);
        while value != 1 {
            value = if value % 2 == 0 { value / 2 } else { 3 * value + 1 };
            steps += 1;
        }
        steps
    };
    let starts: Vec<Vec<u64>> = (1..200).map(|v| vec![v]).collect();
    let body = "mov.u32 %d0, 0;\nmov.u32 %v, %a0;\n$loop:\nsetp.eq.s32 %p, %v, 1;\n@%p bra $done;\n\
                and.b32 %odd, %v, 1;\nsetp.eq.s32 %p, %odd, 1;\nadd.s32 %d0, %d0, 1;\n@%p bra $odd;\n\
                shr.u32 %v, %v, 1;\nbra.uni $loop;\n$odd:\nmad.lo.s32 %v, %v, 3, 1;\nbra $loop;\n$done:";
    let own_time = Program::new(body, &[B32], &[B32]).locals(".reg .b32 %v, %odd;\n.reg .pred %p;");
    // Lanes that left a loop wait for the others, so the vote after it sees the whole warp.
    let body = "mov.u32 %v, %a0;\n$loop:\nsetp.eq.s32 %p, %v, 0;\n@%p bra $done;\nsub.s32 %v, %v, 1;\n\
                bra.uni $loop;\n$done:\nvote.sync.ballot.b32 %d0, %p, -1;";
    let mut together = Program::new(body, &[B32], &[B32]).block(32).locals(".reg .b32 %v;\n.reg .pred %p;");
    for lane in 0..32 {
        together = together.row(&[lane * 5 % 32], 0xFFFF_FFFF);
    }
    // One side of a branch has another branch inside.
    let body = "setp.lt.u32 %p, %a0, 8;\n@%p bra $small;\nsetp.lt.u32 %q, %a0, 100;\n@%q bra $middle;\n\
                mov.u32 %d0, 3;\nbra.uni $end;\n$middle:\nmov.u32 %d0, 2;\nbra.uni $end;\n$small:\n\
                mov.u32 %d0, 1;\n$end:\nadd.s32 %d0, %d0, 10;";
    let nested = Program::new(body, &[B32], &[B32]).locals(".reg .pred %p, %q;");
    vec![
        own_time.exact(starts.clone(), |row| collatz(row[0])),
        together,
        nested.exact(starts, |row| 11 + u64::from(row[0] >= 8) + u64::from(row[0] >= 100)),
    ]
}

/// Threads exchange words through shared memory, which is right only if the barrier holds all of them.
fn barriers() -> Vec<Program> {
    let threads: u32 = 128;
    let turn = |barrier: &str| {
        let body = format!(
            "mov.u32 %at, cells;\nmad.lo.s32 %mine, %thread, 4, %at;\nst.shared.u32 [%mine], %a0;\n{barrier}\n\
             xor.b32 %other, %thread, 127;\nmad.lo.s32 %other, %other, 4, %at;\nld.shared.u32 %d0, [%other];"
        );
        let mut program = Program::new(body, &[B32], &[B32]).block(threads);
        for thread in 0..u64::from(threads) {
            program = program.row(&[thread * 11], (127 - thread) * 11);
        }
        program.locals(".shared .align 4 .b8 cells[512];\n.reg .b32 %at, %mine, %other;")
    };
    let forms = ["bar.sync 0;", "bar.sync 0, 128;", "bar.sync 3;", "barrier.sync 0;", "bar.cta.sync 0;"];
    let mut programs: Vec<Program> = forms.into_iter().map(turn).collect();
    // Fences order nothing here that a barrier does not, but they must be accepted.
    for fence in ["membar.cta;", "membar.gl;", "fence.acq_rel.cta;", "fence.acq_rel.gpu;", "fence.sc.gpu;"] {
        programs.push(turn(&format!("{fence}\nbar.sync 0;")));
    }
    // Within a warp, neighbours meet at `bar.warp.sync`.
    let body = "mov.u32 %at, cells;\nmad.lo.s32 %mine, %thread, 4, %at;\nst.shared.u32 [%mine], %a0;\n\
                bar.warp.sync -1;\nxor.b32 %other, %thread, 31;\nmad.lo.s32 %other, %other, 4, %at;\n\
                ld.shared.u32 %d0, [%other];";
    let mut warp = Program::new(body, &[B32], &[B32]).block(32);
    for lane in 0..32 {
        warp = warp.row(&[lane * 11], (31 - lane) * 11);
    }
    programs.push(warp.locals(".shared .align 4 .b8 cells[128];\n.reg .b32 %at, %mine, %other;"));
    programs
}
