//! What the report must show of the scan and of attention.

use engine::DType;
use ptx::spec::{Case, WARP};

use crate::measure::Pass;
use crate::{Usages, h100};

pub struct Check {
    pub what: String,
    pub value: String,
    pub limit: String,
    pub holds: bool,
}

pub const SCAN: &str = "selective_scan";
/// Of each pass, at most: bytes moved for each that must be moved; special functions and, in bf16, issue slots for each
/// step. A cache would spare the GPU most of what is moved beyond the fewest: every block of channels reads its image's B
/// and C, more blocks in f32 than in bf16, and backward reads the states before a chunk twice, the second time a few
/// microseconds after the first, when those of all blocks together are 2 MB.
const LIMITS: [(&str, f64, f64, f64); 2] = [("forward", 1.2, 1.1, 9.0), ("backward", 1.55, 2.2, 20.0)];
const ATTENTION: &str = "attention";
/// Most time of each pass of attention in bf16, by the slots and passes of its kernels, for the time that its products take
/// on tensor cores, or its exponentials if they take longer: a share of 70 and of 55 %. Backward makes seven products of
/// the five, because each of its two kernels makes the scores and their gradients.
const TENSOR_CORES: [(&str, f64); 2] = [("forward", 1.0 / 0.7), ("backward", 1.0 / 0.55)];
/// Most by which the slots and passes of an op's cost may differ from those counted.
const STATED: f64 = 4.0 / 3.0;
/// Most by which executions of machine code may differ from those of the PTX that it was made of.
const COUNTED: f64 = 1.02;
/// Most passes through the banks of shared memory for each that is needed.
const CONFLICTS: f64 = 1.1;

/// The checks for which there is something to look at: registers and spills, and issue slots of machine code.
pub fn all(passes: &[Pass], usages: Option<&Usages>, machine_code: bool) -> Vec<Check> {
    let mut checks = vec![];
    for (name, bytes, mufu, slots) in LIMITS {
        for pass in passes.iter().filter(|pass| pass.op == SCAN && pass.name == name) {
            let work = pass.work();
            let title = |what: &str| format!("scan {name}, {}: {what}", pass.dtype());
            let fewest = pass.fewest.expect("the scan is no product");
            checks.push(at_most(title("bytes moved over the fewest possible"), work.bytes() / fewest, bytes));
            let per_step = work.mufu_threads / steps(&pass.case);
            checks.push(at_most(title("MUFU a token, channel, state and direction"), per_step, mufu));
            checks.push(at_most(
                title("passes through shared memory over the fewest"),
                work.conflicts(),
                CONFLICTS,
            ));
            if machine_code && pass.dtype == DType::Bf16 {
                // The kernel that walks; another sums parts of dB and dC.
                let most = pass.parts.iter().map(|part| part.work.slots()).fold(0.0, f64::max);
                let per_step = WARP * most / steps(&pass.case);
                checks.push(at_most(title("issue slots for 32 updates of a warp"), per_step, slots));
                let counted = WARP * work.mufu / work.mufu_threads;
                let title = title("MUFU counted in machine code and in PTX, the larger over the smaller");
                checks.push(at_most(title, counted.max(1.0 / counted), COUNTED));
            }
        }
    }
    for (name, most) in TENSOR_CORES.into_iter().filter(|_| machine_code) {
        let of = |pass: &&Pass| pass.op == ATTENTION && pass.name == name && pass.dtype == DType::Bf16;
        for pass in passes.iter().filter(of) {
            let time: f64 = pass.parts.iter().map(|part| h100::on_chip(&part.work)).sum();
            let least = h100::products_and_powers(pass.cost.tensor, pass.cost.exp);
            let what =
                format!("attention {name}, bf16: time by slots over that of products and exponentials");
            checks.push(at_most(what, time / least, most));
        }
    }
    for pass in passes.iter().filter(|_| machine_code) {
        let (work, cost) = (pass.work(), &pass.cost);
        let shared = work.wavefronts + work.shuffle;
        let stated =
            [("issue slots", cost.slots, work.slots()), ("passes of shared memory", cost.shared, shared)];
        for (what, stated, counted) in stated {
            // The slots of the scan have limits of their own.
            if stated > 0.0 && (pass.op != SCAN || what != "issue slots") {
                // The scan may need less than its cost says.
                let less = if pass.op == SCAN { 0.0 } else { stated / counted };
                let apart = less.max(counted / stated);
                let what =
                    format!("{} {}, {}: {what} and those of its cost", pass.op, pass.name, pass.dtype());
                checks.push(at_most(what, apart, STATED));
            }
        }
    }
    if let Some(usages) = usages {
        for (op, name) in [(SCAN, "the scan"), (ATTENTION, ATTENTION)] {
            let of = usages.iter().filter(|((entry, _), _)| entry.starts_with(op));
            let (entries, spills) = of.fold((0, 0), |sum, (_, usage)| (sum.0 + 1, sum.1 + usage.spills));
            checks.push(Check {
                what: format!("bytes spilled in {name}, {entries} entries and architectures"),
                value: spills.to_string(),
                limit: "0".into(),
                holds: spills == 0,
            });
        }
    }
    checks
}

fn at_most(what: String, value: f64, limit: f64) -> Check {
    Check { what, value: format!("{value:.3}"), limit: format!("{limit:.4}"), holds: value <= limit }
}

/// Steps of the recurrence in a pass: one for each token, channel, state and direction.
pub fn steps(case: &Case) -> f64 {
    ["b", "l", "e", "n"].iter().map(|size| case.get(size) as f64).product::<f64>() * 2.0
}
