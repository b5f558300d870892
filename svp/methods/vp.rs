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
use crate::backbones::vim;
use crate::params::ParamId;
use crate::pass::{Method, Pass};
use crate::{Error, Result, streams};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "vp",
    title: "VP",
    about: "A frame of pixels around the images of a frozen backbone",
    trains: "a frame of pixels, and the head",
    source: "VP, 2022",
    backbones: &[vim::NAME],
    settings: &[
        Setting::new(
            "pad",
            Kind::Count(0, 4096),
            Value::Count(0),
            "Width of the frame in pixels; 0 stands for 30 at 224 px, and as much of other sizes",
        ),
        Setting::new(
            "mapping",
            Kind::Choice(&[HEAD, FIRST_K]),
            Value::Choice(HEAD),
            "head (a trained head) or first_k (the first logits of the backbone's own head, as published)",
        ),
    ],
    defaults,
    head: |settings| (settings.choice("mapping") == FIRST_K).then_some("first-k"),
    keeps_features: false,
    whole_backbone: false,
    views: &[("frozen", false), ("framed", true)],
    survey: None,
    build,
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
fn defaults(_family: &str, settings: &Settings) -> Defaults {
    match settings.choice("mapping") {
        FIRST_K => Defaults {
            lr: 160.0,
            weight_decay: 0.0,
            optimizer: OptimizerKind::Sgd,
            ..Defaults::adamw(0.0, 0.0)
        },
        _ => Defaults::adamw(5e-3, 1e-4),
    }
}

struct Vp {
    /// Up, down, left, right.
    sides: [ParamId; 4],
}

/// Adds a frame of standard normal values, as published.
fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let s = site.spec.img_size;
    let w = match settings.count("pad") {
        0 => (PUBLISHED_PAD * s).div_ceil(PUBLISHED_SIZE),
        w => w,
    };
    if 2 * w >= s {
        let what = format!("a frame of {w} pixels covers images of {s} pixels");
        return Err(Error::input("--pad", what, format!("use at most {}", (s - 1) / 2)));
    }
    let (row, column) = ([1, 3, w, s], [1, 3, s - 2 * w, w]);
    let sides = [("up", row), ("down", row), ("left", column), ("right", column)];
    let sides = std::array::from_fn(|i| {
        let ((name, shape), stream) = (sides[i], streams::METHOD_INIT + 1 + i as u32);
        let mut rng = Rng::keyed(site.seed, 0, 0, stream);
        let values = (0..shape.iter().product()).map(|_| rng.normal() as f32).collect();
        site.params.add(FRAME, format!("pad_{name}"), Tensor::from_vec(values, &shape), true)
    });
    Ok(Box::new(Vp { sides }))
}

impl Method for Vp {
    fn pixels(&self, pass: &mut Pass, images: Var) -> Result<Var> {
        let sides = self.sides.map(|side| &pass.params[side]);
        Ok(frame(pass.tape, &images, &[sides], None)?)
    }
}
