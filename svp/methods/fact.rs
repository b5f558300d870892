//! FacT (Jie and Deng, AAAI 2023): a trained update of every product of a ViT, whose factors all blocks share.
//!
//! `y += s V (core (U x))`, with `U [r d]` and `V [d r]` of the whole model and a core of each product. Products that are
//! wider than d count as several of width d, side by side. In the tensor train (`tt`) a core is a parameter; in the Tucker
//! form (`tk`) it is a combination of a shared tensor (`docs/methods.md`, "FacT").

use std::collections::HashMap;

use autograd::{Tape, Var};
use ptx::linear::{added, linear};
use ptx::permute::permute;
use ptx::token_rows::{join, window};

use super::adaptformer::scale;
use super::entry::{Defaults, Entry, Site};
use super::modules::{Adding, Matrix, Start, add_to_param, scaled};
use super::settings::{Kind, Setting, Settings, Value};
use crate::backbones::vit;
use crate::params::{Bound, ParamId, Params};
use crate::pass::{Method, Pass};
use crate::{Error, Result};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "fact",
    title: "FacT",
    about: "Updates of every product of a frozen backbone, from factors that all blocks share",
    trains: "two shared narrow matrices and a small core for each product, and the head",
    source: "FacT, AAAI 2023",
    backbones: &[vit::NAME],
    settings: &[
        Setting::new(
            "form",
            Kind::Choice(&["tt", "tk"]),
            Value::Choice("tt"),
            "How an update is factored: tt (tensor train), or tk (Tucker)",
        ),
        Setting::new("rank", Kind::Count(1, 4096), Value::Count(16), "Rank of the updates"),
        scale(1.0),
    ],
    // 1e-3 at 64 images a step, and decay 1e-4, as published.
    defaults: |spec, _| Defaults::adamw(8e-3, 1e-4).narrow(spec, 0.12),
    views: &[("frozen", false), ("updated", true)],
    ..Entry::plain(build)
};

/// Name of the part of a model that the method adds.
const FACTORS: &str = "factors of updates";

/// A product of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Product {
    Qkv,
    Proj,
    Fc1,
    Fc2,
}

impl Product {
    const ALL: [Product; 4] = [Product::Qkv, Product::Proj, Product::Fc1, Product::Fc2];

    /// Its name in a block.
    fn name(self) -> &'static str {
        match self {
            Product::Qkv => "attn.qkv",
            Product::Proj => "attn.proj",
            Product::Fc1 => "mlp.fc1",
            Product::Fc2 => "mlp.fc2",
        }
    }

    /// How many times the width it gives and takes, for an MLP of `wide` times the width.
    fn groups(self, wide: usize) -> [usize; 2] {
        match self {
            Product::Qkv => [3, 1],
            Product::Proj => [1, 1],
            Product::Fc1 => [wide, 1],
            Product::Fc2 => [1, wide],
        }
    }

    /// Its columns of FacTp within those of a block: the first one and their number.
    fn columns(self, wide: usize) -> [usize; 2] {
        match self {
            Product::Qkv => [0, 3],
            Product::Proj => [3, 1],
            Product::Fc1 => [4, wide],
            Product::Fc2 => [4 + wide, wide],
        }
    }
}

/// The parameters that the cores come from.
enum Cores {
    /// Those of each block and product: three for the packed one, of `[r r]` each, else one of `[out r, in r]`.
    Train(Vec<[Vec<ParamId>; 4]>),
    /// `FacTp [r columns]` and `FacTc [r r r]`
    Tucker(ParamId, ParamId),
}

struct FacT {
    /// Block and product of a weight.
    places: HashMap<ParamId, (usize, Product)>,
    /// `[r d]`
    u: ParamId,
    /// `[d r]`
    v: ParamId,
    cores: Cores,
    rank: usize,
    /// Width of the MLP, in widths of the model.
    wide: usize,
    scale: f32,
}

