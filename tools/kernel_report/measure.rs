//! Counts of an op at the shapes of training, extrapolated from runs of the emulator at small shapes.

use std::collections::BTreeMap;
use std::sync::Arc;

use autograd::{Tape, Var};
use engine::{DType, Device, Rng, Tensor};
use ptx::spec::{Axis, Case, Cost, Input, Op, TRAINING_IMAGES};
use testkit::problem::{Ask, Problem};
use testkit::shapes::corners;

use crate::launcher::{Counting, Dry, Launched, Watched};
use crate::ptxas::MachineCode;
use crate::sass::weigh::HotLoop;
use crate::work::Work;

/// Most that a count of the check shape may differ from its extrapolation, where the count matters.
const TOLERANCE: f64 = 0.02;
/// The same with few images.
const FEW: f64 = 0.1;
/// Counts below this share of a kernel's instructions do not matter.
const FLOOR: f64 = 0.002;

/// Most that the number of blocks may differ from its extrapolation. Blocks are rounded up, which is not linear.
const BLOCKS: f64 = 0.04;

/// A kernel in one pass of an op.
#[derive(Debug, Clone)]
pub struct Part {
    pub entry: &'static str,
    /// Blocks of one launch, and bytes of its arguments.
    pub blocks: u64,
    pub bytes: usize,
    pub threads: u32,
    pub shared: u32,
    pub work: Work,
    /// Where the check shape spends its slots.
    pub loops: Vec<HotLoop>,
}

/// One pass of an op at the shape of training.
#[derive(Debug, Clone)]
pub struct Pass {
    pub op: &'static str,
    pub case: Case,
    /// The shape at which the extrapolation was checked, and main loops were found.
    pub checked: Case,
    /// The type of the activations.
    pub dtype: DType,
    /// `forward` or `backward`.
    pub name: &'static str,
    pub parts: Vec<Part>,
    /// What the op says of it.
    pub cost: Cost,
    /// Bytes that the op must move, from its cost; `None` where the cost counts a product, which the library moves.
    pub fewest: Option<f64>,
    /// The largest difference between the check shape and its extrapolation, and the count that has it.
    pub check: (f64, &'static str),
}

impl Pass {
    pub fn dtype(&self) -> &'static str {
        match self.dtype {
            DType::F32 => "f32",
            DType::Bf16 => "bf16",
        }
    }

    pub fn work(&self) -> Work {
        let mut sum = Work::default();
        self.parts.iter().for_each(|part| sum.add(1.0, &part.work));
        sum
    }
}

/// The axes of an op with other images in a step. Few images are counted as they are, with all their tokens.
pub fn axes_for(axes: Vec<Axis>, images: usize) -> Vec<Axis> {
    let of_images = |axis: &Axis| ["b", "rows"].contains(&axis.name);
    let target = |axis: &Axis| match of_images(axis) {
        true => axis.target / TRAINING_IMAGES * images,
        false => axis.target,
    };
    let few = axes.iter().any(|axis| of_images(axis) && target(axis) <= axis.high);
    let scaled = |axis: Axis| {
        let target = target(&axis);
        match few {
            true => Axis { low: 0, high: target, check: target, target, ..axis },
            false => Axis { target, ..axis },
        }
    };
    axes.into_iter().map(scaled).collect()
}

/// The launches of the forward and of the backward pass.
type Passes = [Vec<Launched>; 2];

/// The launches of a run, and the bytes that the forward pass keeps beside its inputs and outputs.
type Ran = (Passes, usize);

/// Both passes of a bench case. A pass without launches is left out.
pub fn measure(
    op: &dyn Op,
    case: &Case,
    axes: &[Axis],
    dtype: DType,
    code: Option<&Arc<MachineCode>>,
) -> Result<Vec<Pass>, String> {
    let at = |sizes: &[usize]| {
        axes.iter().zip(sizes).fold(case.clone(), |case, (axis, &size)| case.with(axis.name, size))
    };
    let counted = |sizes: &[usize]| match sizes.contains(&0) {
        true => Ok(Ran::default()),
        false => run(op, &at(sizes), dtype, &|| Counting::new(code.cloned()), drawn),
    };
    let small: Vec<Ran> =
        corners(axes, |_| 0).iter().map(|(sizes, _)| counted(sizes)).collect::<Result<_, _>>()?;
    let check_sizes: Vec<usize> = axes.iter().map(|axis| axis.check).collect();
    let (check, _) = counted(&check_sizes)?;
    let target = at(&axes.iter().map(|axis| axis.target).collect::<Vec<_>>());
    let (wanted, kept) = run(op, &target, dtype, &Dry::default, zeros)?;
    let cost = op.cost(&target, dtype);
    // Of few images, which are not extrapolated, small kernels have so few blocks that their rounding shows.
    let few = axes.iter().any(|axis| axis.low == 0 && axis.check == axis.high);
    let (tolerance, rounding) = if few { (FEW, 2.0 * FEW) } else { (TOLERANCE, BLOCKS) };

    let mut passes = vec![];
    for (i, (name, cost)) in [("forward", cost.0), ("backward", cost.1)].into_iter().enumerate() {
        let sums: Vec<_> = small.iter().map(|(passes, _)| by_entry(&passes[i])).collect();
        let extrapolate = |to: fn(&Axis) -> usize| {
            let weights: Vec<f64> = corners(axes, to).into_iter().map(|(_, weight)| weight).collect();
            combine(&sums, &weights)
        };
        let guess = extrapolate(|axis| axis.check);
        let off = differ(&guess, &by_entry(&check[i]), op, name, tolerance)
            .map_err(|what| format!("{what} ({dtype:?}, {})", at(&check_sizes).name))?;
        let work = extrapolate(|axis| axis.target);
        let mut parts = vec![];
        for (entry, dry) in by_entry(&wanted[i]) {
            let work = *work.get(entry).ok_or_else(|| variant(op, name, entry))?;
            if (work.blocks - dry.blocks).abs() > rounding * dry.blocks {
                return Err(variant(op, name, entry));
            }
            // The number of launches does not grow with the sizes.
            let work = Work { launches: dry.launches, ..work };
            let launched =
                wanted[i].iter().find(|launched| launched.entry == entry).expect("summed from here");
            let grid = launched.grid;
            let ran = check[i].iter().find(|launched| launched.entry == entry);
            parts.push(Part {
                entry,
                blocks: grid.blocks.map(u64::from).iter().product(),
                bytes: launched.bytes,
                threads: grid.threads.iter().product(),
                shared: grid.shared,
                work,
                loops: ran.map_or(vec![], |launched| launched.loops.clone()),
            });
        }
        if !parts.is_empty() {
            let fewest = (!op.is_product()).then_some(cost.bytes + kept as f64);
            let (op, case, checked) = (op.name(), target.clone(), at(&check_sizes));
            passes.push(Pass { op, case, checked, dtype, name, parts, cost, fewest, check: off });
        }
    }
    Ok(passes)
}

