//! SSF (Lian et al., NeurIPS 2022): a trained scale and shift of every channel after the norms and products of a frozen
//! backbone.
//!
//! `y = scale y' + shift`, with scales near one and shifts near zero at the start. In a ViT they stand after the patch
//! embedding, every norm and every product, as published. In a Vim they stand after the stem, each block's norm, `in_proj`
//! and `out_proj`, and the last norm, which is our reading (`docs/methods.md`, "SSF").

use std::collections::HashMap;

use autograd::Var;
use engine::{Rng, Tensor};
use ptx::scale_shift::scale_shift;

use super::entry::{Defaults, Entry, Site};
use super::settings::{Kind, Setting, Settings, Value};
use crate::backbones::{vim, vit};
use crate::params::{ParamId, Params};
use crate::pass::{Method, Pass, Tokens};
use crate::{Error, Result, streams};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "ssf",
    title: "SSF",
    about: "Scales and shifts of the channels of a frozen backbone",
    trains: "a scale and a shift of every channel after each norm and product, and the head",
    source: "SSF, NeurIPS 2022",
    backbones: &[vim::NAME, vit::NAME],
    settings: &[Setting::new(
        "shift",
        Kind::Flag,
        Value::Flag(true),
        "Shifts beside the scales; without them the result can be merged into a plain checkpoint of a Vim",
    )],
    // On a ViT 5e-3 at 64 images a step, which is published for CIFAR-100.
    defaults: |spec, _| {
        let lr = if spec.family == vit::NAME { 4e-2 } else { 5e-3 };
        Defaults::adamw(lr, 1e-4).narrow(spec, 8e-2)
    },
    views: &[("frozen", false), ("scaled", true)],
    ..Entry::plain(build)
};

/// Name of the part of a model that the method adds.
const SCALES: &str = "scales and shifts";

/// The places of the parameters after one norm or product.
#[derive(Clone, Copy)]
struct Affine {
    scale: ParamId,
    shift: Option<ParamId>,
}

/// What the scale and shift of the stem act on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stem {
    /// All its tokens, class token and position embedding included.
    Tokens,
    /// The embedded patches alone.
    Patches,
}

struct Ssf {
    at: Stem,
    stem: Affine,
    /// After each norm and product, by its weight.
    sites: HashMap<ParamId, Affine>,
}

/// The places of a scale and a shift after the layers of a ViT: the layer's name in its module, and their number there.
const OF_VIT: &[(&str, usize)] = &[
    ("norm1", 1),
    ("norm2", 2),
    ("qkv", 1),
    ("proj", 2),
    ("fc1", 1),
    ("fc2", 2),
    ("norm", 1),
    ("fc_norm", 1),
];

/// The layers of a Vim after which the method scales and shifts.
const OF_VIM: &[&str] = &["norm", "norm_f", "in_proj", "out_proj"];

/// What the names of scale and shift after a tensor of the backbone begin with, and how they end; `None` for a tensor that
/// is not the weight of such a layer.
fn place(family: &str, tensor: &str) -> Option<(String, String)> {
    let layer = tensor.strip_suffix(".weight")?;
    let (module, name) = layer.rsplit_once('.').map_or(("", layer), |(module, name)| (module, name));
    if family == vim::NAME {
        return OF_VIM.contains(&name).then(|| (format!("{layer}."), String::new()));
    }
    let (_, number) = OF_VIT.iter().find(|(known, _)| *known == name && module != "patch_embed")?;
    let module = if module.is_empty() { String::new() } else { format!("{module}.") };
    Some((module, format!("_{number}")))
}

