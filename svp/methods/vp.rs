//! Visual prompting (VP, Bahng et al. 2022): a trained frame of pixels around every image.
//!
//! The frame is added to the normalised image, and the gradient reaches it through the whole backbone and the patch
//! embedding. As published, the first K logits of the backbone's own head are the task's classes; with a trained head it
//! is the form that DAM-VP builds on (`docs/methods.md`, "VP").

use autograd::Var;
use engine::{Rng, Tensor};
use ptx::frame::frame;

use super::entry::{Defaults, Entry, OptimizerKind, Site};
use super::settings::{Kind, Setting, Settings, Value};
use crate::backbones::{vim, vit};
use crate::params::ParamId;
use crate::pass::{Method, Pass, Spec};
use crate::{Error, Result, streams};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "vp",
    title: "VP",
    about: "A frame of pixels around the images of a frozen backbone",
    trains: "a frame of pixels, and the head",
    source: "VP, 2022",
    backbones: &[vim::NAME, vit::NAME],
    settings: &[
        PAD,
        Setting::new(
            "mapping",
            Kind::Choice(&[HEAD, FIRST_K]),
            Value::Choice(HEAD),
            "head (a trained head) or first_k (the first logits of the backbone's own head, as published)",
        ),
    ],
    defaults,
    head: |settings| (settings.choice("mapping") == FIRST_K).then_some("first-k"),
    views: &[("frozen", false), ("framed", true)],
    ..Entry::plain(build)
};

/// The width of the frame.
pub(super) const PAD: Setting = Setting {
    published: Some("width"),
    ..Setting::new(
        "pad",
        Kind::Count(0, 4096),
        Value::Count(0),
        "Width of the frame in pixels; 0 stands for 30 at 224 px, and as much of other sizes",
    )
};

const HEAD: &str = "head";
const FIRST_K: &str = "first_k";

/// The published width of the frame, and the side of its images.
const PUBLISHED_PAD: usize = 30;
const PUBLISHED_SIZE: usize = 224;

/// Name of the part of a model that the method adds.
const FRAME: &str = "frame";

/// The published rate, 40 at 128 images a step by SGD without decay, is for the fixed mapping. A trained head would not
/// stand it.
fn defaults(spec: &Spec, settings: &Settings) -> Defaults {
    match settings.choice("mapping") {
        FIRST_K => Defaults {
            lr: 160.0,
            weight_decay: 0.0,
            optimizer: OptimizerKind::Sgd,
            ..Defaults::adamw(0.0, 0.0)
        },
        _ => Defaults::adamw(5e-3, 1e-4).narrow(spec, 0.1),
    }
}

/// The sides of a frame: up, down, left, right.
pub(super) type Sides = [ParamId; 4];

/// The frame of all images.
struct Vp(Sides);

fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let w = width(settings, site.spec)?;
    Ok(Box::new(Vp(add_frame(site, w, "", 0)?)))
}

/// The width of a frame by the setting [`PAD`].
///
/// # Errors
/// A frame that covers the whole image.
pub(super) fn width(settings: &Settings, spec: &Spec) -> Result<usize> {
    let s = spec.img_size;
    let w = match settings.count("pad") {
        0 => (PUBLISHED_PAD * s).div_ceil(PUBLISHED_SIZE),
        w => w,
    };
    if 2 * w < s {
        return Ok(w);
    }
    let what = format!("a frame of {w} pixels covers images of {s} pixels");
    Err(Error::input("--pad", what, format!("use at most {}", (s - 1) / 2)))
}

/// Adds the sides of frame `number`, `w` pixels wide, of standard normal values as published. Their names begin with
/// `prefix`.
pub(super) fn add_frame(site: &mut Site, w: usize, prefix: &str, number: usize) -> Result<Sides> {
    let s = site.spec.img_size;
    let (row, column) = ([1, 3, w, s], [1, 3, s - 2 * w, w]);
    let sides = [("up", row), ("down", row), ("left", column), ("right", column)];
    for (name, shape) in sides {
        site.params.room(&format!("{prefix}pad_{name}"), &shape)?;
    }
    Ok(std::array::from_fn(|i| {
        let ((name, shape), stream) = (sides[i], streams::METHOD_INIT + (1 + 4 * number + i) as u32);
        let mut rng = Rng::keyed(site.seed, 0, 0, stream);
        let values = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
        site.params.add(FRAME, format!("{prefix}pad_{name}"), Tensor::from_vec(values, &shape), true)
    }))
}

impl Method for Vp {
    fn pixels(&self, pass: &mut Pass, images: Var) -> Result<Var> {
        let sides = self.0.map(|side| &pass.params[side]);
        Ok(frame(pass.tape, &images, &[sides], None)?)
    }
}
