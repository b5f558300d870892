//! Visual prompt tuning (VPT, Jia et al., ECCV 2022): learned rows among the tokens.
//!
//! In shallow form, `n` rows enter before the first block. In deep form, every later block also has rows of its own,
//! which take their place. `position` says where they stand (SVP, AAAI 2025, table 3): the row before which a prompt
//! goes is counted among the stem's tokens, class token included. Prompts get no position embedding.
//!
//! What enters a block is the pair of h and the residual stream r. On a Vim `replace` puts the prompts into h and zeros into
//! r, so that nothing of the old rows is left, and `add` replaces only h and leaves r, so that the prompts are added to what the
//! rows have become. On a ViT, whose h is multiplied by drop path, the prompts go into r instead (`docs/methods.md`, "VPT").

use autograd::Var;
use engine::{Rng, Tensor};
use ptx::add_rows::{self, At, add_rows};
use ptx::prompt_rows::{self, Dropout, Prompts};

use super::entry::{Defaults, Entry, Site};
use super::settings::{Kind, Setting, Settings, Value};
use crate::backbones::{vim, vit};
use crate::params::{ParamId, Params};
use crate::pass::{Generated, Method, Pass, Spec, Tokens};
use crate::report::html::{Figure, Section};
use crate::{Error, Result, streams};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "vpt",
    title: "VPT",
    about: "Prompt rows among the tokens of a frozen backbone",
    trains: "prompt rows before the first block or before every block, and the head",
    source: "VPT, ECCV 2022",
    backbones: &[vim::NAME, vit::NAME],
    settings: &[tokens(10), DEEP, POSITION, INJECT, PROMPT_DROPOUT],
    defaults: |spec, _| defaults(spec),
    views: &[("frozen", false), ("prompted", true)],
    ..Entry::plain(build)
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
pub(super) const PROMPT_DROPOUT: Setting = prompt_dropout(0.0);
pub(super) const fn prompt_dropout(default: f64) -> Setting {
    let help = "Share of the prompts' values that a training step leaves out";
    Setting::new("prompt-dropout", Kind::Number(0.0, 0.99), Value::Number(default), help)
}

/// Rates of methods whose prompts are rows: those of a ViT were tried on ViT-Ti.
pub(super) fn defaults(spec: &Spec) -> Defaults {
    match spec.family {
        // 3e-3 at 64 images a step (`docs/methods.md`, "VPT").
        vit::NAME => Defaults::adamw(2.4e-2, 1e-4),
        _ => Defaults::adamw(5e-3, 1e-4).narrow(spec, 0.12),
    }
}

/// Names of the prompts' parameters: `[1 n d]` of the first block, and `[depth-1 n d]` of the later ones.
pub(super) const SHALLOW_PROMPTS: &str = "prompt_embeddings";
pub(super) const DEEP_PROMPTS: &str = "deep_prompt_embeddings";

/// Name of the part of a model that the method adds.
pub(super) const PROMPTS: &str = "prompts";

/// Adds prompts `[layers n d]`, drawn from stream `stream`.
pub(super) fn add_prompts(
    site: &mut Site,
    part: &'static str,
    name: &str,
    [layers, n]: [usize; 2],
    stream: u32,
) -> Result<ParamId> {
    let spec = site.spec;
    site.params.room(name, &[layers, n, spec.width])?;
    let mut rng = Rng::keyed(site.seed, 0, 0, stream);
    let bound = bound(spec);
    let values = (0..layers * n * spec.width).map(|_| rng.range(-bound, bound) as f32).collect();
    Ok(site.params.add(part, name, Tensor::from_vec(values, &[layers, n, spec.width]), true))
}

/// The largest value with which prompts begin, uniform on both sides of zero, as published.
fn bound(spec: &Spec) -> f64 {
    (6.0 / (3 * spec.patch_size * spec.patch_size + spec.width) as f64).sqrt()
}

