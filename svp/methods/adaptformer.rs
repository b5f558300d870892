//! AdaptFormer (Chen et al., NeurIPS 2022): a trained bottleneck beside the MLP of each block of a ViT.
//!
//! The block's second addition becomes `x + MLP(LN2 x) + s up(relu(down x))`, with x the residual stream after attention,
//! or a norm of it (`docs/methods.md`, "AdaptFormer"). Stochastic depth drops the MLP alone.

use autograd::Var;
use ptx::activation::Activation;
use ptx::layer_norm::{Norm, layer_norm};

use super::adapter::width;
use super::entry::{Defaults, Entry, Site};
use super::modules::{Adding, Affine, Bottleneck, Start, TRUNC_NORMAL};
use super::settings::{Kind, Setting, Settings, Value};
use crate::Result;
use crate::backbones::vit;
use crate::pass::{Branch, Method, Pass};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "adaptformer",
    title: "AdaptFormer",
    about: "A bottleneck beside the MLP of every block of a frozen backbone",
    trains: "two narrow products beside the MLP of every block, and the head",
    source: "AdaptFormer, NeurIPS 2022",
    backbones: &[vit::NAME],
    settings: &[
        width(64),
        scale(0.1),
        Setting::new(
            "layernorm",
            Kind::Choice(&["none", "in"]),
            Value::Choice("none"),
            "A trained norm in front of the bottleneck: none, or in",
        ),
        Setting::new(
            "init",
            Kind::Choice(&["kaiming", "trunc-normal"]),
            Value::Choice("kaiming"),
            "Start: kaiming below and zeros above, or trunc-normal in both, as SCT's runs of it",
        ),
    ],
    // 1e-3 at 64 images a step, as NOAH trains adapters; the publication uses SGD.
    defaults: |spec, _| Defaults::adamw(8e-3, 1e-4).narrow(spec, 0.12),
    ..Entry::plain(build)
};

/// The factor of what a method's modules add.
pub(super) const fn scale(default: f64) -> Setting {
    Setting::new("scale", Kind::Number(0.0, 1e6), Value::Number(default), "Factor of what is added")
}

/// Name of the part of a model that the method adds.
const ADAPTERS: &str = "adapters";

/// The eps of the norm in front, which is PyTorch's default and not that of the backbone's norms.
const EPS: f32 = 1e-5;

/// The parameters of one block.
struct Block {
    down: Affine,
    up: Affine,
    norm: Option<Affine>,
}

struct AdaptFormer {
    blocks: Vec<Block>,
    scale: f32,
}

/// Adds both products of every block, and the norm where there is one.
fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let (d, depth, r) = (site.spec.width, site.spec.depth, settings.count("width"));
    let [down, up] = match settings.choice("init") {
        "kaiming" => [Start::kaiming(d), Start::All(0.0)],
        _ => [TRUNC_NORMAL; 2],
    };
    let normed = settings.choice("layernorm") == "in";
    let mut adding = Adding::new(site, ADAPTERS);
    let mut block = |i: usize| -> Result<Block> {
        let name = |of: &str| format!("blocks.{i}.adaptmlp.{of}");
        let down = Affine::product(&mut adding, &name("down_proj"), [r, d], down)?;
        let up = Affine::product(&mut adding, &name("up_proj"), [d, r], up)?;
        let norm = match normed {
            true => Some(Affine {
                weight: adding.add(name("adapter_layer_norm_before.weight"), &[d], Start::All(1.0))?,
                bias: adding.add(name("adapter_layer_norm_before.bias"), &[d], Start::All(0.0))?,
            }),
            false => None,
        };
        Ok(Block { down, up, norm })
    };
    let blocks = (0..depth).map(&mut block).collect::<Result<_>>()?;
    Ok(Box::new(AdaptFormer { blocks, scale: settings.number("scale") as f32 }))
}

impl Method for AdaptFormer {
    fn shortcut(&self, pass: &mut Pass, (layer, branch): (usize, Branch), stream: Var) -> Result<Var> {
        if branch != Branch::Mlp {
            return Ok(stream);
        }
        let (tape, params, Block { down, up, norm }) = (pass.tape, pass.params, &self.blocks[layer]);
        let x = match norm {
            Some(Affine { weight, bias }) => {
                layer_norm(tape, &stream, Norm { weight: &params[*weight], bias: &params[*bias], eps: EPS })?
            }
            None => stream.clone(),
        };
        let x = tape.cast(&x, pass.precision)?;
        let function = Some(Activation::Relu);
        let bottleneck = Bottleneck { down: down.on(params), function, up: up.on(params), scale: self.scale };
        bottleneck.add_to(tape, &x, stream)
    }
}
