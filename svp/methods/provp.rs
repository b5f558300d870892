//! Progressive visual prompts (ProVP, Xu et al. 2025): prompts of each layer that join what the prompt rows have become, instead
//! of replacing them.
//!
//! `add` adds the prompts of a layer to its prompt rows; `mix`, as published, weighs the rows by alpha and the prompts by the
//! rest (`docs/methods.md`, "ProVP").

use ptx::gate_rows::{Gate, gate_rows};

use super::entry::{Entry, Site};
use super::settings::{Kind, Setting, Settings, Value};
use super::vpt::{self, PROMPTS, PromptRows, SHALLOW_PROMPTS, add_prompts};
use crate::backbones::vit;
use crate::params::{ParamId, Params};
use crate::pass::{Generated, Method, Pass, Spec, Tokens};
use crate::report::html::Section;
use crate::{Result, streams};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "provp",
    title: "ProVP",
    about: "Prompts of every layer that join what prompt rows have become in a frozen backbone",
    trains: "prompt rows before every block, which join those that were there, and the head",
    source: "ProVP, IJCV 2025",
    backbones: &[vit::NAME],
    settings: &[
        vpt::tokens(10),
        Setting::new(
            "mode",
            Kind::Choice(&["add", "mix"]),
            Value::Choice("mix"),
            "Prompts are added to their rows, or mixed with them",
        ),
        Setting::new(
            "alpha",
            Kind::Number(0.0, 1e6),
            Value::Number(0.01),
            "What the rows weigh with --mode mix; the prompts weigh the rest",
        ),
    ],
    defaults: |spec, _| vpt::defaults(spec),
    views: &[("frozen", false), ("prompted", true)],
    ..Entry::plain(build)
};

struct ProVp {
    /// `[depth n d]`
    prompts: ParamId,
    rows: PromptRows,
    /// What the rows weigh; `None` where prompts are added.
    alpha: Option<f32>,
}

fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let (spec, n) = (site.spec, settings.count("tokens"));
    let mix = settings.choice("mode") == "mix";
    Ok(Box::new(ProVp {
        prompts: add_prompts(site, PROMPTS, SHALLOW_PROMPTS, [spec.depth, n], streams::METHOD_INIT + 1)?,
        rows: PromptRows::new(spec, n, "pre", 0.0),
        alpha: mix.then_some(settings.number("alpha") as f32),
    }))
}

impl Method for ProVp {
    fn stem(&self, pass: &mut Pass, tokens: Tokens) -> Result<Tokens> {
        self.rows.insert(pass, tokens, &pass.params[self.prompts])
    }

    fn block(&self, pass: &mut Pass, layer: usize, tokens: Tokens) -> Result<(Tokens, Vec<Generated>)> {
        if layer == 0 {
            return Ok((tokens, vec![]));
        }
        let prompts = (&pass.params[self.prompts], layer);
        let Some(alpha) = self.alpha else {
            return Ok((self.rows.add_weighed(pass, tokens, prompts, 1.0)?, vec![]));
        };
        let weigh = |x| gate_rows(pass.tape, x, None, Gate::Constant(alpha), &self.rows.rows);
        let (h, residual) = (weigh(tokens.h)?, tokens.residual.map(weigh).transpose()?);
        let tokens = Tokens { h, residual, ..tokens };
        Ok((self.rows.add_weighed(pass, tokens, prompts, 1.0 - alpha)?, vec![]))
    }

    fn section(&self, params: &Params, _spec: &Spec) -> Result<Option<Section>> {
        let text = format!("{} prompt rows before every block.", self.rows.rows.len());
        vpt::lengths(params, &[self.prompts], text)
    }
}
