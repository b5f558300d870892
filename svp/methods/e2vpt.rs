//! E²VPT (Han et al., ICCV 2023): prompt rows before every block, and in each block rows that stand before the keys and the
//! values of its attention, one tensor for both. Prompts can be pruned: masks multiply whole rows, and pieces of them, and
//! those that matter least are left out when the prompts are trained again from their first values.
//!
//! Which matter is told by a run that has trained the masks: the gradient of its loss with respect to each mask, with its
//! sign, over the training images. The lowest are left out (`docs/methods.md`, "E²VPT").

use autograd::{Tape, Var};
use engine::{Rng, Tensor};
use ptx::linear::linear;
use ptx::scale_shift::scale_shift;
use ptx::token_rows::window;

use super::entry::{Entry, Site};
use super::settings::{Kind, Setting, Settings, Value};
use super::vpt::{self, PROMPTS, PromptRows, add_prompts};
use crate::backbones::vit;
use crate::heads::Labels;
use crate::model::Model;
use crate::params::ParamId;
use crate::pass::{Attending, Generated, Method, Noise, Pass, Tokens};
use crate::survey::{Found, Survey, Surveyor};
use crate::{Error, Result, streams};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "e2vpt",
    title: "E²VPT",
    about: "Prompt rows among the tokens and before the keys and values of a frozen backbone",
    trains: "prompt rows before every block, rows before keys and values, and the head",
    source: "E²VPT, ICCV 2023",
    backbones: &[vit::NAME],
    settings: &[
        vpt::tokens(10),
        Setting {
            published: Some("n-kv"),
            ..Setting::new(
                "kv-tokens",
                Kind::Count(0, 10_000),
                Value::Count(5),
                "Rows that stand before the keys of each head, and before its values",
            )
        },
        Setting::new(
            MASKS,
            Kind::Choice(&[NONE, TRAINED, FIXED]),
            Value::Choice(NONE),
            "Masks that multiply the prompts: none, trained (as before pruning), or fixed (what --prune-from makes them)",
        ),
        Setting::new(
            "pieces",
            Kind::Count(1, 10_000),
            Value::Count(16),
            "Pieces of a prompt row that have a mask of their own",
        ),
        percent(PRUNE_TOKENS, "Percent of the prompt rows that --prune-from leaves out"),
        percent(PRUNE_PIECES, "Percent of the pieces of every prompt row that --prune-from leaves out"),
        vpt::PROMPT_DROPOUT,
    ],
    defaults: |spec, _| vpt::defaults(spec),
    views: &[("frozen", false), ("prompted", true)],
    survey: Some(Surveyor { fills: &[MASKS], reads_run: true, look }),
    ..Entry::plain(build)
};

const MASKS: &str = "masks";
const NONE: &str = "none";
const TRAINED: &str = "trained";
const FIXED: &str = "fixed";
const PRUNE_TOKENS: &str = "prune-tokens";
const PRUNE_PIECES: &str = "prune-pieces";

const fn percent(name: &'static str, help: &'static str) -> Setting {
    Setting::new(name, Kind::Count(0, 99), Value::Count(0), help)
}

/// Names of the masks, `[n]` and `[n pieces]`.
const TOKEN_MASKS: &str = "prompt_soft_tokens_mask_cls_token";
const PIECE_MASKS: &str = "prompt_soft_tokens_pieces_mask_cls_token";

/// The fewest rows, and pieces of a row, that pruning leaves.
pub const LEAST_TOKENS: usize = 1;
/// See [`LEAST_TOKENS`].
pub const LEAST_PIECES: usize = 4;

/// Names of the parts of a model that the method adds.
const KEYS_VALUES: &str = "keys and values";
const MASK_PART: &str = "masks";

/// The places of the prompts' parameters, and their rows.
struct E2Vpt {
    /// Prompts of the first block, `[1 n d]`.
    shallow: ParamId,
    /// Prompts of the later blocks, `[depth-1 n d]`.
    deep: Option<ParamId>,
    /// Rows before keys and values, `[heads n c]`, of each block; none where there are none.
    extra: Vec<ParamId>,
    masks: Option<Masks>,
    rows: PromptRows,
}

/// Masks of rows and of their pieces. Piece j of p has the channels c with c mod p = j.
struct Masks {
    /// `[n]`
    tokens: ParamId,
    /// `[n p]`
    pieces: ParamId,
    /// Ones `[p 1]`, which repeat a row's mask for each piece.
    ones: Tensor,
    /// `[d p]`, 1 where a channel belongs to a piece and 0 elsewhere.
    members: Tensor,
}

fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let (spec, n, kv) = (site.spec, settings.count("tokens"), settings.count("kv-tokens"));
    let heads = spec.heads.expect("a family whose blocks have attention");
    let first = streams::METHOD_INIT + 1;
    let shallow = add_prompts(site, PROMPTS, vpt::SHALLOW_PROMPTS, [1, n], first)?;
    let mut deep = None;
    if spec.depth > 1 {
        deep = Some(add_prompts(site, PROMPTS, vpt::DEEP_PROMPTS, [spec.depth - 1, n], first + 1)?);
    }
    let shape = [heads, kv, spec.width / heads];
    let bound = (6.0 / (shape[1] * shape[2]).max(1) as f64).sqrt();
    let mut of_block = |i: usize| {
        let name = format!("blocks.{i}.attn.deep_QKV_embeddings");
        site.params.room(&name, &shape)?;
        let mut rng = Rng::keyed(site.seed, 0, 0, first + 2 + i as u32);
        let values = (0..shape.iter().product()).map(|_| rng.range(-bound, bound) as f32).collect();
        Ok::<_, Error>(site.params.add(KEYS_VALUES, name, Tensor::from_vec(values, &shape), true))
    };
    let blocks = if kv > 0 { spec.depth } else { 0 };
    let extra = (0..blocks).map(&mut of_block).collect::<Result<_>>()?;
    let masks = match settings.choice(MASKS) {
        NONE => None,
        kind => Some(Masks::build(n, settings.count("pieces"), kind == TRAINED, site)?),
    };
    let rows = PromptRows::new(spec, n, "pre", settings.number("prompt-dropout"));
    Ok(Box::new(E2Vpt { shallow, deep, extra, masks, rows }))
}

impl Masks {
    fn build(n: usize, p: usize, trained: bool, site: &mut Site) -> Result<Self> {
        let d = site.spec.width;
        if !d.is_multiple_of(p) {
            let what = format!("{d} channels of a prompt row cannot be shared evenly by {p} pieces");
            return Err(Error::input("--pieces", what, format!("use a divisor of {d}")));
        }
        let mut add = |name: &str, shape: &[usize]| {
            site.params.room(name, shape)?;
            let ones = Tensor::from_vec(vec![1.0; shape.iter().product()], shape);
            Ok::<_, Error>(match trained {
                true => site.params.add(MASK_PART, name, ones, true),
                false => site.params.add_found(MASK_PART, name, ones),
            })
        };
        let (tokens, pieces) = (add(TOKEN_MASKS, &[n])?, add(PIECE_MASKS, &[n, p])?);
        let member = |i: usize| f32::from(u8::from(i / p % p == i % p));
        let members: Vec<f32> = (0..d * p).map(member).collect();
        let given = |values: &[f32], shape: &[usize]| Tensor::from_slice(site.device, values, shape);
        Ok(Masks { tokens, pieces, ones: given(&vec![1.0; p], &[p, 1]), members: given(&members, &[d, p]) })
    }

    /// What the prompts of a block are multiplied by, `[n d]`.
    fn wide(&self, pass: &Pass) -> Result<Var> {
        let (tape, pieces) = (pass.tape, &pass.params[self.pieces]);
        let [n, p] = [pieces.shape()[0], pieces.shape()[1]];
        let tokens = tape.reshape(&pass.params[self.tokens], &[n, 1])?;
        let tokens = linear(tape, &tokens, &Var::constant(self.ones.clone()), None)?;
        let both =
            scale_shift(tape, &tape.reshape(&tokens, &[1, n * p])?, &tape.reshape(pieces, &[n * p])?, None)?;
        let both = tape.reshape(&both, &[n, p])?;
        Ok(linear(tape, &both, &Var::constant(self.members.clone()), None)?)
    }
}

