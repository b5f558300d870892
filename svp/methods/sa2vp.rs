//! SA²VP (Pei et al., AAAI 2024): a second map of tokens, on the grid of the patches, that goes through the same frozen blocks
//! beside those of the image. In each block one of the two attends to the other, each patch to the 3 x 3 patches around it
//! there, and what comes of it is added.
//!
//! The attention between the two is that of the block, with its norm and its products, so that what the block computes of
//! both sequences serves for it. In the block a small MLP of its own follows. Both sequences are read by the head, the map's
//! in the loss of training alone (`docs/methods.md`, "SA²VP").

use autograd::Var;
use engine::{Rng, Tensor};
use ptx::activation::{Activation, activation};
use ptx::layer_norm::{Norm, add_layer_norm};
use ptx::linear::linear;
use ptx::neighbour_attention::neighbour_attention;
use ptx::prompt_rows::{Prompts, replace};
use ptx::scale_shift::scale_shift;
use ptx::token_rows::window;

use super::entry::{Defaults, Entry, Site};
use super::settings::{Kind, Setting, Settings, Value};
use crate::backbones::vit;
use crate::params::ParamId;
use crate::pass::{Branch, Generated, Method, Pass, Tokens};
use crate::{Error, Result, streams};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "sa2vp",
    title: "SA²VP",
    about: "A second map of tokens beside those of the image, in the blocks of a frozen backbone",
    trains: "a second map of tokens, what carries it to the image and back, and the head",
    source: "SA²VP, AAAI 2024",
    backbones: &[vit::NAME],
    settings: &[
        Setting {
            published: Some("inner"),
            ..Setting::new(
                "map-width",
                Kind::Count(1, 10_000),
                Value::Count(16),
                "Channels of the map, and inside the MLP of a block",
            )
        },
        Setting {
            published: Some("scale"),
            ..Setting::new(
                "exchange-scale",
                Kind::Number(0.0, 100.0),
                Value::Number(0.1),
                "Factor of what the two sequences get of each other",
            )
        },
        Setting::new(
            "map-loss",
            Kind::Number(0.0, 1.0),
            Value::Number(0.2),
            "Share of the loss that is that of the map's own logits",
        ),
    ],
    // The published rate is 1e-3 for batches of 40 to 128: this is that of 64.
    defaults: |_, _| Defaults::adamw(8e-3, 1e-4),
    views: &[("frozen", false), ("prompted", true)],
    ..Entry::plain(build)
};

/// Name of the part of a model that the method adds.
const MAP: &str = "map";

/// Added to the variance by the norms of the method's own, as published.
const EPS: f32 = 1e-6;

/// A trained affine map.
#[derive(Clone, Copy)]
struct Affine {
    weight: ParamId,
    bias: ParamId,
}

impl Affine {
    fn of(self, pass: &Pass, x: &Var) -> Result<Var> {
        Ok(linear(pass.tape, x, &pass.params[self.weight], Some(&pass.params[self.bias]))?)
    }
}

/// What carries one sequence to the other in a block.
struct Cross {
    /// The backbone's products before and after the attention.
    qkv: ParamId,
    proj: Affine,
    norm: Affine,
    fc1: Affine,
    fc2: Affine,
}

struct Sa2Vp {
    heads: usize,
    /// `[1 l d]`, the map's first values in few channels.
    map: ParamId,
    map_proj: Affine,
    position: ParamId,
    /// Numbers of the blocks after which a further map is added, and what makes it.
    deep: Vec<(usize, Affine)>,
    /// `[k 1 l d]`, and the factors of the channels `[k D]`.
    deep_maps: Option<(ParamId, ParamId)>,
    cross: Vec<Cross>,
    /// Blocks in which the map attends to the image; in the others the image attends to the map.
    to_map: Vec<usize>,
    /// `[D]`, each the factor of what is exchanged.
    scale: Tensor,
    share: f64,
}

/// Adds parameters, each from a stream of its own.
struct Adding<'a, 'b> {
    site: &'a mut Site<'b>,
    stream: u32,
}

impl Adding<'_, '_> {
    fn add(&mut self, name: &str, shape: &[usize], draw: impl Fn(&mut Rng) -> f64) -> Result<ParamId> {
        self.site.params.room(name, shape)?;
        self.stream += 1;
        let mut rng = Rng::keyed(self.site.seed, 0, 0, self.stream);
        let values = (0..shape.iter().product()).map(|_| draw(&mut rng) as f32).collect();
        Ok(self.site.params.add(MAP, name, Tensor::from_vec(values, shape), true))
    }

