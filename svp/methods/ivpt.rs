//! iVPT (arXiv 2404.05207): deep prompts of which each layer's build on those of the layer before, and prompts that are added to
//! the patches that the class token attends to most.
//!
//! Cross-layer dynamic connection: the prompts of layer l are `P^l + P^(l-1)`; dynamic aggregation mixes the rows of `P^(l-1)` by
//! a trained matrix first. Attentive reinforcement: of a layer's attention the k patches with the largest weight for the class
//! token get `P_re^l` added, the largest the first row. Their choice has no gradient (`docs/methods.md`, "iVPT").

use engine::Tensor;
use ptx::add_rows::{At, Rows, add_rows};
use ptx::prompt_chain::{Reach, prompt_chain};
use ptx::salient::salient;

use super::entry::{Entry, Site};
use super::settings::{AUTO, Kind, Setting, Settings, Value};
use super::vpt::{self, PROMPTS, PromptRows, add_prompts};
use crate::backbones::{vim, vit};
use crate::params::{ParamId, Params};
use crate::pass::{Attending, ChosenRows, Generated, Method, Pass, Seen, Spec, Tokens};
use crate::report::html::Section;
use crate::{Error, Result, streams};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "ivpt",
    title: "iVPT",
    about: "Prompt rows that build on those of the layer before, and on salient patches, in a frozen backbone",
    trains: "prompt rows before every block, matrices that mix those of the block before, prompts of salient patches, and the \
             head",
    source: "iVPT, arXiv 2024",
    backbones: &[vim::NAME, vit::NAME],
    default_on: &[vit::NAME],
    settings: &[
        vpt::tokens(10),
        vpt::POSITION,
        vpt::PROMPT_DROPOUT,
        Setting::new(
            "cdc",
            Kind::Choice(&[NONE, PREVIOUS, ALL]),
            Value::Choice(PREVIOUS),
            "Prompts that those of a layer are added to: none, previous (of the layer before) or all (before it)",
        ),
        Setting {
            published: Some("da"),
            ..Setting::new(
                "aggregate",
                Kind::Flag,
                Value::Flag(true),
                "Mix the rows of the previous layer's prompts by a trained matrix",
            )
        },
        Setting::new(
            "gamma-init",
            Kind::Choice(&["identity", "zeros"]),
            Value::Choice("identity"),
            "What that matrix begins as",
        ),
        Setting {
            published: Some("ar"),
            ..Setting::new(
                "reinforce",
                Kind::Auto(&Kind::Choice(&[NONE, ALL, TOPK])),
                Value::Choice(AUTO),
                "Patches that prompts are added to: none, all, or topk (those that the class token attends to most); auto is \
                 topk where the backbone has attention",
            )
        },
        Setting {
            published: Some("k"),
            ..Setting::new(
                "salient",
                Kind::Count(0, 10_000),
                Value::Count(10),
                "Number of these patches with topk",
            )
        },
        Setting::new(
            "reinforce-init",
            Kind::Choice(&["zeros", "uniform"]),
            Value::Choice("zeros"),
            "What the prompts of patches begin as; uniform is as those of rows",
        ),
    ],
    defaults: |spec, _| vpt::defaults(spec),
    views: &[("frozen", false), ("prompted", true)],
    ..Entry::plain(build)
};

const NONE: &str = "none";
const PREVIOUS: &str = "previous";
const ALL: &str = "all";
const TOPK: &str = "topk";

struct Ivpt {
    /// `[1 n d]`
    shallow: ParamId,
    /// `[depth-1 n d]`; none where there is a single block.
    deep: Option<ParamId>,
    /// `none`, `previous` or `all`.
    cdc: &'static str,
    /// `[depth-1 n n]`
    gamma: Option<ParamId>,
    reinforcing: Option<Reinforcing>,
    rows: PromptRows,
    depth: usize,
}

