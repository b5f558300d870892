//! The training step of methods at 224 px, batch 8, beside what its matrix products and its scans or attentions take
//! alone, beside the step of a base method, beside the frozen forward pass and, when a Python with PyTorch is named, beside
//! the reference scripts of `tools/reference`.
//!
//! ```text
//! cargo bench --bench step                       # every method on Vim-S, 7 rounds
//! cargo bench --bench step -- vpt svp --rounds 3
//! cargo bench --bench step -- --model vit_base vpt
//! cargo bench --bench step -- --bf16 svp         # in f32 and in bf16, side by side
//! REFERENCE_PYTHON=venv/bin/python cargo bench --bench step
//! ```
//!
//! A step is made as `svp-train` makes it with the method's defaults: forward, backward, optimizer. Methods that begin
//! with a survey are stepped after it; DAM-VP's step holds the pass that tells which frame an image gets. Of a method
//! whose features are computed once, `linear`, the evaluation of the batch and the step of the head are taken together:
//! what its step would take if they were not.
//!
//! The work of a step, by count, is each product and each scan or attention that its tape noted, with the gradients that
//! were wanted, once: products by the engine's GEMM and the others by the op, on buffers of their sizes that stay where
//! they are. What the backward pass computes again to save memory is not counted, nor are convolutions, norms, loss,
//! optimizer and copies. The base method (SVP on a Vim, VPT on a ViT) has that rest too, so the figure of a method is
//!
//! ```text
//! excess = (step / work) / (step of the base / work of the base)
//! ```
//!
//! which is to stay at most 1.1. With `--bf16` each method has a second row, whose step and work are in bf16 beside the
//! same base in f32, and a line says how the two steps of each round compare. On a ViT step/work itself is to stay at most 1.25. In each round the step and the work of
//! the base, the frozen forward pass, and the method's step and work take turns, so what else the machine does slows all
//! alike. Times are medians of the rounds, and so are ratios, of those of each round. Where other programs share the cores,
//! the excess of the time that was computed says more than that of the time that passed; step/forward is of computed time.
//! The row of the base is a second model of it: how far it is from 1 is what the figures can tell apart. Memory is the most
//! that tensors and weights take in a step, counted by a device of the method's own.

mod reference;
mod work;

use std::process::ExitCode;
use std::time::Instant;

use autograd::noted;
use engine::Device;
use svp::Result;
use svp::backbones::{Sizes, named};
use svp::cost::{Count, Trial};
use svp::methods::{Chosen, METHODS};
use svp::report::Table;
use svp::report::table::{bytes, count};
use svp::train::Precision;
use svp_cli::Options;
use svp_cli::values::BatchSize;

use work::{Mixers, Products};

const BATCH: usize = 8;
const CLASSES: usize = 100;
/// The backbone where none is named.
const MODEL: &str = "vim_small";
/// The methods that all others stand beside, the first of them that runs on the backbone.
const BASES: [&str; 2] = ["svp", "vpt"];
const LINEAR: &str = "linear";

/// What was asked for.
struct Arguments {
    model: String,
    base: &'static str,
    methods: Vec<&'static str>,
    rounds: usize,
    /// Beside f32, if that is asked for, bf16.
    precisions: Vec<Precision>,
}

impl Arguments {
    /// `None` where cargo only asks whether the bench starts.
    fn read(mut args: impl Iterator<Item = String>) -> std::result::Result<Option<Self>, String> {
        let (mut model, mut methods, mut rounds) = (MODEL.to_string(), vec![], 7);
        let mut precisions = vec![Precision::F32];
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--test" => return Ok(None),
                // Cargo adds it.
                "--bench" => {}
                "--bf16" => precisions = vec![Precision::F32, Precision::Bf16],
                "--model" => model = args.next().ok_or("--model: give the name of a size")?,
                "--rounds" => {
                    let number = args.next().and_then(|number| number.parse().ok());
                    rounds = number.filter(|&rounds| rounds > 0).ok_or("--rounds: give a number from 1")?;
                }
                name => methods.push(Chosen::named(name).map_err(|e| e.to_string())?.entry.name),
            }
        }
        let family = named(&model, &Sizes::default()).map_err(|e| e.to_string())?.family;
        let runs = |name: &&str| {
            METHODS.iter().any(|entry| entry.name == *name && entry.backbones.contains(&family))
        };
        if methods.is_empty() {
            methods = METHODS.iter().map(|entry| entry.name).filter(runs).collect();
        }
        let base = BASES.into_iter().find(runs).ok_or(format!("no base method runs on {model}"))?;
        Ok(Some(Arguments { model, base, methods, rounds, precisions }))
    }
}

