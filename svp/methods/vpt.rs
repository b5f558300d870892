//! Visual prompt tuning (VPT, Jia et al., ECCV 2022): learned rows among the tokens.
//!
//! In shallow form, `n` rows enter before the first block. In deep form, every later block also has rows of its own,
//! which take their place. `position` says where they stand (SVP, AAAI 2025, table 3): the row before which a prompt
//! goes is counted among the stem's tokens, class token included. Prompts get no position embedding.
//!
//! A Vim block has two inputs, h and the residual stream r. `replace` puts the prompts into h and zeros into r, so that
//! nothing of the old rows is left. `add` replaces only h and leaves r, so that the prompts are added to what the rows
//! have become (`docs/methods.md`, "VPT").

use engine::{Rng, Tensor};
use ptx::prompt_rows::{Dropout, Prompts, insert, replace};

use super::entry::{Defaults, Entry, Site};
use super::settings::{Kind, Setting, Settings, Value};
use crate::backbones::{vim, vit};
use crate::params::{ParamId, Params};
use crate::pass::{Generated, Method, Pass, Spec, Tokens};
use crate::report::html::{Figure, Section};
use crate::{Result, streams};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "vpt",
    title: "VPT",
    about: "Prompt rows among the tokens of a frozen backbone",
    trains: "prompt rows before the first block or before every block, and the head",
    source: "VPT, ECCV 2022",
    backbones: &[vim::NAME, vit::NAME],
    settings: &[tokens(10), DEEP, POSITION, INJECT, PROMPT_DROPOUT],
    defaults: |spec, _| Defaults::adamw(5e-3, 1e-4).narrow(spec, 0.12),
    head: |_| None,
    keeps_features: false,
    whole_backbone: false,
    views: &[("frozen", false), ("prompted", true)],
    survey: None,
    build,
};

/// The settings of methods whose prompts are rows; the number of rows has a default of its own.
pub(super) const fn tokens(default: usize) -> Setting {
    let help = "Prompt rows of a block";
    Setting {
        published: Some("n"),
        ..Setting::new("tokens", Kind::Count(1, 10_000), Value::Count(default), help)
    }
}
pub(super) const DEEP: Setting = Setting::new(
    "deep",
    Kind::Flag,
    Value::Flag(true),
    "Other prompts before every block, not only the first",
);
pub(super) const POSITION: Setting = Setting::new(
    "position",
    Kind::Choice(&["pre", "post", "both", "uniform", "middle"]),
    Value::Choice("pre"),
    "Where the prompts stand: pre, post, both (ends), uniform, or middle (around the class token)",
);
pub(super) const INJECT: Setting = Setting::new(
    "inject",
    Kind::Choice(&["replace", "add"]),
    Value::Choice("replace"),
    "Deep prompts replace what their rows have become, or are added to it",
);
pub(super) const PROMPT_DROPOUT: Setting = Setting::new(
    "prompt-dropout",
    Kind::Number(0.0, 0.99),
    Value::Number(0.0),
    "Share of the prompts' values that a training step leaves out",
);

/// Names of the prompts' parameters: `[1 n d]` of the first block, and `[depth-1 n d]` of the later ones.
pub(super) const SHALLOW_PROMPTS: &str = "prompt_embeddings";
pub(super) const DEEP_PROMPTS: &str = "deep_prompt_embeddings";

/// Name of the part of a model that the method adds.
const PROMPTS: &str = "prompts";

/// The places of the prompts' parameters, and their rows.
struct Vpt {
    /// The tensor whose first entry is the prompts of the first block.
    shallow: ParamId,
    /// The tensor of the prompts of the later blocks, and the entry that is those of block 1.
    deep: Option<(ParamId, usize)>,
    /// Rows of the prompts in the sequence, in rising order.
    rows: Vec<usize>,
    /// Number of prompts before the class token.
    before_class: usize,
    replaces: bool,
    dropout: f32,
}