    /// Normal with deviation 0.02, as published. (Truncated there beyond 100 deviations, which never happens.)
    fn normal(&mut self, name: &str, shape: &[usize]) -> Result<ParamId> {
        self.add(name, shape, |rng| 0.02 * rng.normal())
    }

    /// `[n k]`, uniform by Xavier, with a bias that is nearly zero, as published.
    fn affine(&mut self, name: &str, [n, k]: [usize; 2]) -> Result<Affine> {
        let bound = (6.0 / (n + k) as f64).sqrt();
        Ok(Affine {
            weight: self.add(&format!("{name}.weight"), &[n, k], |rng| rng.range(-bound, bound))?,
            bias: self.add(&format!("{name}.bias"), &[n], |rng| 1e-6 * rng.normal())?,
        })
    }

    fn norm(&mut self, name: &str, n: usize) -> Result<Affine> {
        Ok(Affine {
            weight: self.add(&format!("{name}.weight"), &[n], |_| 1.0)?,
            bias: self.add(&format!("{name}.bias"), &[n], |_| 0.0)?,
        })
    }

    /// A parameter of the backbone.
    fn known(&self, name: &str) -> Result<ParamId> {
        self.site.params.id(name).ok_or_else(|| {
            Error::input("--method sa2vp", format!("the backbone has no {name}"), "use another backbone")
        })
    }
}

fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let (spec, width) = (*site.spec, settings.count("map-width"));
    let (l, d) = (spec.tokens(), spec.width);
    // Of the 12 blocks of the publication blocks 0, 4 and 8, and the last two of these.
    let third = spec.depth / 3;
    let deep: Vec<usize> = [third, 2 * third].into_iter().filter(|_| third > 0).collect();
    let scale = vec![settings.number("exchange-scale") as f32; d];
    let scale = Tensor::from_slice(site.device, &scale, &[d]);
    let mut adding = Adding { site, stream: streams::METHOD_INIT };
    let map = adding.normal("ppt", &[1, l, width])?;
    let map_proj = adding.affine("ppt_proj", [d, width])?;
    let deep_maps = match deep.len() {
        0 => None,
        k => Some((adding.normal("deep_ppt", &[k, 1, l, width])?, adding.normal("cross_conv", &[k, d])?)),
    };
    let proj = |(k, &block): (usize, &usize), adding: &mut Adding| {
        Ok((block, adding.affine(&format!("deep_proj.{k}"), [d, width])?))
    };
    let deep_with = deep.iter().enumerate().map(|at| proj(at, &mut adding)).collect::<Result<Vec<_>>>()?;
    let mut cross = vec![];
    for i in 0..spec.depth {
        let block = format!("blocks.{i}.attn");
        let own = format!("cross_attn.{i}");
        cross.push(Cross {
            qkv: adding.known(&format!("{block}.qkv.weight"))?,
            proj: Affine {
                weight: adding.known(&format!("{block}.proj.weight"))?,
                bias: adding.known(&format!("{block}.proj.bias"))?,
            },
            norm: adding.norm(&format!("{own}.ffn_norm"), d)?,
            fc1: adding.affine(&format!("{own}.ffn.fc1"), [width, d])?,
            fc2: adding.affine(&format!("{own}.ffn.fc2"), [d, width])?,
        });
    }
    Ok(Box::new(Sa2Vp {
        heads: spec.heads.expect("a family whose blocks have attention"),
        map,
        map_proj,
        position: adding.known("pos_embed")?,
        to_map: [0].into_iter().chain(deep).collect(),
        deep: deep_with,
        deep_maps,
        cross,
        scale,
        share: settings.number("map-loss"),
    }))
}

