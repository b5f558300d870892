//! Launches on cards that are smaller than an H100.

use std::sync::Arc;

use engine::cards::{self, H100};
use engine::cuda::Cuda;
use engine::emulated::Emulated;
use engine::launch::{Launcher, Limits};
use engine::{DType, Device};
use ptx::registry;
use testkit::guarded::Guarded;
use testkit::problem::{Ask, Problem};

use super::child::on_fake;

/// A 4090 that few blocks fill.
const CARD: &str = "rtx4090,sms=1";

/// The scan of an image of 197 tokens, forward and backward.
fn scan(launcher: Arc<dyn Launcher>) -> engine::Result<Vec<u32>> {
    let op = registry::all().into_iter().find(|op| op.name() == "selective_scan").expect("an op");
    let case =
        op.card_cases().into_iter().map(|(case, _)| case).find(|case| {
            (case.get("l"), case.get("e"), case.get("n"), case.is("frozen")) == (197, 88, 16, true)
        });
    let problem = Problem::in_type(&*op, case.expect("a case of training"), DType::Bf16);
    let outcome = problem.run(&Device::launched_checked(launcher), Ask::ALL)?;
    let outputs = outcome.outputs.iter().map(|(_, values)| values);
    Ok(outputs.chain(outcome.grads.iter().flatten()).flatten().map(|value| value.to_bits()).collect())
}

/// A launch that is cut for an H100 is refused; one that is cut for the card runs.
#[test]
fn a_launch_is_cut_for_the_card() {
    on_fake("cards::a_launch_is_cut_for_the_card", &[("FAKE_CUDA_CARD", CARD)], || {
        let card = cards::parse(CARD).unwrap();
        let cuda = Cuda::open(0).unwrap();
        assert_eq!(cuda.limits(), card);
        let wrong = Limits { multiprocessors: 1, ..H100 };
        let refused = scan(Arc::new(Guarded::cut_for(cuda.clone(), wrong))).unwrap_err().to_string();
        for part in
            ["kernel selective_scan_backward_n16_bf16 ", "a block can have 101376 bytes on this device"]
        {
            assert!(refused.contains(part), "{refused}");
        }
        let emulated = scan(Arc::new(Guarded::cut_for(Emulated::card(card), wrong))).unwrap_err().to_string();
        assert!(emulated.contains("bytes of shared memory, where at most 101376 are possible"), "{emulated}");
        assert!(scan(Arc::new(cuda)).unwrap() == scan(Arc::new(Emulated::card(card))).unwrap());
    });
}
