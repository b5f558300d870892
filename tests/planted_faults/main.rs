//! Plants faults in the shipped kernels and counts those that the emulator catches, by a fault of its own or by a wrong
//! result of the op. It must stop every kernel that lost a barrier and every access outside a buffer.
//!
//! A fault is planted only in a line that some case executes, or in a buffer whose end some case reads, where NaN
//! changes the result. It is caught if one of those cases fails. Of kinds with many places a fixed sample is taken;
//! `PLANTED=all` plants everything. Guards that escape only let more lanes of a warp store the same value.

mod mutant;
mod tap;

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Instant;

use engine::launch::PtxFile;
use engine::{DType, Device, Rng};
use mutant::{Kind, Mutant};
use ptx::registry;
use ptx::spec::{Op, Values};
use rayon::prelude::*;
use tap::{Name, Plant, Seen, Tap};
use testkit::compare::compare;
use testkit::kernels;
use testkit::problem::{self, Ask, Problem};
use testkit::root::root;

/// Cases that execute more instructions than this are left out, because each runs hundreds of times.
const LONGEST: u64 = 100_000_000;

/// Largest number of faults of a kind that is planted in one entry.
fn most(kind: Kind) -> usize {
    let everything = std::env::var("PLANTED").as_deref() == Ok("all");
    match kind {
        Kind::Barrier | Kind::WarpBarrier => usize::MAX,
        _ if everything => usize::MAX,
        _ => 16,
    }
}

/// A case, the results that it must give, and the kernels that it runs.
struct Subject<'a> {
    problem: Problem<'a>,
    ask: Ask,
    want: Values,
    grads: Values,
    seen: BTreeMap<Name, Seen>,
    instructions: u64,
}

/// How a planted fault showed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Outcome {
    /// The device stopped, for this reason.
    Stopped(String),
    WrongResult,
    Missed,
}

impl Subject<'_> {
    fn run(&self, plant: Plant) -> Outcome {
        let device = Device::launched_checked(Arc::new(Tap::new(Some(plant))));
        // A problem panics where its input was changed, which a faulty cast may have done.
        match catch_unwind(AssertUnwindSafe(|| self.problem.run(&device, self.ask))) {
            Ok(Err(fault)) => Outcome::Stopped(reason(&fault)),
            Ok(Ok(got)) if self.right(&got) => Outcome::Missed,
            Ok(Ok(_)) => Outcome::WrongResult,
            Err(panic) => match panic.downcast_ref::<String>() {
                Some(text) if text.contains("was written to") => Outcome::WrongResult,
                _ => resume_unwind(panic),
            },
        }
    }

    fn right(&self, got: &problem::Outcome) -> bool {
        let tolerance = self.problem.tolerance();
        let outputs = got.outputs.iter().zip(&self.want);
        let grads = self.problem.inputs.iter().zip(&got.grads).zip(&self.grads);
        outputs.into_iter().all(|((shape, y), want)| compare(shape, y, want, tolerance).is_ok())
            && grads.into_iter().all(|((input, got), want)| match got {
                Some(got) if input.grad => compare(&input.shape, got, want, tolerance).is_ok(),
                _ => true,
            })
    }
}

/// The fault's name: `data race` of `emulated device: data race in ...`.
fn reason(fault: &engine::Error) -> String {
    let text = fault.to_string();
    let after = text.split_once("device: ").map_or(&*text, |(_, after)| after);
    after.split([',', ':']).next().unwrap_or(after).split(" in ").next().unwrap_or(after).into()
}

/// The cases that run kernels, each run once unharmed. A case runs two calls where sums of gradients run other kernels.
fn subjects(ops: &[Box<dyn Op>]) -> Vec<Subject<'_>> {
    let cases = ops.iter().flat_map(|op| op.cases().into_iter().map(move |case| (op, case)));
    let small: Vec<_> = cases.filter(|(_, case)| !case.bench && !case.cpu_only()).collect();
    let typed = small.par_iter().flat_map(|small| [(small, DType::F32), (small, DType::Bf16)]);
    let both = typed.flat_map_iter(|((op, case), dtype)| {
        let subject = |calls| subject(Problem::in_type(&***op, case.clone(), dtype), calls);
        let (once, twice) = (subject(1), subject(2));
        let other = twice.seen.keys().any(|kernel| !once.seen.contains_key(kernel));
        [Some(once), Some(twice).filter(|_| other)].into_iter().flatten()
    });
    both.filter(|subject| (1..LONGEST).contains(&subject.instructions)).collect()
}

