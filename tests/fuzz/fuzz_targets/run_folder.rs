#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use svp::report::metrics::truncate_after;
use svp::report::{curves, read_metrics};
use svp::train::Outcome;
use svp_fuzz::{Folder, checked, start};

static FOLDER: LazyLock<Folder> = LazyLock::new(|| Folder::with([]));

// The files of a run beside its config and its tensors, which have targets of their own.
fuzz_target!(init: start(), |input: &[u8]| {
    FOLDER.put_parts(&["metrics.jsonl", "report.json"], input);
    let metrics = FOLDER.path().join("metrics.jsonl");
    let records = checked(read_metrics(&metrics));
    if let Some(records) = &records {
        let steps = records.len() as u64 / 2;
        checked(truncate_after(&metrics, steps, 1));
        let kept = read_metrics(&metrics).expect("what is left was read before");
        assert!(kept.len() <= records.len());
        // Drawing takes a thousand times as long as reading.
        if input.iter().fold(0u8, |sum, &byte| sum.wrapping_add(byte)).is_multiple_of(64) {
            curves(records);
        }
    }
    if let Some(outcome) = checked(Outcome::read(FOLDER.path())).flatten() {
        outcome.score();
    }
});
