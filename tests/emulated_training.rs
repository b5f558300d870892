//! Training on the emulated device with the kernels that a GPU runs. Losses and trained files must be those of the CPU,
//! and stopping a run must not change a byte.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use autograd::Tape;
use engine::cuda::Cuda;
use engine::emulated::Emulated;
use engine::{Device, Rng, Tensor};
use ptx::cross_entropy::smooth_targets;
use ptx::grad_norm::healthy;
use ptx_emulator::Meter;
use rayon::prelude::*;
use safetensors::SafeTensors;
use svp::backbones::Backbone;
use svp::backbones::drop_path;
use svp::backbones::vim::{self, Vim, VimConfig};
use svp::backbones::vit::{Vit, VitConfig};
use svp::methods::{Chosen, METHODS, OptimizerKind};
use svp::model::{Forward, Model, Parts};
use svp::params::Params;
use svp::pass::Noise;
use svp::train::{Optimizer, Precision, Rates};
use testkit::cuda;
use testkit::guarded::Guarded;
use testkit::programs::{succeeds, train, words};
use testkit::runs::{Task, records, same, small};

const BATCH: usize = 4;
const CLASSES: usize = 10;
const DEPTH: usize = 3;

/// Relative error of one rounding to bf16, which has 8 significant bits.
const BF16: f64 = 1.0 / 512.0;

/// The results of three steps of a method.
struct Steps {
    losses: Vec<f64>,
    /// Gradients of the first step, by name.
    grads: Vec<(String, Vec<f32>)>,
    /// Largest norm of a row of the head after the last step.
    head: f64,
}

fn norm(values: impl IntoIterator<Item = f64>) -> f64 {
    values.into_iter().map(|v| v * v).sum::<f64>().sqrt()
}

/// Norm of the difference divided by the norm of `want`.
fn relative(got: &[f32], want: &[f32]) -> f64 {
    assert_eq!(got.len(), want.len());
    let wanted = norm(want.iter().map(|&v| f64::from(v)));
    let off = norm(got.iter().zip(want).map(|(&g, &w)| f64::from(g) - f64::from(w)));
    if wanted == 0.0 { off } else { off / wanted }
}

/// A Vim with initial values for 65 tokens of 48 channels, or a ViT for methods that do not run on a Vim, adapted by a
/// method.
fn model(device: &Device, method: &str, precision: Precision) -> Model {
    let mut params = Params::default();
    let flags = small(method);
    let on_vim = Chosen::named(method).unwrap().entry.backbones.contains(&vim::NAME);
    let backbone: Box<dyn Backbone> = match on_vim {
        true => Box::new(Vim::init(VimConfig::sized(32, 4, 48, DEPTH), &mut params, 5).unwrap()),
        false => {
            let config = VitConfig { heads: 3, ..VitConfig::sized(32, 4, 48, DEPTH) };
            Box::new(Vit::init(config, &mut params, 5).unwrap())
        }
    };
    let chosen = flags[2..]
        .chunks(2)
        .fold(Chosen::named(method), |chosen, flag| chosen?.with_flag(&flag[0][2..], flag[1]));
    let mut rng = Rng::keyed(11, 0, 0, 0);
    let mut drawn = |shape: &[usize]| {
        let values = (0..shape.iter().product()).map(|_| rng.range(-0.1, 0.1) as f32);
        Tensor::from_vec(values.collect(), shape)
    };
    // For methods that keep the backbone's own head.
    let source_head = Some([drawn(&[2 * CLASSES, 48]), drawn(&[2 * CLASSES])]);
    let parts = Parts { source_head, ..Parts::new(chosen.unwrap(), CLASSES) };
    let mut model = Model::new(device, backbone, params, parts, 5).unwrap();
    // What a survey would find.
    let trained = model.params.trained();
    let numbers = |id| model.params.name(id).starts_with("index.");
    let found = model.params.saved().into_iter().filter(|&id| !trained.contains(&id) && !numbers(id));
    for id in found.collect::<Vec<_>>() {
        let value = drawn(model.params.get(id).shape());
        model.params.set(id, value.to_device(device).unwrap());
    }
    model.in_precision(precision.dtype()).unwrap()
}

