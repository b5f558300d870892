//! Lanes that skip a barrier at which others of their warp wait.
//!
//! A thread that has left the kernel is not waited for, so a barrier opens when the rest of a block is there. But lanes
//! that pass a barrier by and live on are a fault of the kernel: `if (lane < 16) __syncthreads(); next();`. They are found
//! where they come to an instruction that lies behind the barrier: the waiting lanes will surely come there, it leads to
//! the barrier no more, and it is not just the end of the kernel, where an early `return` leads as well.

use std::collections::HashMap;

use crate::exec::Exec;
use crate::fault::{FaultKind, Run, Stop};
use crate::flow::successors;
use crate::isa::{NO_SLOT, Op};
use crate::program::Program;
use crate::warp::{Group, Wait};

/// The most pairs of a barrier and an instruction that a block remembers; others are not looked at.
const MOST_PAIRS: usize = 1 << 12;

/// For a barrier and an instruction, whether that lies behind it.
pub(crate) type Behind = HashMap<(u32, u32), bool>;

/// Follows all paths from an instruction on, except through `without`, and says whether `wanted` holds for any that they
/// come to.
fn reaches(program: &Program, from: u32, without: u32, wanted: impl Fn(usize) -> bool) -> bool {
    let mut seen = vec![false; program.code.len()];
    let mut work = vec![from as usize];
    while let Some(pc) = work.pop() {
        if pc == without as usize || std::mem::replace(&mut seen[pc], true) {
            continue;
        }
        if wanted(pc) {
            return true;
        }
        successors(program, pc, |next| work.push(next));
    }
    false
}

/// Whether nothing but the end of the kernel comes after an instruction.
fn only_ends(program: &Program, mut pc: u32) -> bool {
    for _ in 0..program.code.len() {
        let inst = &program.code[pc as usize];
        pc = match inst.op {
            _ if inst.guard != NO_SLOT => return false,
            Op::Exit => return true,
            Op::Branch { target } => target,
            Op::Nop => pc + 1,
            _ => return false,
        };
    }
    true
}

/// Whether a barrier asks for all lanes of a warp at the same instruction.
pub(crate) fn is_aligned(program: &Program, barrier: u32) -> bool {
    let opcode = &program.lines[barrier as usize].opcode;
    opcode.starts_with("bar.") || opcode.contains(".aligned")
}

fn lies_behind(program: &Program, barrier: u32, pc: u32) -> bool {
    let ends = |at: usize| matches!(program.code[at].op, Op::Exit);
    is_aligned(program, barrier)
        && !only_ends(program, pc)
        && reaches(program, barrier, u32::MAX, |at| at == pc as usize)
        && !reaches(program, barrier, pc, ends)
        && !reaches(program, pc, u32::MAX, |at| at == barrier as usize)
}

impl Exec<'_, '_> {
    /// Checks that lanes that go on do so before the barriers at which others of the warp wait. Returns the limit up to
    /// which they may run without being looked at again.
    #[cold]
    #[inline(never)]
    pub(crate) fn check_skipped(&mut self, group: &Group, limit: u32) -> Run<u32> {
        let program = &self.env.program;
        for other in self.warp.groups.iter().filter(|g| matches!(g.wait, Wait::Block { .. })) {
            let known = &mut self.state.behind;
            if known.len() >= MOST_PAIRS {
                return Ok(limit);
            }
            let pair = (other.pc, group.pc);
            if *known.entry(pair).or_insert_with(|| lies_behind(program, pair.0, pair.1)) {
                let first = 32 * self.warp.index;
                let [x, y, z] = self.env.thread(first + group.mask.trailing_zeros());
                let line = &program.lines[group.pc as usize];
                let detail = format!(
                    "thread ({x}, {y}, {z}) of the same warp has skipped it and is at {}",
                    line.place()
                );
                let lane = other.mask.trailing_zeros();
                self.pc = other.pc;
                self.report(Stop { kind: FaultKind::PartialBarrier, lane, address: None, detail })?;
                break;
            }
        }
        let next = program.leaders.partition_point(|&leader| leader <= group.pc);
        Ok(limit.min(program.leaders.get(next).copied().unwrap_or(limit)))
    }
}