impl E2Vpt {
    /// Entry `entry` of `of [k n d]` times the masks, as a tensor and the entry of it that is meant.
    fn masked(&self, pass: &Pass, of: ParamId, entry: usize) -> Result<(Var, usize)> {
        let (tape, all) = (pass.tape, &pass.params[of]);
        let Some(masks) = &self.masks else { return Ok((all.clone(), entry)) };
        let &[k, n, d] = all.shape() else { unreachable!("prompts have three axes") };
        let one = window(tape, &tape.reshape(all, &[1, k, n * d])?, entry, 1)?;
        let wide = tape.reshape(&masks.wide(pass)?, &[n * d])?;
        let masked = scale_shift(tape, &one, &wide, None)?;
        Ok((tape.reshape(&masked, &[1, n, d])?, 0))
    }
}

impl Method for E2Vpt {
    fn drops(&self) -> bool {
        self.rows.drops()
    }

    fn stem(&self, pass: &mut Pass, tokens: Tokens) -> Result<Tokens> {
        let (values, _) = self.masked(pass, self.shallow, 0)?;
        self.rows.insert(pass, tokens, &values)
    }

    fn block(&self, pass: &mut Pass, layer: usize, tokens: Tokens) -> Result<(Tokens, Vec<Generated>)> {
        let Some(deep) = self.deep.filter(|_| layer > 0) else { return Ok((tokens, vec![])) };
        let (values, entry) = self.masked(pass, deep, layer - 1)?;
        Ok((self.rows.replace(pass, layer, tokens, (&values, entry))?, vec![]))
    }

    fn attention(&self, pass: &mut Pass, layer: usize) -> Result<Attending> {
        let extra = self.extra.get(layer).map(|&extra| pass.params[extra].clone());
        Ok(Attending { extra, ..Attending::default() })
    }
}

/// Finds the masks, where the run is to prune what another one has trained.
fn look(settings: &Settings, survey: &Survey) -> Result<Found> {
    let refuse = |flag: &str, what: &str, hint: &str| Err(Error::input(flag, what, hint));
    let percents = [PRUNE_TOKENS, PRUNE_PIECES].map(|name| settings.count(name));
    let prunes = percents != [0, 0];
    let Some(trained) = survey.trained else {
        let run = "add --prune-from RUN, a run with --masks trained";
        return match settings.choice(MASKS) {
            _ if prunes => refuse("--prune-tokens, --prune-pieces", "no run tells what matters least", run),
            FIXED => refuse("--masks", "nothing says how the masks are fixed", run),
            _ => Ok(Found::default()),
        };
    };
    if !prunes {
        let hint = "add --prune-tokens PERCENT or --prune-pieces PERCENT";
        return refuse("--prune-from", "nothing is to be left out", hint);
    }
    if settings.choice(MASKS) == TRAINED {
        return refuse("--masks", "are fixed where prompts are pruned", "leave it out, or --prune-from");
    }
    let [n, p] = ["tokens", "pieces"].map(|name| settings.count(name));
    let importance = importance(trained, [n, n * p], survey)?;
    let tokens = kept(&importance[0], percents[0], LEAST_TOKENS);
    let pieces: Vec<f32> =
        importance[1].chunks_exact(p).flat_map(|row| kept(row, percents[1], LEAST_PIECES)).collect();
    let out = |masks: &[f32]| masks.iter().filter(|&&mask| mask == 0.0).count();
    let note = format!(
        "{} of {n} prompt rows and {} of the {p} pieces of each are left out: those of the lowest gradients over {} \
         training images",
        out(&tokens),
        out(&pieces[..p]),
        survey.images()
    );
    let masks = [(TOKEN_MASKS, tokens, vec![n]), (PIECE_MASKS, pieces, vec![n, p])];
    Ok(Found {
        settings: vec![(MASKS, Value::Choice(FIXED))],
        values: masks.map(|(name, mask, shape)| (name.into(), Tensor::from_vec(mask, &shape))).into(),
        notes: vec![note],
    })
}

/// Masks of `importance`: 0 for the lowest `percent`, of equals the first, but so that `least` are left, and 1 for the
/// others.
pub fn kept(importance: &[f32], percent: usize, least: usize) -> Vec<f32> {
    let n = importance.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| importance[a].total_cmp(&importance[b]));
    let mut masks = vec![1.0; n];
    let out = (n * percent / 100).min(n.saturating_sub(least));
    order[..out].iter().for_each(|&i| masks[i] = 0.0);
    masks
}

