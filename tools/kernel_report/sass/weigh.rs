//! How often warps execute each basic block, from the emulator's counts of PTX lines.
//!
//! The assembler notes the PTX line of each instruction, and the emulator counts how often warps execute each line. Where
//! an instruction can neither be moved nor left out, such as an access to memory, both counts are the same; where loops
//! were unrolled, its copies share the count. Other instructions may have been hoisted or merged, so a block is given the
//! median of its fixed instructions; what has none takes what flows into it, and only then the median of all its lines,
//! but never more than flows into it: code that was moved out of a loop still has the counts of lines in it.

use std::collections::BTreeMap;

use super::flow::{Block, blocks, loops};
use super::{Function, Instruction, UNITS, Unit};

/// A function whose blocks have counts.
#[derive(Debug, Clone)]
pub struct Weighed<'a> {
    pub function: &'a Function,
    pub blocks: Vec<Block>,
    /// Executions of each block by warps.
    pub counts: Vec<f64>,
}

/// Weighs the blocks by how often warps executed each PTX line. `warps` entered the kernel.
pub fn weigh<'a>(function: &'a Function, lines: &BTreeMap<u32, f64>, warps: f64) -> Weighed<'a> {
    let blocks = blocks(function);
    let mut copies: BTreeMap<(u32, &str), f64> = BTreeMap::new();
    for block in blocks.iter().filter(|block| block.reached) {
        for one in &function.code[block.first..block.end] {
            *copies.entry((one.line, one.root())).or_default() += 1.0;
        }
    }
    let evidence = |block: &Block, wanted: fn(&Instruction) -> bool| {
        let code = function.code[block.first..block.end].iter().filter(|one| wanted(one));
        let mut counts: Vec<f64> =
            code.filter_map(|one| Some(*lines.get(&one.line)? / copies[&(one.line, one.root())])).collect();
        counts.sort_by(f64::total_cmp);
        (!counts.is_empty()).then(|| counts[counts.len() / 2])
    };
    let mut known: Vec<Option<f64>> =
        blocks.iter().map(|block| if block.reached { evidence(block, fixed) } else { Some(0.0) }).collect();
    known[0] = Some(warps);
    propagate(&blocks, &mut known);
    while let Some(at) = known.iter().position(Option::is_none) {
        let before = &blocks[at].before;
        let flows: Option<f64> = before.iter().map(|&from| known[from]).sum();
        let most = flows.filter(|_| !before.is_empty()).unwrap_or(f64::INFINITY);
        known[at] = Some(evidence(&blocks[at], |_| true).unwrap_or(0.0).min(most));
        propagate(&blocks, &mut known);
    }
    let counts = known.into_iter().map(|count| count.expect("all are known").max(0.0)).collect();
    Weighed { function, blocks, counts }
}

/// Whether an instruction is executed exactly as often as its PTX line.
fn fixed(one: &Instruction) -> bool {
    let moves = matches!(one.unit(), Unit::Shared | Unit::Shuffle | Unit::Global | Unit::Tensor);
    !one.guarded && (moves || one.opcode == "MUFU.EX2" || one.root() == "BAR") && one.root() != "DEPBAR"
}

/// Fills in what follows from known counts: an edge that is alone at one of its ends has the count of that end, and a
/// block has the sum of its edges on either side.
fn propagate(blocks: &[Block], known: &mut [Option<f64>]) {
    let mut edges: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    let mut changed = true;
    while std::mem::take(&mut changed) {
        for at in (0..blocks.len()).filter(|&at| blocks[at].reached) {
            let block = &blocks[at];
            let into: Vec<_> = block.before.iter().map(|&from| (from, at)).collect();
            let mut out: Vec<_> = block.next.iter().map(|&to| (at, to)).collect();
            if block.exits {
                out.push((at, usize::MAX));
            }
            for side in [into, out] {
                let unknown: Vec<_> = side.iter().filter(|edge| !edges.contains_key(edge)).collect();
                let sum: f64 = side.iter().filter_map(|edge| edges.get(edge)).sum();
                match (known[at], &unknown[..]) {
                    (None, []) if !side.is_empty() && at != 0 => {
                        known[at] = Some(sum);
                        changed = true;
                    }
                    (Some(count), [edge]) => {
                        edges.insert(**edge, (count - sum).max(0.0));
                        changed = true;
                    }
                    _ => {}
                }
            }
        }
    }
}

impl Weighed<'_> {
    /// Adds up a quantity of all executed instructions.
    pub fn sum(&self, of: impl Fn(&Instruction) -> f64) -> f64 {
        let blocks = self.blocks.iter().zip(&self.counts);
        blocks
            .map(|(block, count)| {
                count * self.function.code[block.first..block.end].iter().map(&of).sum::<f64>()
            })
            .sum()
    }

    /// Issue slots by unit, in the order of `UNITS`, of some blocks.
    pub fn kinds(&self, blocks: impl Iterator<Item = usize>) -> [f64; UNITS.len()] {
        let mut kinds = [0.0; UNITS.len()];
        for at in blocks {
            for one in &self.function.code[self.blocks[at].first..self.blocks[at].end] {
                kinds[one.unit() as usize] += self.counts[at];
            }
        }
        kinds
    }

    /// The loops in which warps spend most of their slots.
    pub fn hot_loops(&self) -> Vec<HotLoop> {
        let all = loops(&self.blocks);
        let total: f64 = self.kinds(0..self.blocks.len()).iter().sum();
        let mut hot = vec![];
        for one in &all {
            let inner = |at: &usize| {
                all.iter().any(|other| {
                    other.head != one.head && one.body.contains(&other.head) && other.body.contains(at)
                })
            };
            let kinds = self.kinds(one.body.iter().copied().filter(|at| !inner(at)));
            let (slots, iterations) = (kinds.iter().sum::<f64>(), self.counts[one.head]);
            if slots >= HOT * total && iterations > 0.0 {
                let last = self.blocks[*one.body.last().expect("its head at least")].end;
                hot.push(HotLoop {
                    // An instruction has 16 bytes.
                    addresses: [16 * self.blocks[one.head].first, 16 * last],
                    innermost: one.innermost,
                    share: slots / total,
                    iterations,
                    kinds: kinds.map(|count| count / iterations),
                });
            }
        }
        hot
    }
}

/// The least share of a kernel's slots that makes a loop hot.
const HOT: f64 = 0.03;

/// A natural loop (what reaches a backward branch without passing the head, which dominates the branch) without the
/// loops in it.
#[derive(Debug, Clone)]
pub struct HotLoop {
    /// Of its head, and the end of its last block.
    pub addresses: [usize; 2],
    pub innermost: bool,
    /// Of all slots of the kernel.
    pub share: f64,
    /// Executions of its head by warps.
    pub iterations: f64,
    /// Slots of one iteration by unit.
    pub kinds: [f64; UNITS.len()],
}