/// Adds the prompts, uniform within `sqrt(6 / (3 patch^2 + d))`, as published.
pub(super) fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let (spec, n) = (site.spec, settings.count("tokens"));
    let mut stream = streams::METHOD_INIT;
    let mut add = |name: &str, layers: usize| {
        site.params.room(name, &[layers, n, spec.width])?;
        stream += 1;
        let mut rng = Rng::keyed(site.seed, 0, 0, stream);
        let bound = bound(spec);
        let values = (0..layers * n * spec.width).map(|_| rng.range(-bound, bound) as f32).collect();
        let value = Tensor::from_vec(values, &[layers, n, spec.width]);
        Ok::<_, crate::Error>(site.params.add(PROMPTS, name, value, true))
    };
    let shallow = add(SHALLOW_PROMPTS, 1)?;
    let deep = settings.flag("deep") && spec.depth > 1;
    let deep = deep.then(|| add(DEEP_PROMPTS, spec.depth - 1)).transpose()?;
    Ok(placed(settings, spec, shallow, deep.map(|deep| (deep, 0))))
}

/// Adds all prompts as one tensor `name [layers n d]`, with the same initial values.
pub(super) fn build_together(
    settings: &Settings,
    site: &mut Site,
    name: &str,
    layers: usize,
) -> Result<Box<dyn Method>> {
    let (spec, n) = (site.spec, settings.count("tokens"));
    site.params.room(name, &[layers, n, spec.width])?;
    let mut rng = Rng::keyed(site.seed, 0, 0, streams::METHOD_INIT + 1);
    let values = (0..layers * n * spec.width).map(|_| rng.range(-bound(spec), bound(spec)) as f32).collect();
    let prompts = site.params.add(PROMPTS, name, Tensor::from_vec(values, &[layers, n, spec.width]), true);
    Ok(placed(settings, spec, prompts, (layers > 1).then_some((prompts, 1))))
}

/// The method with prompts at the rows that its settings say.
fn placed(
    settings: &Settings,
    spec: &Spec,
    shallow: ParamId,
    deep: Option<(ParamId, usize)>,
) -> Box<dyn Method> {
    let n = settings.count("tokens");
    let before = insert_before(settings.choice("position"), n, spec);
    Box::new(Vpt {
        shallow,
        deep,
        rows: before.iter().enumerate().map(|(j, row)| row + j).collect(),
        before_class: before.iter().filter(|&&row| spec.class_row.is_some_and(|class| row <= class)).count(),
        replaces: settings.choice("inject") == "replace",
        dropout: settings.number("prompt-dropout") as f32,
    })
}

/// The largest value with which prompts begin, uniform on both sides of zero, as published.
pub(super) fn bound(spec: &Spec) -> f64 {
    (6.0 / (3 * spec.patch_size * spec.patch_size + spec.width) as f64).sqrt()
}

/// The stem's row before which each prompt goes; the number of rows stands for the end. Where the class token is the first
/// row, as in a ViT, it stays that: what stands before the patches stands after it, as published.
fn insert_before(position: &str, n: usize, spec: &Spec) -> Vec<usize> {
    let (l, half) = (spec.tokens(), n / 2);
    let first = usize::from(spec.class_row == Some(0));
    let split = |first: usize, last: usize| [vec![first; half], vec![last; n - half]].concat();
    match position {
        "pre" => vec![first; n],
        "post" => vec![l; n],
        "both" => split(first, l),
        // Prompt j of 1 to n goes to l j / (n + 1), with halves rounded up.
        "uniform" => (1..=n).map(|j| (2 * l * j + n + 1) / (2 * (n + 1))).collect(),
        "middle" => match spec.class_row {
            Some(class) => split(class, class + 1),
            None => split(l / 2, l / 2),
        },
        other => unreachable!("no position {other} is declared"),
    }
}