/// Adds the factors with the published start: V is zero, so the first forward pass is the frozen model's.
fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let (spec, r) = (*site.spec, settings.count("rank"));
    let d = spec.width;
    let mlp = spec.mlp_width.unwrap_or(d);
    if !mlp.is_multiple_of(d) {
        let what =
            format!("an MLP of {mlp} channels is no multiple of the width {d}, which FacT's factors have");
        return Err(Error::input("--method fact", what, "use lora"));
    }
    let wide = mlp / d;
    let mut places = HashMap::new();
    for layer in 0..spec.depth {
        for product in Product::ALL {
            let name = format!("blocks.{layer}.{}.weight", product.name());
            places.insert(site.params.id(&name).expect("every block has them"), (layer, product));
        }
    }
    let mut adding = Adding::new(site, FACTORS);
    let u = adding.add("FacTu.weight", &[r, d], Start::kaiming(d))?;
    let v = adding.add("FacTv.weight", &[d, r], Start::All(0.0))?;
    let cores = match settings.choice("form") {
        "tt" => {
            let mut core = |name: String, [out, of]: [usize; 2]| {
                adding.add(format!("{name}_FacTs.weight"), &[out * r, of * r], Start::kaiming(of * r))
            };
            let mut block = |layer: usize| -> Result<[Vec<ParamId>; 4]> {
                let name = |of: &str| format!("blocks.{layer}.{of}");
                let qkv = ["q", "k", "v"].map(|third| core(name(&format!("attn.{third}")), [1, 1]));
                Ok([
                    qkv.into_iter().collect::<Result<_>>()?,
                    vec![core(name("attn.proj"), Product::Proj.groups(wide))?],
                    vec![core(name("mlp.fc1"), Product::Fc1.groups(wide))?],
                    vec![core(name("mlp.fc2"), Product::Fc2.groups(wide))?],
                ])
            };
            Cores::Train((0..spec.depth).map(&mut block).collect::<Result<_>>()?)
        }
        _ => {
            let columns = spec.depth * (4 + 2 * wide);
            // Xavier's start, where a tensor of three axes counts the last one as the extent of a filter.
            let xavier =
                |inputs: usize, outputs: usize| Start::Uniform((6.0 / (inputs + outputs) as f64).sqrt());
            let p = adding.add("FacTp", &[r, columns], xavier(columns, r))?;
            Cores::Tucker(p, adding.add("FacTc", &[r, r, r], xavier(r * r, r * r))?)
        }
    };
    let scale = settings.number("scale") as f32;
    Ok(Box::new(FacT { places, u, v, cores, rank: r, wide, scale }))
}

impl FacT {
    /// The columns of FacTp that belong to a product.
    fn columns(&self, layer: usize, product: Product) -> [usize; 2] {
        let [first, count] = product.columns(self.wide);
        [layer * (4 + 2 * self.wide) + first, count]
    }

    /// The core of a product, `[out r, in r]`.
    fn core(&self, tape: &Tape, params: &Bound, layer: usize, product: Product) -> Result<Var> {
        let (r, [out, of]) = (self.rank, product.groups(self.wide));
        let shape = [out * r, of * r];
        match &self.cores {
            Cores::Train(blocks) => match &blocks[layer][product as usize][..] {
                [one] => Ok(params[*one].clone()),
                thirds => {
                    let rows = |id: &ParamId| tape.reshape(&params[*id], &[1, r, r]);
                    let (mut all, rest) = (rows(&thirds[0])?, &thirds[1..]);
                    for third in rest {
                        all = join(tape, &all, &rows(third)?, 0)?;
                    }
                    Ok(tape.reshape(&all, &shape)?)
                }
            },
            &Cores::Tucker(p, c) => {
                let [first, count] = self.columns(layer, product);
                let columns = params[p].shape()[1];
                let p = permute(tape, &tape.reshape(&params[p], &[1, r, columns])?, [0, 2, 1])?;
                let p = tape.reshape(&window(tape, &p, first, count)?, &[count, r])?;
                // [a, b, m] with m along the columns; the published code multiplies rows from the left.
                let combined = linear(tape, &params[c], &p, None)?;
                let combined = match product {
                    Product::Qkv | Product::Proj => permute(tape, &combined, [2, 1, 0])?,
                    Product::Fc1 => permute(tape, &combined, [1, 2, 0])?,
                    Product::Fc2 => combined,
                };
                Ok(tape.reshape(&combined, &shape)?)
            }
        }
    }

