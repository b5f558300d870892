//! Self-prompt tuning (SPT, Wang et al., ICML 2024): VPT whose prompts begin as tokens of the training images.
//!
//! Training images go through the frozen backbone once, and each layer's prompts are drawn from the rows that enter it:
//! single rows, or means or maxima over windows of rows, or the centres of k-means over all rows
//! (`docs/methods.md`, "SPT"). Only the images that a drawn row belongs to are computed.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Mutex;

use engine::{Rng, Tensor};

use super::entry::{Defaults, Entry, Site};
use super::settings::{Kind, Setting, Settings, Value};
use super::vpt;
use crate::backbones::{vim, vit};
use crate::model::Model;
use crate::pass::{Generated, Method, Pass, Tokens};
use crate::survey::{Found, Survey, Surveyor};
use crate::{Error, Result, kmeans, streams};

/// The method's entry in the registry.
pub static ENTRY: Entry = Entry {
    name: "spt",
    title: "SPT",
    about: "Prompt rows that begin as tokens of the training images, in a frozen backbone",
    trains: "prompt rows, which begin as tokens of training images, and the head",
    source: "SPT, ICML 2024",
    backbones: &[vim::NAME, vit::NAME],
    settings: &[
        vpt::tokens(20),
        vpt::DEEP,
        vpt::POSITION,
        vpt::INJECT,
        vpt::PROMPT_DROPOUT,
        Setting::new(
            "prompts-from",
            Kind::Choice(&["random", "mean_pooling", "max_pooling", "kmeans"]),
            Value::Choice("random"),
            "What prompts begin as: random rows, means or maxima of windows of rows, or kmeans centres",
        ),
        Setting::new(
            "draws",
            Kind::Count(0, 100_000_000),
            Value::Count(0),
            "Images to draw rows from, with replacement; 0 stands for as many as there are, 64 for kmeans",
        ),
    ],
    // 1e-3 at 32 images a step, and decay 1e-2, as published.
    defaults: |spec, _| Defaults::adamw(1.6e-2, 1e-2).narrow(spec, 0.12),
    views: &[("frozen", false), ("prompted", true)],
    survey: Some(Surveyor { fills: &[], reads_run: false, look }),
    ..Entry::plain(build)
};

/// Name of the prompts on a ViT, `[layers n d]` of all layers that have them.
const TOGETHER: &str = "prompt_token";

/// On a ViT one tensor for all layers, as published; on a Vim those of VPT.
fn build(settings: &Settings, site: &mut Site) -> Result<Box<dyn Method>> {
    if site.spec.family != vit::NAME {
        return vpt::build(settings, site);
    }
    let layers = if settings.flag("deep") { site.spec.depth } else { 1 };
    vpt::build_together(settings, site, TOGETHER, layers)
}

/// Images whose rows k-means clusters, all of which are in memory at once.
const CLUSTERED: usize = 64;

/// What a prompt begins as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// One row.
    Random,
    /// The mean of a window of rows.
    MeanPooling,
    /// The maximum of a window of rows.
    MaxPooling,
}

/// The rows of an image that a prompt begins as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// Number of the image among those that are drawn from.
    pub image: usize,
    /// Its rows, class token left out.
    pub rows: Range<usize>,
}

impl Start {
    /// Number of rows or windows to draw from.
    fn candidates(self, n: usize, patches: usize, images: usize) -> usize {
        images * if self == Start::Random { patches } else { n }
    }

    /// Candidate `index` of a layer with `n` prompts. Rows are counted image by image, windows window by window, as
    /// published. The first `n - 1` windows of `w = patches / (n - 1)` rows follow each other; the last one has the
    /// last `patches mod w` rows, or all rows where that is 0.
    pub fn origin(self, n: usize, patches: usize, images: usize, index: usize) -> Origin {
        if self == Start::Random {
            let row = index % patches;
            return Origin { image: index / patches, rows: row..row + 1 };
        }
        let (window, length) = (index / images, patches / (n - 1));
        let rows = match patches % length {
            _ if window < n - 1 => window * length..(window + 1) * length,
            0 => 0..patches,
            rest => patches - rest..patches,
        };
        Origin { image: index % images, rows }
    }

    /// The prompt `[width]` that begins as these rows.
    pub fn prompt(self, rows: &[f32], width: usize) -> Vec<f32> {
        let count = rows.len() / width;
        let column = |i: usize| (0..count).map(move |row| rows[row * width + i]);
        let value = |i: usize| match self {
            Start::MaxPooling => column(i).fold(f32::NEG_INFINITY, f32::max),
            _ => (column(i).map(f64::from).sum::<f64>() / count as f64) as f32,
        };
        (0..width).map(value).collect()
    }
}

