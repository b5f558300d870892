//! SSF (Lian et al., NeurIPS 2022): a trained scale and shift of every channel after the norms and products of a frozen
//! backbone.
//!
//! `y = scale y' + shift`, with scales near one and shifts near zero at the start. In a Vim they stand after the stem,
//! each block's norm, `in_proj` and `out_proj`, and the last norm, which is our reading (`docs/methods.md`, "SSF").

use std::collections::HashMap;

use autograd::Var;
use engine::{Rng, Tensor};
use ptx::scale_shift::scale_shift;

use super::entry::{Defaults, Entry, Site};
use super::settings::{Kind, Setting, Settings, Value};
use crate::backbones::vim;
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
    backbones: &[vim::NAME],
    settings: &[Setting::new(
        "shift",
        Kind::Flag,
        Value::Flag(true),
        "Shifts beside the scales; without them the result can be merged into a plain checkpoint",
    )],
    defaults: |spec, _| Defaults::adamw(5e-3, 1e-4).narrow(spec, 8e-2),
    head: |_| None,
    keeps_features: false,
    whole_backbone: false,
    views: &[("frozen", false), ("scaled", true)],
    survey: None,
    build,
};

/// Name of the part of a model that the method adds.
const SCALES: &str = "scales and shifts";

/// The places of the parameters after one norm or product.
#[derive(Clone, Copy)]
struct Affine {
    scale: ParamId,
    shift: Option<ParamId>,
}

struct Ssf {
    stem: Affine,
    /// After each norm and product, by its weight.
    sites: HashMap<ParamId, Affine>,
}

/// The tensors of the backbone after which the method scales and shifts: all norms, and these products.
fn is_site(tensor: &str) -> bool {
    ["norm", "norm_f", "in_proj", "out_proj"].iter().any(|layer| {
        tensor.strip_suffix(".weight").is_some_and(|name| name.rsplit('.').next() == Some(layer))
    })
}

/// Adds scales, normal around 1, and shifts, normal around 0, with a deviation of 0.02, as published.
fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let weights: Vec<(ParamId, String, usize)> = site
        .params
        .iter()
        .filter(|param| is_site(&param.name))
        .map(|param| {
            let id = site.params.id(&param.name).expect("it is there");
            (id, param.name.trim_end_matches("weight").to_string(), param.value.shape()[0])
        })
        .collect();
    let mut stream = streams::METHOD_INIT;
    let mut affine = |prefix: &str, d: usize| {
        let mut normal = |mean: f64, name: &str| {
            stream += 1;
            let mut rng = Rng::keyed(site.seed, 0, 0, stream);
            let values = (0..d).map(|_| (mean + 0.02 * rng.normal()) as f32).collect();
            site.params.add(SCALES, format!("{prefix}{name}"), Tensor::from_vec(values, &[d]), true)
        };
        let scale = normal(1.0, "ssf_scale");
        Affine { scale, shift: settings.flag("shift").then(|| normal(0.0, "ssf_shift")) }
    };
    let stem = affine("patch_embed.", site.spec.width);
    let sites = weights.into_iter().map(|(weight, prefix, d)| (weight, affine(&prefix, d))).collect();
    Ok(Box::new(Ssf { stem, sites }))
}

impl Affine {
    fn apply(self, pass: &Pass, y: &Var) -> Result<Var> {
        let shift = self.shift.map(|shift| &pass.params[shift]);
        Ok(scale_shift(pass.tape, y, &pass.params[self.scale], shift)?)
    }
}

impl Method for Ssf {
    fn stem(&self, pass: &mut Pass, tokens: Tokens) -> Result<Tokens> {
        Ok(Tokens { h: self.stem.apply(pass, &tokens.h)?, ..tokens })
    }

    fn site(&self, pass: &mut Pass, weight: ParamId, _x: &Var, y: Var) -> Result<Var> {
        match self.sites.get(&weight) {
            Some(affine) => affine.apply(pass, &y),
            None => Ok(y),
        }
    }

    /// Multiplies the rows of each weight by the scales. The shifts have no place to go: the products and norms of a Vim
    /// have no bias.
    fn merge(&self, params: &mut Params) -> Result<()> {
        if self.stem.shift.is_some() {
            return Err(Error::input(
                "--merge",
                "the products and norms of this backbone have no bias that could hold the shifts",
                "train with --shift false, or leave out --merge",
            ));
        }
        let stem = ["patch_embed.proj.weight", "patch_embed.proj.bias"]
            .map(|name| (params.id(name).expect("every stem has them"), self.stem));
        let rows: Vec<_> =
            stem.into_iter().chain(self.sites.iter().map(|(&id, &affine)| (id, affine))).collect();
        for (weight, affine) in rows {
            let scale = params.get(affine.scale).to_host()?;
            scale_values(params, weight, |i, len| scale[i / (len / scale.len())])?;
        }
        // The class token and the position embedding are added in the stem, channels last.
        let scale = params.get(self.stem.scale).to_host()?;
        for name in ["cls_token", "pos_embed"] {
            let id = params.id(name).expect("every stem has them");
            scale_values(params, id, |i, _| scale[i % scale.len()])?;
        }
        Ok(())
    }
}

/// Multiplies every value of a parameter by `by(index, number of values)`.
fn scale_values(params: &mut Params, id: ParamId, by: impl Fn(usize, usize) -> f32) -> Result<()> {
    let (shape, mut values) = (params.get(id).shape().to_vec(), params.get(id).to_host()?);
    let len = values.len();
    values.iter_mut().enumerate().for_each(|(i, value)| *value *= by(i, len));
    params.set(id, Tensor::from_vec(values, &shape));
    Ok(())
}
