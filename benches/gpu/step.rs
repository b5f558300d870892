//! The whole SVP step of Vim-S, 224 px, batch 96: replayed as one CUDA graph, and once call by call to see where the
//! time goes.

use autograd::Tape;
use engine::{DType, Device, Result, Rng, Tensor};
use ptx::adamw::Settings;
use ptx::cross_entropy::{cross_entropy, smooth_targets};
use serde::Serialize;
use svp::model::{Classifier, HeadKind, Params, Parts, SvpConfig, Vim, VimConfig};
use svp::train::{Optimizer, recipe_decays};

use crate::{Bench, Outcome};

const CLASSES: usize = 100;

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
    runs: usize,
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
            false => time(bench, batch, dtype, tf32).into(),
        };
        println!("  {precision:<17} {outcome}");
        Row { precision, batch, outcome }
    };
    precisions.map(row).into()
}

fn time(bench: &Bench, batch: usize, dtype: DType, tf32: bool) -> Result<Times> {
    let device = bench.device();
    device.allow_tf32(tf32);
    let free = || device.own_memory().map(|[free, _]| free);
    let before = free();
    let mut step = Step::new(&device, batch, dtype, bench.smoke)?;
    step.run()?;
    bench.cuda.time_calls(true);
    let called = step.run();
    bench.cuda.time_calls(false);
    let parts = bench.cuda.take_times();
    called?;
    let seconds = |product: bool| {
        let of = parts.iter().filter(|(name, _)| name.starts_with("gemm") == product);
        of.map(|(_, times)| times.seconds).sum::<f64>()
    };
    let (recording, ()) = device.record(|| step.run())?;
    let times = bench.times(|| recording.run())?;
    let device_bytes = before.zip(free()).map(|(before, after)| before.saturating_sub(after));
    let median = times[times.len() / 2];
    let (kernels, products) = (seconds(false), seconds(true));
    Ok(Times {
        ms: 1e3 * median,
        ms_fastest: 1e3 * times[0],
        runs: times.len(),
        images_per_s: batch as f64 / median,
        peak_tensor_bytes: device.memory().0,
        device_bytes,
        kernels_ms: 1e3 * kernels,
        products_ms: 1e3 * products,
        outside: 1.0 - (kernels + products) / median,
    })
}

struct Step {
    device: Device,
    model: Classifier,
    optimizer: Optimizer,
    images: Tensor,
    targets: Tensor,
}

impl Step {
    fn new(device: &Device, batch: usize, dtype: DType, smoke: bool) -> Result<Self> {
        let wrong = |error: svp::Error| engine::Error::Unsupported { op: "step", what: error.to_string() };
        let config = match smoke {
            true => VimConfig::sized(32, 16, 16, 2),
            false => VimConfig::named("vim_small").map_err(wrong)?,
        };
        let mut params = Params::default();
        let vim = Vim::init(config, &mut params, 0).map_err(wrong)?;
        let svp = Some(SvpConfig::default());
        let parts = Parts { svp, head: HeadKind::Linear, classes: CLASSES, simam: false, full: false };
        let model =
            Classifier::new(device, vim, params, parts, 0).and_then(|model| model.in_precision(dtype));
        let model = model.map_err(wrong)?;
        let optimizer = Optimizer::new(device, &model.params, recipe_decays);
        let side = config.img_size;
        let mut rng = Rng::keyed(0, 0, 0, 0);
        let images: Vec<f32> = (0..batch * 3 * side * side).map(|_| rng.normal() as f32).collect();
        let images = Tensor::from_slice(device, &images, &[batch, 3, side, side]);
        let labels: Vec<u32> = (0..batch as u32).map(|i| i % CLASSES as u32).collect();
        let targets = smooth_targets(device, &labels, CLASSES, 0.1)?;
        Ok(Step { device: device.clone(), model, optimizer, images, targets })
    }

    fn run(&mut self) -> Result<()> {
        let wrong = |error: svp::Error| engine::Error::Unsupported { op: "step", what: error.to_string() };
        let tape = Tape::new(&self.device);
        let (_, logits, bound) = self.model.forward(&tape, self.images.clone(), None).map_err(wrong)?;
        let loss = cross_entropy(&tape, &logits, &self.targets)?;
        let grads = tape.backward(&loss, Tensor::from_slice(&self.device, &[1.0], &[1]))?;
        let settings = Settings { lr: 1e-3, weight_decay: 1e-4, ..Settings::default() };
        let stepped = self.optimizer.step(&self.device, &mut self.model.params, bound, &grads, &settings);
        stepped.map_err(wrong)
    }
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