fn subject(problem: Problem, calls: usize) -> Subject {
    let ask = Ask { calls, ..Ask::ALL };
    let inputs = problem.exact_inputs();
    let want = problem.op.reference(&problem.case, &inputs);
    let mut grads = match problem.asks_gradient() {
        true => problem.op.reference_grad(&problem.case, &inputs, &problem.exact_upstream(&want, ask)),
        false => vec![],
    };
    grads.iter_mut().flatten().for_each(|grad| *grad *= calls as f64);
    let tap = Arc::new(Tap::new(None));
    let got = problem.run(&Device::launched_checked(tap.clone()), ask);
    let got = got.unwrap_or_else(|err| panic!("{} unharmed: {err}", problem.name()));
    let seen = tap.seen();
    let instructions = seen.values().map(|seen| seen.instructions).sum();
    let subject = Subject { problem, ask, want, grads, seen, instructions };
    assert!(subject.right(&got), "{} is wrong without a fault", subject.problem.name());
    subject
}

/// A fault to plant, and the cases to run with it.
struct Trial<'a> {
    kernel: Name,
    kind: Kind,
    /// Description for the list of faults that were not caught.
    what: String,
    plant: Plant,
    subjects: Vec<&'a Subject<'a>>,
}

impl Trial<'_> {
    fn run(&self) -> Outcome {
        let outcomes = self.subjects.iter().map(|subject| subject.run(self.plant.clone()));
        outcomes.into_iter().find(|outcome| *outcome != Outcome::Missed).unwrap_or(Outcome::Missed)
    }
}

/// The subjects for which `holds` is true.
fn those<'a>(subjects: &[&'a Subject<'a>], holds: impl Fn(&Subject) -> bool) -> Vec<&'a Subject<'a>> {
    subjects.iter().filter(|subject| holds(subject)).copied().collect()
}

/// The first subject that reads the part that a shorter buffer would lose, if there is one.
fn readers<'a>(subjects: &[&'a Subject<'a>], kernel: Name, at: usize, kind: Kind) -> Vec<&'a Subject<'a>> {
    let reads = |s: &&&Subject| {
        s.seen[&kernel].buffers.contains(&at) && s.run(Plant::Poison(kernel, at, kind)) != Outcome::Missed
    };
    subjects.iter().find(reads).copied().into_iter().collect()
}

/// All trials of one entry.
fn trials<'a>(file: &'static PtxFile, entry: &'static str, subjects: &[&'a Subject<'a>]) -> Vec<Trial<'a>> {
    let kernel = (file.name, entry);
    let reached: BTreeSet<usize> = subjects.iter().flat_map(|s| s.seen[&kernel].lines.clone()).collect();
    let text = mutant::only(file.text, entry);
    let mut rng = Rng::keyed(7, 0, reached.len() as u32, 0);
    let mutants = mutant::sample(mutant::all(&text, |line| reached.contains(&line)), most, &mut rng);
    let in_text = mutants.into_iter().map(|mutant| {
        let Mutant { kind, line, .. } = mutant;
        let planted = PtxFile { name: file.name, text: mutant::apply(&text, &mutant).leak() };
        Trial {
            kernel,
            kind,
            what: format!("{}:{line}: {}", file.name, text.lines().nth(line - 1).unwrap_or("").trim()),
            plant: Plant::Text(kernel, Box::leak(Box::new(planted))),
            subjects: those(subjects, |s| s.seen[&kernel].lines.contains(&line)),
        }
    });
    let buffers: BTreeSet<usize> = subjects.iter().flat_map(|s| s.seen[&kernel].buffers.clone()).collect();
    let buffers: Vec<usize> = mutant::draw(buffers.into_iter().collect(), most(Kind::Half), &mut rng);
    let in_buffers = [Kind::Short, Kind::Half].into_iter().flat_map(|kind| {
        buffers.iter().map(move |&at| Trial {
            kernel,
            kind,
            what: format!("{entry}, argument {at}"),
            plant: Plant::Buffer(kernel, at, kind),
            // Only subjects that read the part taken away can catch the fault.
            subjects: readers(subjects, kernel, at, kind),
        })
    });
    in_text.chain(in_buffers).filter(|trial| !trial.subjects.is_empty()).collect()
}

