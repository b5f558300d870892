use engine::{DType, Device, Rng, Tensor};

use super::*;
use crate::backbones::vim::{Vim, VimConfig};
use crate::heads::Labels;
use crate::methods::Chosen;
use crate::methods::linear::Frozen;
use crate::model::Parts;
use crate::params::Params;

const SIDE: usize = 16;
const CLASSES: usize = 3;

fn model(device: &Device, full: bool) -> Model {
    let mut params = Params::default();
    let vim = Vim::init(VimConfig::sized(SIDE, 4, 16, 2), &mut params, 5).unwrap();
    let method = match full {
        true => Chosen::named("full").unwrap(),
        false => {
            let svp = Chosen::named("svp").unwrap().with_flag("hidden", "8").unwrap();
            svp.with_flag("group-size", "1").unwrap()
        }
    };
    let parts = Parts::new(method, CLASSES);
    Model::new(device, Box::new(vim), params, parts, 5).unwrap()
}

fn settings(accumulate: usize) -> StepSettings {
    StepSettings {
        features: false,
        optimizer: OptimizerKind::Adamw,
        momentum: 0.9,
        smoothing: 0.1,
        drop_path: 0.3,
        seed: 2,
        weight_decay: 1e-4,
        head: None,
        ema_decay: 0.9,
        accumulate,
    }
}

/// A batch of `size` images at the positions `first..` of their split.
fn batch(first: usize, size: usize) -> FeedBatch {
    let indices: Vec<u32> = (first..first + size).map(|i| i as u32).collect();
    let image = |&i: &u32| {
        let mut rng = Rng::keyed(7, 0, i, 0);
        (0..3 * SIDE * SIDE).map(move |_| rng.normal() as f32)
    };
    let images = indices.iter().flat_map(image).collect();
    let labels = Labels::Classes(indices.iter().map(|i| i % CLASSES as u32).collect());
    let input = Tensor::from_vec(images, &[size, 3, SIDE, SIDE]);
    FeedBatch { input, labels, keys: indices.clone(), indices, assignment: None, own_share: 1.0 }
}

/// Makes `count` steps of `accumulate` batches of `size`; returns their health and the trained values after them.
fn steps(
    device: &Device,
    full: bool,
    size: usize,
    accumulate: usize,
    count: usize,
) -> (Vec<Health>, Vec<f32>) {
    let mut model = model(device, full);
    let mut stepper = Stepper::new(&model, settings(accumulate));
    let each = size * accumulate;
    let step = |i: usize| {
        let batches: Vec<_> = (0..accumulate).map(|j| batch(i * each + j * size, size)).collect();
        stepper.submit(&mut model, &batches, 0, 1e-2).unwrap().wait().unwrap()
    };
    let health = (0..count).map(step).collect();
    let parts = if accumulate < 3 { accumulate } else { 3 };
    let recorded = if device.launcher().is_some() && count > WARM_UP as usize { parts } else { 0 };
    assert_eq!(stepper.recorded.len(), recorded);
    let values = trained(&model);
    (health, values)
}

fn trained(model: &Model) -> Vec<f32> {
    let ids = model.params.trained();
    ids.into_iter().flat_map(|id| model.params.get(id).to_host().unwrap()).collect()
}

fn close(a: &(Vec<Health>, Vec<f32>), b: &(Vec<Health>, Vec<f32>), bound: f32) {
    for (a, b) in a.0.iter().zip(&b.0) {
        assert!(a.finite && b.finite);
        assert!((a.loss - b.loss).abs() <= bound, "{a:?} {b:?}");
        assert!((a.grad_norm - b.grad_norm).abs() <= bound * b.grad_norm, "{a:?} {b:?}");
    }
    let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| v * v).sum::<f32>().sqrt();
    let off = norm(&mut a.1.iter().zip(&b.1).map(|(a, b)| a - b)) / norm(&mut b.1.iter().copied());
    assert!(off <= 10.0 * bound, "trained values are {off:.1e} off");
}

#[test]
fn accumulated_batches_step_as_one() {
    for full in [false, true] {
        let whole = steps(&Device::cpu(), full, 6, 1, 3);
        for (size, accumulate) in [(3, 2), (2, 3), (1, 6)] {
            close(&steps(&Device::cpu(), full, size, accumulate, 3), &whole, 1e-4);
        }
    }
}

/// Two steps are made call by call, one is recorded and two are replayed, each on other images.
#[test]
fn recorded_steps_are_those_of_the_cpu() {
    for (full, accumulate) in [(false, 1), (false, 2), (false, 4), (true, 3)] {
        let cpu = steps(&Device::cpu(), full, 2, accumulate, 5);
        let emulated = steps(&Device::emulated(), full, 2, accumulate, 5);
        close(&emulated, &cpu, 1e-4);
        assert_eq!(emulated, steps(&Device::emulated(), full, 2, accumulate, 5), "repeatable");
    }
}