/// Rows of prompts in a sequence: where they stand, and how prompts come into them.
pub(super) struct PromptRows {
    /// In rising order.
    pub rows: Vec<usize>,
    /// Number of prompts before the class token.
    before_class: usize,
    /// Rows of the sequence that are neither prompts nor the class token.
    pub patches: Vec<usize>,
    /// Whether prompts go into the residual stream, because drop path would multiply them in h.
    in_stream: bool,
    dropout: f32,
}

impl PromptRows {
    /// `n` rows at a position.
    pub fn new(spec: &Spec, n: usize, position: &str, dropout: f64) -> Self {
        let before = insert_before(position, n, spec);
        let rows: Vec<usize> = before.iter().enumerate().map(|(j, row)| row + j).collect();
        let before_class = match spec.class_row {
            Some(class) => before.iter().filter(|&&row| row <= class).count(),
            None => 0,
        };
        let class = spec.class_row.map(|row| row + before_class);
        let is_patch = |row: &usize| rows.binary_search(row).is_err() && Some(*row) != class;
        PromptRows {
            patches: (0..spec.tokens() + n).filter(is_patch).collect(),
            rows,
            before_class,
            in_stream: spec.family == vit::NAME,
            dropout: dropout as f32,
        }
    }

    /// Whether training needs keys of prompt dropout.
    pub fn drops(&self) -> bool {
        self.dropout > 0.0
    }

    /// Entry `entry` of prompts `[k n d]`, with the dropout that training applies before block `layer`.
    fn prompts<'a>(&self, pass: &'a Pass, values: &'a Var, entry: usize, layer: usize) -> Prompts<'a> {
        let dropout = |keys| Dropout { keys, rate: self.dropout, stream: layer as u32 };
        let dropout = pass.noise.dropout.filter(|_| self.drops()).map(dropout);
        Prompts { values, entry, dropout }
    }

    /// The stem's tokens with the first of prompts `[k n d]` among them.
    pub fn insert(&self, pass: &Pass, tokens: Tokens, values: &Var) -> Result<Tokens> {
        let prompts = self.prompts(pass, values, 0, 0);
        let h = prompt_rows::insert(pass.tape, &tokens.h, &prompts, &self.rows)?;
        let class_row = tokens.class_row.map(|row| row + self.before_class);
        Ok(Tokens { h, class_row, prompt_rows: self.rows.clone(), ..tokens })
    }

    /// The tokens before block `layer` with an entry of prompts `[k n d]` in place of what the rows have become.
    pub fn replace(
        &self,
        pass: &Pass,
        layer: usize,
        tokens: Tokens,
        (values, entry): (&Var, usize),
    ) -> Result<Tokens> {
        let prompts = self.prompts(pass, values, entry, layer);
        let put = |x: &Var, prompts| prompt_rows::replace(pass.tape, x, prompts, &self.rows);
        let Some(residual) = &tokens.residual else {
            return Ok(Tokens { h: put(&tokens.h, Some(&prompts))?, ..tokens });
        };
        let [in_h, in_stream] = if self.in_stream { [None, Some(&prompts)] } else { [Some(&prompts), None] };
        let (h, residual) = (put(&tokens.h, in_h)?, Some(put(residual, in_stream)?));
        Ok(Tokens { h, residual, ..tokens })
    }

    /// The tokens before block `layer` with an entry of prompts `[k n d]` added to what the rows have become: in a Vim to the
    /// residual stream alone, since they take the place of h.
    fn add(
        &self,
        pass: &Pass,
        layer: usize,
        tokens: Tokens,
        (values, entry): (&Var, usize),
    ) -> Result<Tokens> {
        if self.in_stream {
            return self.add_weighed(pass, tokens, (values, entry), 1.0);
        }
        let prompts = self.prompts(pass, values, entry, layer);
        let h = prompt_rows::replace(pass.tape, &tokens.h, Some(&prompts), &self.rows)?;
        Ok(Tokens { h, ..tokens })
    }