fn three_steps(device: &Device, method: &str, precision: Precision) -> Steps {
    let mut model = model(device, method, precision);
    let kind = OptimizerKind::Adamw;
    let mut optimizer = Optimizer::new(kind, device, &model.params, |name, value| kind.decays(name, value));
    let rates = Rates { lr: 1e-2, weight_decay: 1e-4, momentum: 0.0 };
    let mut health = healthy(device);
    let (mut losses, mut grads_of_first) = (vec![], vec![]);
    for step in 0..3 {
        let mut rng = Rng::keyed(7, step, 0, 0);
        let images = (0..BATCH * 3 * 32 * 32).map(|_| rng.normal() as f32).collect();
        let labels: Vec<u32> = (0..BATCH).map(|_| (rng.range(0.0, CLASSES as f64)) as u32).collect();
        let samples = [0, 1, 2, 3].map(|i| BATCH as u32 * step + i);
        let additions = model.spec().additions;
        let keep = drop_path::factors(0.3, (DEPTH, additions), 5, 0, &samples).unwrap();
        let keep = Tensor::from_slice(device, &keep, &[DEPTH * additions, BATCH]);

        let tape = Tape::new(device).checking_finite();
        let images = Tensor::from_vec(images, &[BATCH, 3, 32, 32]);
        let noise = Noise { drop_path: Some(&keep), dropout: None };
        let forward = model.forward(&tape, images, noise).unwrap();
        let targets = smooth_targets(&labels, CLASSES, 0.1).unwrap();
        let targets = Tensor::from_slice(device, &targets, &[BATCH, CLASSES]);
        let loss = model.loss(&tape, &forward, &targets).unwrap();
        let Forward { bound, .. } = forward;
        losses.push(f64::from(loss.value().to_host().unwrap()[0]));
        let grads = tape.backward(&loss, Tensor::from_slice(device, &[1.0], &[1])).unwrap();
        if step == 0 {
            let of = |id| {
                let grad = grads.get(&bound[id]).expect("a gradient of every trained tensor");
                (model.params.name(id).to_string(), grad.to_host().unwrap())
            };
            grads_of_first = model.params.trained().into_iter().map(of).collect();
        }
        let factors = Tensor::from_slice(device, &optimizer.next_factors(&rates).unwrap(), &[7]);
        let (loss, params) = (loss.value(), &mut model.params);
        optimizer.step(device, params, bound, loss, &grads, &factors, &mut health).unwrap();
    }
    let head = model.params.get(model.params.id("head.weight").unwrap());
    let row = |row: &[f32]| norm(row.iter().map(|&v| f64::from(v)));
    let head = head.to_host().unwrap().chunks_exact(48).map(row).fold(0.0, f64::max);
    Steps { losses, grads: grads_of_first, head }
}

/// Makes the steps on a device of its own that checks every access, and prints how much it executed.
fn emulated_steps(method: &str, precision: Precision) -> Steps {
    let emulated = Arc::new(Emulated::new());
    let steps = three_steps(&Device::launched_checked(emulated.clone()), method, precision);
    let mut sum = Meter::default();
    emulated.take_totals().values().for_each(|meter| sum += meter);
    println!(
        "{method} {precision:?}: {} launches, {} thread-instructions, {} checks",
        sum.launches,
        sum.instructions().threads,
        sum.checks
    );
    assert!(sum.launches > 50, "kernels did not run");
    steps
}

/// Gradients by name, those of tensors of one value as one: such a value is a sum over all rows of terms that cancel, and may
/// be far smaller than the roundings of its terms, which the norm of a longer tensor is not.
fn with_single_values_together(grads: &[(String, Vec<f32>)]) -> Vec<(String, Vec<f32>)> {
    let (single, mut all): (Vec<_>, Vec<_>) = grads.iter().cloned().partition(|(_, grad)| grad.len() == 1);
    if !single.is_empty() {
        all.push(("tensors of one value".into(), single.into_iter().flat_map(|(_, grad)| grad).collect()));
    }
    all
}