/// Adds scales, normal around 1, and shifts, normal around 0, with a deviation of 0.02, as published.
fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let family = site.spec.family;
    let weights: Vec<(ParamId, (String, String), usize)> = site
        .params
        .iter()
        .filter_map(|param| {
            let id = site.params.id(&param.name).expect("it is there");
            Some((id, place(family, &param.name)?, param.value.shape()[0]))
        })
        .collect();
    let mut stream = streams::METHOD_INIT;
    let mut affine = |(prefix, suffix): (String, String), d: usize| {
        let mut normal = |mean: f64, name: &str| {
            stream += 1;
            let mut rng = Rng::keyed(site.seed, 0, 0, stream);
            let values = (0..d).map(|_| (mean + 0.02 * rng.normal()) as f32).collect();
            let name = format!("{prefix}{name}{suffix}");
            site.params.add(SCALES, name, Tensor::from_vec(values, &[d]), true)
        };
        let scale = normal(1.0, "ssf_scale");
        Affine { scale, shift: settings.flag("shift").then(|| normal(0.0, "ssf_shift")) }
    };
    let (at, suffix) = if family == vim::NAME { (Stem::Tokens, "") } else { (Stem::Patches, "_1") };
    let stem = affine(("patch_embed.".into(), suffix.into()), site.spec.width);
    let sites = weights.into_iter().map(|(weight, place, d)| (weight, affine(place, d))).collect();
    Ok(Box::new(Ssf { at, stem, sites }))
}

impl Affine {
    fn apply(self, pass: &Pass, y: &Var) -> Result<Var> {
        let shift = self.shift.map(|shift| &pass.params[shift]);
        Ok(scale_shift(pass.tape, y, &pass.params[self.scale], shift)?)
    }

    /// Multiplies the rows of a weight and its bias by the scales, and adds the shifts to the bias.
    fn fold(self, params: &mut Params, weight: ParamId) -> Result<()> {
        let scale = params.get(self.scale).to_host()?;
        change(params, weight, |i, len, value| scale[i / (len / scale.len())] * value)?;
        let bias = params.name(weight).strip_suffix("weight").map(|name| format!("{name}bias"));
        if let Some(bias) = bias.and_then(|name| params.id(&name)) {
            let shift = match self.shift {
                Some(shift) => params.get(shift).to_host()?,
                None => vec![0.0; scale.len()],
            };
            change(params, bias, |i, _, value| scale[i] * value + shift[i])?;
        }
        Ok(())
    }
}

impl Method for Ssf {
    fn adapts_patches(&self) -> bool {
        self.at == Stem::Patches
    }

    fn patches(&self, pass: &mut Pass, patches: Var) -> Result<Var> {
        self.stem.apply(pass, &patches)
    }

    fn stem(&self, pass: &mut Pass, tokens: Tokens) -> Result<Tokens> {
        match self.at {
            Stem::Tokens => Ok(Tokens { h: self.stem.apply(pass, &tokens.h)?, ..tokens }),
            Stem::Patches => Ok(tokens),
        }
    }

    fn site(&self, pass: &mut Pass, weight: ParamId, _x: &Var, y: Var) -> Result<Var> {
        match self.sites.get(&weight) {
            Some(affine) => affine.apply(pass, &y),
            None => Ok(y),
        }
    }

    /// Multiplies the rows of each weight by the scales, and adds the shifts to the biases. The shifts of a Vim have no
    /// place to go: its products and norms have no bias.
    fn merge(&self, params: &mut Params) -> Result<()> {
        let whole = self.at == Stem::Tokens;
        if whole && self.stem.shift.is_some() {
            return Err(Error::input(
                "--merge",
                "the products and norms of this backbone have no bias that could hold the shifts",
                "train with --shift false, or leave out --merge",
            ));
        }
        let patches = params.id("patch_embed.proj.weight").expect("every stem has it");
        self.stem.fold(params, patches)?;
        self.sites.iter().try_for_each(|(&weight, affine)| affine.fold(params, weight))?;
        // Where the class token and the position embedding were scaled too, channels are last.
        let scale = params.get(self.stem.scale).to_host()?;
        for name in ["cls_token", "pos_embed"].into_iter().filter(|_| whole) {
            let id = params.id(name).expect("every stem has them");
            change(params, id, |i, _, value| scale[i % scale.len()] * value)?;
        }
        Ok(())
    }
}

/// Replaces every value of a parameter by `by(index, number of values, value)`.
fn change(params: &mut Params, id: ParamId, by: impl Fn(usize, usize, f32) -> f32) -> Result<()> {
    let (shape, mut values) = (params.get(id).shape().to_vec(), params.get(id).to_host()?);
    let len = values.len();
    values.iter_mut().enumerate().for_each(|(i, value)| *value = by(i, len, *value));
    params.set(id, Tensor::from_vec(values, &shape));
    Ok(())
}