/// Prompts of patches.
struct Reinforcing {
    /// `[depth-1 k d]`
    prompts: ParamId,
    /// How many patches are chosen; `None` for all of them.
    salient: Option<usize>,
}

fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let (spec, n, cdc) = (site.spec, settings.count("tokens"), settings.choice("cdc"));
    let aggregate = settings.flag("aggregate");
    if aggregate && cdc != PREVIOUS {
        let what = format!("mixes the prompts of the previous layer, and --cdc is {cdc}");
        return Err(Error::input("--aggregate", what, "use --aggregate false, or --cdc previous"));
    }
    let reinforced = reinforced(settings, spec)?;
    let rows = PromptRows::new(spec, n, settings.choice("position"), settings.number("prompt-dropout"));
    let first = streams::METHOD_INIT + 1;
    let shallow = add_prompts(site, PROMPTS, vpt::SHALLOW_PROMPTS, [1, n], first)?;
    let later = spec.depth - 1;
    let (mut deep, mut gamma, mut reinforcing) = (None, None, None);
    if later > 0 {
        deep = Some(add_prompts(site, PROMPTS, vpt::DEEP_PROMPTS, [later, n], first + 1)?);
        if aggregate {
            site.params.room(GAMMA, &[later, n, n])?;
            let identity = settings.choice("gamma-init") == "identity";
            let value = |at: usize| f32::from(u8::from(identity && at / n % n == at % n));
            let value = Tensor::from_vec((0..later * n * n).map(value).collect(), &[later, n, n]);
            gamma = Some(site.params.add("prompt mixing", GAMMA, value, true));
        }
        if let Some((k, salient)) = reinforced {
            let prompts = add_prompts(site, "prompts of patches", REINFORCING, [later, k], first + 2)?;
            if settings.choice("reinforce-init") == "zeros" {
                site.params.set(
                    prompts,
                    Tensor::from_vec(vec![0.0; later * k * spec.width], &[later, k, spec.width]),
                );
            }
            reinforcing = Some(Reinforcing { prompts, salient });
        }
    }
    Ok(Box::new(Ivpt { shallow, deep, cdc, gamma, reinforcing, rows, depth: spec.depth }))
}

/// Names of the parameters beside those of VPT.
const GAMMA: &str = "da_gamma";
const REINFORCING: &str = "ar_prompt_embeddings";

/// The number of patches that prompts are added to in a layer, twice where they are chosen.
fn reinforced(settings: &Settings, spec: &Spec) -> Result<Option<(usize, Option<usize>)>> {
    let attends = spec.heads.is_some();
    let which = match settings.choice("reinforce") {
        AUTO => {
            if attends {
                TOPK
            } else {
                NONE
            }
        }
        given => given,
    };
    if which == NONE {
        return Ok(None);
    }
    if !attends {
        let what = format!("a {} has no attention of the class token to its patches", spec.family);
        return Err(Error::input("--reinforce", what, "use --reinforce none"));
    }
    if which == ALL {
        return Ok(Some((spec.patches(), None)));
    }
    let k = settings.count("salient");
    if !(1..=spec.patches()).contains(&k) {
        let what = format!("cannot choose {k} of {} patches", spec.patches());
        return Err(Error::input(
            "--salient",
            what,
            format!("use 1 to {}, or --reinforce none", spec.patches()),
        ));
    }
    Ok(Some((k, Some(k))))
}

impl Reinforcing {
    /// Adds the prompts of the layer before block `layer` to the patches of the residual stream.
    fn add(&self, pass: &mut Pass, layer: usize, tokens: Tokens, patches: &[usize]) -> Result<Tokens> {
        let rows = Rows { values: &pass.params[self.prompts], entry: layer - 1, weight: 1.0 };
        let stream = tokens.residual.expect("behind the first block there is a residual stream");
        let residual = match self.salient {
            None => add_rows(pass.tape, stream, rows, At::Same(patches))?,
            Some(k) => {
                let attention = tokens.attention.as_ref().expect("asked for");
                let chosen = salient(pass.tape, attention, 0, patches, k)?;
                if let Some(watch) = &mut pass.watch {
                    watch(Seen::Rows(ChosenRows { layer: layer - 1, rows: &chosen }))?;
                }
                add_rows(pass.tape, stream, rows, At::Each(&chosen))?
            }
        };
        Ok(Tokens { residual: Some(residual), ..tokens })
    }
}

