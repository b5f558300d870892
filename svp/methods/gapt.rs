//! Gated prompt tuning (GaPT, Yoo et al., ICML 2023): shallow prompts, a gate for each block between what it makes of the prompt
//! rows and what they were before it, and a temperature for each attention.
//!
//! It is made for self-supervised ViTs, whose useful features are not those of the last blocks: with a gate near 0 a block leaves
//! the prompts as they are (`docs/methods.md`, "GaPT").

use autograd::Var;
use engine::Tensor;
use ptx::gate_rows::{Gate, gate_rows};

use super::entry::{Defaults, Entry, Site};
use super::settings::{Kind, Setting, Settings, Value};
use super::vpt::{self, PROMPTS, PromptRows, SHALLOW_PROMPTS, add_prompts};
use crate::backbones::vit;
use crate::params::{ParamId, Params};
use crate::pass::{Attending, Branch, Generated, Method, Pass, Spec, Tokens};
use crate::report::html::{Figure, Section};
use crate::{Error, Result, streams};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "gapt",
    title: "GaPT",
    about: "Prompt rows that gates let past the blocks of a frozen backbone, and temperatures of its attention",
    trains: "prompt rows before the first block, a gate and a temperature for every block, and the head",
    source: "GaPT, ICML 2023",
    backbones: &[vit::NAME],
    settings: &[
        vpt::tokens(100),
        vpt::prompt_dropout(0.1),
        Setting::new(
            "gate-init",
            Kind::Number(-50.0, 50.0),
            Value::Number(5.0),
            "The logits of the gates begin at minus this",
        ),
        Setting::new("temp-min", Kind::Number(1e-3, 1e3), Value::Number(0.01), "Least temperature"),
        Setting::new("temp-max", Kind::Number(1e-3, 1e3), Value::Number(10.0), "Largest temperature"),
    ],
    defaults: |spec, _| Defaults { weight_decay: 0.0, ..vpt::defaults(spec) },
    views: &[("frozen", false), ("prompted", true)],
    ..Entry::plain(build)
};

struct GaPt {
    /// `[1 n d]`
    prompts: ParamId,
    rows: PromptRows,
    /// Logits of the gates behind all blocks but the last, `[depth-1]`; none where there is a single block.
    gates: Option<ParamId>,
    /// `[depth]`
    temperatures: ParamId,
}

fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let (spec, n) = (site.spec, settings.count("tokens"));
    let bounds = ["temp-min", "temp-max"].map(|name| settings.number(name) as f32);
    if bounds[0] > bounds[1] {
        let what = format!("{} is above --temp-max {}", bounds[0], bounds[1]);
        return Err(Error::input("--temp-min", what, "use a smaller one"));
    }
    let prompts = add_prompts(site, PROMPTS, SHALLOW_PROMPTS, [1, n], streams::METHOD_INIT + 1)?;
    let mut scalars = |part, name: &str, count: usize, value: f32| {
        site.params.add(part, name, Tensor::from_vec(vec![value; count], &[count]), true)
    };
    let logit = -settings.number("gate-init") as f32;
    let gates = (spec.depth > 1).then(|| scalars("gates", "gate_logit", spec.depth - 1, logit));
    let temperatures = scalars("temperatures", "temp", spec.depth, 1f32.clamp(bounds[0], bounds[1]));
    site.params.bound(temperatures, bounds);
    let rows = PromptRows::new(spec, n, "pre", settings.number("prompt-dropout"));
    Ok(Box::new(GaPt { prompts, rows, gates, temperatures }))
}

impl Method for GaPt {
    fn drops(&self) -> bool {
        self.rows.drops()
    }

    fn stem(&self, pass: &mut Pass, tokens: Tokens) -> Result<Tokens> {
        self.rows.insert(pass, tokens, &pass.params[self.prompts])
    }

    fn attention(&self, pass: &mut Pass, layer: usize) -> Result<Attending> {
        let temperature = Some((pass.params[self.temperatures].clone(), layer));
        Ok(Attending { temperature, ..Attending::default() })
    }

    /// Keeps the stream with which a block begins, for the gate behind it.
    fn branch(&self, pass: &mut Pass, (_, branch): (usize, Branch), stream: &Var, h: Var) -> Result<Var> {
        if branch == Branch::Attention && self.gates.is_some() {
            pass.kept = vec![stream.clone()];
        }
        Ok(h)
    }

    fn block(&self, pass: &mut Pass, layer: usize, tokens: Tokens) -> Result<(Tokens, Vec<Generated>)> {
        let (Some(gates), Some(before)) = (self.gates, pass.kept.pop()) else { return Ok((tokens, vec![])) };
        let gate = Gate::Logit(&pass.params[gates], layer - 1);
        let gated = |x, z| gate_rows(pass.tape, x, z, gate, &self.rows.rows);
        let stream = tokens.residual.map(|stream| gated(stream, Some(&before))).transpose()?;
        Ok((Tokens { h: gated(tokens.h, None)?, residual: stream, ..tokens }, vec![]))
    }

    fn section(&self, params: &Params, _spec: &Spec) -> Result<Option<Section>> {
        let each = |id: ParamId, of: fn(f32) -> f64| -> Result<Vec<Vec<f64>>> {
            Ok(params.get(id).values()?.iter().map(|&value| vec![of(value)]).collect())
        };
        let bars =
            |title: &str, layers| Figure::Bars { title: title.into(), names: vec![title.into()], layers };
        let mut figures = vec![];
        if let Some(gates) = self.gates {
            let open = each(gates, |logit| 1.0 / (1.0 + f64::from(-logit).exp()))?;
            figures.push(bars("Gates", open));
        }
        figures.push(bars("Temperatures", each(self.temperatures, f64::from)?));
        let text = format!(
            "{} prompt rows. A gate of 1 takes what a block makes of them, one of 0 what they were before it.",
            self.rows.rows.len()
        );
        Ok(Some(Section { heading: "Gates and temperatures".into(), text, figures }))
    }
}
