//! SCT (Zhao et al., IJCV 2023): a trained product on the salient channels of each block of a ViT.
//!
//! `x[c] += s (W x[c] + b)` on n channels c, of the residual stream after attention or of the MLP's output. The channels are
//! those whose values are largest over the training images in the frozen backbone (`docs/methods.md`, "SCT").

use std::sync::Mutex;

use autograd::Var;
use engine::Tensor;
use ptx::channels;
use ptx::linear::linear;

use super::adaptformer::scale;
use super::entry::{Defaults, Entry, Site};
use super::modules::{Adding, Affine, TRUNC_NORMAL, scaled};
use super::settings::{AUTO, Kind, Setting, Settings, Value};
use crate::backbones::vit;
use crate::params::ParamId;
use crate::pass::{Branch, Method, Pass};
use crate::survey::{Found, Survey, Surveyor};
use crate::{Error, Result};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "sct",
    title: "SCT",
    about: "A product on the salient channels of every block of a frozen backbone",
    trains: "a product on chosen channels of every block, and the head",
    source: "SCT, IJCV 2023",
    backbones: &[vit::NAME],
    settings: &[
        Setting::new(
            "mode",
            Kind::Choice(&[ATTENTION, MLP]),
            Value::Choice(ATTENTION),
            "Where it stands: sct_attn (the stream after attention), or sct_mlp (the MLP's output)",
        ),
        Setting {
            published: Some("topN"),
            ..Setting::new(
                "channels",
                Kind::Auto(&Kind::Count(1, 65_536)),
                Value::Choice(AUTO),
                "Channels of a block; auto is an eighth of all, 96 of a ViT-B",
            )
        },
        scale(1.0),
    ],
    // 1e-3 at 64 images a step, and decay 1e-4: the published program's, which its commands replace task by task.
    defaults: |spec, _| Defaults::adamw(8e-3, 1e-4).narrow(spec, 0.12),
    survey: Some(Surveyor { fills: &[], reads_run: false, look }),
    ..Entry::plain(build)
};

/// The places of the product, as published; parameters have these names too.
const ATTENTION: &str = "sct_attn";
const MLP: &str = "sct_mlp";

/// Name of the part of a model that the method adds.
const PRODUCTS: &str = "channel products";

/// Name of the numbers of a block's channels.
fn index(layer: usize) -> String {
    format!("index.{layer}")
}

/// The number of channels of a block.
fn count(settings: &Settings, width: usize) -> usize {
    match settings.get("channels") {
        Value::Choice(_) => width.div_ceil(8),
        _ => settings.count("channels"),
    }
}

/// The branch that a mode belongs to.
fn branch_of(mode: &str) -> Branch {
    if mode == ATTENTION { Branch::Attention } else { Branch::Mlp }
}

struct Sct {
    at: Branch,
    /// The numbers of the channels `[n]` of each block, and its product.
    blocks: Vec<(ParamId, Affine)>,
    scale: f32,
}

/// Adds a product `[n n]` for every block, with the published start, and the numbers of its channels, which the survey
/// finds: without it they are the first ones.
fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    let (d, depth, n) = (site.spec.width, site.spec.depth, count(settings, site.spec.width));
    if n > d {
        let what = format!("{n} channels of {d}");
        return Err(Error::input("--channels", what, format!("use at most {d}")));
    }
    let mode = settings.choice("mode");
    let first: Vec<f32> = (0..n).map(|channel| channel as f32).collect();
    let index = |site: &mut Site, layer: usize| -> Result<ParamId> {
        site.params.room(&index(layer), &[n])?;
        let first = Tensor::from_vec(first.clone(), &[n]);
        Ok(site.params.add_found(PRODUCTS, index(layer), first))
    };
    let indices = (0..depth).map(|layer| index(site, layer)).collect::<Result<Vec<_>>>()?;
    let mut adding = Adding::new(site, PRODUCTS);
    let mut product = |layer: usize| {
        let name = format!("blocks.{layer}.{mode}.adapt_linear");
        Affine::product(&mut adding, &name, [n, n], TRUNC_NORMAL)
    };
    let products = (0..depth).map(&mut product).collect::<Result<Vec<_>>>()?;
    let (blocks, scale) = (indices.into_iter().zip(products).collect(), settings.number("scale") as f32);
    Ok(Box::new(Sct { at: branch_of(mode), blocks, scale }))
}

impl Sct {
    /// Adds the product of the block's channels of x to them. The bias is left out where it is added elsewhere.
    fn adapt(&self, pass: &Pass, layer: usize, x: Var, with_bias: bool) -> Result<Var> {
        let (tape, (index, product)) = (pass.tape, self.blocks[layer]);
        let (index, (weight, bias)) = (&pass.params[index], product.on(pass.params));
        let chosen = channels::gather(tape, &x, index)?;
        let update = linear(tape, &chosen, weight, bias.filter(|_| with_bias))?;
        let update = scaled(tape, update, self.scale)?;
        Ok(channels::add(tape, x, index, &update)?)
    }
}

