//! The ways in which training's launches are cut, on every card that the emulator can play, and as far as a GPU takes
//! them, on the GPU.

use std::collections::BTreeSet;
use std::sync::Arc;

use engine::emulated::Emulated;
use engine::launch::{Launcher, Limits};
use engine::{DType, Device};
use ptx::registry;
use ptx::spec::{Case, Op};
use testkit::cuda::{self, wanted};
use testkit::guarded::Guarded;
use testkit::problem::{Ask, Outcome, Problem};

use super::{Tally, chosen, everything_selected, turn};

/// The devices for a case: the emulator as each card, and the GPU, whose launches are cut for as many multiprocessors.
fn devices(cards: &[Limits]) -> Vec<(String, Device)> {
    let checked = |launcher: Arc<dyn Launcher>| Device::launched_checked(launcher);
    let mut devices = vec![];
    for card in cards.iter().filter(|_| wanted("emulated")) {
        let name = format!("emulated, {} KiB a multiprocessor", card.shared_per_multiprocessor >> 10);
        devices.push((name, checked(Arc::new(Emulated::card(*card)))));
    }
    if let Some(gpu) = cuda::launcher() {
        let limits = Limits { multiprocessors: cards[0].multiprocessors, ..gpu.limits() };
        devices.push(("cuda".into(), checked(Arc::new(Guarded::cut_for(gpu, limits)))));
    }
    devices
}

fn bits(outcome: &Outcome) -> Vec<u32> {
    let outputs = outcome.outputs.iter().map(|(_, values)| values);
    outputs.chain(outcome.grads.iter().flatten()).flatten().map(|value| value.to_bits()).collect()
}

/// Compares a case on each of its cards with the reference, and a second run on the first card with the first run.
fn check(op: &dyn Op, case: &Case, cards: &[Limits], dtype: DType, tally: &mut Tally) -> Result<(), String> {
    let problem = Problem::in_type(op, case.clone(), dtype);
    let inputs = problem.exact_inputs();
    let want = op.reference(case, &inputs);
    let grads = op.reference_grad(case, &inputs, &problem.exact_upstream(&want, Ask::ALL));
    for (at, (name, device)) in devices(cards).into_iter().enumerate() {
        let wrong = |wrong: String| format!("{} on {name} in {dtype:?}: {wrong}", problem.name());
        let got = problem.run(&device, Ask::ALL).map_err(|error| wrong(error.to_string()))?;
        tally.compare_all(&problem, &got, &want, &grads, (Ask::ALL, 1.0)).map_err(wrong)?;
        if at == 0 {
            let again = problem.run(&device, Ask::ALL).map_err(|error| wrong(error.to_string()))?;
            if bits(&again) != bits(&got) {
                return Err(wrong("a second run gives other bytes".into()));
            }
        }
    }
    Ok(())
}

#[test]
fn every_cut_of_training_on_every_card() {
    let _turn = turn();
    let (mut tally, mut cards, mut failures) = (Tally::default(), BTreeSet::new(), vec![]);
    for op in registry::all() {
        let cases = op.card_cases().into_iter().filter(|(case, _)| chosen(&*op, case));
        for (case, limits) in cases {
            cards.extend(limits.iter().map(|limits| limits.shared_per_multiprocessor));
            let types = [DType::F32, DType::Bf16];
            failures.extend(
                types.into_iter().filter_map(|dtype| check(&*op, &case, &limits, dtype, &mut tally).err()),
            );
        }
    }
    println!("cards: {} comparisons on {} sizes of shared memory", tally.comparisons, cards.len());
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    assert!(!everything_selected() || !wanted("emulated") || cards.len() >= 3 && tally.comparisons > 0);
}
