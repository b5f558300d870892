//! Checks every case of every op in the registry on every device and instruction set against the op's f64 reference. It
//! also checks the references' gradients against central differences, and that any number of threads gives the same
//! bits.
//!
//! `CASE=op:sizes`, as failures print it, runs one case, and `CASE=op` one op; `;` joins several. `CASE=small` runs one
//! small case of each op. `DEVICES=cpu,cuda` limits the devices. `REQUIRE_CUDA=1` fails without a GPU.

mod cards;
mod memory;
mod products;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard};

use engine::cuda::Cuda;
use engine::emulated::Emulated;
use engine::launch::{Launcher, Region};
use engine::simd::{self, Level};
use engine::{DType, Device, Rng, Tensor};
use half::bf16;
use ptx::registry;
use ptx::spec::{Case, Op, Values};
use testkit::compare::{compare, relative};
use testkit::cuda::{self, wanted};
use testkit::guarded::Guarded;
use testkit::kernels;
use testkit::problem::{Ask, Outcome, Problem, small_case};

/// Pairs `(device, op:sizes)` that are known to fail. An entry that passes is an error.
const KNOWN_GAPS: [(&str, &str); 0] = [];

/// Bench cases with more work than this are left to the benches, because the plain loops would take too long.
const FLOP_LIMIT: f64 = 1e8;

/// The instruction set is global to the process, so tests take turns.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(|failed| failed.into_inner())
}

/// A device under test: how to make one that checks, the type of its activations, and the instruction sets to try.
struct Target {
    name: &'static str,
    dtype: DType,
    checked: Box<dyn Fn() -> Device>,
    /// Counts the writes outside a buffer that were found since the device was made.
    strays: Box<dyn Fn(&Device) -> usize>,
    levels: Vec<Level>,
}

/// The launchers under test. The emulator checks every access itself; a GPU's memory gets red zones.
struct Launchers {
    emulated: Option<Arc<Emulated>>,
    cuda: Option<Arc<Guarded<Cuda>>>,
}

impl Launchers {
    fn new() -> Self {
        Launchers {
            emulated: wanted("emulated").then(|| Arc::new(Emulated::new())),
            cuda: cuda::launcher().map(|cuda| Arc::new(Guarded::new(cuda))),
        }
    }

    fn all(&self) -> Vec<Arc<dyn Launcher>> {
        let emulated = self.emulated.iter().map(|emulated| emulated.clone() as Arc<dyn Launcher>);
        emulated.chain(self.cuda.iter().map(|cuda| cuda.clone() as Arc<dyn Launcher>)).collect()
    }
}

