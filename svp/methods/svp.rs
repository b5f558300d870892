//! Selective visual prompts (SVP, AAAI 2025, eq. 3-5), in the paper's form and the published program's
//! (`docs/methods.md`, "SVP").
//!
//! The input h of every block gets prompts for every image token: `h + alpha SiLU(W_c h + b_c) + beta SiLU(W_2 (W_1 h +
//! b_1) + b_2)`. A group of layers shares the cross generator (c) and its scale alpha; the inner generator and beta
//! belong to one layer. Scales start at zero, so the first forward pass is the frozen model's.
//!
//! With `at = scan`, which is this project's own, the same generators work on the input `u [b l e]` of each direction's
//! scan and the prompts are added there, inside the scan. They reach the update gate `delta u B` and the skip `D u`,
//! while delta, B and C stay those of the unprompted u.

use autograd::Var;
use engine::{Device, Rng, Tensor};
use ptx::linear::linear;
use ptx::prompt_add_norm::{self as op, prompt_add_norm};
use ptx::token_rows::{join, window};

use super::entry::{Defaults, Entry, Site};
use super::settings::{Kind, Setting, Settings, Value};
use crate::backbones::pos_embed::ClassRow;
use crate::backbones::vim;
use crate::params::{ParamId, Params};
use crate::pass::{Generated, Method, Pass, Spec, Tokens};
use crate::report::html::{Figure, Section};
use crate::{Error, Result, streams};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "svp",
    title: "SVP",
    about: "Selective visual prompts on a frozen backbone",
    trains: "inner and cross prompts of every layer, and the head",
    source: "SVP, AAAI 2025",
    backbones: &[vim::NAME],
    default_on: &[vim::NAME],
    settings: &[
        Setting::new(
            "variant",
            Kind::Choice(&[PAPER, OFFICIAL]),
            Value::Choice(PAPER),
            "paper (its equations) or official (as the published program computes)",
        ),
        Setting::new(
            "hidden",
            Kind::Count(1, 1 << 16),
            Value::Count(64),
            "Hidden width of the inner prompt generators",
        ),
        Setting::new(
            "group-size",
            Kind::Count(1, 1 << 16),
            Value::Count(8),
            "Layers that share a cross prompt generator",
        ),
        Setting::new("inner", Kind::Flag, Value::Flag(true), "Inner prompts"),
        Setting::new("cross", Kind::Flag, Value::Flag(true), "Cross prompts"),
        Setting {
            later: true,
            ..Setting::new(
                "at",
                Kind::Choice(&[BLOCK, SCAN]),
                Value::Choice(BLOCK),
                "block (prompts enter each block, as published) or scan (ours: they enter each scan)",
            )
        },
    ],
    defaults,
    views: &[("frozen", false), ("prompted", true)],
    ..Entry::plain(build)
};

/// Each cross prompt comes from its own token, as in the paper's equations.
const PAPER: &str = "paper";
/// Cross prompts as the published program computes them: tokens after the class token get the prompts generated from
/// the tokens before it, position by position, after those were prompted.
const OFFICIAL: &str = "official";
const BLOCK: &str = "block";
const SCAN: &str = "scan";

/// Rows of `prompt_scale` in the published files, whatever the depth.
const PUBLISHED_ROWS: usize = 24;

/// Names of the parts of a model that the method adds.
const INNER: &str = "inner prompts";
const CROSS: &str = "cross prompts";
const SCALES: &str = "prompt scales";

fn defaults(spec: &Spec, settings: &Settings) -> Defaults {
    // The published loader resizes the position embedding as if row 0 were the class token's.
    let official = settings.choice("variant") == OFFICIAL;
    let class_row = if official { ClassRow::First } else { ClassRow::Middle };
    Defaults { class_row, ..Defaults::adamw(5e-3, 1e-4).narrow(spec, 0.18) }
}

/// Refuses settings that do not fit the backbone, and returns the number of groups.
fn check(settings: &Settings, spec: &Spec) -> Result<usize> {
    let official = settings.choice("variant") == OFFICIAL;
    let (what, hint) = if !settings.flag("inner") && !settings.flag("cross") {
        ("neither inner nor cross prompts are on".into(), "turn one on, or use --method linear")
    } else if official && settings.choice("at") == SCAN {
        ("the official variant prompts the block's input".into(), "use --at block, or --variant paper")
    } else if official && (spec.patches() % 2 == 1 || spec.class_row != Some(spec.patches() / 2)) {
        (
            format!(
                "the official variant needs an even number of patches around the class token, not {}",
                spec.patches()
            ),
            "use --variant paper",
        )
    } else {
        return Ok(spec.depth.div_ceil(settings.count("group-size")));
    };
    Err(Error::input("svp", what, hint))
}

#[derive(Clone, Copy)]
struct Affine {
    weight: ParamId,
    bias: ParamId,
}

impl Affine {
    fn apply(&self, pass: &Pass, x: &Var) -> Result<Var> {
        Ok(linear(pass.tape, x, &pass.params[self.weight], Some(&pass.params[self.bias]))?)
    }

