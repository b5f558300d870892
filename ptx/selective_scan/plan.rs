//! How the launches of the scan are cut into blocks: pure functions of the sizes, the type and the card. Another cut
//! changes the time and the order of sums over blocks, no more.

use engine::launch::{Kernel, Limits};
use engine::{DType, Error, Result};

use super::call::{Dims, OP};
use super::launch::{CHUNK, entry_of};
use crate::launch::entry;

/// Tokens between two barriers of the forward walk, as in forward.cuh.
const TILE: usize = 8;
pub(super) const WARP: usize = 32;

/// Channels of a warp in the forward walk, `Owner::CHANNELS` in forward.cuh, and of one of its narrow variant.
fn forward_channels(n: usize, dtype: DType) -> usize {
    (512 / n).min(if dtype == DType::F32 { 16 } else { 32 })
}
const NARROW_CHANNELS: usize = 8;

/// Channels of a warp in the backward walk, `Quads::CHANNELS` in backward.cuh.
fn backward_channels(n: usize) -> usize {
    512 / n
}

/// Most registers of a thread in the backward walk.
const BACKWARD_REGISTERS: usize = 255;

/// How a launch is cut.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub kernel: Kernel,
    /// Blocks of channels.
    pub blocks: usize,
    /// The block that was chosen.
    pub block: Block,
}

/// A size that a block can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Block {
    /// Warps of one direction, which share B and C.
    pub warps: usize,
    /// Channels of these warps.
    pub channels: usize,
    /// All threads.
    pub threads: usize,
    /// Bytes of shared memory.
    pub shared: usize,
    /// The sums of both directions' y lie in shared memory too. Only forward has them.
    pub sums_in_shared: bool,
}

impl Plan {
    /// The forward pass.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where no block fits on the card.
    pub(super) fn forward(dims: Dims, dtype: DType, limits: &Limits) -> Result<Plan> {
        let Dims { b, l, e, n, .. } = dims;
        // Where few images would leave multiprocessors idle, the states of a channel go to more lanes.
        let wide = forward_channels(n, dtype);
        let narrow = n == 16 && b * e.div_ceil(wide) <= limits.multiprocessors;
        let channels = if narrow { NARROW_CHANNELS } else { wide };
        let block = |warps: usize, sums_in_shared: bool| {
            // Words of shared memory: B and C of two tiles in both directions; a tile's tokens for each of 2 x `warps`
            // warps, with what keeps them in banks of their own; and y, of all tokens or of a tile for each warp.
            let row = 2 * channels + if channels > 8 { channels / 4 } else { 0 };
            let words = 4 * TILE * 2 * n + 2 * warps * TILE * row;
            let y = warps * channels * if sums_in_shared { l.next_multiple_of(TILE) } else { 2 * TILE };
            let (threads, shared) = (2 * warps * WARP, 4 * (words + y));
            Block { warps, channels: warps * channels, threads, shared, sums_in_shared }
        };
        // y lies in shared memory where that leaves room for 8 warps on a multiprocessor: each has 16 independent
        // states, so 8 hide their latency.
        let roomy = |block: &Block| fit(block, limits) * block.warps >= 4;
        let [with_sums, without] = [true, false].map(|sums| [3, 2, 1].map(|warps| block(warps, sums)));
        let blocks: Vec<Block> = with_sums.into_iter().filter(roomy).chain(without).collect();
        let kernel = match narrow {
            true => entry!(super::launch::FILE, "selective_scan_forward_narrow_n16", dtype),
            false => entry_of!("selective_scan_forward", n, dtype),
        };
        Self::choose(kernel, &blocks, dims, b, limits)
    }

