//! Bi-Adapter (Jie et al., ICCV 2023): adapters of a ViT whose weights have one or two bits.
//!
//! The products of AdaptFormer, or low-rank updates of queries and values, use weights that are quantised in every pass;
//! the gradient passes through the quantisation (`docs/methods.md`, "Bi-Adapter").

use std::collections::HashMap;

use autograd::{Tape, Var};
use ptx::activation::Activation;
use ptx::quantise;

use super::adapter::width;
use super::adaptformer::scale;
use super::entry::{Defaults, Entry, Site};
use super::lora::{packed, queries_and_values};
use super::modules::{Adding, Bottleneck, Matrix, Start, add_to_param};
use super::settings::{Kind, Setting, Settings, Value};
use crate::backbones::vit;
use crate::params::{Bound, ParamId, Params};
use crate::pass::{Branch, Method, Pass};
use crate::{Error, Result};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "bi-adapter",
    title: "Bi-Adapter",
    about: "Adapters with weights of one or two bits, in a frozen backbone",
    trains: "two narrow products of every block with weights of one or two bits, and the head",
    source: "Bi-Adapter, ICCV 2023",
    backbones: &[vit::NAME],
    settings: &[
        Setting::new(
            "form",
            Kind::Choice(&["adaptformer", "lora"]),
            Value::Choice("adaptformer"),
            "Where they stand: adaptformer (beside the MLP), or lora (beside queries and values)",
        ),
        width(32),
        Setting::new("bits", Kind::Count(1, 2), Value::Count(1), "Bits of a weight"),
        scale(1.0),
    ],
    // 1e-3 at 64 images a step, and decay 1e-4, as published.
    defaults: |spec, _| Defaults::adamw(8e-3, 1e-4).narrow(spec, 0.12),
    ..Entry::plain(build)
};

/// Name of the part of a model that the method adds.
const ADAPTERS: &str = "adapters";

/// Weights below and above, before they are quantised.
type Weights = [ParamId; 2];

/// Where the products stand.
enum Form {
    /// Those of each block.
    AdaptFormer(Vec<Weights>),
    /// Those of queries and values, by the weight of the packed product.
    Lora(HashMap<ParamId, [Weights; 2]>),
}

struct BiAdapter {
    form: Form,
    bits: usize,
    scale: f32,
}

/// Adds the products of every block. Those above begin as published, since zeros have no deviation.
fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let (d, depth, r) = (site.spec.width, site.spec.depth, settings.count("width"));
    let packed: Vec<ParamId> = (0..depth).map(|i| packed(site.params, i)).collect();
    let mut adding = Adding::new(site, ADAPTERS);
    let mut weights = |name: String| -> Result<Weights> {
        Ok([
            adding.add(format!("{name}.adapter_down.weight"), &[r, d], Start::kaiming(d))?,
            adding.add(format!("{name}.adapter_up.weight"), &[d, r], Start::Truncated(0.001))?,
        ])
    };
    let form = match settings.choice("form") {
        "adaptformer" => {
            let all = (0..depth).map(|i| weights(format!("blocks.{i}.adapter_mlp"))).collect::<Result<_>>();
            Form::AdaptFormer(all?)
        }
        _ => {
            let mut block = |i: usize| -> Result<[Weights; 2]> {
                let name = |of: &str| format!("blocks.{i}.attn.lora_{of}");
                Ok([weights(name("q"))?, weights(name("v"))?])
            };
            let all = packed.into_iter().enumerate().map(|(i, weight)| Ok((weight, block(i)?)));
            Form::Lora(all.collect::<Result<_>>()?)
        }
    };
    Ok(Box::new(BiAdapter { form, bits: settings.count("bits"), scale: settings.number("scale") as f32 }))
}

impl BiAdapter {
    /// The quantised weights.
    fn quantised(&self, tape: &Tape, params: &Bound, weights: Weights) -> Result<[Var; 2]> {
        let [down, up] = weights.map(|id| quantise::quantise(tape, &params[id], self.bits));
        Ok([down?, up?])
    }
}

impl Method for BiAdapter {
    fn shortcut(&self, pass: &mut Pass, (layer, branch): (usize, Branch), stream: Var) -> Result<Var> {
        let Form::AdaptFormer(blocks) = &self.form else { return Ok(stream) };
        if branch != Branch::Mlp {
            return Ok(stream);
        }
        let [down, up] = self.quantised(pass.tape, pass.params, blocks[layer])?;
        let x = pass.tape.cast(&stream, pass.precision)?;
        let function = Some(Activation::Relu);
        let bottleneck = Bottleneck { down: (&down, None), function, up: (&up, None), scale: self.scale };
        bottleneck.add_to(pass.tape, &x, stream)
    }

    fn site(&self, pass: &mut Pass, weight: ParamId, x: &Var, y: Var) -> Result<Var> {
        let Form::Lora(updates) = &self.form else { return Ok(y) };
        let Some(&[q, v]) = updates.get(&weight) else { return Ok(y) };
        let [q, v] = [q, v].map(|weights| self.quantised(pass.tape, pass.params, weights));
        let ([q_down, q_up], [v_down, v_up]) = (q?, v?);
        let [down, up] = queries_and_values(pass.tape, [&q_down, &v_down], [&q_up, &v_up])?;
        let bottleneck =
            Bottleneck { down: (&down, None), function: None, up: (&up, None), scale: self.scale };
        bottleneck.add_to(pass.tape, x, y)
    }

    /// Adds the product of the quantised weights to the rows of queries and values.
    fn merge(&self, params: &mut Params) -> Result<()> {
        let Form::Lora(updates) = &self.form else {
            return Err(Error::input(
                "--merge",
                "what stands beside the MLP depends on the image, so no tensor of the backbone can hold it",
                "leave out --merge, or train with --form lora",
            ));
        };
        for (&weight, parts) in updates {
            for (&[down, up], third) in parts.iter().zip([0, 2]) {
                let &[r, d] = params.get(down).shape() else { unreachable!("weights are matrices") };
                let level = |id: ParamId, columns: usize| -> Result<Matrix> {
                    let values = quantise::reference::forward(&params.get(id).to_host()?, self.bits);
                    Ok(Matrix::new(&values, columns))
                };
                let update = level(up, r)?.times(&level(down, d)?);
                add_to_param(params, weight, third * d * d, &update.values, self.scale.into())?;
            }
        }
        Ok(())
    }
}
