//! Adapters (Houlsby et al., ICML 2019, in the form of Pfeiffer et al., EACL 2021): a trained bottleneck after the MLP of
//! each block of a ViT, before its residual addition.
//!
//! `h + up(gelu(down h))`, with h the MLP's output (`docs/methods.md`, "Adapter").

use autograd::Var;
use ptx::activation::{Activation, activation};
use ptx::linear::{added, linear};

use super::entry::{Defaults, Entry, Site};
use super::modules::{Adding, Affine, Start, TRUNC_NORMAL};
use super::settings::{Kind, Setting, Settings, Value};
use crate::Result;
use crate::backbones::vit;
use crate::pass::{Branch, Method, Pass};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "adapter",
    title: "Adapter",
    about: "A bottleneck after the MLP of every block of a frozen backbone",
    trains: "two narrow products after the MLP of every block, and the head",
    source: "Houlsby et al., ICML 2019",
    backbones: &[vit::NAME],
    settings: &[
        Setting::new(
            "form",
            Kind::Choice(&["vpt", "noah"]),
            Value::Choice("vpt"),
            "The activation and the names: vpt (exact GELU), or noah (x sigmoid(1.702 x))",
        ),
        width(64),
        Setting::new(
            "init",
            Kind::Choice(&["kaiming", "trunc-normal", "zeros"]),
            Value::Choice("kaiming"),
            "Start: kaiming below and zeros above, trunc-normal in both as NOAH's runs, or zeros in both as VPT's",
        ),
    ],
    // 1e-3 at 64 images a step, as NOAH trains its adapters.
    defaults: |spec, _| Defaults::adamw(8e-3, 1e-4).narrow(spec, 0.12),
    ..Entry::plain(build)
};

/// The setting of methods with a bottleneck.
pub(super) const fn width(default: usize) -> Setting {
    Setting::new(
        "width",
        Kind::Count(1, 4096),
        Value::Count(default),
        "Channels in the middle of a bottleneck",
    )
}

/// Name of the part of a model that the method adds.
const ADAPTERS: &str = "adapters";

struct Adapter {
    /// Down and up of each block.
    blocks: Vec<[Affine; 2]>,
    function: Activation,
}

/// Adds both products of every block.
fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let (d, depth, r) = (site.spec.width, site.spec.depth, settings.count("width"));
    let exact = settings.choice("form") == "vpt";
    let [down, up] = match settings.choice("init") {
        "kaiming" => [Start::kaiming(d), Start::All(0.0)],
        "trunc-normal" => [TRUNC_NORMAL; 2],
        _ => [Start::All(0.0); 2],
    };
    let names =
        if exact { ["adapter_downsample", "adapter_upsample"] } else { ["adapter.ln1", "adapter.ln2"] };
    let mut adding = Adding::new(site, ADAPTERS);
    let block = |i: usize| {
        let [lower, upper] = names.map(|name| format!("blocks.{i}.{name}"));
        Ok([
            Affine::product(&mut adding, &lower, [r, d], down)?,
            Affine::product(&mut adding, &upper, [d, r], up)?,
        ])
    };
    let blocks = (0..depth).map(block).collect::<Result<_>>()?;
    let function = if exact { Activation::Gelu } else { Activation::QuickGelu };
    Ok(Box::new(Adapter { blocks, function }))
}

impl Method for Adapter {
    fn branch(
        &self,
        pass: &mut Pass,
        (layer, branch): (usize, Branch),
        _stream: &Var,
        h: Var,
    ) -> Result<Var> {
        if branch != Branch::Mlp {
            return Ok(h);
        }
        let [down, up] = self.blocks[layer].map(|affine| affine.on(pass.params));
        let narrow = linear(pass.tape, &h, down.0, down.1)?;
        let narrow = activation(pass.tape, &narrow, self.function)?;
        Ok(added(pass.tape, h, &narrow, up.0, up.1)?)
    }
}