/// Draws or finds the prompts' first values.
fn look(settings: &Settings, survey: &Survey) -> Result<Found> {
    let spec = *survey.model.spec();
    let (n, deep) = (settings.count("tokens"), settings.flag("deep") && spec.depth > 1);
    let layers = if deep { spec.depth } else { 1 };
    let how = match settings.choice("prompts-from") {
        "random" => Some(Start::Random),
        "mean_pooling" => Some(Start::MeanPooling),
        "max_pooling" => Some(Start::MaxPooling),
        _ => None,
    };
    let images = match (settings.count("draws"), how) {
        (0, None) => CLUSTERED.min(survey.images()),
        (0, _) => survey.images(),
        (draws, _) => draws,
    };
    check(how, n, deep, spec.patches(), images)?;
    let mut rng = Rng::keyed(survey.seed, 0, 0, streams::SURVEY);
    let drawn: Vec<usize> = (0..images).map(|_| rng.below(survey.images() as u32) as usize).collect();
    let (prompts, note) = match how {
        Some(how) => drawn_prompts(how, n, layers, &drawn, survey)?,
        None => clustered_prompts(n, layers, &drawn, survey)?,
    };
    let tensor = |layers: &[Vec<f32>]| Tensor::from_vec(layers.concat(), &[layers.len(), n, spec.width]);
    let named = match spec.family {
        vit::NAME => vec![(TOGETHER, &prompts[..])],
        _ => vec![(vpt::SHALLOW_PROMPTS, &prompts[..1]), (vpt::DEEP_PROMPTS, &prompts[1..])],
    };
    let named = named.into_iter().filter(|(_, layers)| !layers.is_empty());
    let values = named.map(|(name, layers)| (name.to_string(), tensor(layers))).collect();
    Ok(Found { values, notes: vec![note], ..Found::default() })
}

/// Refuses numbers for which there are no rows or windows.
fn check(how: Option<Start>, n: usize, deep: bool, patches: usize, images: usize) -> Result<()> {
    let pools = matches!(how, Some(Start::MeanPooling | Start::MaxPooling));
    if pools && !deep {
        let what = "pooling is for prompts before every block";
        return Err(Error::input("--prompts-from", what, "use --deep true, or --prompts-from random"));
    }
    if pools && !(2..=patches + 1).contains(&n) {
        let what = format!("{patches} rows of an image cannot be cut into {n} windows");
        return Err(Error::input("--tokens", what, format!("use 2 to {}", patches + 1)));
    }
    let candidates = how.unwrap_or(Start::Random).candidates(n, patches, images);
    if n > candidates {
        let what = format!("there are {candidates} rows in {images} images to draw {n} prompts from");
        return Err(Error::input("--tokens", what, "use fewer, or more --draws"));
    }
    Ok(())
}

/// Draws prompts for each layer, none of them twice.
fn drawn_prompts(
    how: Start,
    n: usize,
    layers: usize,
    drawn: &[usize],
    survey: &Survey,
) -> Result<(Vec<Vec<f32>>, String)> {
    let (patches, width) = (survey.model.spec().patches(), survey.model.spec().width);
    let candidates = how.candidates(n, patches, drawn.len());
    let mut wanted: BTreeMap<usize, Vec<(usize, usize, Range<usize>)>> = BTreeMap::new();
    for layer in 0..layers {
        let mut rng = Rng::keyed(survey.seed, 0, 0, streams::SURVEY + 1 + layer as u32);
        let (mut taken, mut prompt) = (BTreeSet::new(), 0);
        while prompt < n {
            let index = (rng.uniform() * candidates as f64) as usize;
            if taken.insert(index) {
                let Origin { image, rows } = how.origin(n, patches, drawn.len(), index);
                wanted.entry(image).or_default().push((layer, prompt, rows));
                prompt += 1;
            }
        }
    }
    let (mut prompts, images) = (vec![vec![0.0; n * width]; layers], wanted.len());
    let positions: Vec<usize> = wanted.keys().map(|&image| drawn[image]).collect();
    let wanted: Vec<_> = wanted.into_values().collect();
    each_image(survey, &positions, layers, &mut |image, layer, rows| {
        for (_, prompt, range) in wanted[image].iter().filter(|(at, ..)| *at == layer) {
            let value = how.prompt(&rows[range.start * width..range.end * width], width);
            prompts[layer][prompt * width..][..width].copy_from_slice(&value);
        }
    })?;
    let kind = match how {
        Start::Random => "rows",
        Start::MeanPooling => "means of windows of rows",
        Start::MaxPooling => "maxima of windows of rows",
    };
    let note = format!(
        "prompts begin as {kind} drawn from {} images ({} training images, with replacement); {images} of them hold a \
         drawn one and were computed",
        drawn.len(),
        survey.images()
    );
    Ok((prompts, note))
}

