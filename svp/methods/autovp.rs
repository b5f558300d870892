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
use crate::backbones::vim;
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
    backbones: &[vim::NAME],
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
    keeps_features: false,
    whole_backbone: false,
    views: &[("frozen", false), ("prompted", true)],
    survey: None,
    build,
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
