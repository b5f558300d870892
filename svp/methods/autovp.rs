//! AutoVP (Tsao et al., ICLR 2024): a trained picture around a shrunken image, and a map from the logits of the backbone's
//! own head to the classes of the task.
//!
//! The whole image is resized to a square and padded with zeros to the backbone's input size; `sigmoid(delta)` is added
//! outside a hole of about the image's size; the sum is normalised as the backbone was pre-trained. The scale of the
//! image may be trained too. Backbone and head stay frozen (`docs/methods.md`, "AutoVP").

use autograd::Var;
use engine::Tensor;
use ptx::zoom_prompt::{Normalisation, zoom_prompt};

use super::entry::{Defaults, Entry, OptimizerKind, Site};
use super::settings::{Kind, Setting, Settings, Value};
use crate::backbones::{vim, vit};
use crate::data;
use crate::params::ParamId;
use crate::pass::{Counted, Method, Pass, Picture};
use crate::{Error, Result};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "autovp",
    title: "AutoVP",
    about: "A picture around shrunken images, and a map of the logits of a frozen backbone's own head",
    trains: "a picture around the image, its scale if wanted, and a map of the own head's logits",
    source: "AutoVP, ICLR 2024",
    backbones: &[vim::NAME, vit::NAME],
    settings: &[
        Setting {
            published: Some("mode"),
            ..Setting::new(
                "resize",
                Kind::Choice(&[FIXED, TRAINED]),
                Value::Choice(FIXED),
                "fixed (images are made --image-side pixels) or trainable (the scale is trained)",
            )
        },
        Setting {
            published: Some("image"),
            ..Setting::new(
                "image-side",
                Kind::Count(0, 4096),
                Value::Count(0),
                "Side of the square that an image becomes; 0 stands for 128 at 224 px and as much of other sizes, times \
                 --scale where that is fixed",
            )
        },
        Setting::new(
            "scale",
            Kind::Number(LEAST, MOST),
            Value::Number(1.5),
            "The scale, or its initial value",
        ),
        Setting::new(
            "mapping",
            Kind::Choice(&[FULL, FREQ, ITER]),
            Value::Choice(FULL),
            "full (a trained map of the own head's logits), freq (means of logits that are counted out to the classes \
             before training) or iter (counted out before every epoch)",
        ),
        Setting::new(
            "mapped-logits",
            Kind::Count(1, 1000),
            Value::Count(5),
            "Logits of the own head for each class, with --mapping freq and iter",
        ),
        Setting::new(
            "antialias",
            Kind::Flag,
            Value::Flag(true),
            "Resize images with a kernel that widens where they shrink, as PyTorch's vision library does today",
        ),
    ],
    // The published rate is 1e-3 for batches of 128, which is not scaled.
    defaults: |spec, _| Defaults {
        optimizer: OptimizerKind::Adam,
        ..Defaults::adamw(4e-3, 0.0).narrow(spec, 0.25)
    },
    head: |settings| Some(if settings.choice("mapping") == FULL { "source-map" } else { "source-means" }),
    views: &[("frozen", false), ("prompted", true)],
    ..Entry::plain(build)
};

const FIXED: &str = "fixed";
const TRAINED: &str = "trainable";
const FULL: &str = "full";
const FREQ: &str = "freq";
const ITER: &str = "iter";

/// Bounds of the scale.
const LEAST: f64 = 0.1;
const MOST: f64 = 5.0;

/// The published side of an image before it is scaled, and the side of the backbone's input.
const PUBLISHED_SIDE: usize = 128;
const PUBLISHED_SIZE: usize = 224;

/// Name of the part of a model that the method adds.
const PROMPT: &str = "prompt";

struct AutoVp {
    delta: ParamId,
    /// The trained scale.
    scale: Option<ParamId>,
    /// The scale `[1]` of images that are not scaled.
    one: Tensor,
    picture: Picture,
    normalisation: Normalisation,
    counted: Option<Counted>,
}

/// Name of the picture's parameter.
const DELTA: &str = "input_perturbation.delta";

fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let (s, scale) = (site.spec.img_size, settings.number("scale"));
    let trained = settings.choice("resize") == TRAINED;
    let side = side(settings, s)?;
    site.params.room(DELTA, &[3, s, s])?;
    let delta = Tensor::zeros(site.device, &[3, s, s]);
    let delta = site.params.add(PROMPT, DELTA, delta, true);
    let scale = trained.then(|| {
        let value = Tensor::from_vec(vec![scale as f32], &[1]);
        let id = site.params.add(PROMPT, "train_resize.scale", value, true);
        site.params.bound(id, [LEAST as f32, MOST as f32]);
        id
    });
    let data::Normalisation { mean, std: deviation } = site.spec.normalisation;
    let mapping = settings.choice("mapping");
    let logits = settings.count("mapped-logits");
    Ok(Box::new(AutoVp {
        delta,
        scale,
        one: Tensor::from_slice(site.device, &[1.0], &[1]),
        picture: Picture { side, antialias: settings.flag("antialias") },
        normalisation: Normalisation { mean, deviation },
        counted: (mapping != FULL).then_some(Counted { logits, every_epoch: mapping == ITER }),
    }))
}

/// The side of the square that an image becomes, for a backbone of `s` pixels.
fn side(settings: &Settings, s: usize) -> Result<usize> {
    let base = PUBLISHED_SIDE * s / PUBLISHED_SIZE;
    let side = match (settings.count("image-side"), settings.choice("resize")) {
        (0, FIXED) => ((base as f64 * settings.number("scale")) as usize).min(s),
        (0, _) => base,
        (given, _) => given,
    };
    if (1..=s).contains(&side) {
        return Ok(side);
    }
    let what = format!("images of {side} pixels do not fit the backbone's {s}");
    Err(Error::input("--image-side", what, format!("use 1 to {s}")))
}