impl Sa2Vp {
    fn norm<'a>(&self, pass: &'a Pass, layer: usize) -> Norm<'a> {
        let Affine { weight, bias } = self.cross[layer].norm;
        Norm { weight: &pass.params[weight], bias: &pass.params[bias], eps: EPS }
    }

    /// The sum of `h` and `residual`, f32. The norm that comes with it is not used.
    fn sum(&self, pass: &Pass, layer: usize, h: &Var, residual: &Var) -> Result<Var> {
        let [sum, _] = add_layer_norm(pass.tape, h, Some(residual), self.norm(pass, layer), None)?;
        Ok(sum)
    }

    /// `[b l d]` in the type of `like [b l d]`: entry `entry` of `values [k l d]` for each image.
    fn for_each_image(&self, pass: &Pass, like: &Var, values: &Var, entry: usize) -> Result<Var> {
        let rows: Vec<usize> = (0..like.shape()[1]).collect();
        let values = Prompts { values, entry, dropout: None };
        Ok(replace(pass.tape, like, Some(&values), &rows)?)
    }

    /// What one sequence gets of the other in a block, before the factor: the MLP on the norm of what it was and of what its
    /// attention has found there.
    fn exchanged(&self, pass: &Pass, layer: usize, queries: &Seen, keys: &Seen) -> Result<Var> {
        let (tape, cross) = (pass.tape, &self.cross[layer]);
        let found = neighbour_attention(tape, &queries.qkv, &keys.qkv, self.heads)?;
        let found = cross.proj.of(pass, &found)?;
        let [_, x] = add_layer_norm(tape, &found, Some(&queries.stream), self.norm(pass, layer), None)?;
        let wide = cross.fc1.of(pass, &x)?;
        cross.fc2.of(pass, &activation(tape, &wide, Activation::Gelu)?)
    }

    /// What the further map of a block has become in it, times its factors, f32.
    fn deep_part(&self, pass: &Pass, layer: usize, k: usize, map: &Tokens) -> Result<Var> {
        let (tape, (_, factors)) = (pass.tape, self.deep_maps.expect("there are such blocks"));
        let factors = &pass.params[factors];
        let &[all, d] = factors.shape() else { unreachable!("factors have two axes") };
        let factors = window(tape, &tape.reshape(factors, &[1, all, d])?, k, 1)?;
        let keep = pass.noise.keep(2 * layer + 1);
        let [sum, _] = add_layer_norm(tape, &map.h, map.residual.as_ref(), self.norm(pass, layer), keep)?;
        Ok(scale_shift(tape, &sum, &tape.reshape(&factors, &[d])?, None)?)
    }
}

/// What a block has computed of a sequence.
struct Seen {
    /// `[b l 3d]`
    qkv: Var,
    /// The residual stream that enters the block, `[b l d]`.
    stream: Var,
}

/// Number of the map among the sequences of a pass.
const BESIDE: usize = 1;

impl Method for Sa2Vp {
    fn beside_share(&self) -> f64 {
        self.share
    }

    fn stem(&self, pass: &mut Pass, tokens: Tokens) -> Result<Tokens> {
        let map = self.map_proj.of(pass, &pass.params[self.map])?;
        let map = self.sum(pass, 0, &map, &pass.params[self.position])?;
        let h = self.for_each_image(pass, &tokens.h, &map, 0)?;
        let beside = vec![Tokens::stem(h, tokens.class_row)];
        Ok(Tokens { beside, ..tokens })
    }

    fn block(&self, pass: &mut Pass, layer: usize, mut tokens: Tokens) -> Result<(Tokens, Vec<Generated>)> {
        let deep = self.deep.iter().enumerate().find(|(_, (block, _))| *block == layer);
        if let (Some((k, (_, proj))), Some((maps, _))) = (deep, self.deep_maps) {
            let maps = &pass.params[maps];
            let &[all, _, l, width] = maps.shape() else { unreachable!("maps have four axes") };
            let maps = proj.of(pass, &pass.tape.reshape(maps, &[all, l, width])?)?;
            // Drop path multiplies h alone, so the map stands in the stream that it is added to.
            let stream = tokens.residual.as_ref().expect("a stream after the first block");
            let residual = Some(self.for_each_image(pass, stream, &maps, k)?);
            let rows: Vec<usize> = (0..l).collect();
            let h = replace(pass.tape, &tokens.h, None, &rows)?;
            tokens.beside.push(Tokens { residual, ..Tokens::stem(h, tokens.class_row) });
        }
        Ok((tokens, vec![]))
    }

    fn site(&self, pass: &mut Pass, weight: ParamId, _x: &Var, y: Var) -> Result<Var> {
        if pass.sequence <= BESIDE && self.cross.iter().any(|cross| cross.qkv == weight) {
            pass.kept.push(y.clone());
        }
        Ok(y)
    }

    fn branch(&self, pass: &mut Pass, at: (usize, Branch), stream: &Var, h: Var) -> Result<Var> {
        if pass.sequence <= BESIDE && at.1 == Branch::Attention {
            pass.kept.push(stream.clone());
        }
        Ok(h)
    }

