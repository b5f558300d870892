//! The ways in which training's launches are cut, on every card that the emulator can play, and as far as a GPU takes
//! them, on the GPU.

use std::sync::Arc;

use engine::emulated::Emulated;
use engine::launch::{Launcher, Limits};
use engine::{DType, Device};
use ptx::registry;
use testkit::cuda::{self, wanted};
use testkit::guarded::Guarded;
use testkit::problem::{Ask, Outcome, Problem};

use super::{Tally, chosen, everything_selected, turn};

/// The emulator as each card that a case asked for so far; each reads the kernels' text once.
#[derive(Default)]
struct Emulators(Vec<(Limits, Arc<Emulated>)>);

impl Emulators {
    fn card(&mut self, limits: Limits) -> Arc<Emulated> {
        if let Some((_, emulated)) = self.0.iter().find(|(known, _)| *known == limits) {
            return emulated.clone();
        }
        self.0.push((limits, Arc::new(Emulated::card(limits))));
        self.0[self.0.len() - 1].1.clone()
    }

    /// The devices for a case: the emulator as each card, and the GPU, whose launches are cut for as many
    /// multiprocessors.
    fn devices(&mut self, cards: &[Limits]) -> Vec<(String, Device)> {
        let checked = |launcher: Arc<dyn Launcher>| Device::launched_checked(launcher);
        let mut devices = vec![];
        for card in cards.iter().filter(|_| wanted("emulated")) {
            let name = format!("emulated, {} KiB a multiprocessor", card.shared_per_multiprocessor >> 10);
            devices.push((name, checked(self.card(*card))));
        }
        if let Some(gpu) = cuda::launcher() {
            let limits = Limits { multiprocessors: cards[0].multiprocessors, ..gpu.limits() };
            devices.push(("cuda".into(), checked(Arc::new(Guarded::cut_for(gpu, limits)))));
        }
        devices
    }
}

fn bits(outcome: &Outcome) -> Vec<u32> {
    let outputs = outcome.outputs.iter().map(|(_, values)| values);
    outputs.chain(outcome.grads.iter().flatten()).flatten().map(|value| value.to_bits()).collect()
}

/// Compares a case on each of its cards with the reference, and where it is to be run `twice`, the bytes of both runs.
fn check(
    problem: &Problem,
    devices: Vec<(String, Device)>,
    twice: bool,
    tally: &mut Tally,
) -> Result<(), String> {
    let Problem { op, case, .. } = problem;
    let inputs = problem.exact_inputs();
    let want = op.reference(case, &inputs);
    let grads = op.reference_grad(case, &inputs, &problem.exact_upstream(&want, Ask::ALL));
    for (name, device) in devices {
        let wrong = |wrong: String| format!("{} on {name}: {wrong}", problem.name());
        let got = problem.run(&device, Ask::ALL).map_err(|error| wrong(error.to_string()))?;
        tally.compare_all(problem, &got, &want, &grads, (Ask::ALL, 1.0)).map_err(wrong)?;
        if twice {
            let again = problem.run(&device, Ask::ALL).map_err(|error| wrong(error.to_string()))?;
            if bits(&again) != bits(&got) {
                return Err(wrong("a second run gives other bytes".into()));
            }
        }
    }
    Ok(())
}

/// `gpu_check` runs all tests whose names begin like this one's.
#[test]
fn every_op_on_every_device_as_cards_cut_it() {
    let _turn = turn();
    let (mut tally, mut emulators, mut failures) = (Tally::default(), Emulators::default(), vec![]);
    for op in registry::all() {
        let cases = op.card_cases().into_iter().filter(|(case, _)| chosen(&*op, case));
        for (at, (case, cards)) in cases.enumerate() {
            for dtype in [DType::F32, DType::Bf16] {
                let problem = Problem::in_type(&*op, case.clone(), dtype);
                let checked = check(&problem, emulators.devices(&cards), at == 0, &mut tally);
                failures.extend(checked.err().map(|wrong| format!("{dtype:?} {wrong}")));
            }
        }
    }
    println!("conformance: {} comparisons of launches as cards cut them", tally.comparisons);
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    let wanted = everything_selected() && (wanted("emulated") || wanted("cuda"));
    assert!(!wanted || tally.comparisons > 0, "nothing was compared");
}