/// The mean gradient, over the training images, of the loss with respect to the masks of rows and of pieces, which must be
/// `wanted` many.
fn importance(model: &Model, wanted: [usize; 2], survey: &Survey) -> Result<[Vec<f32>; 2]> {
    let wrong = |what: String, hint: &str| Error::input("--prune-from", what, hint);
    let ids = [TOKEN_MASKS, PIECE_MASKS].map(|name| model.params.id(name));
    let trained = model.params.trained();
    let [Some(tokens), Some(pieces)] = ids.map(|id| id.filter(|id| trained.contains(id))) else {
        return Err(wrong("that run has trained no masks".into(), "give one with --masks trained"));
    };
    let ids = [tokens, pieces];
    let has = ids.map(|id| model.params.get(id).numel());
    if has != wanted {
        let what = format!("that run has {has:?} masks of rows and pieces, this one {wanted:?}");
        return Err(wrong(what, "use the --tokens and --pieces of that run"));
    }
    let (device, classes) = (&model.device, model.classes());
    let (mut sums, mut images) = (has.map(|n| vec![0.0; n]), 0.0);
    let all: Vec<usize> = (0..survey.images()).collect();
    survey.each_labelled_batch(&all, &mut |batch, labels| {
        let b = labels.len();
        let targets = model.head.targets(&Labels::Classes(labels), classes, 0.0, 1.0)?;
        let tape = Tape::new(device);
        let forward = model.forward(&tape, batch, Noise::default())?;
        let targets = Tensor::from_slice(device, &targets, &[b, classes]);
        let loss = model.loss(&tape, &forward, &targets)?;
        let grads = tape.backward(&loss, Tensor::from_slice(device, &[b as f32], &[1]))?;
        for (sum, id) in sums.iter_mut().zip(ids) {
            let grad = grads.get(&forward.bound[id]).expect("a gradient of what is trained").values()?;
            sum.iter_mut().zip(&*grad).for_each(|(sum, &grad)| *sum += f64::from(grad));
        }
        images += b as f64;
        Ok(())
    })?;
    if sums.iter().flatten().any(|sum| !sum.is_finite()) {
        return Err(wrong("the gradients of that run's masks are not finite".into(), "give another run"));
    }
    Ok(sums.map(|sum| sum.iter().map(|sum| (sum / images) as f32).collect()))
}

#[cfg(test)]
mod tests {
    use engine::Device;

    use super::*;
    use crate::backbones::vit::{Vit, VitConfig};
    use crate::data::{Dataset, Transform};
    use crate::methods::Chosen;
    use crate::model::{Parts, count_parameters};
    use crate::params::Params;

    /// Those of the drawn task.
    const CLASSES: usize = 8;

    fn chosen(flags: &[(&str, &str)]) -> Chosen {
        let with = |chosen: Chosen, flag: &(&str, &str)| chosen.with_flag(flag.0, flag.1).unwrap();
        flags.iter().fold(Chosen::named(ENTRY.name).unwrap(), with)
    }

    fn vit(config: VitConfig, chosen: Chosen) -> Model {
        let mut params = Params::default();
        let vit = Vit::init(config, &mut params, 5).unwrap();
        Model::new(&Device::cpu(), Box::new(vit), params, Parts::new(chosen, CLASSES), 5).unwrap()
    }

    fn small(flags: &[(&str, &str)]) -> Model {
        vit(VitConfig { heads: 2, ..VitConfig::sized(32, 8, 32, 3) }, chosen(flags))
    }

    #[test]
    fn parameters_are_those_of_the_publication() {
        // The width and depth of a ViT-B.
        let config = VitConfig { mlp_dim: 8, ..VitConfig::sized(32, 16, 768, 12) };
        for (n, kv) in [(10, 5), (5, 0)] {
            let flags = [("tokens", n.to_string()), ("kv-tokens", kv.to_string())];
            let chosen = chosen(&flags.each_ref().map(|(name, text)| (*name, &**text)));
            let mut params = Params::default();
            let zeros = |_: &str, shape: &[usize]| Ok(Tensor::zeros(&Device::cpu(), shape));
            let vit = Vit::build(config, &mut params, zeros).unwrap();
            let parts = Parts::new(chosen, CLASSES);
            let model = Model::new(&Device::cpu(), Box::new(vit), params, parts, 5).unwrap();
            let counts = count_parameters(&model.params);
            let own = counts.iter().filter(|count| count.module != crate::params::HEAD);
            assert_eq!(own.map(|count| count.trained).sum::<usize>(), 12 * 768 * (n + kv));
        }
    }