impl Method for Ivpt {
    fn drops(&self) -> bool {
        self.rows.drops()
    }

    fn stem(&self, pass: &mut Pass, tokens: Tokens) -> Result<Tokens> {
        let tokens = self.rows.insert(pass, tokens, &pass.params[self.shallow])?;
        let reach = match (self.cdc, self.gamma) {
            (NONE, _) => None,
            (ALL, _) => Some(Reach::All),
            (_, gamma) => Some(Reach::Previous(gamma.map(|gamma| &pass.params[gamma]))),
        };
        if let (Some(reach), Some(deep)) = (reach, self.deep) {
            pass.tape.scope("prompts");
            let [shallow, deep] = [self.shallow, deep].map(|id| &pass.params[id]);
            pass.kept = vec![prompt_chain(pass.tape, shallow, deep, reach)?];
        }
        Ok(tokens)
    }

    fn attention(&self, _pass: &mut Pass, layer: usize) -> Result<Attending> {
        let chooses = self.reinforcing.as_ref().is_some_and(|of| of.salient.is_some());
        Ok(Attending { class_row: chooses && layer + 1 < self.depth, ..Attending::default() })
    }

    fn block(&self, pass: &mut Pass, layer: usize, tokens: Tokens) -> Result<(Tokens, Vec<Generated>)> {
        let Some(deep) = self.deep.filter(|_| layer > 0) else { return Ok((tokens, vec![])) };
        let prompts = pass.kept.first().unwrap_or(&pass.params[deep]);
        let mut tokens = self.rows.replace(pass, layer, tokens, (prompts, layer - 1))?;
        if let Some(reinforcing) = &self.reinforcing {
            tokens = reinforcing.add(pass, layer, tokens, &self.rows.patches)?;
        }
        Ok((tokens, vec![]))
    }

    fn section(&self, params: &Params, _spec: &Spec) -> Result<Option<Section>> {
        let prompts: Vec<ParamId> = [Some(self.shallow), self.deep].into_iter().flatten().collect();
        let text = format!(
            "{} prompt rows of every block, before those of other blocks are added.",
            self.rows.rows.len()
        );
        vpt::lengths(params, &prompts, text)
    }
}

#[cfg(test)]
mod tests {
    use engine::{Device, Rng};

    use super::*;
    use crate::backbones::vim::{Vim, VimConfig};
    use crate::backbones::vit::VitConfig;
    use crate::methods::{Chosen, METHODS};
    use crate::model::{Model, Parts};
    use crate::params::BACKBONE;

    fn chosen(method: &str, settings: &[(&str, &str)]) -> Chosen {
        let with = |chosen: Chosen, (name, text): &(&str, &str)| chosen.with_flag(name, text).unwrap();
        settings.iter().fold(Chosen::named(method).unwrap(), with)
    }

    const LAYERS: usize = 4;
    const D: usize = 16;
    const N: usize = 3;

    /// Logits of a small Vim with a method, whose prompts of all layers are `[layers n d]`.
    fn logits(chosen: Chosen, prompts: &[f32]) -> Vec<f32> {
        let mut params = Params::default();
        let vim = Vim::init(VimConfig::sized(16, 4, D, LAYERS), &mut params, 5).unwrap();
        let mut model = Model::new(&Device::cpu(), Box::new(vim), params, Parts::new(chosen, 3), 5).unwrap();
        let (first, later) = prompts.split_at(N * D);
        for (name, values, layers) in
            [(vpt::SHALLOW_PROMPTS, first, 1), (vpt::DEEP_PROMPTS, later, LAYERS - 1)]
        {
            let id = model.params.id(name).unwrap();
            model.params.set(id, Tensor::from_vec(values.to_vec(), &[layers, N, D]));
        }
        let mut rng = Rng::keyed(4, 0, 0, 0);
        let images = (0..2 * 3 * 16 * 16).map(|_| rng.normal() as f32).collect();
        model.logits(Tensor::from_vec(images, &[2, 3, 16, 16])).unwrap().to_host().unwrap()
    }

