//! LoRA (Hu et al., ICLR 2022): a trained update of low rank beside frozen products.
//!
//! `y = W x + (alpha / rank) B (A x)`, with `A [rank k]` and `B [n rank]`. B starts at zero, so the first forward pass is
//! the frozen model's (`docs/methods.md`, "LoRA"). In a ViT the packed product of queries, keys and values has one update of
//! all rows (`qkv`), or one of the rows of queries and one of those of values (`qv`).

use std::collections::HashMap;

use autograd::{Tape, Var};
use engine::Tensor;
use ptx::token_rows::join;

use super::entry::{Defaults, Entry, Site};
use super::modules::{Adding, Bottleneck, Matrix, Start, TRUNC_NORMAL, add_to_param};
use super::settings::{AUTO, Kind, Setting, Settings, Value};
use crate::backbones::{vim, vit};
use crate::params::{ParamId, Params};
use crate::pass::{Method, Pass};
use crate::{Error, Result};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "lora",
    title: "LoRA",
    about: "Updates of low rank beside the products of a frozen backbone",
    trains: "two narrow matrices beside chosen products of every layer, and the head",
    source: "LoRA, ICLR 2022",
    backbones: &[vim::NAME, vit::NAME],
    settings: &[
        Setting::new("rank", Kind::Count(1, 4096), Value::Count(8), "Rank of an update"),
        Setting::new(
            "alpha",
            Kind::Number(0.0, 1e6),
            Value::Number(0.0),
            "An update is multiplied by alpha / rank; 0 stands for alpha = rank",
        ),
        Setting {
            published: Some("form"),
            ..Setting::new(
                "targets",
                Kind::Auto(&Kind::Words(TARGETS)),
                Value::Choice(AUTO),
                "Products that get an update; auto is in_proj of a Vim, and qkv of a ViT",
            )
        },
        Setting {
            later: true,
            ..Setting::new(
                "init",
                Kind::Choice(&["kaiming", "trunc-normal"]),
                Value::Choice("kaiming"),
                "Start: kaiming and a zero B, or trunc-normal in both, as the published programs on ViTs",
            )
        },
    ],
    // On a ViT 1e-3 at 64 images a step, as NOAH trains it.
    defaults: |spec, _| {
        let lr = if spec.family == vit::NAME { 8e-3 } else { 5e-3 };
        Defaults::adamw(lr, 1e-4).narrow(spec, 0.12)
    },
    views: &[("frozen", false), ("updated", true)],
    ..Entry::plain(build)
};

/// Products of a block, first those of a Vim, of which `x_proj` is that of both directions.
const TARGETS: &[&str] = &["in_proj", "x_proj", "out_proj", "qkv", QV, "proj", "fc1", "fc2"];
/// The words that belong to a Vim; the others belong to a ViT.
const OF_VIM: usize = 3;
/// Queries and values of the packed product, each with an update of its own.
const QV: &str = "qv";

/// Name of the part of a model that the method adds.
const UPDATES: &str = "low-rank updates";

/// The weight of the product of queries, keys and values in a block of a ViT.
pub(super) fn packed(params: &Params, layer: usize) -> ParamId {
    params.id(&format!("blocks.{layer}.attn.qkv.weight")).expect("every block of a ViT has it")
}

/// The places of an update's parameters.
#[derive(Clone, Copy)]
struct Pair {
    /// `[rank k]`
    a: ParamId,
    /// `[n rank]`
    b: ParamId,
}

/// The update of a product.
#[derive(Clone, Copy)]
enum Update {
    /// One of all rows.
    All(Pair),
    /// One of the first third of the rows, and one of the last.
    QueriesAndValues([Pair; 2]),
}

struct Lora {
    /// The update of each product, by the product's weight.
    updates: HashMap<ParamId, Update>,
    /// `alpha / rank`
    scale: f32,
}

/// The products that get an update, which must be those of the family.
fn targets(settings: &Settings, family: &str) -> Result<Vec<&'static str>> {
    let own = if family == vim::NAME { &TARGETS[..OF_VIM] } else { &TARGETS[OF_VIM..] };
    if settings.get("targets") == Value::Choice(AUTO) {
        return Ok(vec![own[0]]);
    }
    let chosen: Vec<_> = settings.words("targets").iter().collect();
    if let Some(other) = chosen.iter().find(|word| !own.contains(word)) {
        let what = format!("{other} is no product of a {family} backbone");
        return Err(Error::input("--targets", what, format!("use {}", own.join(", "))));
    }
    if chosen.contains(&QV) && chosen.contains(&"qkv") {
        let what = "qkv has an update of all rows, qv of those of queries and values";
        return Err(Error::input("--targets", what, "use one of the two"));
    }
    Ok(chosen)
}