/// A method in training, and the work of its step.
struct Subject {
    trial: Trial,
    count: Count,
    /// Whether its step sees features that were computed before.
    features: bool,
    products: Products,
    mixers: Mixers,
    gflop: f64,
}

/// Seconds that passed, and seconds that the threads of this process computed. Where the cores are shared with other
/// programs the second says more, but takes waiting in a loop for work.
type Spent = [f64; 2];
const PASSED: usize = 0;
const COMPUTED: usize = 1;

/// What a step, its products alone, and its scans or attentions alone spent.
#[derive(Clone, Copy)]
struct Turn {
    step: Spent,
    products: Spent,
    mixers: Spent,
}

impl Turn {
    /// The step over its work, by one of the clocks.
    fn over_work(&self, clock: usize) -> f64 {
        self.step[clock] / (self.products[clock] + self.mixers[clock])
    }
}

impl Subject {
    /// Builds the model, counts what it does, and runs everything once more so that nothing is done for the first time.
    fn new(model: &str, name: &str, precision: Precision) -> Result<Self> {
        let options = Options {
            model: Some(model.into()),
            batch_size: Some(BatchSize::Images(BATCH)),
            method: Some(name.into()),
            precision: Some(precision.into()),
            ..Options::default()
        };
        let config = options.resolve()?;
        let (mut trial, notes) = Trial::new(&config, CLASSES, &Device::cpu().with_own_memory(), &|| false)?;
        notes.iter().for_each(|note| eprintln!("{name}: {note}"));
        let counted = trial.count()?;
        let features = config.step_settings().features;
        let (stepped, calls) = noted(|| step(&mut trial, features));
        stepped?;
        let (mut products, mixers) =
            (Products::of(&calls, precision.dtype()), Mixers::of(&calls, precision.dtype()));
        products.run();
        mixers.run()?;
        let gflop = 1e-9 * (products.flop() + mixers.flop());
        Ok(Subject { trial, count: counted, features, products, mixers, gflop })
    }

    fn turn(&mut self) -> Result<Turn> {
        Ok(Turn {
            step: spent(|| step(&mut self.trial, self.features))?,
            products: spent(|| {
                self.products.run();
                Ok(())
            })?,
            mixers: spent(|| Ok(self.mixers.run()?))?,
        })
    }
}

/// Makes a step, after the evaluation whose features it sees where they were computed before.
fn step(trial: &mut Trial, features: bool) -> Result<()> {
    if features {
        trial.evaluation_seconds()?;
    }
    trial.step_seconds(1)?;
    Ok(())
}

fn spent(run: impl FnOnce() -> Result<()>) -> Result<Spent> {
    let (begun, before) = (Instant::now(), computed());
    run()?;
    Ok([begun.elapsed().as_secs_f64(), computed() - before])
}

/// Seconds that all threads of this process have computed so far, as Linux counts them in ticks of 10 ms; not a number
/// elsewhere.
fn computed() -> f64 {
    let read = || {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program, in brackets, may hold spaces.
        let mut ticks = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        let mut next = || ticks.next()?.parse::<f64>().ok();
        Some(0.01 * (next()? + next()?))
    };
    read().unwrap_or(f64::NAN)
}

/// The turns of a round: the base method, the frozen forward pass, and the method.
#[derive(Clone, Copy)]
struct Round {
    base: Turn,
    forward: Spent,
    own: Turn,
}

impl Round {
    fn excess(&self, clock: usize) -> f64 {
        self.own.over_work(clock) / self.base.over_work(clock)
    }
}

/// The middle of some values, the mean of both where there are two, and the smallest and the largest.
fn spread(values: impl Iterator<Item = f64>) -> [f64; 3] {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
    [middle, values[0], values[values.len() - 1]]
}

