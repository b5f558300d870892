//! The whole SVP step of Vim-S, 224 px, batch 96: in a row as training makes it (replayed as a CUDA graph, images sent
//! meanwhile), and once call by call to see where the time goes.

use engine::DType;
use serde::Serialize;
use svp::backbones::vim::VimConfig;
use testkit::vim_s::{Step, finish};

use crate::{Bench, Outcome};

/// Steps timed together.
const STEPS: usize = 8;
/// What [`engine::cuda::Cuda::take_times`] calls transfers, which are neither kernels nor products.
const TRANSFERS: [&str; 6] = ["upload", "download", "send", "receive", "copy", "zero"];

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
    kernels_ms: f64,
    products_ms: f64,
    /// Share of the step outside of kernels and products.
    outside: f64,
}

/// A step in f32, with products in TF32, and in bf16.
pub fn run(bench: &Bench) -> Vec<Row> {
    println!(
        "SVP step of Vim-S   {:>9} {:>10} {:>12} {:>11} {:>12} {:>9}",
        "ms", "images/s", "tensors GiB", "kernels ms", "products ms", "outside"
    );
    let precisions = [("f32", DType::F32, false), ("tf32", DType::F32, true), ("bf16", DType::Bf16, false)];
    let row = |(precision, dtype, tf32): (&'static str, DType, bool)| {
        let batch = if bench.smoke { 2 } else { 96 };
        let outcome = match bench.late() {
            true => Outcome::late(),
            false => Outcome::from(time(bench, batch, dtype, tf32)),
        };
        println!("  {precision:<17} {outcome}");
        Row { precision, batch, outcome }
    };
    precisions.map(row).into()
}

fn time(bench: &Bench, batch: usize, dtype: DType, tf32: bool) -> svp::Result<Times> {
    let device = bench.device();
    device.allow_tf32(tf32);
    let free = || device.own_memory().map(|[free, _]| free);
    let before = free();
    let config = match bench.smoke {
        true => VimConfig::sized(32, 16, 16, 2),
        false => VimConfig::named("vim_small")?,
    };
    let mut step = Step::new(&device, config, batch, dtype)?;
    finish(step.submit()?)?;
    // The second step still is made call by call.
    bench.cuda.time_calls(true);
    let second = step.submit().and_then(finish);
    bench.cuda.time_calls(false);
    second?;
    let parts = bench.cuda.take_times()?;
    let milliseconds = |part: &dyn Fn(&str) -> bool| {
        1e3 * parts.iter().filter(|(name, _)| part(name)).map(|(_, times)| times.seconds).sum::<f64>()
    };
    let product = |name: &str| name.starts_with("gemm");
    let kernels_ms = milliseconds(&|name| !product(name) && !TRANSFERS.contains(&name));
    let products_ms = milliseconds(&product);
    finish(step.submit()?)?;
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
        kernels_ms,
        products_ms,
        outside: 1.0 - (kernels_ms + products_ms) / median,
    })
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
    all().map_err(|error: svp::Error| engine::Error::Unsupported { op: "step", what: error.to_string() })
}

impl std::fmt::Display for Times {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{:>9.2} {:>10.1} {:>12.2} {:>11.2} {:>12.2} {:>8.1}%",
            self.ms,
            self.images_per_s,
            self.peak_tensor_bytes as f64 / f64::from(1 << 30),
            self.kernels_ms,
            self.products_ms,
            100.0 * self.outside
        )
    }
}