    /// The product without the bias, which is added together with the prompt.
    fn product(&self, pass: &Pass, x: &Var) -> Result<Var> {
        Ok(linear(pass.tape, x, &pass.params[self.weight], None)?)
    }
}

/// What scales scale, and of each layer a value a channel.
type Scales = (&'static str, Vec<Vec<f32>>);

/// The places of the generators' and scales' parameters.
struct Svp {
    official: bool,
    at_scan: bool,
    group_size: usize,
    inner: Vec<[Affine; 2]>,
    cross: Vec<Affine>,
    inner_scale: Option<ParamId>,
    cross_scale: Option<ParamId>,
}

/// Adds the prompt parameters. Generators start as PyTorch's Linear does, and scales at zero.
fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let groups = check(settings, site.spec)?;
    let at_scan = settings.choice("at") == SCAN;
    let width = if at_scan {
        site.spec
            .scan_width
            .ok_or_else(|| Error::input("--at", "this backbone has no scan", "use --at block"))?
    } else {
        site.spec.width
    };
    let (device, depth, hidden) = (site.device.clone(), site.spec.depth, settings.count("hidden"));
    let mut generators = Generators { params: site.params, seed: site.seed, stream: streams::METHOD_INIT };
    let mut svp = Svp {
        official: settings.choice("variant") == OFFICIAL,
        at_scan,
        group_size: settings.count("group-size"),
        inner: vec![],
        cross: vec![],
        inner_scale: None,
        cross_scale: None,
    };
    if settings.flag("inner") {
        for i in 0..depth {
            let down = generators.affine(INNER, format!("prompt_generator.{i}.0"), hidden, width)?;
            let up = generators.affine(INNER, format!("prompt_generator.{i}.1"), width, hidden)?;
            svp.inner.push([down, up]);
        }
        let rows = depth.max(PUBLISHED_ROWS);
        svp.inner_scale = Some(generators.scale(&device, "prompt_scale", rows, width));
    }
    if settings.flag("cross") {
        for g in 0..groups {
            let generator =
                generators.affine(CROSS, format!("prompt_generator_shared.{g}.0"), width, width)?;
            svp.cross.push(generator);
        }
        svp.cross_scale = Some(generators.scale(&device, "prompt_shared_scale", groups, width));
    }
    Ok(Box::new(svp))
}

/// Adds generators and scales with initial values.
struct Generators<'a> {
    params: &'a mut Params,
    seed: u64,
    /// Random stream of the last parameter; the next one takes the following stream.
    stream: u32,
}

impl Generators<'_> {
    fn affine(&mut self, part: &'static str, name: String, n: usize, k: usize) -> Result<Affine> {
        self.params.room(&format!("{name}.weight"), &[n, k])?;
        let (weight, bias) = (self.tensor(&[n, k], k), self.tensor(&[n], k));
        Ok(Affine {
            weight: self.params.add(part, format!("{name}.weight"), weight, true),
            bias: self.params.add(part, format!("{name}.bias"), bias, true),
        })
    }

    /// Values uniform within `1 / sqrt(fan in)`.
    fn tensor(&mut self, shape: &[usize], fan_in: usize) -> Tensor {
        self.stream += 1;
        let mut rng = Rng::keyed(self.seed, 0, 0, self.stream);
        let bound = 1.0 / (fan_in as f64).sqrt();
        let values = (0..shape.iter().product()).map(|_| rng.range(-bound, bound) as f32).collect();
        Tensor::from_vec(values, shape)
    }

    fn scale(&mut self, device: &Device, name: &str, rows: usize, width: usize) -> ParamId {
        self.params.add(SCALES, name, Tensor::zeros(device, &[rows, width]), true)
    }
}

impl Svp {
    /// The prompts of layer `layer`, generated from `x [b l width]`.
    fn generate(
        &self,
        pass: &Pass,
        layer: usize,
        x: &Var,
        class_row: Option<usize>,
    ) -> Result<Vec<Generated>> {
        let mut prompts = vec![];
        if let Some(scale) = self.inner_scale {
            let [down, up] = self.inner[layer];
            let value = up.product(pass, &down.apply(pass, x)?)?;
            prompts.push(Generated { value, bias: up.bias, scale, row: layer });
        }
        if let Some(scale) = self.cross_scale {
            let row = layer / self.group_size;
            let generator = self.cross[row];
            let value = match class_row.filter(|_| self.official) {
                None => generator.product(pass, x)?,
                Some(class_row) => {
                    let inner = prompts.first();
                    self.cross_from_first_half(pass, generator, x, inner, (scale, row), class_row)?
                }
            };
            prompts.push(Generated { value, bias: generator.bias, scale, row });
        }
        Ok(prompts)
    }

