//! The whole SVP step of Vim-S, 224 px, batch 96, in a row as training makes it (replayed as a CUDA graph, images sent
//! meanwhile). Then once more with every kernel traced, to see where the time goes.

use engine::{DType, Device};
use serde::Serialize;
use svp::backbones::vim::VimConfig;
use testkit::activity::{Trace, available, busy, by_name};
use testkit::kernels;
use testkit::vim_s::{Step, finish};

use crate::{Bench, Outcome};

/// Steps timed together.
const STEPS: usize = 8;
/// Kernels that are named.
const HEAVIEST: usize = 12;

#[derive(Serialize)]
pub struct Row {
    precision: &'static str,
    batch: usize,
    #[serde(flatten)]
    pub outcome: Outcome<Times>,
}

/// Milliseconds of a step, and of its parts.
#[derive(Serialize)]
pub struct Times {
    ms: f64,
    ms_fastest: f64,
    steps: usize,
    images_per_s: f64,
    /// Most bytes that tensors held at once.
    peak_tensor_bytes: usize,
    /// Bytes by which the device's free memory fell: tensors, recordings and libraries.
    device_bytes: Option<usize>,
    #[serde(flatten)]
    traced: Traced,
}

/// What became of the traced steps.
#[derive(Serialize)]
#[serde(untagged)]
enum Traced {
    Known(Parts),
    NotRun { outside_not_run: String },
    Failed { outside_error: String },
}

/// Where a step's time goes, by the records of its kernels as they ran in the replayed graph.
#[derive(Serialize)]
struct Parts {
    /// Milliseconds of a step in our kernels, and in those of cuBLASLt.
    kernels_ms: f64,
    products_ms: f64,
    /// Milliseconds of a step in which any kernel ran.
    busy_ms: f64,
    launches: usize,
    /// Share of the step, as it was timed without tracing, in which no kernel ran.
    outside: f64,
    /// Those that take longest.
    by_kernel: Vec<KernelTime>,
}

#[derive(Serialize)]
struct KernelTime {
    name: String,
    ms: f64,
    launches: usize,
}