/// Trials of one kind: how many there were, and how they showed.
#[derive(Debug, Default, Clone)]
struct Score {
    planted: usize,
    stopped: usize,
    wrong: usize,
    reasons: BTreeMap<String, usize>,
}

impl Score {
    fn add(&mut self, outcome: &Outcome) {
        self.planted += 1;
        match outcome {
            Outcome::Stopped(reason) => {
                self.stopped += 1;
                *self.reasons.entry(reason.clone()).or_default() += 1;
            }
            Outcome::WrongResult => self.wrong += 1,
            Outcome::Missed => {}
        }
    }

    /// `planted | stopped | wrong result | caught | why stopped`
    fn cells(&self) -> String {
        let Score { planted, stopped, wrong, reasons } = self;
        let rate = 100.0 * (stopped + wrong) as f64 / *planted as f64;
        let mut reasons: Vec<_> = reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
        let reasons: Vec<String> =
            reasons.iter().map(|(reason, count)| format!("{reason} {count}")).collect();
        format!("{planted} | {stopped} | {wrong} | {rate:.1} % | {}", reasons.join(", "))
    }
}

const COLUMNS: &str = "planted | stopped | wrong result | caught | why stopped |\n|---|---|---|---|---|---|";

#[test]
fn planted_faults_are_caught() {
    let start = Instant::now();
    let ops = registry::all();
    let subjects = subjects(&ops);
    let mut kernels: BTreeMap<Name, (&'static PtxFile, Vec<&Subject>)> = BTreeMap::new();
    for subject in &subjects {
        for (&name, seen) in &subject.seen {
            kernels.entry(name).or_insert((seen.file, vec![])).1.push(subject);
        }
    }
    kernels.values_mut().for_each(|(_, subjects)| subjects.sort_by_key(|subject| subject.instructions));
    let trials: Vec<Trial> =
        kernels.par_iter().flat_map(|(name, (file, subjects))| trials(file, name.1, subjects)).collect();
    println!("{} faults in {} entries, {} cases to run them\n", trials.len(), kernels.len(), subjects.len());
    let outcomes: Vec<Outcome> = trials.par_iter().map(Trial::run).collect();

    let (mut kinds, mut files) = (BTreeMap::<Kind, Score>::new(), BTreeMap::<&str, Score>::new());
    for (trial, outcome) in trials.iter().zip(&outcomes) {
        kinds.entry(trial.kind).or_default().add(outcome);
        files.entry(trial.kernel.0).or_default().add(outcome);
    }
    println!("| fault | {COLUMNS}");
    kinds.iter().for_each(|(kind, score)| println!("| {} | {} |", kind.name(), score.cells()));
    println!("\n| kernel file | {COLUMNS}");
    files.iter().for_each(|(file, score)| println!("| {file} | {} |", score.cells()));
    let escaped = trials.iter().zip(&outcomes).filter(|(_, outcome)| **outcome == Outcome::Missed);
    println!("\nnot caught:");
    escaped.for_each(|(trial, _)| println!("{}: {}", trial.kind.name(), trial.what));
    println!("{:.1} s", start.elapsed().as_secs_f64());

    for kind in [Kind::Barrier, Kind::WarpBarrier, Kind::Far, Kind::Short, Kind::Half] {
        let score = kinds.get(&kind).cloned().unwrap_or_default();
        assert!(score.planted > 0, "{}: none planted", kind.name());
        assert_eq!(score.stopped, score.planted, "{}: not all caught", kind.name());
    }
    // The engine's own kernels run beside the ops, and not each of them in some case.
    let files = kernels::files().into_iter().filter(|file| !file.starts_with(root().join("engine")));
    let texts = files.map(|file| std::fs::read_to_string(file).expect("a kernel file"));
    let mut untouched: Vec<String> = texts.flat_map(|text| kernels::entries(&text)).collect();
    untouched.retain(|entry| trials.iter().all(|trial| trial.kernel.1 != entry));
    assert!(untouched.is_empty(), "entries without a fault, for want of a small case: {untouched:?}");
}