/// The CPU at each instruction set, and the launched devices in both types.
fn targets(launchers: &Launchers) -> Vec<Target> {
    let levels = [Level::Avx512, Level::Avx2, Level::Portable].into_iter().filter(|&level| {
        simd::limit(level);
        simd::level() == level
    });
    let levels: Vec<Level> = levels.collect();
    simd::limit(Level::Avx512);
    let best = vec![levels[0]];
    let types = |names: [&'static str; 2]| names.into_iter().zip([DType::F32, DType::Bf16]);
    let mut targets = vec![];
    if wanted("cpu") {
        for (name, dtype) in types(["cpu f32", "cpu bf16"]) {
            let (checked, strays) = (Box::new(Device::cpu_checked), Box::new(Device::red_zone_hits));
            targets.push(Target { name, dtype, checked, strays, levels: levels.clone() });
        }
    }
    if let Some(emulated) = &launchers.emulated {
        for (name, dtype) in types(["emulated f32", "emulated bf16"]) {
            let emulated = emulated.clone();
            let checked = Box::new(move || Device::launched_checked(emulated.clone()));
            targets.push(Target { name, dtype, checked, strays: Box::new(|_| 0), levels: best.clone() });
        }
    }
    if let Some(guarded) = &launchers.cuda {
        for (name, dtype) in types(["cuda f32", "cuda bf16"]) {
            let (memory, zones) = (guarded.clone(), guarded.clone());
            let checked = Box::new(move || Device::launched_checked(memory.clone()));
            let strays = Box::new(move |_: &Device| zones.take_hits());
            targets.push(Target { name, dtype, checked, strays, levels: best.clone() });
        }
    }
    targets
}

/// The cases of `op` that `CASE` selects, or all without it.
fn selected(op: &dyn Op) -> Vec<Case> {
    if std::env::var("CASE").as_deref() == Ok("small") {
        return vec![small_case(op)];
    }
    op.cases().into_iter().filter(|case| chosen(op, case)).collect()
}

/// Whether `CASE` names this case.
fn chosen(op: &dyn Op, case: &Case) -> bool {
    let wanted = std::env::var("CASE").unwrap_or_default();
    wanted.split(';').any(|wanted| {
        let (op_name, case_name) = wanted.split_once(':').unwrap_or((wanted, ""));
        (op_name.is_empty() || op_name == op.name()) && (case_name.is_empty() || case_name == case.name)
    })
}

fn everything_selected() -> bool {
    std::env::var("CASE").is_err()
}

/// Counts for one device: comparisons made, failures, and the largest error of each op relative to its tolerance.
#[derive(Default)]
struct Tally {
    comparisons: usize,
    failures: Vec<String>,
    worst: BTreeMap<&'static str, f64>,
}

impl Tally {
    fn compare(
        &mut self,
        problem: &Problem,
        what: &str,
        shape: &[usize],
        got: &[f32],
        want: &[f64],
    ) -> Result<(), String> {
        self.comparisons += 1;
        let tolerance = problem.tolerance();
        let error = compare(shape, got, want, tolerance).map_err(|wrong| format!("{what}: {wrong}"))?;
        let worst = self.worst.entry(problem.op.name()).or_default();
        *worst = worst.max(error / tolerance);
        Ok(())
    }

    /// Compares the outputs and gradients of one run with the reference; its gradients are `factor` times as large.
    fn compare_all(
        &mut self,
        problem: &Problem,
        got: &Outcome,
        want: &Values,
        grads: &Values,
        (ask, factor): (Ask, f64),
    ) -> Result<(), String> {
        if got.outputs.len() != want.len() {
            return Err(format!("{} outputs, want {}", got.outputs.len(), want.len()));
        }
        for (i, ((shape, got), want)) in got.outputs.iter().zip(want).enumerate() {
            self.compare(problem, &format!("output {i}"), shape, got, want)?;
        }
        for (i, (input, got)) in problem.inputs.iter().zip(&got.grads).enumerate() {
            if input.grad && ask.input.is_none_or(|only| only == i) {
                let what = format!("gradient of {} ({ask:?})", input.name);
                let want: Vec<f64> = grads[i].iter().map(|g| g * factor).collect();
                match got {
                    Some(got) => self.compare(problem, &what, &input.shape, got, &want)?,
                    // No gradient counts as zeros, where the output with a gradient does not depend on the input.
                    None if want.iter().all(|&g| g == 0.0) => {}
                    None => return Err(format!("{what}: none arrived")),
                }
            }
        }
        Ok(())
    }
}

/// Every way to ask for gradients: all at once, two calls whose gradients add up, and each input and each output alone.
fn asks(problem: &Problem, outputs: usize) -> Vec<Ask> {
    let mut asks = vec![Ask::ALL];
    if problem.asks_gradient() {
        asks.push(Ask { calls: 2, ..Ask::ALL });
        let trained = (0..problem.inputs.len()).filter(|&i| problem.inputs[i].grad);
        asks.extend(trained.map(|i| Ask { input: Some(i), ..Ask::ALL }));
        if outputs > 1 {
            asks.extend((0..outputs).map(|i| Ask { output: Some(i), ..Ask::ALL }));
        }
    }
    asks
}

/// Runs a case in every way on a device that poisons the memory it hands out and guards its bounds.
fn check(problem: &Problem, target: &Target, tally: &mut Tally) -> Result<(), String> {
    let inputs = problem.exact_inputs();
    let want = problem.op.reference(&problem.case, &inputs);
    for ask in asks(problem, want.len()) {
        let grads = match problem.asks_gradient() {
            true => problem.op.reference_grad(&problem.case, &inputs, &problem.exact_upstream(&want, ask)),
            false => vec![],
        };
        for &level in &target.levels {
            simd::limit(level);
            let device = (target.checked)();
            let at = |wrong: String| format!("{level:?}: {wrong}");
            let got = catch_unwind(AssertUnwindSafe(|| problem.run(&device, ask)));
            let got = got.map_err(|panic| at(format!("{ask:?}: {}", message(&*panic))))?;
            let got = got.map_err(|err| at(format!("{ask:?}: {err}")))?;
            tally.compare_all(problem, &got, &want, &grads, (ask, ask.calls as f64)).map_err(at)?;
            if (target.strays)(&device) != 0 {
                return Err(at("wrote outside a buffer".into()));
            }
        }
    }
    Ok(())
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("panic")
}

/// The results of the table on one device.
#[derive(Default)]
struct Ran {
    cases: usize,
    refused: usize,
    left_out: usize,
}

/// Runs the table on one device.
fn run_table(target: &Target, tally: &mut Tally) -> Ran {
    let mut ran = Ran::default();
    let launched = !target.name.starts_with("cpu");
    for op in registry::all() {
        for case in selected(&*op) {
            let large = if launched {
                case.bench
            } else {
                case.bench && op.cost(&case, DType::F32).0.flop > FLOP_LIMIT
            };
            if large && everything_selected() {
                ran.left_out += 1;
                continue;
            }
            let refuse = launched && case.cpu_only();
            let problem = Problem::in_type(&*op, case, target.dtype);
            let name = problem.name();
            let result = match refuse {
                true => refusal(&problem, target),
                false => check(&problem, target, tally),
            };
            ran.refused += usize::from(refuse);
            ran.cases += usize::from(!refuse);
            simd::limit(Level::Avx512);
            match (result, KNOWN_GAPS.contains(&(target.name, &name))) {
                (Ok(()), true) => tally.failures.push(format!("{name}: passes, but is a known gap")),
                (Err(wrong), false) => tally.failures.push(format!(
                    "{name} on {} {wrong}\n  rerun: CASE='{name}' cargo test --release --test conformance",
                    target.name
                )),
                _ => {}
            }
        }
    }
    ran
}

/// Sizes beyond a kernel's limits must be refused with a message, before anything runs.
fn refusal(problem: &Problem, target: &Target) -> Result<(), String> {
    match problem.run(&(target.checked)(), Ask::ALL) {
        Err(engine::Error::Unsupported { .. }) => Ok(()),
        Err(other) => Err(format!("refused with the wrong error: {other}")),
        Ok(_) => Err("ran, though its sizes are marked as the CPU's only".into()),
    }
}

#[test]
fn every_op_on_every_device() {
    let _turn = turn();
    let launchers = Launchers::new();
    let targets = targets(&launchers);
    assert!(!targets.is_empty(), "no device to run on");
    let (mut comparisons, mut failures) = (0, vec![]);
    for target in &targets {
        let mut tally = Tally::default();
        let Ran { cases, refused, left_out } = run_table(target, &mut tally);
        assert!(cases > 0 || !everything_selected(), "{} ran no case", target.name);
        println!(
            "{}: {cases} cases, {:?}; refused: {refused} (sizes only the CPU takes); {left_out} bench cases left out",
            target.name, target.levels
        );
        for (op, worst) in &tally.worst {
            println!("{}: {op}: largest error {:.1}% of its tolerance", target.name, 100.0 * worst);
        }
        comparisons += tally.comparisons;
        failures.extend(tally.failures);
    }
    println!(
        "conformance: {comparisons} comparisons on {} devices, {} failures",
        targets.len(),
        failures.len()
    );
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
    launchers.all().iter().for_each(|launcher| products::plain_products_match_loops(&**launcher));
    let devices = launchers.all().into_iter().map(Device::launched_checked);
    [Device::cpu_checked()].into_iter().chain(devices).for_each(|device| tensors_add_and_cast(&device));
    every_kernel_ran(&launchers);
}

/// The engine's own kernels: a sum must be the exact sum rounded once to the type it is added to, and a cast must round
/// to even.
fn tensors_add_and_cast(device: &Device) {
    let types = [DType::F32, DType::Bf16];
    let round = |v: f32, dtype| if dtype == DType::Bf16 { bf16::from_f32(v).to_f32() } else { v };
    for n in [1, 7, 1024, 4099] {
        let [a, b] = [0, 1].map(|i| {
            let mut rng = Rng::keyed(9, 0, i, n as u32);
            (0..n).map(|_| rng.normal() as f32).collect::<Vec<_>>()
        });
        for (to, from) in types.into_iter().flat_map(|to| types.map(|from| (to, from))) {
            let on =
                |values: &[f32], dtype| Tensor::from_slice(device, values, &[n]).cast(device, dtype).unwrap();
            let mut sum = on(&a, to);
            sum.add_assign(device, &on(&b, from));
            let want: Vec<f32> =
                a.iter().zip(&b).map(|(&a, &b)| round(round(a, to) + round(b, from), to)).collect();
            assert_eq!(sum.to_host().unwrap(), want, "{n}: {to:?} += {from:?}");
            let cast = on(&a, from).cast(device, to).unwrap();
            assert_eq!(cast.dtype(), to);
            let want: Vec<f32> = a.iter().map(|&a| round(round(a, from), to)).collect();
            assert_eq!(cast.to_host().unwrap(), want, "{n}: {from:?} as {to:?}");
        }
    }
}

/// Checks that every entry of every committed PTX file was launched on each device, and prints the counts.
fn every_kernel_ran(launchers: &Launchers) {
    let texts = kernels::files().into_iter().map(|path| std::fs::read_to_string(path).unwrap());
    let entries: Vec<String> = texts.flat_map(|text| kernels::entries(&text)).collect();
    assert!(!entries.is_empty(), "no kernel was found");
    let check = |device: &str, ran: &dyn Fn(&str) -> bool| {
        let missed: Vec<_> = entries.iter().filter(|entry| !ran(entry)).collect();
        assert!(missed.is_empty() || !everything_selected(), "never launched on {device}: {missed:?}");
    };
    if let Some(emulated) = &launchers.emulated {
        let totals = emulated.take_totals();
        let mut all = ptx_emulator::Meter::default();
        totals.values().for_each(|meter| all += meter);
        println!(
            "emulated: {} launches of {} kernels, {} thread-instructions, {} checks",
            all.launches,
            totals.len(),
            all.instructions().threads,
            all.checks
        );
        check("emulated", &|entry| totals.contains_key(entry));
    }
    if let Some(guarded) = &launchers.cuda {
        let ran = guarded.entries();
        println!("cuda: {} launches of {} kernels", guarded.launches(), ran.len());
        check("cuda", &|entry| ran.contains(entry));
    }
}

/// Largest number of coordinates of an input that are moved.
const MOVED: usize = 40;

/// Checks the reference's gradients at random coordinates against `(f(x + h) - f(x - h)) / 2h`, where f is a random
/// projection of the outputs.
fn check_reference(problem: &Problem) -> Result<f64, String> {
    let (op, case) = (problem.op, &problem.case);
    let mut inputs = problem.exact_inputs();
    let outputs = op.reference(case, &inputs);
    let upstream = problem.exact_upstream(&outputs, Ask::ALL);
    let grads = op.reference_grad(case, &inputs, &upstream);
    let mut worst: f64 = 0.0;
    for (at, input) in problem.inputs.iter().enumerate().filter(|(_, input)| input.grad) {
        let n = grads[at].len();
        if n != inputs[at].len() {
            return Err(format!("{} has {} elements, its gradient {n}", input.name, inputs[at].len()));
        }
        let mut rng = Rng::keyed(0, 0, at as u32, 2);
        let rms = (grads[at].iter().map(|g| g * g).sum::<f64>() / n as f64).sqrt();
        for i in (0..n.min(MOVED)).map(|i| if n <= MOVED { i } else { rng.below(n as u32) as usize }) {
            let (x, h) = (inputs[at][i], 1e-5);
            let mut projected = |x: f64| {
                inputs[at][i] = x;
                let y = op.reference(case, &inputs);
                let terms = y.iter().flatten().zip(upstream.iter().flatten());
                terms.map(|(y, g)| y * g).sum::<f64>()
            };
            let slope = (projected(x + h) - projected(x - h)) / (2.0 * h);
            inputs[at][i] = x;
            let error = relative((slope - grads[at][i]).abs(), grads[at][i].abs() + rms);
            if error <= 1e-6 {
                worst = worst.max(error);
            } else {
                return Err(format!("{}[{i}]: {:e}, by difference {slope:e}", input.name, grads[at][i]));
            }
        }
    }
    Ok(worst)
}

#[test]
fn reference_gradients_are_the_slopes() {
    let (mut checked, mut worst, mut failures) = (0, 0.0f64, vec![]);
    for op in registry::all() {
        let small = |problem: &Problem| {
            problem.numel() <= 20_000 && !problem.case.bench && op.is_slope(&problem.case)
        };
        let problems = selected(&*op).into_iter().map(|case| Problem::new(&*op, case)).filter(small);
        let before = checked;
        for problem in problems.filter(Problem::asks_gradient) {
            checked += 1;
            match check_reference(&problem) {
                Ok(error) => worst = worst.max(error),
                Err(wrong) => failures.push(format!("{}: {wrong}", problem.name())),
            }
        }
        let has_gradient = op.cases().iter().flat_map(|case| op.inputs(case)).any(|input| input.grad);
        assert!(checked > before || !has_gradient || !everything_selected(), "{}: no small case", op.name());
    }
    println!("references: {checked} cases against central differences, largest error {worst:.0e}");
    assert!(failures.is_empty(), "\n{}", failures.join("\n"));
}

#[test]
fn the_number_of_threads_changes_no_bit() {
    let _turn = turn();
    let bits = |outcome: Outcome| -> Vec<u32> {
        let outputs = outcome.outputs.into_iter().map(|(_, values)| values);
        let all = outputs.chain(outcome.grads.into_iter().flatten());
        all.flatten().map(f32::to_bits).collect()
    };
    for op in registry::all() {
        for case in selected(&*op) {
            let problem = Problem::new(&*op, case);
            let run = |threads| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                bits(pool.install(|| problem.run(&Device::cpu(), Ask::ALL)).unwrap())
            };
            let one = run(1);
            for threads in [2, 5] {
                assert!(run(threads) == one, "{} with {threads} threads", problem.name());
            }
        }
    }
}

