//! SNF (Wang et al., CVPR 2023): trained normalizing flows on both shortcuts of each block of a ViT.
//!
//! The residual stream that a branch is added to becomes `z_n`, with `z_0 = mu + exp(logsigma) x` and
//! `z_i = z_(i-1) + scale_i tanh(z_(i-1) weight_i + bias_i)`; the branch itself reads x (`docs/methods.md`, "SNF").

use autograd::Var;
use ptx::activation::{Activation, activation};
use ptx::scale_shift::scale_shift;

use super::entry::{Defaults, Entry, Site};
use super::modules::{Adding, Bottleneck, Start, as_matrix};
use super::settings::{Kind, Setting, Settings, Value};
use crate::Result;
use crate::backbones::vit;
use crate::params::ParamId;
use crate::pass::{Branch, Method, Pass};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "snf",
    title: "SNF",
    about: "Normalizing flows on the shortcuts of a frozen backbone",
    trains: "a normalizing flow on both shortcuts of every block, and the head",
    source: "SNF, CVPR 2023",
    backbones: &[vit::NAME],
    settings: &[Setting::new(
        "length",
        Kind::Count(0, 64),
        Value::Count(5),
        "Planar transforms of a flow, after its affine one",
    )],
    // No rate is published for a ViT: that of the other small modules.
    defaults: |spec, _| Defaults::adamw(8e-3, 1e-4).narrow(spec, 0.12),
    ..Entry::plain(build)
};

/// Name of the part of a model that the method adds.
const FLOWS: &str = "flows";

/// A planar transform.
struct Planar {
    /// `[1 d]`
    weight: ParamId,
    /// `[1]`
    bias: ParamId,
    /// `[1 d]`
    scale: ParamId,
}

/// The flow on one shortcut.
struct Flow {
    /// `[d]`
    mu: ParamId,
    /// `[d]`
    logsigma: ParamId,
    transforms: Vec<Planar>,
}

struct Snf {
    /// The flows around attention and MLP of each block.
    blocks: Vec<[Flow; 2]>,
}

/// Adds the flows with the published start: an affine transform that changes nothing, and planar ones within 0.01.
fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let (d, depth, length) = (site.spec.width, site.spec.depth, settings.count("length"));
    let mut adding = Adding::new(site, FLOWS);
    let small = Start::Uniform(0.01);
    let mut flow = |name: String| -> Result<Flow> {
        let mu = adding.add(format!("{name}.affine_transform.mu"), &[d], Start::All(0.0))?;
        let logsigma = adding.add(format!("{name}.affine_transform.logsigma"), &[d], Start::All(0.0))?;
        let mut transform = |i: usize| -> Result<Planar> {
            let name = |of: &str| format!("{name}.transforms.{i}.{of}");
            Ok(Planar {
                weight: adding.add(name("weight"), &[1, d], small)?,
                bias: adding.add(name("bias"), &[1], small)?,
                scale: adding.add(name("scale"), &[1, d], small)?,
            })
        };
        let transforms = (0..length).map(&mut transform).collect::<Result<_>>()?;
        Ok(Flow { mu, logsigma, transforms })
    };
    let mut block = |i: usize| Ok([flow(format!("blocks.{i}.flow"))?, flow(format!("blocks.{i}.flow2"))?]);
    let blocks = (0..depth).map(&mut block).collect::<Result<_>>()?;
    Ok(Box::new(Snf { blocks }))
}

impl Method for Snf {
    fn shortcut(&self, pass: &mut Pass, (layer, branch): (usize, Branch), stream: Var) -> Result<Var> {
        let (tape, params) = (pass.tape, pass.params);
        let [attention, mlp] = &self.blocks[layer];
        let flow = if branch == Branch::Attention { attention } else { mlp };
        let sigma = activation(tape, &params[flow.logsigma], Activation::Exp)?;
        let mut z = scale_shift(tape, &stream, &sigma, Some(&params[flow.mu]))?;
        for Planar { weight, bias, scale } in &flow.transforms {
            let up = as_matrix(tape, params, *scale, 1)?;
            let planar = Bottleneck {
                down: (&params[*weight], Some(&params[*bias])),
                function: Some(Activation::Tanh),
                up: (&up, None),
                scale: 1.0,
            };
            z = planar.add_to(tape, &z.clone(), z)?;
        }
        Ok(z)
    }
}