/// The largest difference of the losses, and the largest relative error of a gradient with its tensor.
fn differences(got: &Steps, want: &Steps) -> (f64, (f64, String)) {
    let loss = got.losses.iter().zip(&want.losses).map(|(g, w)| (g - w).abs()).fold(0.0, f64::max);
    let [got_grads, want_grads] = [got, want].map(|steps| with_single_values_together(&steps.grads));
    let grads = got_grads.iter().zip(&want_grads).map(|((name, g), (_, w))| (relative(g, w), name.clone()));
    let grad = grads.max_by(|a, b| a.0.total_cmp(&b.0)).expect("trained tensors");
    println!("losses {:?} against {:?}: {loss:.1e}; gradients: {grad:?}", got.losses, want.losses);
    (loss, grad)
}

/// Makes the steps on a GPU, in poisoned memory between red zones.
fn cuda_steps(launcher: &Cuda, method: &str, precision: Precision) -> Steps {
    let guarded = Arc::new(Guarded::new(launcher.clone()));
    let steps = three_steps(&Device::launched_checked(guarded.clone()), method, precision);
    assert_eq!(guarded.take_hits(), 0, "writes outside a buffer");
    println!(
        "{method} {precision:?}: {} launches of {} kernels on cuda",
        guarded.launches(),
        guarded.entries().len()
    );
    assert!(guarded.launches() > 50, "kernels did not run");
    steps
}

#[test]
fn three_steps_give_the_losses_of_the_cpu() {
    compare_with_the_cpu(emulated_steps);
}

#[test]
fn three_steps_on_cuda_give_the_losses_of_the_cpu() {
    if let Some(launcher) = cuda::launcher() {
        compare_with_the_cpu(|method, precision| cuda_steps(&launcher, method, precision));
    }
}

/// Every method of the registry. Methods add up to two tensors to a block's roundings.
fn compare_with_the_cpu(steps: impl Fn(&str, Precision) -> Steps + Sync) {
    METHODS.par_iter().for_each(|entry| compare_method(entry.name, &steps));
}

fn compare_method(method: &str, steps: impl Fn(&str, Precision) -> Steps) {
    let cpu = three_steps(&Device::cpu_checked(), method, Precision::F32);
    let (loss, (grad, name)) = differences(&steps(method, Precision::F32), &cpu);
    assert!(loss <= 1e-5, "{method}: losses differ by {loss:.1e}");
    assert!(grad <= 1e-4, "{method}: the gradient of {name} differs by {grad:.1e}");

    // In bf16 a block rounds about eight tensors on the way forward and ten on the way back, independently, so the
    // features are off by about sqrt(8 depth) roundings and a gradient by sqrt(18 depth). A feature is of size one, so
    // a logit is off by that times the norm of its row of the head. The loss is off by that times the norm of softmax -
    // target, which is below sqrt(2). Three of these standard deviations are allowed; at most 35 % of that were measured.
    let on_cpu = three_steps(&Device::cpu_checked(), method, Precision::Bf16);
    for (device, half) in [("launched", steps(method, Precision::Bf16)), ("cpu", on_cpu)] {
        let (loss, (grad, name)) = differences(&half, &cpu);
        let features = (8.0 * DEPTH as f64).sqrt() * BF16;
        let bound = 3.0 * 2f64.sqrt() * half.head * features;
        assert!(loss > 0.0, "{method}, {device}: bf16 computes as f32 does");
        println!("{method}, {device}, allowed in bf16: losses {bound:.1e}");
        assert!(loss <= bound, "{method}, {device}: losses differ by {loss:.1e}, allowed {bound:.1e}");
        let bound = 3.0 * (18.0 * DEPTH as f64).sqrt() * BF16;
        println!("{method}, {device}: {:.0} % of the gradients' bound in {name}", 100.0 * grad / bound);
        assert!(
            grad <= bound,
            "{method}, {device}: the gradient of {name} differs by {grad:.1e} of {bound:.1e}"
        );
    }
}