    fn after(&self, pass: &mut Pass, layer: usize, mut tokens: Tokens) -> Result<Tokens> {
        // Sequences beside that of the image come first in a block.
        let kept = std::mem::take(&mut pass.kept);
        let [qkv, stream, of_image @ ..] = &kept[..] else { unreachable!("both sequences were seen") };
        let map = Seen { qkv: qkv.clone(), stream: stream.clone() };
        let image = Seen { qkv: of_image[0].clone(), stream: of_image[1].clone() };
        let mut beside = std::mem::take(&mut tokens.beside).into_iter();
        let mut second = beside.next().expect("the map");
        let add = |to: Tokens, what: &Var| {
            let stream = to.residual.as_ref().expect("a stream after a block");
            Ok::<_, Error>(Tokens { residual: Some(self.sum(pass, layer, what, stream)?), ..to })
        };
        if let Some(deep) = beside.next() {
            let k =
                self.deep.iter().position(|(block, _)| *block == layer).expect("a block with a further map");
            second = add(second, &self.deep_part(pass, layer, k, &deep)?)?;
        }
        let to_map = self.to_map.contains(&layer);
        let (queries, keys) = if to_map { (&map, &image) } else { (&image, &map) };
        let exchanged = self.exchanged(pass, layer, queries, keys)?;
        let exchanged = scale_shift(pass.tape, &exchanged, &Var::constant(self.scale.clone()), None)?;
        match to_map {
            true => second = add(second, &exchanged)?,
            false => tokens = add(tokens, &exchanged)?,
        }
        Ok(Tokens { beside: vec![second], ..tokens })
    }
}

#[cfg(test)]
mod tests {
    use engine::Device;

    use super::*;
    use crate::backbones::vit::{Vit, VitConfig};
    use crate::methods::{Chosen, linear};
    use crate::model::{Model, Parts, count_parameters};
    use crate::params::{HEAD, Params};

    fn vit(config: VitConfig, chosen: Chosen) -> Model {
        let mut params = Params::default();
        let vit = Vit::init(config, &mut params, 5).unwrap();
        Model::new(&Device::cpu(), Box::new(vit), params, Parts::new(chosen, 4), 5).unwrap()
    }

    fn chosen(flags: &[(&str, &str)]) -> Chosen {
        let with = |chosen: Chosen, flag: &(&str, &str)| chosen.with_flag(flag.0, flag.1).unwrap();
        flags.iter().fold(Chosen::named(ENTRY.name).unwrap(), with)
    }

    #[test]
    fn parameters_are_those_of_the_publication() {
        // The width, depth and rows of a ViT-B.
        let config = VitConfig { mlp_dim: 8, ..VitConfig::sized(14, 1, 768, 12) };
        for (width, want) in [("8", 202_200), ("16", 372_912), ("32", 714_336), ("64", 1_397_184)] {
            let mut params = Params::default();
            let zeros = |_: &str, shape: &[usize]| Ok(Tensor::zeros(&Device::cpu(), shape));
            let vit = Vit::build(config, &mut params, zeros).unwrap();
            let parts = Parts::new(chosen(&[("map-width", width)]), 4);
            let model = Model::new(&Device::cpu(), Box::new(vit), params, parts, 5).unwrap();
            let counts = count_parameters(&model.params);
            let own = counts.iter().filter(|count| count.module != HEAD);
            assert_eq!(own.map(|count| count.trained).sum::<usize>(), want, "{width}");
        }
    }

    /// With the factor 0 the image gets nothing of the map.
    #[test]
    fn without_exchange_it_is_the_frozen_model() {
        let config = VitConfig { heads: 2, ..VitConfig::sized(24, 8, 16, 3) };
        let mut rng = Rng::keyed(1, 0, 0, 0);
        let images = (0..2 * 3 * 24 * 24).map(|_| rng.normal() as f32).collect();
        let images = Tensor::from_vec(images, &[2, 3, 24, 24]);
        let features =
            |chosen: Chosen| vit(config, chosen).features(images.clone()).unwrap().to_host().unwrap();
        let frozen = features(Chosen::named(linear::ENTRY.name).unwrap());
        let far = |flags: &[(&str, &str)]| {
            let got = features(chosen(flags));
            got.iter().zip(&frozen).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
        };
        // In 3 blocks the map attends to the image alone; in 2 only in the first.
        assert!(far(&[("exchange-scale", "0")]) <= 1e-6);
        assert!(far(&[]) <= 1e-6);
        let config = VitConfig { depth: 2, ..config };
        let features =
            |chosen: Chosen| vit(config, chosen).features(images.clone()).unwrap().to_host().unwrap();
        let frozen = features(Chosen::named(linear::ENTRY.name).unwrap());
        let moved = features(chosen(&[("exchange-scale", "5")]));
        assert!(moved.iter().zip(&frozen).any(|(a, b)| (a - b).abs() > 1e-3));
    }
}
