//! Basic blocks of a kernel and its loops.

use super::{Function, Instruction};

/// Instructions that are executed one after the other.
#[derive(Debug, Clone, Default)]
pub struct Block {
    pub first: usize,
    /// The position after its last instruction.
    pub end: usize,
    pub next: Vec<usize>,
    pub before: Vec<usize>,
    /// Whether the entry reaches it without a call. What only calls reach are the slow ways of divisions.
    pub reached: bool,
    /// Whether the kernel may end here.
    pub exits: bool,
}

/// The blocks of a function in the order of its code.
pub fn blocks(function: &Function) -> Vec<Block> {
    let code = &function.code;
    let mut leaders: Vec<usize> = vec![0];
    for (at, instruction) in code.iter().enumerate() {
        if ends_block(instruction) {
            leaders.push(at + 1);
        }
        if matches!(instruction.root(), "BRA" | "CALL" | "BSSY") {
            leaders.extend(instruction.target);
        }
    }
    leaders.retain(|&at| at < code.len());
    leaders.sort_unstable();
    leaders.dedup();
    let mut blocks: Vec<Block> = vec![];
    for (i, &first) in leaders.iter().enumerate() {
        let end = leaders.get(i + 1).copied().unwrap_or(code.len());
        let last = &code[end - 1];
        let mut next = vec![];
        let falls = !ends_block(last) || conditional(last);
        if falls && end < code.len() {
            next.push(i + 1);
        }
        if last.root() == "BRA" {
            let target = last.target.and_then(|at| leaders.binary_search(&at).ok());
            next.extend(target.filter(|target| !next.contains(target)));
        }
        let exits = last.root() == "EXIT";
        blocks.push(Block { first, end, next, exits, ..Block::default() });
    }
    let mut work = vec![0];
    while let Some(block) = work.pop() {
        if !std::mem::replace(&mut blocks[block].reached, true) {
            work.extend(blocks[block].next.clone());
        }
    }
    for block in (0..blocks.len()).filter(|&block| blocks[block].reached).collect::<Vec<_>>() {
        for next in blocks[block].next.clone() {
            blocks[next].before.push(block);
        }
    }
    blocks
}

/// Whether the next instruction is not always the one that follows.
fn ends_block(instruction: &Instruction) -> bool {
    matches!(instruction.root(), "BRA" | "EXIT" | "RET" | "BRX" | "KILL")
}

/// Whether a branch may fall through: by its guard, or by a predicate among the operands.
fn conditional(instruction: &Instruction) -> bool {
    instruction.guarded || instruction.operands.starts_with('P') || instruction.operands.starts_with("!P")
        || instruction.operands.starts_with('U') || instruction.operands.starts_with("!U")
}

/// A natural loop: what reaches a backward edge without leaving through the loop's head.
#[derive(Debug, Clone)]
pub struct Loop {
    pub head: usize,
    /// Its blocks in order, those of inner loops included.
    pub body: Vec<usize>,
    /// Whether it holds no other loop.
    pub innermost: bool,
}

/// All natural loops. Edges back to one head are one loop.
pub fn loops(blocks: &[Block]) -> Vec<Loop> {
    let dominators = dominators(blocks);
    let mut loops: Vec<Loop> = vec![];
    for (from, block) in blocks.iter().enumerate().filter(|(_, block)| block.reached) {
        for &head in block.next.iter().filter(|&&head| dominators[from][head]) {
            let mut body = vec![head];
            let mut work = vec![from];
            while let Some(block) = work.pop() {
                if !body.contains(&block) {
                    body.push(block);
                    work.extend(&blocks[block].before);
                }
            }
            match loops.iter_mut().find(|known| known.head == head) {
                Some(known) => known.body.extend(body),
                None => loops.push(Loop { head, body, innermost: false }),
            }
        }
    }
    for one in &mut loops {
        one.body.sort_unstable();
        one.body.dedup();
    }
    let heads: Vec<usize> = loops.iter().map(|one| one.head).collect();
    for one in &mut loops {
        one.innermost = !heads.iter().any(|head| *head != one.head && one.body.contains(head));
    }
    loops
}

/// For each block, which blocks every way from the entry passes.
fn dominators(blocks: &[Block]) -> Vec<Vec<bool>> {
    let mut sets = vec![vec![true; blocks.len()]; blocks.len()];
    sets[0] = vec![false; blocks.len()];
    sets[0][0] = true;
    let mut changed = true;
    while std::mem::take(&mut changed) {
        for at in (1..blocks.len()).filter(|&at| blocks[at].reached) {
            let mut set = vec![true; blocks.len()];
            for &before in &blocks[at].before {
                set.iter_mut().zip(&sets[before]).for_each(|(all, one)| *all &= one);
            }
            set[at] = true;
            if set != sets[at] {
                sets[at] = set;
                changed = true;
            }
        }
    }
    sets
}
