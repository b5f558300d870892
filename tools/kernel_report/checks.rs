//! What the report must show of the scan.

use crate::Usages;
use crate::measure::Pass;

pub struct Check {
    pub what: String,
    pub value: String,
    pub limit: String,
    pub holds: bool,
}

const SCAN: &str = "selective_scan";
/// Of each pass, at most: bytes moved for each that must be moved, and special functions for each step.
const LIMITS: [(&str, f64, f64); 2] = [("forward", 1.15, 1.1), ("backward", 1.3, 2.2)];
/// Most passes through the banks of shared memory for each that is needed.
const CONFLICTS: f64 = 1.1;

/// The checks for which there is something to look at.
pub fn all(passes: &[Pass], usages: Option<&Usages>) -> Vec<Check> {
    let mut checks = vec![];
    for (name, bytes, mufu) in LIMITS {
        for pass in passes.iter().filter(|pass| pass.op == SCAN && pass.name == name) {
            let work = pass.work();
            let title = |what: &str| format!("scan {name}, {}: {what}", pass.dtype());
            let fewest = pass.fewest.expect("the scan is no product");
            checks.push(at_most(title("bytes moved over the fewest possible"), work.bytes() / fewest, bytes));
            let per_step = work.mufu_threads / steps(pass);
            checks.push(at_most(title("MUFU a token, channel, state and direction"), per_step, mufu));
            checks.push(at_most(
                title("passes through shared memory over the fewest"),
                work.conflicts(),
                CONFLICTS,
            ));
        }
    }
    if let Some(usages) = usages {
        let scan = usages.iter().filter(|((entry, _), _)| entry.starts_with(SCAN));
        let (entries, spills) = scan.fold((0, 0), |sum, (_, usage)| (sum.0 + 1, sum.1 + usage.spills));
        checks.push(Check {
            what: format!("bytes spilled in the scan, {entries} entries and architectures"),
            value: spills.to_string(),
            limit: "0".into(),
            holds: spills == 0,
        });
    }
    checks
}

fn at_most(what: String, value: f64, limit: f64) -> Check {
    Check { what, value: format!("{value:.3}"), limit: format!("{limit}"), holds: value <= limit }
}

/// Steps of the recurrence in a pass: one for each token, channel, state and direction.
pub fn steps(pass: &Pass) -> f64 {
    ["b", "l", "e", "n"].iter().map(|size| pass.case.get(size) as f64).product::<f64>() * 2.0
}