/// A resumed run makes its first steps call by call again, so they must have the same bits as replayed ones.
#[test]
fn replayed_steps_have_the_bits_of_steps_made_call_by_call() {
    let device = Device::emulated();
    let mut replayed = model(&device, false);
    let mut called = model(&device, false);
    let mut stepper = Stepper::new(&replayed, settings(1));
    let mut fresh = Stepper::new(&called, settings(1));
    for i in 0..5 {
        let batches = [batch(2 * i, 2)];
        let a = stepper.submit(&mut replayed, &batches, 0, 1e-2).unwrap().wait().unwrap();
        fresh.steps = 0;
        let b = fresh.submit(&mut called, &batches, 0, 1e-2).unwrap().wait().unwrap();
        assert_eq!(a, b);
    }
    assert!(!stepper.recorded.is_empty() && fresh.recorded.is_empty());
    assert!(trained(&replayed) == trained(&called));
}

/// Once a step is not finite, neither it nor any later step changes anything.
#[test]
fn what_is_not_finite_changes_nothing_and_is_named() {
    for device in [Device::cpu(), Device::emulated()] {
        for bad in [1, 4] {
            let mut model = model(&device, false);
            let mut stepper = Stepper::new(&model, settings(1));
            for i in 0..bad {
                stepper.submit(&mut model, &[batch(i, 2)], 0, 1e-2).unwrap();
            }
            let before = trained(&model);
            let mut wrong = batch(9, 2);
            wrong.input.as_mut_slice()[5] = f32::NAN;
            let wrong = [wrong];
            let first = stepper.submit(&mut model, &wrong, 0, 1e-2).unwrap();
            let next = stepper.submit(&mut model, &[batch(20, 2)], 0, 1e-2).unwrap();
            assert!(!first.wait().unwrap().finite && !next.wait().unwrap().finite);
            assert!(trained(&model) == before);
            let fault = stepper.find_fault(&model, &wrong, 0);
            assert!(fault.starts_with("patch_embed patch_embed: first non-finite value"), "{fault}");
        }
    }
}

/// The loss of mixed targets is the mean of the losses of both labels, weighted by their shares.
#[test]
fn targets_are_mixed_with_those_at_mirrored_places() {
    for device in [Device::cpu(), Device::emulated()] {
        let loss = |labels: [u32; 3], own_share: f32| {
            let mut model = model(&device, false);
            let mut stepper = Stepper::new(&model, StepSettings { drop_path: 0.0, ..settings(1) });
            let batches = [FeedBatch { labels: Labels::Classes(labels.into()), own_share, ..batch(0, 3) }];
            stepper.submit(&mut model, &batches, 0, 1e-2).unwrap().wait().unwrap().loss
        };
        let (own, other) = (loss([0, 1, 2], 1.0), loss([2, 1, 0], 1.0));
        assert!((own - other).abs() > 1e-3, "{own} {other}");
        for share in [0.5, 0.75] {
            let want = share * own + (1.0 - share) * other;
            let mixed = loss([0, 1, 2], share);
            assert!((mixed - want).abs() < 1e-5, "{mixed} {want}");
        }
    }
}

/// The loss is the mean of those of the images, weighted by the weights of their classes.
#[test]
fn classes_weigh_as_much_as_they_should() {
    for device in [Device::cpu(), Device::emulated()] {
        let loss = |first: usize, size: usize, weights: Option<ClassFactors>| {
            let mut model = model(&device, false);
            let settings = StepSettings { drop_path: 0.0, smoothing: 0.0, ..settings(1) };
            let mut stepper = Stepper::new(&model, settings);
            stepper.weights = weights;
            stepper.submit(&mut model, &[batch(first, size)], 0, 1e-2).unwrap().wait().unwrap().loss
        };
        // The rarest class weighs four times as much as the commonest.
        let weights = || Some(ClassFactors::balanced(&[4, 2, 1], false));
        let [a, b, c] = [0, 1, 2].map(|image| loss(image, 1, None));
        let (weighted, want) = (loss(0, 3, weights()), (a + 2.0 * b + 4.0 * c) / 7.0);
        assert!((weighted - want).abs() < 1e-5, "{weighted} {want}");
        assert!((loss(2, 1, weights()) - c).abs() < 1e-5, "a weight is one of images among others");
    }
}