/// Arguments for one epoch of four steps on a device.
fn args<'a>(task: &'a Task, device: &'a str, out: &'a str) -> Vec<&'a str> {
    let task = ["--data", &task.data, "--backbone", &task.backbone, "--device", device, "--out", out];
    let fixed = "--epochs 1 --batch-size 8 --lr 0.1 --drop-path 0.3";
    [&task[..], &words(fixed)].concat()
}

fn train_on(task: &Task, device: &str, name: &str, more: &[&str]) -> String {
    let out = task.place.at(name);
    succeeds(&train(&[&args(task, device, &out)[..], more].concat()));
    out
}

/// The files of a run, without those of TensorBoard, whose names hold the time.
fn files(run: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(run).unwrap().map(|entry| entry.unwrap().file_name());
    let name = |name: std::ffi::OsString| name.to_string_lossy().split(".tfevents").next().map(String::from);
    entries.filter_map(name).collect()
}

/// Compares the tensors of two trained files by norm; prints and returns the largest error.
fn worst(got: &str, want: &str) -> f64 {
    let read = |run: &str| fs::read(Path::new(run).join("last.safetensors")).unwrap();
    let (got_bytes, want_bytes) = (read(got), read(want));
    let got_file = SafeTensors::deserialize(&got_bytes).unwrap();
    let want_file = SafeTensors::deserialize(&want_bytes).unwrap();
    assert_eq!(got_file.len(), want_file.len());
    let floats = |view: safetensors::tensor::TensorView| -> Vec<f32> {
        view.data().as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect()
    };
    let of = |(name, want): (String, safetensors::tensor::TensorView<'_>)| {
        (relative(&floats(got_file.tensor(&name).unwrap()), &floats(want)), name)
    };
    let (off, name) = want_file.tensors().into_iter().map(of).max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
    println!("{got}: {off:.1e} off the CPU's in {name}");
    off
}

/// Every method of a Vim and every optimizer, through the program: parameters and what the optimizer keeps,
/// after an epoch.
#[test]
fn a_trained_file_is_that_of_the_cpu() {
    let task = Task::new("emulated-files", 2);
    let more = [
        ("svp", "--at scan"),
        ("vpt", "--optimizer sgd --prompt-dropout 0.2"),
        ("bitfit", "--optimizer adam"),
    ];
    let of_vim = METHODS.iter().filter(|entry| entry.backbones.contains(&vim::NAME));
    for (method, more) in of_vim.map(|entry| (entry.name, "")).chain(more) {
        let flags = [small(method), words(more)].concat();
        let run = |device: &str| train_on(&task, device, &format!("{method}{more}-{device}"), &flags);
        let (cpu, emulated) = (run("cpu"), run("emulated"));
        assert_eq!(files(&emulated), files(&cpu));
        // Second moments have twice the gradient's error, and four steps add up.
        let off = worst(&emulated, &cpu);
        assert!(off <= 1e-4, "{method} {more}: {off:.1e}");
    }
}

/// The run is killed after its second step and resumed with other numbers of threads.
#[test]
fn a_killed_run_ends_with_the_bytes_of_the_unbroken_one() {
    let task = Task::new("emulated-killed", 2);
    let unbroken = train_on(&task, "emulated", "unbroken", &[small("svp"), words("--threads 1")].concat());
    let out = task.place.at("killed");
    let mut child = Command::new(env!("CARGO_BIN_EXE_svp-train"))
        .args([&args(&task, "emulated", &out)[..], &small("svp"), &["--save-every", "1"]].concat())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while records(&out) < 2 {
        assert!(child.try_wait().unwrap().is_none(), "the run goes on");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    succeeds(&train(&["--resume", &out, "--device", "emulated", "--threads", "3"]));
    same(&unbroken, &out);
}