impl Vpt {
    /// Entry `entry` of a tensor of prompts, with the dropout that training applies before block `layer`.
    fn prompts<'a>(&self, pass: &'a Pass, of: ParamId, entry: usize, layer: usize) -> Prompts<'a> {
        let dropout = |keys| Dropout { keys, rate: self.dropout, stream: layer as u32 };
        let dropout = pass.noise.dropout.filter(|_| self.dropout > 0.0).map(dropout);
        Prompts { values: &pass.params[of], entry, dropout }
    }
}

impl Method for Vpt {
    fn drops(&self) -> bool {
        self.dropout > 0.0
    }

    fn section(&self, params: &Params, _spec: &Spec) -> Result<Option<Section>> {
        let mut layers = vec![];
        let deep = self.deep.map(|(deep, _)| deep).filter(|&deep| deep != self.shallow);
        for id in [Some(self.shallow), deep].into_iter().flatten() {
            let (shape, values) = (params.get(id).shape().to_vec(), params.get(id).values()?);
            for prompts in values.chunks_exact(shape[1] * shape[2]) {
                let norm = |row: &[f32]| row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
                layers.push(vec![prompts.chunks_exact(shape[2]).map(norm).sum::<f64>() / shape[1] as f64]);
            }
        }
        let (title, names) = ("Mean length of the prompts".to_string(), vec!["prompts".to_string()]);
        Ok(Some(Section {
            heading: "Prompts".into(),
            text: format!(
                "{} prompt rows before {}.",
                self.rows.len(),
                if self.deep.is_some() { "every block" } else { "the first block" }
            ),
            figures: vec![Figure::Bars { title, names, layers }],
        }))
    }

    fn stem(&self, pass: &mut Pass, tokens: Tokens) -> Result<Tokens> {
        let h = insert(pass.tape, &tokens.h, &self.prompts(pass, self.shallow, 0, 0), &self.rows)?;
        let class_row = tokens.class_row.map(|row| row + self.before_class);
        Ok(Tokens { h, class_row, prompt_rows: self.rows.clone(), ..tokens })
    }

    fn block(&self, pass: &mut Pass, layer: usize, tokens: Tokens) -> Result<(Tokens, Vec<Generated>)> {
        let Some((deep, first)) = self.deep.filter(|_| layer > 0) else { return Ok((tokens, vec![])) };
        let prompts = self.prompts(pass, deep, first + layer - 1, layer);
        let h = replace(pass.tape, &tokens.h, Some(&prompts), &self.rows)?;
        let residual = match &tokens.residual {
            Some(r) if self.replaces => Some(replace(pass.tape, r, None, &self.rows)?),
            kept => kept.clone(),
        };
        Ok((Tokens { h, residual, ..tokens }, vec![]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backbones::vim::VimConfig;
    use crate::backbones::vit::VitConfig;

    /// Checks the rules for odd n and for ties of `uniform` (`docs/methods.md`, "VPT") on 16 patches around row 8.
    #[test]
    fn prompts_stand_where_their_position_says() {
        let spec = VimConfig::sized(32, 8, 32, 3).spec();
        let at = |position, n| insert_before(position, n, &spec);
        assert_eq!(at("pre", 3), [0, 0, 0]);
        assert_eq!(at("post", 2), [17, 17]);
        assert_eq!(at("both", 5), [0, 0, 17, 17, 17]);
        assert_eq!(at("middle", 5), [8, 8, 9, 9, 9]);
        assert_eq!(at("uniform", 1), [9], "17 / 2 is a tie: half up, after the class token");
        assert_eq!(at("uniform", 4), [3, 7, 10, 14]);
        let vit = VitConfig::sized(32, 8, 64, 3).spec();
        assert_eq!(insert_before("pre", 2, &vit), [1, 1], "after the class token, before the patches");
        assert_eq!(insert_before("both", 3, &vit), [1, 17, 17]);
    }
}