    /// The backward pass, with the gradients of A_log, D and delta_bias where they are `trained`.
    ///
    /// # Errors
    /// [`Error::Unsupported`] where no block fits on the card.
    pub(super) fn backward(dims: Dims, dtype: DType, trained: bool, limits: &Limits) -> Result<Plan> {
        let Dims { b, n, prompts, .. } = dims;
        // The bytes of a warp, as in backward.cuh: a chunk's tokens, states within the chunk, parts of sums over states,
        // parts of dB and dC, and two parameters. Beside them are the next chunk's inputs in their own type, and once for
        // all warps B and C, and those of the next chunk in their own type.
        let channels = backward_channels(n);
        let row = (4 * channels).max(2 * n) + 4;
        let kept = if trained { 3 } else { 2 } * WARP * 16;
        let padding = match n {
            8 => 16,
            16 => 8,
            _ => 4,
        };
        let groups = channels / 4;
        let parts = 4 * 2 * (n / 4) * (channels + padding) + 4 * 2 * (groups + usize::from(n <= 16)) * n;
        let words = CHUNK * row + kept + parts + 2 * channels;
        let staged = (5 + usize::from(prompts)) * CHUNK * channels * dtype.size();
        let bc = CHUNK * 2 * n * (4 + dtype.size());
        let block = |warps: usize| Block {
            warps,
            channels: warps * channels,
            threads: warps * WARP,
            shared: bc + warps * (4 * words + staged),
            sums_in_shared: false,
        };
        // Registers leave room for eight warps on a multiprocessor. Only those blocks are looked at that make three
        // quarters of the most that are possible there.
        let resident =
            |block: &Block| block.warps * limits.resident(block.threads, BACKWARD_REGISTERS, block.shared);
        let blocks: Vec<Block> = [8, 4, 2, 1].map(block).into();
        let most = blocks.iter().map(resident).max().unwrap_or(0);
        let fitting: Vec<Block> = blocks
            .iter()
            .filter(|block| resident(block) > 0 && 4 * resident(block) >= 3 * most)
            .copied()
            .collect();
        let kernel = match trained {
            true => entry_of!("selective_scan_backward_trained", n, dtype),
            false => entry_of!("selective_scan_backward", n, dtype),
        };
        if fitting.is_empty() {
            return Err(too_large(kernel, &blocks, limits));
        }
        Ok(Self::least_busy(kernel, fitting, dims, 2 * b, limits))
    }

    /// Chooses among blocks of falling size for `rows` rows of blocks of channels. Only those are looked at of which
    /// two fit on a multiprocessor, or where there are none, those that fit at all.
    fn choose(kernel: Kernel, blocks: &[Block], dims: Dims, rows: usize, limits: &Limits) -> Result<Plan> {
        let fitting = |together: usize| -> Vec<Block> {
            blocks.iter().filter(|block| fit(block, limits) >= together).copied().collect()
        };
        let most = [fitting(2), fitting(1)].into_iter().find(|blocks| !blocks.is_empty());
        let fitting = most.ok_or_else(|| too_large(kernel, blocks, limits))?;
        Ok(Self::least_busy(kernel, fitting, dims, rows, limits))
    }

    /// Of blocks of falling size, the first that gives the busiest multiprocessor at most a third more warps than the
    /// best does: large blocks read B and C least often, and up to a third more warps still hide each other's latency.
    fn least_busy(kernel: Kernel, blocks: Vec<Block>, dims: Dims, rows: usize, limits: &Limits) -> Plan {
        let row = |block: &Block| dims.e.div_ceil(block.channels);
        let busiest = |block: &Block| block.warps * (rows * row(block)).div_ceil(limits.multiprocessors);
        let best = blocks.iter().map(busiest).min().expect("one fits");
        let block =
            blocks.into_iter().find(|block| 3 * busiest(block) <= 4 * best).expect("the best at least");
        Plan { kernel, blocks: row(&block), block }
    }
}

/// Blocks of this size that fit on a multiprocessor. The kernels' launch bounds leave registers for two on any card.
fn fit(block: &Block, limits: &Limits) -> usize {
    limits.resident(block.threads, 0, block.shared)
}

fn too_large(kernel: Kernel, blocks: &[Block], limits: &Limits) -> Error {
    let least = blocks.iter().map(|block| block.shared).min().unwrap_or(0);
    let what = format!(
        "a block of {} needs {} KiB of shared memory, and this device has {} KiB for a block",
        kernel.entry,
        least.div_ceil(1 << 10),
        limits.shared_per_block >> 10
    );
    Error::Unsupported { op: OP, what }
}

#[cfg(test)]
mod tests {
    use engine::cards::{self, CARDS};

    use std::collections::BTreeSet;

    use super::super::cases::{self, Cases};
    use super::*;
    use crate::spec::{Case, Op, TRAINING_TOKENS};

    /// Channels of Vim-T, Vim-S and Vim-B.
    const WIDTHS: [usize; 3] = [384, 768, 1536];
    const TYPES: [DType; 2] = [DType::F32, DType::Bf16];

    fn dims(b: usize, l: usize, e: usize, n: usize) -> Dims {
        Dims { b, l, e, n, r: e / 32, prompts: false }
    }

    /// Every launch of the scan in training with these tokens and this state, on a card.
    fn training(
        l: usize,
        n: usize,
        limits: &Limits,
    ) -> impl Iterator<Item = (Dims, DType, Result<[Plan; 3]>)> {
        let sizes = WIDTHS.into_iter().flat_map(|e| (1..=128).map(move |b| (b, e)));
        let all = sizes.flat_map(|size| TYPES.map(|dtype| (size, dtype)));
        let all = all.flat_map(|(size, dtype)| [false, true].map(|prompts| (size, dtype, prompts)));
        all.map(move |((b, e), dtype, prompts)| {
            let dims = Dims { prompts, ..dims(b, l, e, n) };
            let plans = || {
                let backward = |trained| Plan::backward(dims, dtype, trained, limits);
                Ok([Plan::forward(dims, dtype, limits)?, backward(false)?, backward(true)?])
            };
            (dims, dtype, plans())
        })
    }