/// Prompts of each layer are the centres of the rows of all drawn images.
fn clustered_prompts(
    n: usize,
    layers: usize,
    drawn: &[usize],
    survey: &Survey,
) -> Result<(Vec<Vec<f32>>, String)> {
    let width = survey.model.spec().width;
    let mut all = vec![vec![]; layers];
    each_image(survey, drawn, layers, &mut |_, layer, rows| all[layer].extend_from_slice(rows))?;
    let centres = |(layer, rows): (usize, &Vec<f32>)| {
        let mut rng = Rng::keyed(survey.seed, 0, 0, streams::SURVEY + 1 + layer as u32);
        kmeans::centres(rows, width, n, &mut rng)
    };
    let prompts = all.iter().enumerate().map(centres).collect();
    Ok((prompts, format!("prompts begin as k-means centres of the rows of {} drawn images", drawn.len())))
}

/// Takes the rows of an image that enter a layer: the numbers of image and layer, and the rows.
pub type Each<'a> = dyn FnMut(usize, usize, &[f32]) + Send + 'a;

/// Passes the rows of each image at each of the first layers to `each`, with the image's number among `positions`.
fn each_image(survey: &Survey, positions: &[usize], layers: usize, each: &mut Each) -> Result<()> {
    let mut before = 0;
    survey.each_batch(positions, &mut |images| {
        let b = images.shape()[0];
        rows(survey.model, images, layers, &mut |image, layer, rows| each(before + image, layer, rows))?;
        before += b;
        Ok(())
    })
}

/// Passes the rows `[patches d]` that enter each of the first `layers` layers for images `[b 3 s s]` to `each`, with the
/// numbers of image and layer, layer by layer. At the first layer they are the patches before their position embedding,
/// at later ones the sum of h and residual stream; the class token's row is left out.
///
/// # Errors
/// Those of [`Model::walk`].
pub fn rows(model: &Model, images: Tensor, layers: usize, each: &mut Each) -> Result<()> {
    model.walk(images, &Rows { layers, model, each: Mutex::new(each as &mut Each) }, None)
}

/// Reads the rows that enter each block.
struct Rows<'a> {
    layers: usize,
    model: &'a Model,
    each: Mutex<&'a mut Each<'a>>,
}

impl Method for Rows<'_> {
    fn block(&self, _pass: &mut Pass, layer: usize, tokens: Tokens) -> Result<(Tokens, Vec<Generated>)> {
        if layer >= self.layers {
            return Ok((tokens, vec![]));
        }
        let (mut values, shape) =
            (tokens.h.value().values()?.into_owned(), tokens.h.value().shape().to_vec());
        let width = shape[2];
        if let Some(residual) = &tokens.residual {
            values.iter_mut().zip(&*residual.value().values()?).for_each(|(v, r)| *v += r);
        }
        let position = self.model.params.id("pos_embed").filter(|_| layer == 0);
        if let Some(position) = position {
            let position = self.model.params.get(position).values()?;
            values.chunks_exact_mut(position.len()).for_each(|image| {
                image.iter_mut().zip(&*position).for_each(|(v, p)| *v -= p);
            });
        }
        let mut each = self.each.lock().expect("no panic while it is held");
        for (image, rows) in values.chunks_exact(shape[1] * width).enumerate() {
            match tokens.class_row {
                Some(class) => {
                    let kept = [&rows[..class * width], &rows[(class + 1) * width..]].concat();
                    each(image, layer, &kept);
                }
                None => each(image, layer, rows),
            }
        }
        Ok((tokens, vec![]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The windows of 196 rows (`docs/methods.md`, "SPT"): the last one has 6 rows of 20 prompts, 4 of 30, all of 5.
    #[test]
    fn windows_are_the_published_ones() {
        let last = |n: usize| Start::MeanPooling.origin(n, 196, 3, 3 * (n - 1) + 2);
        assert_eq!(last(20), Origin { image: 2, rows: 190..196 });
        assert_eq!(last(30), Origin { image: 2, rows: 192..196 });
        assert_eq!(last(5), Origin { image: 2, rows: 0..196 });
        assert_eq!(Start::MaxPooling.origin(20, 196, 3, 4), Origin { image: 1, rows: 10..20 });
        assert_eq!(Start::Random.origin(20, 196, 3, 196 + 7), Origin { image: 1, rows: 7..8 });
    }
}