/// The comparison itself must refuse wrong values.
#[test]
fn a_wrong_result_is_refused() {
    let want = vec![1.0; 10_000];
    let with = |i: usize, v: f32| {
        let mut got = vec![1.0f32; 10_000];
        got[i] = v;
        compare(&[100, 100], &got, &want, 1e-4)
    };
    assert!(with(0, 1.0) == Ok(0.0) && with(5, 1.001).is_ok());
    assert!(with(9_999, f32::NAN).unwrap_err().contains("NaN at [99, 99]"));
    assert!(with(101, f32::INFINITY).unwrap_err().contains("inf at [1, 1]"));
    assert!(with(302, 1.005).unwrap_err().contains("\n    [3, 2]: got 1.005e0"), "one element");
    assert!(compare(&[2], &[1.0, 1.0], &[1.0], 1.0).is_err());
    assert!(compare(&[2], &[1.001, 1.001], &[1.0, 1.0], 1e-4).is_err(), "all a little off");
    assert!(compare(&[1], &[0.1], &[0.0], 1e-2).is_err() && compare(&[1], &[0.0], &[0.0], 0.0).is_ok());
}

/// The red zones themselves must catch stray writes, on a device that would not notice them.
#[test]
fn fresh_memory_is_poison_and_stray_writes_are_counted() {
    let guarded = Arc::new(Guarded::new(Emulated::new()));
    let device = Device::launched_checked(guarded.clone());
    let tensor = Tensor::empty(&device, &[3]);
    assert!(tensor.to_host().unwrap().iter().all(|v| v.is_nan()));
    drop(tensor);
    assert_eq!(guarded.take_hits(), 0);
    for stray in [-1, 12] {
        let tensor = Tensor::empty(&device, &[3]);
        let at = tensor.region().at.wrapping_add_signed(stray);
        guarded.upload(Region { at, bytes: 1 }, &[0]).unwrap();
        drop(tensor);
        assert_eq!((guarded.take_hits(), guarded.take_hits()), (1, 0), "written at {stray}");
    }
}