    /// On a Vim, connected prompts are VPT's with the sums as its prompts.
    #[test]
    fn connected_prompts_are_sums() {
        let mut rng = Rng::keyed(3, 0, 0, 0);
        let prompts: Vec<f32> = (0..LAYERS * N * D).map(|_| rng.normal() as f32).collect();
        let layer = |l: usize| &prompts[l * N * D..][..N * D];
        let summed = |first: fn(usize) -> usize| -> Vec<f32> {
            let value = |l: usize, at: usize| (first(l)..=l).map(|of| layer(of)[at]).sum();
            (0..LAYERS).flat_map(|l| (0..N * D).map(move |at| (l, at))).map(|(l, at)| value(l, at)).collect()
        };
        let tokens = ("tokens", "3");
        let plain = |prompts: &[f32]| logits(chosen("vpt", &[tokens, ("position", "middle")]), prompts);
        let ours = |settings: &[(&str, &str)]| {
            let all = [&[tokens, ("position", "middle")], settings].concat();
            logits(chosen("ivpt", &all), &prompts)
        };
        let apart = [("aggregate", "false")];
        let (none, previous, all) = (summed(|l| l), summed(|l| l.saturating_sub(1)), summed(|_| 0));
        for (settings, want) in [
            (&[("cdc", "none"), apart[0]][..], &none),
            (&apart[..], &previous),
            (&[("cdc", "all"), apart[0]][..], &all),
            // The matrices begin as identities, or as zeros.
            (&[][..], &previous),
            (&[("gamma-init", "zeros")][..], &none),
        ] {
            let (got, want) = (ours(settings), plain(want));
            let far = got.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(far <= 1e-5, "{settings:?}: {far:e}");
        }
        assert_ne!(plain(&none), plain(&previous));
        assert_ne!(plain(&previous), plain(&all));
    }

    #[test]
    fn what_does_not_fit_is_refused_in_a_line() {
        let refused = |spec: &Spec, method: &str, settings: &[(&str, &str)], parts: &[&str]| {
            let (mut params, device) = (Params::default(), Device::cpu());
            let mut site = Site { device: &device, spec, params: &mut params, seed: 1 };
            let error = chosen(method, settings).build(&mut site).err().expect("a refusal").to_string();
            assert!(parts.iter().all(|part| error.contains(part)) && !error.contains('\n'), "{error}");
        };
        let (vim, vit) = (VimConfig::sized(16, 4, D, 2).spec(), VitConfig::sized(32, 8, 64, 2).spec());
        let no_attention = ["--reinforce", "a vim has no attention", "--reinforce none"];
        refused(&vim, "ivpt", &[("reinforce", "topk")], &no_attention);
        refused(&vim, "ivpt", &[("reinforce", "all")], &no_attention);
        refused(&vit, "ivpt", &[("cdc", "none")], &["--aggregate", "--cdc is none", "--aggregate false"]);
        refused(&vit, "ivpt", &[("salient", "17")], &["--salient", "17 of 16 patches", "use 1 to 16"]);
        refused(&vit, "ivpt", &[("salient", "0")], &["0 of 16 patches"]);
        refused(
            &vit,
            "gapt",
            &[("temp-min", "2"), ("temp-max", "1")],
            &["--temp-min", "2 is above --temp-max 1"],
        );
        for method in ["provp", "express", "gapt"] {
            refused(&vim, method, &[], &["does not run on a vim backbone", "ivpt"]);
        }
    }