    /// The tokens with an entry of prompts `[k n d]`, times `weight`, added to the rows of the residual stream, or of h before
    /// the first block.
    pub fn add_weighed(
        &self,
        pass: &Pass,
        tokens: Tokens,
        (values, entry): (&Var, usize),
        weight: f32,
    ) -> Result<Tokens> {
        let prompts = add_rows::Rows { values, entry, weight };
        let added = |x| add_rows(pass.tape, x, prompts, At::Same(&self.rows));
        Ok(match tokens.residual {
            Some(residual) => Tokens { residual: Some(added(residual)?), ..tokens },
            None => Tokens { h: added(tokens.h)?, ..tokens },
        })
    }
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

/// The section of a page with the mean length of the prompts `[layers n d]` of some parameters, layer by layer.
pub(super) fn lengths(params: &Params, prompts: &[ParamId], text: String) -> Result<Option<Section>> {
    let mut layers = vec![];
    for &id in prompts {
        let (shape, values) = (params.get(id).shape().to_vec(), params.get(id).values()?);
        for prompts in values.chunks_exact(shape[1] * shape[2]) {
            let norm = |row: &[f32]| row.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
            layers.push(vec![prompts.chunks_exact(shape[2]).map(norm).sum::<f64>() / shape[1] as f64]);
        }
    }
    let (title, names) = ("Mean length of the prompts".to_string(), vec!["prompts".to_string()]);
    Ok(Some(Section {
        heading: "Prompts".into(),
        text,
        figures: vec![Figure::Bars { title, names, layers }],
    }))
}

/// The places of the prompts' parameters, and their rows.
struct Vpt {
    /// The tensor whose first entry is the prompts of the first block.
    shallow: ParamId,
    /// The tensor of the prompts of the later blocks, and the entry that is those of block 1.
    deep: Option<(ParamId, usize)>,
    rows: PromptRows,
    replaces: bool,
}

pub(super) fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let n = settings.count("tokens");
    let first = streams::METHOD_INIT + 1;
    let shallow = add_prompts(site, PROMPTS, SHALLOW_PROMPTS, [1, n], first)?;
    let later = if settings.flag("deep") { site.spec.depth - 1 } else { 0 };
    let deep = (later > 0).then(|| add_prompts(site, PROMPTS, DEEP_PROMPTS, [later, n], first + 1));
    placed(settings, site.spec, shallow, deep.transpose()?.map(|deep| (deep, 0)))
}

/// Adds all prompts as one tensor `name [layers n d]`.
pub(super) fn build_together(
    settings: &Settings,
    site: &mut Site,
    name: &str,
    layers: usize,
) -> Result<Box<dyn Method>> {
    let sizes = [layers, settings.count("tokens")];
    let prompts = add_prompts(site, PROMPTS, name, sizes, streams::METHOD_INIT + 1)?;
    placed(settings, site.spec, prompts, (layers > 1).then_some((prompts, 1)))
}

/// The method with prompts at the rows that its settings say.
fn placed(
    settings: &Settings,
    spec: &Spec,
    shallow: ParamId,
    deep: Option<(ParamId, usize)>,
) -> Result<Box<dyn Method>> {
    let n = settings.count("tokens");
    let rows = PromptRows::new(spec, n, settings.choice("position"), settings.number("prompt-dropout"));
    let replaces = settings.choice("inject") == "replace";
    if deep.is_some() && !replaces && rows.in_stream && rows.drops() {
        let what = "prompts that are added to rows of a ViT are not dropped out";
        return Err(Error::input("--prompt-dropout", what, "use --inject replace, or --prompt-dropout 0"));
    }
    Ok(Box::new(Vpt { shallow, deep, rows, replaces }))
}

impl Method for Vpt {
    fn drops(&self) -> bool {
        self.rows.drops()
    }

    fn section(&self, params: &Params, _spec: &Spec) -> Result<Option<Section>> {
        let before = if self.deep.is_some() { "every block" } else { "the first block" };
        let deep = self.deep.map(|(deep, _)| deep).filter(|&deep| deep != self.shallow);
        let prompts: Vec<ParamId> = [Some(self.shallow), deep].into_iter().flatten().collect();
        lengths(params, &prompts, format!("{} prompt rows before {before}.", self.rows.rows.len()))
    }

    fn stem(&self, pass: &mut Pass, tokens: Tokens) -> Result<Tokens> {
        self.rows.insert(pass, tokens, &pass.params[self.shallow])
    }