impl Method for Sct {
    /// After attention the product is on the sum of branch and stream: the branch's share of it is added here, and that of
    /// the stream, with the bias, to the stream. So stochastic depth drops what it drops in the published program.
    fn branch(
        &self,
        pass: &mut Pass,
        (layer, branch): (usize, Branch),
        _stream: &Var,
        h: Var,
    ) -> Result<Var> {
        if branch != self.at {
            return Ok(h);
        }
        self.adapt(pass, layer, h, branch == Branch::Mlp)
    }

    fn shortcut(&self, pass: &mut Pass, (layer, branch): (usize, Branch), stream: Var) -> Result<Var> {
        if branch != self.at || branch == Branch::Mlp {
            return Ok(stream);
        }
        self.adapt(pass, layer, stream, true)
    }
}

/// Finds the salient channels of each block, by the published rule: the norm of a channel over all rows but the class
/// token's of all images of a class, averaged over the classes.
fn look(settings: &Settings, survey: &Survey) -> Result<Found> {
    let spec = *survey.model.spec();
    let sums = vec![vec![]; spec.depth];
    let at = branch_of(settings.choice("mode"));
    let watcher = Norms { at, class_row: spec.class_row, seen: Mutex::new(Seen { labels: vec![], sums }) };
    let positions: Vec<usize> = (0..survey.images()).collect();
    survey.each_labelled_batch(&positions, &mut |images, labels| {
        let labels = labels.into_iter().map(|label| label as usize).collect();
        watcher.seen.lock().expect("no panic while it is held").labels = labels;
        survey.model.walk(images, &watcher, None)
    })?;
    let seen = watcher.seen.into_inner().expect("no panic while it was held");
    let n = count(settings, spec.width);
    let value = |(layer, sums): (usize, &Sums)| {
        let numbers = salient(sums, n).into_iter().map(|channel| channel as f32).collect();
        (index(layer), Tensor::from_vec(numbers, &[n]))
    };
    let values = seen.sums.iter().enumerate().map(value).collect();
    let note = format!("the {n} salient channels of each block were found in {} images", survey.images());
    Ok(Found { values, notes: vec![note], ..Found::default() })
}

/// The `n` channels with the largest mean over the classes of the root of `sums [classes d]`, rising; the first of equal
/// ones. Classes without images do not count.
fn salient(sums: &[Vec<f64>], n: usize) -> Vec<usize> {
    let there = sums.iter().filter(|sums| sums.iter().any(|&sum| sum > 0.0));
    let mut value = vec![0.0; sums.first().map_or(0, Vec::len)];
    there.for_each(|sums| value.iter_mut().zip(sums).for_each(|(value, sum)| *value += sum.sqrt()));
    let mut order: Vec<usize> = (0..value.len()).collect();
    order.sort_by(|&a, &b| value[b].total_cmp(&value[a]));
    let mut chosen = order[..n.min(order.len())].to_vec();
    chosen.sort_unstable();
    chosen
}

/// Sums `[classes d]` of the squares of all values of a channel.
type Sums = Vec<Vec<f64>>;

/// What [`Norms`] has seen so far.
struct Seen {
    /// Classes of the images of the batch.
    labels: Vec<usize>,
    /// Those of each block.
    sums: Vec<Sums>,
}

/// Sums the squares of the channels where the product will stand. The MLP's product is chosen by the output of its block.
struct Norms {
    at: Branch,
    class_row: Option<usize>,
    seen: Mutex<Seen>,
}

impl Method for Norms {
    fn branch(
        &self,
        _pass: &mut Pass,
        (layer, branch): (usize, Branch),
        stream: &Var,
        h: Var,
    ) -> Result<Var> {
        if branch != self.at {
            return Ok(h);
        }
        let (stream, added) = (stream.value().values()?, h.value().values()?);
        let &[_, l, d] = h.shape() else { unreachable!("a sequence has three axes") };
        let mut seen = self.seen.lock().expect("no panic while it is held");
        let Seen { labels, sums } = &mut *seen;
        let rows = stream.chunks_exact(d).zip(added.chunks_exact(d)).enumerate();
        for (row, (stream, added)) in rows.filter(|(row, _)| Some(row % l) != self.class_row) {
            let (sums, class) = (&mut sums[layer], labels[row / l]);
            if sums.len() <= class {
                sums.resize(class + 1, vec![0.0; d]);
            }
            let sum = &mut sums[class];
            for ((sum, stream), added) in sum.iter_mut().zip(stream).zip(added) {
                *sum += f64::from(stream + added).powi(2);
            }
        }
        Ok(h)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_means_over_the_classes_are_taken() {
        // Means of roots: 3, 2, 3, 0.5, 4. The class without images does not count.
        let sums = [vec![4.0, 9.0, 16.0, 1.0, 0.0], vec![0.0; 5], vec![16.0, 1.0, 4.0, 0.0, 64.0]]
            .map(|s| s.to_vec());
        assert_eq!(salient(&sums, 1), [4]);
        assert_eq!(salient(&sums, 2), [0, 4], "the first of equal ones");
        assert_eq!(salient(&sums, 4), [0, 1, 2, 4]);
    }
}