fn main() -> ExitCode {
    let run = match Arguments::read(std::env::args().skip(1)) {
        Ok(None) => return ExitCode::SUCCESS,
        Ok(Some(arguments)) => run(&arguments).map_err(|e| e.to_string()),
        Err(message) => Err(message),
    };
    match run {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn run(Arguments { model, base, methods, rounds, precisions }: &Arguments) -> Result<()> {
    // As the commands do.
    rayon::ThreadPoolBuilder::new().use_current_thread().build_global().expect("the first pool");
    println!(
        "Steps on {model}, 224 px, batch {BATCH}, {CLASSES} classes, {} threads, {:?}; medians of {rounds} rounds",
        rayon::current_num_threads(),
        engine::simd::level()
    );
    let mut notes = vec![];
    let mut table = Table::new([
        "method",
        "trained",
        "GFLOP",
        "step, s",
        "products, s",
        "mixers, s",
        "step/work",
        "excess",
        "least to most",
        "computed, s",
        "excess of it",
        "step/forward",
        "images/s",
        "memory",
    ]);
    let f32 = Precision::F32;
    let (mut base, linear) = (Subject::new(model, base, f32)?, Subject::new(model, LINEAR, f32)?);
    let (mut fastest, mut shares) = (vec![], vec![]);
    for &method in methods {
        let of = |&precision: &Precision| Subject::new(model, method, precision);
        let mut subjects = precisions.iter().map(of).collect::<Result<Vec<_>>>()?;
        let mut all = vec![];
        for _ in 0..*rounds {
            let base = base.turn()?;
            let forward = spent(|| linear.trial.evaluation_seconds().map(drop))?;
            let own = subjects.iter_mut().map(Subject::turn).collect::<Result<Vec<_>>>()?;
            all.push(own.into_iter().map(|own| Round { base, forward, own }).collect::<Vec<_>>());
        }
        for (i, (subject, precision)) in subjects.iter().zip(precisions).enumerate() {
            let rounds: Vec<Round> = all.iter().map(|round| round[i]).collect();
            let row = row(&format!("{method}, {precision}"), subject, &rounds);
            eprintln!("{}", row.join("  "));
            table.row(row);
            let least = spread(rounds.iter().map(|round| round.own.step[PASSED]))[1];
            fastest.push((method, *precision, least));
            shares.extend(rounds.iter().map(|round| round.own.step[COMPUTED] / round.own.step[PASSED]));
        }
        if let [single, half] = &subjects[..] {
            let over = |of: &dyn Fn(&Turn) -> f64| {
                spread(all.iter().map(|round| of(&round[1].own) / of(&round[0].own)))[0]
            };
            notes.push(format!(
                "{method}: a step in bf16 takes {:.2} times that in f32, its products {:.2}, its scans or attentions {:.2}, \
                 its memory {:.2}",
                over(&|turn| turn.step[PASSED]),
                over(&|turn| turn.products[PASSED]),
                over(&|turn| turn.mixers[PASSED]),
                half.count.step_bytes as f64 / single.count.step_bytes as f64,
            ));
        }
    }
    drop((base, linear));
    let share = spread(shares.into_iter())[0] / rayon::current_num_threads() as f64;
    print!("{table}");
    notes.iter().for_each(|note| println!("{note}"));
    println!("Steps got {:.0} % of the cores: the rest was others'.", 100.0 * share);
    reference::compare(model, &fastest);
    Ok(())
}

/// The row of the table for a method in a precision.
fn row(name: &str, subject: &Subject, rounds: &[Round]) -> [String; 14] {
    let over = |of: &dyn Fn(&Round) -> f64| spread(rounds.iter().map(of));
    let middle = |of: &dyn Fn(&Round) -> f64| over(of)[0];
    let step = middle(&|round| round.own.step[PASSED]);
    let [excess, low, high] = over(&|round| round.excess(PASSED));
    [
        name.to_string(),
        count(subject.count.trained as u64),
        format!("{:.0}", subject.gflop),
        format!("{step:.3}"),
        format!("{:.3}", middle(&|round| round.own.products[PASSED])),
        format!("{:.3}", middle(&|round| round.own.mixers[PASSED])),
        format!("{:.3}", middle(&|round| round.own.over_work(PASSED))),
        format!("{excess:.3}"),
        format!("{low:.2} to {high:.2}"),
        format!("{:.2}", middle(&|round| round.own.step[COMPUTED])),
        format!("{:.3}", middle(&|round| round.excess(COMPUTED))),
        format!("{:.2}", middle(&|round| round.own.step[COMPUTED] / round.forward[COMPUTED])),
        format!("{:.2}", BATCH as f64 / step),
        bytes(subject.count.step_bytes as u64),
    ]
}