    /// Counts that are published, or follow from the formulas of `docs/methods.md`, on ViT-B and ViT-L without a head.
    #[test]
    fn parameters_are_those_of_the_publications() {
        let count = |size: &str, method: &str, settings: &[(&str, &str)]| {
            let (mut params, device) = (Params::default(), Device::cpu());
            let spec = VitConfig::named(size).unwrap().spec();
            // The products' and norms' weights, of which a method asks for the places alone.
            for i in 0..spec.depth {
                for of in ["norm1", "attn.qkv", "attn.proj"] {
                    let empty = Tensor::from_vec(vec![], &[0]);
                    params.add(BACKBONE, format!("blocks.{i}.{of}.weight"), empty, false);
                }
            }
            let mut site = Site { device: &device, spec: &spec, params: &mut params, seed: 1 };
            chosen(method, settings).build(&mut site).unwrap();
            params.iter().filter(|param| param.trained).map(|param| param.value.numel()).sum::<usize>()
        };
        let base = |method: &str, settings: &[(&str, &str)]| count("vit_base", method, settings);
        // The 19 tasks of VTAB-1k: prompts and patches.
        let tasks = [
            (10, 10),
            (10, 5),
            (10, 10),
            (10, 50),
            (10, 20),
            (50, 20),
            (5, 1),
            (30, 30),
            (50, 5),
            (10, 50),
            (30, 30),
            (100, 50),
            (50, 100),
            (10, 10),
            (50, 10),
            (10, 1),
            (50, 1),
            (50, 10),
            (200, 1),
        ];
        let (mut cdc, mut whole) = (0, 0);
        for (n, k) in tasks {
            let (tokens, salient) = (n.to_string(), k.to_string());
            let all = [("tokens", &*tokens), ("salient", &*salient)];
            let want = 12 * n * 768 + 11 * n * n + 11 * k * 768;
            assert_eq!(base("ivpt", &all), want, "{n}, {k}");
            let plain = [all[0], ("aggregate", "false"), ("reinforce", "none")];
            assert_eq!(base("ivpt", &plain), 12 * n * 768);
            (cdc, whole) = (cdc + 12 * n * 768, whole + want);
        }
        let head = 38_045;
        assert_eq!(cdc / 19, 361_364, "iVPT: 0.36 M");
        assert_eq!((whole / 19 + head) / 1000, 622, "0.18 M for the patches and 0.04 M for the matrices");
        assert_eq!(base("ivpt", &[("reinforce", "all")]), 12 * 10 * 768 + 11 * 100 + 11 * 196 * 768);
        assert_eq!(base("express", &[]), 936_960, "iVPT: 0.98 M with a head");
        assert_eq!(base("gapt", &[]), 76_823);
        assert_eq!(base("provp", &[("tokens", "50")]), 12 * 50 * 768);
        // ADE20K on ViT-L: 13.18 M and 13.43 or 15.87 M.
        let large = |n: &str| count("vit_large", "ivpt", &[("tokens", n), ("reinforce", "none")]);
        assert_eq!((large("10"), large("100")), (248_060, 2_687_600));
    }

    #[test]
    fn a_single_block_has_first_prompts_alone() {
        for entry in METHODS.iter().filter(|entry| ["vpt", "ivpt", "provp", "gapt"].contains(&entry.name)) {
            let (mut params, device) = (Params::default(), Device::cpu());
            let spec = VitConfig::sized(16, 4, 64, 1).spec();
            let mut site = Site { device: &device, spec: &spec, params: &mut params, seed: 1 };
            chosen(entry.name, &[("tokens", "2")]).build(&mut site).unwrap();
            let names: Vec<&str> = params.iter().map(|param| param.name.as_str()).collect();
            let want: &[&str] =
                if entry.name == "gapt" { &["prompt_embeddings", "temp"] } else { &["prompt_embeddings"] };
            assert_eq!(names, want, "{}", entry.name);
        }
    }
}