    #[test]
    fn every_card_takes_every_training_step() {
        for (card, limits) in CARDS {
            for (l, n) in [197, 785].into_iter().flat_map(|l| [8, 16, 32, 64].map(|n| (l, n))) {
                for (dims, dtype, plans) in training(l, n, &limits) {
                    let fits = plans.map(|plans| plans.iter().all(|plan| fit(&plan.block, &limits) > 0));
                    assert!(matches!(fits, Ok(true)), "{card}, {dims:?}, {dtype:?}: {fits:?}");
                }
            }
        }
    }

    /// At the batch of the published recipe, forward takes the largest block of which two fit, and backward the largest
    /// one that gives a multiprocessor as many warps as registers allow, or nearly.
    #[test]
    fn blocks_are_cut_for_the_card() {
        let chosen = |card: &str, l: usize, prompts: bool| {
            let limits = cards::parse(card).unwrap();
            let dims = Dims { prompts, ..dims(96, l, 768, 16) };
            let forward = Plan::forward(dims, DType::Bf16, &limits).unwrap().block;
            let warps = |trained| Plan::backward(dims, DType::Bf16, trained, &limits).unwrap().block.warps;
            (forward.warps, forward.sums_in_shared, warps(false), warps(true))
        };
        assert_eq!(chosen("h100", 197, false), (3, true, 8, 2));
        assert_eq!(chosen("h100", 401, false), (3, false, 8, 2), "y is too long for shared memory");
        assert_eq!(chosen("a100", 197, false), (2, true, 4, 4));
        assert_eq!(chosen("rtx4090", 197, false), (3, false, 1, 1), "three blocks of 30 KiB fit");
        assert_eq!(chosen("rtx4090", 17, false), (3, true, 1, 1));
    }

    /// A way to cut a launch: the kernel, the warps of a block, the sums, and whether backward has prompts to stage.
    type Choice = (&'static str, usize, bool, bool);

    fn choice(plan: &Plan, prompts: bool) -> Choice {
        (plan.kernel.entry, plan.block.warps, plan.block.sums_in_shared, prompts)
    }

    fn choices(dims: Dims, [forward, backward, trained]: [Plan; 3]) -> [Choice; 3] {
        [choice(&forward, false), choice(&backward, dims.prompts), choice(&trained, dims.prompts)]
    }

    /// The choices of a conformance case, as it launches.
    fn choices_of(case: &Case, limits: &Limits) -> Vec<Choice> {
        let plans = cases::plans(case, limits).into_iter().flatten().enumerate();
        plans.map(|(at, plan)| choice(&plan, at % 2 == 1 && case.is("prompts"))).collect()
    }

    #[test]
    fn every_choice_of_training_has_a_case() {
        let cases = Cases.card_cases();
        let ran = cases.iter().flat_map(|(case, cards)| cards.iter().flat_map(|card| choices_of(case, card)));
        let ran: BTreeSet<Choice> = ran.collect();
        for (card, limits) in CARDS {
            let mut made = BTreeSet::new();
            for l in [TRAINING_TOKENS, TRAINING_TOKENS + 100] {
                for n in [8, 16, 32, 64] {
                    let plans =
                        training(l, n, &limits).filter_map(|(dims, _, plans)| Some((dims, plans.ok()?)));
                    made.extend(plans.flat_map(|(dims, plans)| choices(dims, plans)));
                }
            }
            let missing: Vec<_> = made.difference(&ran).collect();
            assert!(missing.is_empty(), "{card}: conformance does not run {missing:?}");
        }
        let example =
            |frozen| Case::new(&[("b", 70), ("l", 17), ("e", 96), ("n", 16), ("r", 3), ("frozen", frozen)]);
        let warps = |frozen| {
            choices_of(&example(frozen), &cards::H100).iter().map(|choice| choice.1).collect::<Vec<_>>()
        };
        assert_eq!((warps(1), warps(0)), (vec![2, 1, 1, 1], vec![2, 1, 1, 1]), "f32, then bf16");
    }

    #[test]
    fn a_card_that_is_too_small_is_told() {
        let limits = cards::parse("shared=4,per-sm=5").unwrap();
        let error = Plan::forward(dims(1, 197, 768, 16), DType::Bf16, &limits).unwrap_err();
        assert_eq!(
            error.to_string(),
            "selective_scan: a block of selective_scan_forward_narrow_n16_bf16 needs 6 KiB of shared memory, \
             and this device has 4 KiB for a block"
        );
    }
}