    /// The published program's cross prompts: generated from the first half of the tokens, and for the second half from
    /// the first half with its prompts added (`docs/methods.md`, "SVP").
    fn cross_from_first_half(
        &self,
        pass: &Pass,
        generator: Affine,
        h: &Var,
        inner: Option<&Generated>,
        (scale, row): (ParamId, usize),
        class_row: usize,
    ) -> Result<Var> {
        let (tape, params) = (pass.tape, pass.params);
        let first_half = window(tape, h, 0, class_row)?;
        let value = generator.product(pass, &first_half)?;
        let cross = Generated { value, bias: generator.bias, scale, row };
        let inner = match inner {
            Some(inner) => {
                let value = window(tape, &inner.value, 0, class_row)?;
                Some(Generated { value, ..*inner })
            }
            None => None,
        };
        let added: Vec<op::Prompt> = inner.iter().chain([&cross]).map(|p| p.as_prompt(params)).collect();
        let prompted = add(pass, &first_half, &added, None)?;
        let second = generator.product(pass, &prompted)?;
        Ok(join(tape, &cross.value, &second, 1)?)
    }

    /// The learned scales of the first `depth` layers: a name, and for each layer one value per channel.
    fn scales(&self, params: &Params, depth: usize) -> Result<Vec<Scales>> {
        let rows = |name, scale: Option<ParamId>, of_layer: &dyn Fn(usize) -> usize| {
            let Some(scale) = scale.map(|id| params.get(id)) else { return Ok(None) };
            let (d, values) = (scale.shape()[1], scale.values()?);
            let row = |i| values[of_layer(i) * d..(of_layer(i) + 1) * d].to_vec();
            Ok::<_, Error>(Some((name, (0..depth).map(row).collect())))
        };
        let beta = rows("beta (inner prompts, of each layer)", self.inner_scale, &|i| i)?;
        let group = |i| i / self.group_size;
        let alpha = rows("alpha (cross prompts, shared by a group)", self.cross_scale, &group)?;
        Ok([beta, alpha].into_iter().flatten().collect())
    }
}

/// The mean absolute value.
fn mean_size(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(v.abs())).sum::<f64>() / values.len().max(1) as f64
}

/// `h` with prompts added to every row but `skip`: the sum that the op forms before its norm.
fn add(pass: &Pass, h: &Var, prompts: &[op::Prompt], skip: Option<usize>) -> Result<Var> {
    // The norm's output is not used, so any vector can be its weight.
    let weight = Var::constant(prompts[0].bias.value().clone());
    let settings = op::Settings { skip, keep: None };
    let [sum, _] = prompt_add_norm(pass.tape, h, None, prompts, &weight, settings)?;
    Ok(sum)
}

impl Method for Svp {
    fn block(&self, pass: &mut Pass, layer: usize, tokens: Tokens) -> Result<(Tokens, Vec<Generated>)> {
        let prompts = match self.at_scan {
            true => vec![],
            false => self.generate(pass, layer, &tokens.h, tokens.class_row)?,
        };
        Ok((tokens, prompts))
    }

    fn scan(
        &self,
        pass: &mut Pass,
        layer: usize,
        u: [&Var; 2],
        class_row: Option<usize>,
    ) -> Result<Option<[Var; 2]>> {
        if !self.at_scan {
            return Ok(None);
        }
        let prompt = |u: &Var| -> Result<Var> {
            let generated = self.generate(pass, layer, u, class_row)?;
            let prompts: Vec<_> = generated.iter().map(|p| p.as_prompt(pass.params)).collect();
            let dtype = u.value().dtype();
            let mut zeros = Tensor::empty_typed(pass.tape.device(), dtype, u.shape());
            zeros.fill_zero();
            let sum = add(pass, &Var::constant(zeros), &prompts, class_row)?;
            Ok(pass.tape.cast(&sum, dtype)?)
        };
        Ok(Some([prompt(u[0])?, prompt(u[1])?]))
    }

    fn published(&self) -> Option<Vec<String>> {
        if self.at_scan {
            let line =
                "prompts that enter the scans are this project's own: the published program refuses the file";
            return Some(vec![line.into()]);
        }
        let mut lines = vec![];
        if !self.official {
            let line = "the published program computes --variant official: its logits differ from this run's";
            lines.push(line.into());
        }
        for (prompts, scale) in [("inner", self.inner_scale), ("cross", self.cross_scale)] {
            if scale.is_none() {
                lines.push(format!(
                    "there are no {prompts} prompts: load with strict=False, which leaves their scales at zero"
                ));
            }
        }
        Some(lines)
    }

    fn section(&self, params: &Params, spec: &Spec) -> Result<Option<Section>> {
        let scales = self.scales(params, spec.depth)?;
        let bars = Figure::Bars {
            title: "Mean size of the scales".into(),
            names: scales.iter().map(|(name, _)| name.to_string()).collect(),
            layers: (0..spec.depth)
                .map(|i| scales.iter().map(|(_, layers)| mean_size(&layers[i])).collect())
                .collect(),
        };
        let strips = scales.into_iter().map(|(name, layers)| Figure::Strip { title: name.into(), layers });
        Ok(Some(Section {
            heading: "Prompts".into(),
            text: format!(
                "{} gets beta times its own inner prompt and alpha times the cross prompt of its group; both began at \
                 zero.",
                if self.at_scan { "The input of each layer's scans" } else { "Each layer's input" }
            ),
            figures: [bars].into_iter().chain(strips).collect(),
        }))
    }
}
