//! LoRA (Hu et al., ICLR 2022): a trained update of low rank beside frozen products.
//!
//! `y = W x + (alpha / rank) B (A x)`, with `A [rank k]` and `B [n rank]`. B starts at zero, so the first forward pass is
//! the frozen model's (`docs/methods.md`, "LoRA").

use std::collections::HashMap;

use autograd::Var;
use engine::{Rng, Tensor};
use ptx::linear::{added, linear};
use ptx::scale_shift::scale_shift;

use super::entry::{Defaults, Entry, Site};
use super::settings::{Kind, Setting, Settings, Value, Words};
use crate::backbones::vim;
use crate::params::{ParamId, Params};
use crate::pass::{Method, Pass};
use crate::{Error, Result, streams};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "lora",
    title: "LoRA",
    about: "Updates of low rank beside the products of a frozen backbone",
    trains: "two narrow matrices beside chosen products of every layer, and the head",
    source: "LoRA, ICLR 2022",
    backbones: &[vim::NAME],
    settings: &[
        Setting::new("rank", Kind::Count(1, 4096), Value::Count(8), "Rank of an update"),
        Setting::new(
            "alpha",
            Kind::Number(0.0, 1e6),
            Value::Number(0.0),
            "An update is multiplied by alpha / rank; 0 stands for alpha = rank",
        ),
        Setting::new(
            "targets",
            Kind::Words(TARGETS),
            Value::Words(Words::first(TARGETS)),
            "Products that get an update",
        ),
    ],
    defaults: |spec, _| Defaults::adamw(5e-3, 1e-4).narrow(spec, 0.12),
    head: |_| None,
    keeps_features: false,
    whole_backbone: false,
    views: &[("frozen", false), ("updated", true)],
    survey: None,
    build,
};

/// Products of a Vim block; `x_proj` is that of both directions.
const TARGETS: &[&str] = &["in_proj", "x_proj", "out_proj"];

/// Name of the part of a model that the method adds.
const UPDATES: &str = "low-rank updates";

/// The places of an update's parameters.
#[derive(Clone, Copy)]
struct Update {
    /// `[rank k]`
    a: ParamId,
    /// `[n rank]`
    b: ParamId,
}

struct Lora {
    /// The update of each product, by the product's weight.
    updates: HashMap<ParamId, Update>,
    rank: usize,
    /// `alpha / rank`
    scale: f32,
}

/// Adds A, uniform within `1 / sqrt(k)`, and B, zero, for every product that is asked for.
fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let rank = settings.count("rank");
    let products: Vec<(ParamId, String, [usize; 2])> = site
        .params
        .iter()
        .filter_map(|param| {
            let name = param.name.strip_suffix(".weight")?;
            let product = name.rsplit('.').next()?;
            let product = product.strip_suffix("_b").unwrap_or(product);
            let [n, k] = param.value.shape()[..] else { return None };
            let id = site.params.id(&param.name)?;
            settings
                .words("targets")
                .iter()
                .any(|word| word == product)
                .then(|| (id, name.to_string(), [n, k]))
        })
        .collect();
    let mut updates = HashMap::new();
    for (stream, (weight, name, [n, k])) in (streams::METHOD_INIT + 1..).zip(products) {
        if rank > n.min(k) {
            let what = format!("an update of rank {rank} is no smaller than {name}, which is [{n} {k}]");
            return Err(Error::input("--rank", what, format!("use at most {}", n.min(k))));
        }
        site.params.room(&format!("{name}.lora_A"), &[rank, k])?;
        site.params.room(&format!("{name}.lora_B"), &[n, rank])?;
        let mut rng = Rng::keyed(site.seed, 0, 0, stream);
        let bound = 1.0 / (k as f64).sqrt();
        let a = (0..rank * k).map(|_| rng.range(-bound, bound) as f32).collect();
        let a = site.params.add(UPDATES, format!("{name}.lora_A"), Tensor::from_vec(a, &[rank, k]), true);
        let b = Tensor::from_vec(vec![0.0; n * rank], &[n, rank]);
        let b = site.params.add(UPDATES, format!("{name}.lora_B"), b, true);
        updates.insert(weight, Update { a, b });
    }
    let alpha = settings.number("alpha");
    let scale = if alpha == 0.0 { 1.0 } else { (alpha / rank as f64) as f32 };
    Ok(Box::new(Lora { updates, rank, scale }))
}

impl Method for Lora {
    fn site(&self, pass: &mut Pass, weight: ParamId, x: &Var, y: Var) -> Result<Var> {
        let Some(&Update { a, b }) = self.updates.get(&weight) else { return Ok(y) };
        let mut narrow = linear(pass.tape, x, &pass.params[a], None)?;
        if self.scale != 1.0 {
            let scale = Tensor::from_slice(pass.tape.device(), &vec![self.scale; self.rank], &[self.rank]);
            narrow = scale_shift(pass.tape, &narrow, &Var::constant(scale), None)?;
        }
        Ok(added(pass.tape, y, &narrow, &pass.params[b])?)
    }

    /// Adds `(alpha / rank) B A` to each weight. Sums are in f64, rounded once.
    fn merge(&self, params: &mut Params) -> Result<()> {
        for (&weight, &Update { a, b }) in &self.updates {
            let [n, k] = params.get(weight).shape()[..] else {
                unreachable!("weights of products are matrices")
            };
            let (a, b) = (params.get(a).to_host()?, params.get(b).to_host()?);
            let mut merged = params.get(weight).to_host()?;
            for (row, merged) in merged.chunks_exact_mut(k).enumerate() {
                for (column, merged) in merged.iter_mut().enumerate() {
                    let terms = (0..self.rank)
                        .map(|i| f64::from(b[row * self.rank + i]) * f64::from(a[i * k + column]));
                    *merged = (f64::from(*merged) + f64::from(self.scale) * terms.sum::<f64>()) as f32;
                }
            }
            params.set(weight, Tensor::from_vec(merged, &[n, k]));
        }
        Ok(())
    }
}