/// Adds A and B for every product that is asked for.
fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let (rank, targets) = (settings.count("rank"), targets(settings, site.spec.family)?);
    let word = |product: &str| {
        let of = |word: &str| word == product || word == QV && product == "qkv";
        targets.iter().copied().find(|word| of(word))
    };
    let products: Vec<_> = site
        .params
        .iter()
        .filter_map(|param| {
            let name = param.name.strip_suffix(".weight")?;
            let product = name.rsplit('.').next()?;
            let target = word(product.strip_suffix("_b").unwrap_or(product))?;
            let [n, k] = param.value.shape()[..] else { return None };
            Some((site.params.id(&param.name)?, name.to_string(), target, [n, k]))
        })
        .collect();
    let normal = settings.choice("init") == "trunc-normal";
    let mut adding = Adding::new(site, UPDATES);
    let mut pair = |[a, b]: [String; 2], [n, k]: [usize; 2]| -> Result<Pair> {
        let [below, above] = if normal { [TRUNC_NORMAL; 2] } else { [Start::kaiming(k), Start::All(0.0)] };
        Ok(Pair { a: adding.add(a, &[rank, k], below)?, b: adding.add(b, &[n, rank], above)? })
    };
    let mut updates = HashMap::new();
    for (weight, name, target, [n, k]) in products {
        let n = if target == QV { n / 3 } else { n };
        if rank > n.min(k) {
            let what = format!("an update of rank {rank} is no smaller than {name}, which is [{n} {k}]");
            return Err(Error::input("--rank", what, format!("use at most {}", n.min(k))));
        }
        let attention = name.trim_end_matches("qkv");
        let update = match target {
            QV => {
                let mut third = |of: &str| {
                    pair(["a", "b"].map(|side| format!("{attention}linear_{side}_{of}.weight")), [n, k])
                };
                Update::QueriesAndValues([third("q")?, third("v")?])
            }
            "qkv" => {
                Update::All(pair(["a", "b"].map(|side| format!("{attention}LoRA_{side}.weight")), [n, k])?)
            }
            _ => Update::All(pair(["A", "B"].map(|side| format!("{name}.lora_{side}")), [n, k])?),
        };
        updates.insert(weight, update);
    }
    let alpha = settings.number("alpha");
    let scale = if alpha == 0.0 { 1.0 } else { (alpha / rank as f64) as f32 };
    Ok(Box::new(Lora { updates, scale }))
}

/// The two matrices of one update `[3d k]` whose first d rows are `b[0] a[0]`, whose last ones are `b[1] a[1]` and whose
/// others are zero: `[2r k]` and `[3d 2r]`, for `a [r k]` and `b [d r]`.
///
/// # Errors
/// A fault of the device.
pub(super) fn queries_and_values(tape: &Tape, a: [&Var; 2], b: [&Var; 2]) -> Result<[Var; 2]> {
    let (&[r, k], &[d, _]) = (a[0].shape(), b[0].shape()) else { unreachable!("weights are matrices") };
    let rows = |x: &Var, rows: usize, columns: usize| tape.reshape(x, &[1, rows, columns]);
    let a = join(tape, &rows(a[0], r, k)?, &rows(a[1], r, k)?, 0)?;
    // A row of each third is one of the given matrix beside r zeros.
    let none = Var::constant(Tensor::zeros(tape.device(), &[d, 0, r]));
    let [q, v] = b.map(|b| tape.reshape(b, &[d, 1, r]));
    let (q, v) = (join(tape, &q?, &none, 1)?, join(tape, &none, &v?, 1)?);
    let b = join(tape, &rows(&q, 1, d * 2 * r)?, &rows(&v, 1, d * 2 * r)?, 1)?;
    Ok([tape.reshape(&a, &[2 * r, k])?, tape.reshape(&b, &[3 * d, 2 * r])?])
}

impl Method for Lora {
    fn site(&self, pass: &mut Pass, weight: ParamId, x: &Var, y: Var) -> Result<Var> {
        let (tape, params, scale) = (pass.tape, pass.params, self.scale);
        let add = |a: &Var, b: &Var, y: Var| {
            Bottleneck { down: (a, None), function: None, up: (b, None), scale }.add_to(tape, x, y)
        };
        match self.updates.get(&weight) {
            None => Ok(y),
            Some(Update::All(Pair { a, b })) => add(&params[*a], &params[*b], y),
            Some(Update::QueriesAndValues(pairs)) => {
                let [a, b] = queries_and_values(
                    tape,
                    pairs.map(|pair| &params[pair.a]),
                    pairs.map(|pair| &params[pair.b]),
                )?;
                add(&a, &b, y)
            }
        }
    }

    /// Adds `(alpha / rank) B A` to the rows of each weight. Sums are in f64, rounded once.
    fn merge(&self, params: &mut Params) -> Result<()> {
        for (&weight, update) in &self.updates {
            let (pairs, thirds) = match update {
                Update::All(pair) => (&[*pair][..], [0, 0]),
                Update::QueriesAndValues(pairs) => (&pairs[..], [0, 2]),
            };
            for (&Pair { a, b }, third) in pairs.iter().zip(thirds) {
                let (&[rank, k], &[n, _]) = (params.get(a).shape(), params.get(b).shape()) else {
                    unreachable!("updates are matrices")
                };
                let update = Matrix::of(params, b, rank)?.times(&Matrix::of(params, a, k)?);
                add_to_param(params, weight, third * n * k, &update.values, self.scale.into())?;
            }
        }
        Ok(())
    }
}