/// The average also follows accumulated and replayed steps, and ignores a step that is not finite.
#[test]
fn the_average_follows_what_is_trained() {
    for (device, accumulate) in [(Device::cpu(), 1), (Device::emulated(), 1), (Device::emulated(), 2)] {
        let mut model = model(&device, false);
        let mut stepper = Stepper::new(&model, settings(accumulate));
        let mut want = trained(&model);
        let average = |stepper: &Stepper, model: &Model| -> Vec<f32> {
            let average = stepper.average.as_ref().unwrap().state(&model.params);
            average.flat_map(|(_, value)| value.to_host().unwrap()).collect()
        };
        for i in 0..5 {
            let batches: Vec<_> = (0..accumulate).map(|j| batch(4 * i + 2 * j, 2)).collect();
            stepper.submit(&mut model, &batches, 0, 1e-2).unwrap().wait().unwrap();
            for (want, value) in want.iter_mut().zip(trained(&model)) {
                *want = 0.9 * *want + 0.1 * value;
            }
        }
        let before = average(&stepper, &model);
        assert!(before.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-6));
        assert!(before != trained(&model));
        let mut wrong = batch(9, 2);
        wrong.input.as_mut_slice()[5] = f32::NAN;
        let wrong = vec![wrong; accumulate];
        assert!(!stepper.submit(&mut model, &wrong, 0, 1e-2).unwrap().wait().unwrap().finite);
        assert!(average(&stepper, &model) == before);
    }
}

/// A parameter replaced by a tensor at another address, such as one from a file, must be trained on from there.
#[test]
fn a_replaced_parameter_is_noticed() {
    let device = Device::emulated();
    let mut model = model(&device, false);
    let mut stepper = Stepper::new(&model, settings(1));
    for i in 0..4 {
        stepper.submit(&mut model, &[batch(i, 2)], 0, 1e-2).unwrap();
    }
    let id = model.params.id("head.weight").unwrap();
    let value = model.params.get(id).to_owned_on(&device);
    assert_eq!(value.dtype(), DType::F32);
    model.params.set(id, value);
    let before = model.params.get(id).to_host().unwrap();
    stepper.submit(&mut model, &[batch(4, 2)], 0, 1e-2).unwrap();
    assert_ne!(model.params.get(id).to_host().unwrap(), before);
}

/// The head has rates of its own, on any device and in recorded steps; at the same rates nothing changes.
#[test]
fn the_head_can_have_its_own_rates() {
    for (device, optimizer) in
        [Device::cpu(), Device::emulated()].into_iter().zip([OptimizerKind::Sgd, OptimizerKind::Adamw])
    {
        let run = |head: Option<HeadRates>| {
            let mut model = model(&device, false);
            let settings = StepSettings { head, optimizer, weight_decay: 0.1, ..settings(1) };
            let mut stepper = Stepper::new(&model, settings);
            for i in 0..4 {
                stepper.submit(&mut model, &[batch(2 * i, 2)], 0, 1e-2).unwrap().wait().unwrap();
            }
            let value = |name: &str| model.params.get(model.params.id(name).unwrap()).to_host().unwrap();
            let head = ["head.weight", "head.bias"].map(value);
            (head, trained(&model))
        };
        let rates = |lr_scale, weight_decay| Some(HeadRates { lr_scale, weight_decay });
        let (head, all) = run(None);
        assert!(run(rates(1.0, 0.1)) == (head.clone(), all.clone()));
        let begun = model(&device, false);
        let begun = ["head.weight", "head.bias"]
            .map(|name| begun.params.get(begun.params.id(name).unwrap()).to_host().unwrap());
        let (still, rest) = run(rates(0.0, 0.1));
        assert!(still == begun && head != begun && rest != all);
        let ([weight, bias], _) = run(rates(1.0, 0.0));
        assert!(weight != head[0] && bias != head[1], "the weight is not decayed, which moves the bias too");
    }
}

/// A batch whose assignment is known must step as one whose assignment the step computes.
#[test]
fn known_assignments_are_those_of_the_step() {
    for device in [Device::cpu(), Device::emulated()] {
        let run = |known: bool| {
            let mut params = Params::default();
            let vim = Vim::init(VimConfig::sized(SIDE, 4, 16, 2), &mut params, 5).unwrap();
            let method = Chosen::named("dam-vp").unwrap().with_flag("frames", "2").unwrap();
            let mut model =
                Model::new(&device, Box::new(vim), params, Parts::new(method, CLASSES), 5).unwrap();
            // The features of two images are prototypes.
            let own = std::mem::replace(&mut model.method, Box::new(Frozen));
            let prototypes = model.features(batch(0, 2).input).unwrap();
            model.method = own;
            model.params.set(model.params.id("prototypes").unwrap(), prototypes);
            let (mut stepper, mut seen) = (Stepper::new(&model, settings(1)), vec![]);
            let health: Vec<_> = (0..5)
                .map(|i| {
                    let mut batch = batch(2 * i, 2);
                    let numbers = model.assignment(batch.input.clone()).unwrap().unwrap();
                    seen.extend(numbers.to_host().unwrap());
                    batch.assignment = known.then(|| numbers.to_host().unwrap());
                    stepper.submit(&mut model, &[batch], 0, 1e-2).unwrap().wait().unwrap()
                })
                .collect();
            assert!(seen[..2] == [0.0, 1.0] && health.iter().all(|health| health.finite));
            assert_eq!(stepper.recorded.is_empty(), device.launcher().is_none());
            (health, trained(&model))
        };
        assert!(run(true) == run(false));
    }
}