    /// A mask of 0 is a prompt of zeros there, for whole rows and for every p-th channel.
    #[test]
    fn masks_multiply_rows_and_pieces() {
        let flags = [("tokens", "3"), ("kv-tokens", "0"), ("pieces", "4")];
        let plain = small(&flags);
        let mut masked = small(&[&flags[..], &[("masks", "fixed")]].concat());
        let mut rng = Rng::keyed(1, 0, 0, 0);
        let images = (0..2 * 3 * 32 * 32).map(|_| rng.normal() as f32).collect();
        let images = Tensor::from_vec(images, &[2, 3, 32, 32]);
        let logits = |model: &Model| model.logits(images.clone()).unwrap().to_host().unwrap();
        assert_eq!(logits(&masked), logits(&plain), "masks of 1 change nothing");

        let [tokens, pieces] = [TOKEN_MASKS, PIECE_MASKS].map(|name| masked.params.id(name).unwrap());
        masked.params.set(tokens, Tensor::from_vec(vec![1.0, 0.0, 2.0], &[3]));
        let piece = |i: usize| if i == 2 { 0.5 } else { 1.0 };
        masked.params.set(pieces, Tensor::from_vec((0..12).map(piece).collect(), &[3, 4]));
        let mut by_hand = small(&flags);
        for name in [vpt::SHALLOW_PROMPTS, vpt::DEEP_PROMPTS] {
            let id = by_hand.params.id(name).unwrap();
            let shape = by_hand.params.get(id).shape().to_vec();
            let mut values = by_hand.params.get(id).to_host().unwrap();
            for (i, value) in values.iter_mut().enumerate() {
                let (row, channel) = (i / 32 % 3, i % 32);
                *value *= [1.0, 0.0, 2.0][row] * piece(row * 4 + channel % 4);
            }
            by_hand.params.set(id, Tensor::from_vec(values, &shape));
        }
        assert_eq!(logits(&masked), logits(&by_hand));
    }

    #[test]
    fn pruning_is_refused_where_it_cannot_be() {
        let frozen =
            vit(VitConfig { heads: 2, ..VitConfig::sized(32, 8, 32, 3) }, Chosen::named("linear").unwrap());
        let run = |trained: Option<&Model>, flags: &[(&str, &str)]| {
            let transform = Transform::eval(32, frozen.spec().normalisation);
            let samples = &Dataset::builtin("orientation").unwrap().train[..12];
            let (model, stop) = (&frozen, &|| false);
            let survey = Survey { model, trained, seed: 3, samples, transform, batch: 5, workers: 1, stop };
            look(&chosen(flags).settings, &survey)
        };
        let masked = small(&[("tokens", "3"), ("masks", "trained")]);
        for (trained, flags, part) in [
            (None, &[("prune-tokens", "50")][..], "add --prune-from RUN"),
            (None, &[("masks", "fixed")], "add --prune-from RUN"),
            (Some(&masked), &[("tokens", "3")], "add --prune-tokens PERCENT"),
            (Some(&masked), &[("prune-tokens", "50")], "use the --tokens and --pieces of that run"),
            (Some(&small(&[])), &[("prune-tokens", "50")], "give one with --masks trained"),
            (Some(&masked), &[("prune-tokens", "50"), ("masks", "trained")], "leave it out"),
        ] {
            let error = run(trained, flags).err().unwrap().to_string();
            assert!(error.contains(part) && !error.contains('\n'), "{error}");
        }
        let found =
            run(Some(&masked), &[("tokens", "3"), ("prune-tokens", "70"), ("prune-pieces", "30")]).unwrap();
        assert_eq!(found.settings, [(MASKS, Value::Choice(FIXED))]);
        let zeros = |i: usize| found.values[i].1.as_slice().iter().filter(|&&mask| mask == 0.0).count();
        assert_eq!([zeros(0), zeros(1)], [2, 3 * 4], "{:?}", found.notes);
        assert!(run(None, &[]).unwrap().values.is_empty());
        let odd = chosen(&[("masks", "trained"), ("pieces", "5")]);
        let mut params = Params::default();
        let config = VitConfig { heads: 2, ..VitConfig::sized(32, 8, 32, 3) };
        let backbone = Vit::init(config, &mut params, 5).unwrap();
        let odd = Model::new(&Device::cpu(), Box::new(backbone), params, Parts::new(odd, 4), 5);
        assert!(odd.err().unwrap().to_string().contains("use a divisor of 32"));
    }
}
