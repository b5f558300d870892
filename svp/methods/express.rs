//! EXPRESS (Das et al., CVPR 2023): prompt rows that run through the backbone, learned residual tokens that are added to them
//! inside every attention, and a head that reads them.
//!
//! The tokens are added to the prompt rows after the norm before the attention, after `qkv` and after `proj`
//! (`docs/methods.md`, "EXPRESS").

use std::collections::HashMap;

use autograd::Var;
use engine::Tensor;
use ptx::add_rows::{At, Rows, add_rows};
use ptx::mean_rows::mean_rows;
use ptx::token_rows::window;

use super::entry::{Entry, Site};
use super::settings::{Kind, Setting, Settings, Value};
use super::vpt::{self, PROMPTS, PromptRows, SHALLOW_PROMPTS, add_prompts};
use crate::backbones::vit;
use crate::params::{ParamId, Params};
use crate::pass::{Method, Pass, Spec, Tokens};
use crate::report::html::Section;
use crate::{Error, Result, streams};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "express",
    title: "EXPRESS",
    about: "Prompt rows with learned residual tokens in every attention of a frozen backbone",
    trains: "prompt rows before the first block, residual tokens for them in every attention, and the head",
    source: "EXPRES, CVPR 2023",
    backbones: &[vit::NAME],
    settings: &[
        vpt::tokens(20),
        vpt::PROMPT_DROPOUT,
        Setting::new(
            "readout",
            Kind::Choice(&["mean", "class"]),
            Value::Choice("mean"),
            "What the head reads: the mean of the prompt rows, or what it reads of the backbone",
        ),
    ],
    defaults: |spec, _| vpt::defaults(spec),
    views: &[("frozen", false), ("prompted", true)],
    ..Entry::plain(build)
};

/// Name of the part of a model that holds the residual tokens.
const RESIDUAL: &str = "residual tokens";

struct Express {
    /// `[1 n d]`
    prompts: ParamId,
    rows: PromptRows,
    /// By the weight of a norm or product the residual tokens `[depth n ..]` of its output, and the layer.
    tokens: HashMap<ParamId, (ParamId, usize)>,
    /// The prompts and the residual tokens after norm, `qkv` and `proj`.
    added: Vec<ParamId>,
    reads_prompts: bool,
}

/// Adds the prompts, which begin as those of VPT, and residual tokens, zero.
fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let (spec, n) = (site.spec, settings.count("tokens"));
    let prompts = add_prompts(site, PROMPTS, SHALLOW_PROMPTS, [1, n], streams::METHOD_INIT + 1)?;
    let (mut tokens, mut added) = (HashMap::new(), vec![prompts]);
    for (name, of, width) in [
        ("express_ln", "norm1", spec.width),
        ("express_qkv", "attn.qkv", 3 * spec.width),
        ("express_proj", "attn.proj", spec.width),
    ] {
        let shape = [spec.depth, n, width];
        site.params.room(name, &shape)?;
        let zeros = Tensor::from_vec(vec![0.0; shape.iter().product()], &shape);
        let id = site.params.add(RESIDUAL, name, zeros, true);
        added.push(id);
        for layer in 0..spec.depth {
            let weight = site.params.id(&format!("blocks.{layer}.{of}.weight"));
            tokens.insert(weight.expect("a parameter of a ViT"), (id, layer));
        }
    }
    let rows = PromptRows::new(spec, n, "pre", settings.number("prompt-dropout"));
    let reads_prompts = settings.choice("readout") == "mean";
    Ok(Box::new(Express { prompts, rows, tokens, added, reads_prompts }))
}

impl Method for Express {
    fn drops(&self) -> bool {
        self.rows.drops()
    }

    fn stem(&self, pass: &mut Pass, tokens: Tokens) -> Result<Tokens> {
        self.rows.insert(pass, tokens, &pass.params[self.prompts])
    }

    fn site(&self, pass: &mut Pass, weight: ParamId, _x: &Var, y: Var) -> Result<Var> {
        let Some(&(tokens, entry)) = self.tokens.get(&weight) else { return Ok(y) };
        let rows = Rows { values: &pass.params[tokens], entry, weight: 1.0 };
        Ok(add_rows(pass.tape, y, rows, At::Same(&self.rows.rows))?)
    }

    fn ended(&self, pass: &mut Pass, tokens: Tokens) -> Result<Tokens> {
        if !self.reads_prompts {
            return Ok(tokens);
        }
        if tokens.pooled.is_some() {
            let what =
                "reads the normalised prompt rows, and a backbone that pools patches does not normalise rows";
            return Err(Error::input("--readout mean", what, "use --readout class, or --pool class"));
        }
        let rows = &self.rows.rows;
        let prompts = window(pass.tape, &tokens.h, rows[0], rows.len())?;
        let pooled = Some(mean_rows(pass.tape, &prompts, None)?);
        Ok(Tokens { pooled, ..tokens })
    }

    fn section(&self, params: &Params, _spec: &Spec) -> Result<Option<Section>> {
        let text = format!(
            "{} prompt rows before the first block (the first bar), then the residual tokens of every block after norm, qkv \
             and proj.",
            self.rows.rows.len()
        );
        vpt::lengths(params, &self.added, text)
    }
}