    /// The same on the host.
    fn core_values(&self, params: &Params, layer: usize, product: Product) -> Result<Matrix> {
        let (r, [_, of]) = (self.rank, product.groups(self.wide));
        match &self.cores {
            Cores::Train(blocks) => {
                let parts = blocks[layer][product as usize].iter();
                let values = parts.map(|&id| Ok(Matrix::of(params, id, of * r)?.values));
                Ok(Matrix { values: values.collect::<Result<Vec<_>>>()?.concat(), columns: of * r })
            }
            &Cores::Tucker(p, c) => {
                let [first, count] = self.columns(layer, product);
                let (p, c) = (Matrix::of(params, p, params.get(p).shape()[1])?, Matrix::of(params, c, r)?);
                let combined = c.times(&p);
                let at = |a: usize, b: usize, m: usize| {
                    combined.values[(a * r + b) * combined.columns + first + m]
                };
                let mut values = Vec::with_capacity(r * r * count);
                match product {
                    Product::Qkv | Product::Proj => {
                        (0..count).for_each(|m| {
                            (0..r).for_each(|b| values.extend((0..r).map(|a| at(a, b, m))));
                        });
                    }
                    Product::Fc1 => (0..r).for_each(|b| {
                        (0..count).for_each(|m| values.extend((0..r).map(|a| at(a, b, m))));
                    }),
                    Product::Fc2 => (0..r).for_each(|a| {
                        (0..r).for_each(|b| values.extend((0..count).map(|m| at(a, b, m))));
                    }),
                }
                Ok(Matrix { values, columns: of * r })
            }
        }
    }
}

impl Method for FacT {
    fn site(&self, pass: &mut Pass, weight: ParamId, x: &Var, y: Var) -> Result<Var> {
        let Some(&(layer, product)) = self.places.get(&weight) else { return Ok(y) };
        let (tape, params, r) = (pass.tape, pass.params, self.rank);
        let (&[b, l, n], [out, of]) = (y.shape(), product.groups(self.wide)) else {
            unreachable!("a sequence has three axes")
        };
        let core = self.core(tape, params, layer, product)?;
        let x = tape.reshape(x, &[b, l * of, x.shape()[2] / of])?;
        let narrow = tape.reshape(&linear(tape, &x, &params[self.u], None)?, &[b, l, of * r])?;
        let narrow = tape.reshape(&linear(tape, &narrow, &core, None)?, &[b, l * out, r])?;
        let narrow = scaled(tape, narrow, self.scale)?;
        let groups = tape.reshape(&y, &[b, l * out, n / out])?;
        drop(y);
        let sum = added(tape, groups, &narrow, &params[self.v], None)?;
        Ok(tape.reshape(&sum, &[b, l, n])?)
    }

    /// Adds the updates to the weights. Sums are in f64, rounded once.
    fn merge(&self, params: &mut Params) -> Result<()> {
        let d = params.get(self.u).shape()[1];
        let (u, v) = (Matrix::of(params, self.u, d)?, Matrix::of(params, self.v, self.rank)?);
        for (&weight, &(layer, product)) in &self.places {
            let ([_, of], r) = (product.groups(self.wide), self.rank);
            let core = self.core_values(params, layer, product)?;
            let mut values = vec![];
            for group in core.values.chunks_exact(r * of * r) {
                let group = Matrix { values: group.to_vec(), columns: of * r };
                let part = |j: usize| {
                    let columns = group.rows().flat_map(|row| &row[j * r..(j + 1) * r]);
                    v.times(&Matrix { values: columns.copied().collect(), columns: r }).times(&u)
                };
                let parts: Vec<Matrix> = (0..of).map(part).collect();
                for row in 0..d {
                    parts.iter().for_each(|part| values.extend(&part.values[row * d..(row + 1) * d]));
                }
            }
            add_to_param(params, weight, 0, &values, self.scale.into())?;
        }
        Ok(())
    }
}