/// A step in f32, with products in TF32, and in bf16. All are timed before anything is traced, which slows launches.
pub fn run(bench: &Bench) -> Vec<Row> {
    let precisions = [("f32", DType::F32, false), ("tf32", DType::F32, true), ("bf16", DType::Bf16, false)];
    let batch = if bench.smoke { 2 } else { 96 };
    let timed = precisions.map(|(_, dtype, tf32)| match bench.late() {
        true => Outcome::late(),
        false => Outcome::from(time(bench, batch, dtype, tf32)),
    });
    println!(
        "SVP step of Vim-S   {:>9} {:>10} {:>12} {:>11} {:>12} {:>9}",
        "ms", "images/s", "tensors GiB", "kernels ms", "products ms", "outside"
    );
    let row = |((precision, dtype, tf32), mut outcome): ((&'static str, DType, bool), Outcome<Times>)| {
        if let Outcome::Timed(times) = &mut outcome
            && !bench.late()
        {
            times.traced = match (available(), trace(bench, batch, dtype, tf32, times.ms)) {
                (Err(outside_not_run), _) => Traced::NotRun { outside_not_run },
                (Ok(()), Ok(parts)) => Traced::Known(parts),
                (Ok(()), Err(outside_error)) => Traced::Failed { outside_error },
            };
        }
        println!("  {precision:<17} {outcome}");
        Row { precision, batch, outcome }
    };
    precisions.into_iter().zip(timed).map(row).collect()
}

/// A step in bf16, launched call by call and not timed: what a profiler watches.
pub fn once(bench: &Bench) -> svp::Result<()> {
    let batch = if bench.smoke { 2 } else { 96 };
    finish(step(bench, &bench.device(), batch, DType::Bf16)?.submit()?)
}

fn step(bench: &Bench, device: &Device, batch: usize, dtype: DType) -> svp::Result<Step> {
    let config = match bench.smoke {
        true => VimConfig::sized(32, 16, 16, 2),
        false => VimConfig::named("vim_small")?,
    };
    Step::new(device, config, batch, dtype)
}

/// A step, made three times: the first two call by call, and the third recorded.
fn recorded(bench: &Bench, device: &Device, batch: usize, dtype: DType) -> svp::Result<Step> {
    let mut step = step(bench, device, batch, dtype)?;
    for _ in 0..3 {
        finish(step.submit()?)?;
    }
    Ok(step)
}

fn time(bench: &Bench, batch: usize, dtype: DType, tf32: bool) -> svp::Result<Times> {
    let device = bench.device();
    device.allow_tf32(tf32);
    let free = || device.own_memory().map(|[free, _]| free);
    let before = free();
    let mut step = recorded(bench, &device, batch, dtype)?;
    let times = bench.times(|| several(&mut step))?;
    let ms = |at: usize| 1e3 * times[at] / STEPS as f64;
    let median = ms(times.len() / 2);
    Ok(Times {
        ms: median,
        ms_fastest: ms(0),
        steps: STEPS * times.len(),
        images_per_s: 1e3 * batch as f64 / median,
        peak_tensor_bytes: device.memory().0,
        device_bytes: before.zip(free()).map(|(before, after)| before.saturating_sub(after)),
        traced: Traced::NotRun { outside_not_run: "no time left".into() },
    })
}

/// The kernels of some steps in a row, and what they leave of a step that takes `step_ms` when nothing is traced. The
/// steps are those of a model of their own, recorded while kernels are traced.
fn trace(bench: &Bench, batch: usize, dtype: DType, tf32: bool, step_ms: f64) -> Result<Parts, String> {
    let trace = Trace::begin()?;
    let device = bench.device();
    device.allow_tf32(tf32);
    let mut step = recorded(bench, &device, batch, dtype).map_err(|error| error.to_string())?;
    let mut timed = || bench.cuda.timed(|| several(&mut step)).map_err(|error| error.to_string());
    timed()?;
    trace.take()?;
    timed()?;
    let ran = trace.take()?;
    if ran.is_empty() {
        return Err("CUPTI traced no kernel of the replayed step".into());
    }
    let own = kernels::names();
    let ms = |seconds: f64| 1e3 * seconds / STEPS as f64;
    let sums = by_name(&ran);
    let part = |ours: bool| {
        let same = sums.iter().filter(|(name, _)| own.contains(**name) == ours);
        ms(same.map(|(_, (_, seconds))| seconds).sum())
    };
    let [kernels_ms, products_ms] = [true, false].map(part);
    let mut by_kernel: Vec<KernelTime> = sums
        .iter()
        .map(|(name, sum)| KernelTime { name: name.to_string(), ms: ms(sum.1), launches: sum.0 / STEPS })
        .collect();
    by_kernel.sort_by(|a, b| b.ms.total_cmp(&a.ms));
    by_kernel.truncate(HEAVIEST);
    let (busy_ms, launches) = (ms(busy(&ran)), ran.len() / STEPS);
    Ok(Parts { kernels_ms, products_ms, busy_ms, launches, outside: 1.0 - busy_ms / step_ms, by_kernel })
}

/// Steps in a row, as training makes them: the next is started before the last one's loss is read.
fn several(step: &mut Step) -> engine::Result<()> {
    let mut all = || {
        let mut on_its_way = step.submit()?;
        for _ in 1..STEPS {
            finish(std::mem::replace(&mut on_its_way, step.submit()?))?;
        }
        finish(on_its_way)
    };
    all().map_err(failed)
}

/// The error of a step as one of the engine.
pub fn failed(error: svp::Error) -> engine::Error {
    engine::Error::Unsupported { op: "step", what: error.to_string() }
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let gib = self.peak_tensor_bytes as f64 / f64::from(1 << 30);
        write!(f, "{:>9.2} {:>10.1} {gib:>12.2} ", self.ms, self.images_per_s)?;
        match &self.traced {
            Traced::Known(Parts { kernels_ms, products_ms, outside, .. }) => {
                write!(f, "{kernels_ms:>11.2} {products_ms:>12.2} {:>8.1}%", 100.0 * outside)
            }
            Traced::NotRun { outside_not_run } => write!(f, "not traced: {outside_not_run}"),
            Traced::Failed { outside_error } => write!(f, "not traced, error: {outside_error}"),
        }
    }
}