fn variant(op: &dyn Op, pass: &str, entry: &str) -> String {
    format!("{} {pass}: the small shapes do not launch what training does ({entry})", op.name())
}

/// Runs the forward and the backward pass of a case on a device of its own.
fn run<L: Watched + 'static>(
    op: &dyn Op,
    case: &Case,
    dtype: DType,
    launcher: &dyn Fn() -> L,
    value: fn(&Device, usize, &Input) -> Tensor,
) -> Result<Ran, String> {
    let launcher = Arc::new(launcher());
    // Such a device counts memory by the byte.
    let device = Device::launched_checked(launcher.clone());
    let in_use = || device.memory().1;
    let passes = || -> engine::Result<Ran> {
        let tape = Tape::new(&device);
        let inputs = op.inputs(case);
        let mut variables = vec![];
        for (i, input) in inputs.iter().enumerate() {
            let typed = if input.typed { dtype } else { DType::F32 };
            let tensor = value(&device, i, input).cast(&device, typed)?;
            variables.push(if input.grad { tape.leaf(tensor) } else { Var::constant(tensor) });
        }
        launcher.take();
        let before = in_use();
        let outputs = op.forward(case, &tape, &variables)?;
        let forward = launcher.take();
        let made: usize = outputs.iter().map(|y| y.value().numel() * y.value().dtype().size()).sum();
        let kept = (in_use() - before).saturating_sub(made);
        if !variables.iter().any(Var::wants_grad) {
            return Ok(([forward, vec![]], 0));
        }
        let upstream: Vec<Vec<f32>> = outputs.iter().map(|y| vec![0.5; y.value().numel()]).collect();
        let end = Problem::join(&tape, &[outputs], &upstream, Ask::ALL)?;
        let seed = Tensor::zeros(&device, &[1]);
        launcher.take();
        let grads = tape.backward(&end, seed)?;
        drop(grads);
        Ok(([forward, launcher.take()], kept))
    };
    passes().map_err(|err| format!("{} {}: {err}", op.name(), case.name))
}

fn drawn(device: &Device, i: usize, input: &Input) -> Tensor {
    Tensor::from_slice(device, &input.values(&mut Rng::keyed(5, 0, i as u32, 0)), &input.shape)
}

fn zeros(device: &Device, _: usize, input: &Input) -> Tensor {
    Tensor::zeros(device, &input.shape)
}

type Sums = BTreeMap<&'static str, Work>;

fn by_entry(launches: &[Launched]) -> Sums {
    let mut sums = Sums::new();
    for launched in launches {
        sums.entry(launched.entry).or_default().add(1.0, &launched.work);
    }
    sums
}

fn combine(corners: &[Sums], weights: &[f64]) -> Sums {
    let mut sums = Sums::new();
    for (corner, weight) in corners.iter().zip(weights) {
        for (entry, work) in corner {
            sums.entry(entry).or_default().add(*weight, work);
        }
    }
    sums
}

/// The count by which an extrapolation differs most from a run. Too large a difference is an error.
fn differ(
    guess: &Sums,
    run: &Sums,
    op: &dyn Op,
    pass: &str,
    tolerance: f64,
) -> Result<(f64, &'static str), String> {
    let mut worst = (0.0, "nothing");
    for (entry, work) in run {
        let guess = guess.get(entry).ok_or_else(|| variant(op, pass, entry))?;
        let off = guess.distance(work, FLOOR * work.threads / 32.0);
        if off.0 > worst.0 {
            worst = off;
        }
    }
    match worst.0 <= tolerance {
        true => Ok(worst),
        false => Err(format!(
            "{} {pass}: `{}` of the check shape is {:.1} % from its extrapolation",
            op.name(),
            worst.1,
            100.0 * worst.0
        )),
    }
}

#[test]
fn few_images_are_counted_as_they_are() {
    let sizes = |images| {
        let axes = vec![Axis::images([8, 16, 12]), Axis::new("l", [21, 37, 53], 197)];
        axes_for(axes, images).iter().map(|a| [a.low, a.high, a.check, a.target]).collect::<Vec<_>>()
    };
    assert_eq!(sizes(96), [[8, 16, 12, 96], [21, 37, 53, 197]]);
    assert_eq!(sizes(1), [[0, 1, 1, 1], [0, 197, 197, 197]]);
    assert_eq!(sizes(17), [[8, 16, 12, 17], [21, 37, 53, 197]]);
}