    fn block(&self, pass: &mut Pass, layer: usize, tokens: Tokens) -> Result<(Tokens, Vec<Generated>)> {
        let Some((deep, first)) = self.deep.filter(|_| layer > 0) else { return Ok((tokens, vec![])) };
        let deep = (&pass.params[deep], first + layer - 1);
        let tokens = match self.replaces {
            true => self.rows.replace(pass, layer, tokens, deep)?,
            false => self.rows.add(pass, layer, tokens, deep)?,
        };
        Ok((tokens, vec![]))
    }
}

#[cfg(test)]
mod tests {
    use autograd::Tape;
    use engine::Device;

    use super::*;
    use crate::backbones::vim::VimConfig;
    use crate::backbones::vit::{Vit, VitConfig};
    use crate::methods::Chosen;
    use crate::model::{Model, Parts};
    use crate::pass::Noise;

    /// Where drop path drops all that branches compute, the prompt rows behind the last block must be its prompts, which the
    /// last norm then normalises: they belong to the stream, not to what is dropped.
    #[test]
    fn drop_path_leaves_the_prompts_of_a_vit() {
        for (settings, summed) in [("", false), ("inject add", true), ("deep false", true)] {
            let words: Vec<&str> = settings.split(' ').filter(|word| !word.is_empty()).collect();
            let mut chosen = Chosen::named("vpt").unwrap().with_flag("tokens", "3").unwrap();
            for pair in words.chunks(2) {
                chosen = chosen.with_flag(pair[0], pair[1]).unwrap();
            }
            let (depth, d, n) = (3, 16, 3);
            let config = VitConfig { heads: 2, ..VitConfig::sized(16, 4, d, depth) };
            let mut params = Params::default();
            let vit = Vit::init(config, &mut params, 5).unwrap();
            let model = Model::new(&Device::cpu(), Box::new(vit), params, Parts::new(chosen, 3), 5).unwrap();
            let zeros = Tensor::from_vec(vec![0.0; depth * 2 * 2], &[depth * 2, 2]);
            let noise = Noise { drop_path: Some(&zeros), ..Noise::default() };
            let tape = Tape::inference(&Device::cpu());
            let images = Tensor::from_vec(vec![0.5; 2 * 3 * 16 * 16], &[2, 3, 16, 16]);
            let forward = model.forward(&tape, images, noise).unwrap();
            let of = |name: &str| {
                model.params.id(name).map_or(vec![], |id| model.params.get(id).to_host().unwrap())
            };
            let all = [of(SHALLOW_PROMPTS), of(DEEP_PROMPTS)].concat();
            let layers: Vec<&[f32]> = all.chunks_exact(n * d).collect();
            let row = |at: usize| -> Vec<f32> {
                let taken = if summed { &layers[..] } else { &layers[layers.len() - 1..] };
                (0..d).map(|c| taken.iter().map(|layer| layer[at * d + c]).sum()).collect()
            };
            let hidden = forward.tokens.h.value().to_host().unwrap();
            for at in 0..n {
                let row = row(at);
                let mean = row.iter().sum::<f32>() / d as f32;
                let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / d as f32;
                for image in 0..2 {
                    let got = &hidden[(image * (17 + n) + 1 + at) * d..][..d];
                    for (got, value) in got.iter().zip(&row) {
                        let want = (value - mean) / (variance + config.eps).sqrt();
                        assert!((got - want).abs() < 1e-4, "{settings}: row {at}: {got} is not {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn added_prompts_of_a_vit_are_not_dropped_out() {
        let mut chosen = Chosen::named("vpt").unwrap().with_flag("inject", "add").unwrap();
        chosen = chosen.with_flag("prompt-dropout", "0.1").unwrap();
        let (mut params, spec, device) =
            (Params::default(), VitConfig::sized(32, 8, 64, 3).spec(), Device::cpu());
        let mut site = Site { device: &device, spec: &spec, params: &mut params, seed: 1 };
        let refused = chosen.build(&mut site).err().expect("a refusal").to_string();
        assert!(refused.contains("--prompt-dropout") && refused.contains("--inject replace"), "{refused}");
    }

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