impl Method for AutoVp {
    fn picture(&self) -> Option<Picture> {
        Some(self.picture)
    }

    fn counted(&self) -> Option<Counted> {
        self.counted
    }

    fn pixels(&self, pass: &mut Pass, images: Var) -> Result<Var> {
        let one = Var::constant(self.one.clone());
        let scale = self.scale.map_or(&one, |scale| &pass.params[scale]);
        let delta = &pass.params[self.delta];
        pass.tape.scope("prompt");
        Ok(zoom_prompt(pass.tape, &images, delta, scale, &self.normalisation, pass.precision)?)
    }
}

#[cfg(test)]
mod tests {
    use autograd::Tape;
    use engine::{Device, Rng};
    use ptx::grad_norm::healthy;

    use super::*;
    use crate::backbones::vit::{Vit, VitConfig};
    use crate::heads::Labels;
    use crate::methods::Chosen;
    use crate::model::{Forward, Model, Parts};
    use crate::params::Params;
    use crate::pass::Noise;
    use crate::train::{Optimizer, Rates};

    const CLASSES: usize = 3;

    /// On a ViT that has its own head: gradients are central differences of the loss, and steps lower it.
    #[test]
    fn a_vit_is_prompted() {
        let chosen = Chosen::named(ENTRY.name).unwrap().with_flag("resize", TRAINED).unwrap();
        let mut params = Params::default();
        let config = VitConfig { heads: 2, ..VitConfig::sized(24, 8, 16, 2) };
        let vit = Vit::init(config, &mut params, 5).unwrap();
        let mut rng = Rng::keyed(1, 0, 0, 0);
        let mut drawn = |shape: &[usize], deviation: f64| {
            let values = (0..shape.iter().product()).map(|_| (deviation * rng.normal()) as f32);
            Tensor::from_vec(values.collect(), shape)
        };
        // Products of the size that training gives them, or the image would hardly reach the logits.
        for name in params.iter().map(|param| param.name.clone()).collect::<Vec<_>>() {
            let id = params.id(&name).unwrap();
            let shape = params.get(id).shape().to_vec();
            if shape.len() > 1 && name.starts_with("blocks.") {
                params.set(id, drawn(&shape, 0.2));
            }
        }
        let source_head = Some([drawn(&[7, 16], 0.5), drawn(&[7], 0.5)]);
        let parts = Parts { source_head, ..Parts::new(chosen, CLASSES) };
        let mut model = Model::new(&Device::cpu(), Box::new(vit), params, parts, 5).unwrap();
        let side = model.transform().size as usize;
        let images = drawn(&[4, 3, side, side], 1.0);
        let targets = model.head.targets(&Labels::Classes(vec![0, 1, 2, 1]), CLASSES, 0.0, 1.0).unwrap();
        let targets = Tensor::from_vec(targets, &[4, CLASSES]);
        let loss = |model: &Model, tape: &Tape| {
            let Forward { logits, bound, .. } =
                model.forward(tape, images.clone(), Noise::default()).unwrap();
            (model.head.loss(tape, &logits, &targets).unwrap(), bound)
        };
        let value = |model: &Model| loss(model, &Tape::inference(&model.device)).0.value().as_slice()[0];
        let ids = [DELTA, "train_resize.scale"].map(|name| model.params.id(name).unwrap());
        let tape = Tape::new(&model.device);
        let (first, bound) = loss(&model, &tape);
        let grads = tape.backward(&first, Tensor::from_vec(vec![1.0], &[1])).unwrap();
        // A pixel of the picture moves little: the largest gradients are checked, by steps that the loss can tell apart.
        for (id, step, tolerance) in [(ids[0], 0.25, 0.02), (ids[1], 2e-3, 0.1)] {
            let grad = grads.get(&bound[id]).unwrap().to_host().unwrap();
            let mut order: Vec<usize> = (0..grad.len()).collect();
            order.sort_by(|&a, &b| grad[b].abs().total_cmp(&grad[a].abs()));
            for &at in &order[..grad.len().min(5)] {
                let before = model.params.get(id).clone();
                let moved = |by: f32, model: &mut Model| {
                    let mut values = before.to_host().unwrap();
                    values[at] += by;
                    model.params.set(id, Tensor::from_vec(values, before.shape()));
                    value(model)
                };
                let difference = (moved(step, &mut model) - moved(-step, &mut model)) / (2.0 * step);
                model.params.set(id, before.clone());
                let (got, name) = (grad[at], model.params.name(id));
                assert!(
                    (got - difference).abs() <= tolerance * got.abs(),
                    "{name} {at}: {got}, by steps {difference}"
                );
            }
        }
        drop(bound);
        let kind = OptimizerKind::Adam;
        let mut optimizer = Optimizer::new(kind, &Device::cpu(), &model.params, |_, _| false);
        let mut health = healthy(&Device::cpu());
        let before = value(&model);
        for _ in 0..10 {
            let tape = Tape::new(&model.device);
            let (loss, bound) = loss(&model, &tape);
            let grads = tape.backward(&loss, Tensor::from_vec(vec![1.0], &[1])).unwrap();
            let rates = Rates { lr: 1e-2, weight_decay: 0.0, momentum: 0.0 };
            let factors = Tensor::from_vec(optimizer.next_factors(&rates).unwrap(), &[7]);
            let (device, params) = (Device::cpu(), &mut model.params);
            optimizer.step(&device, params, bound, loss.value(), &grads, &factors, &mut health).unwrap();
        }
        let after = value(&model);
        assert!(after < 0.9 * before, "{before} became {after}");
    }
}
