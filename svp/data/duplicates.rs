//! Pictures that are in train and in another split too, exactly or nearly.
//!
//! Two pictures are exactly the same if their pixels are. They are nearly the same if their difference hashes differ in
//! at most [`NEAR`] of 128 bits: the picture is made grey and reduced to 9 x 8 (and 8 x 9) pixels, and each bit says
//! whether a pixel is brighter than its neighbour, which neither another size nor another quality of a JPEG changes.

use std::collections::HashMap;

use image::RgbImage;
use rayon::prelude::*;
use serde::Serialize;

use crate::layouts::Splits;
use crate::resize::{Rect, resize};
use crate::sample::Sample;
use crate::sha256::sha256_hex;
use crate::text::shown;
use crate::watch::Watch;

/// The most bits in which the hashes of two nearly equal pictures differ.
const NEAR: u32 = 6;
/// The number of parts of a hash by which near ones are looked up. Of two hashes that differ in at most [`NEAR`] bits at
/// least one part is the same.
const PARTS: usize = NEAR as usize + 1;
/// A picture whose neighbouring pixels differ less often than this is too plain to be told by its hash.
const PLAIN: u32 = 16;

/// Pictures that are in train and in another split too.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Duplicates {
    /// The number of pictures of val and test that train has exactly.
    pub exact: usize,
    /// The number of those that train has nearly.
    pub near: usize,
    /// Each of these with one that is like it in train.
    pub pairs: Vec<Pair>,
}

/// A picture of another split and one of train.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// The picture of val or test.
    pub other: String,
    /// The picture of train.
    pub train: String,
    /// Whether their pixels are the same.
    pub exact: bool,
}

/// By what a picture is told.
struct Print {
    pixels: String,
    /// `None` for a picture that is too plain.
    hash: Option<u128>,
}

/// Looks for the pictures of val and test in train. Those that cannot be read are passed over.
pub(crate) fn find(splits: &Splits, watch: Watch) -> Duplicates {
    let others = || [&splits.val, &splits.test].into_iter().flatten();
    let done = watch("images compared", splits.train.len() + others().map(Vec::len).sum::<usize>());
    let prints = |samples: &[Sample]| -> Vec<(String, Print)> {
        let one = |sample: &Sample| {
            let image = sample.source.load();
            done();
            Some((sample.source.to_string(), print(&image.ok()?)))
        };
        samples.par_iter().filter_map(one).collect()
    };
    let train = prints(&splits.train);
    let exact: HashMap<&str, usize> =
        train.iter().enumerate().rev().map(|(i, (_, print))| (print.pixels.as_str(), i)).collect();
    let mut by_part: HashMap<(usize, u128), Vec<usize>> = HashMap::new();
    for (i, (_, print)) in train.iter().enumerate() {
        for part in print.hash.into_iter().flat_map(parts) {
            by_part.entry(part).or_default().push(i);
        }
    }
    let near = |hash: u128| {
        let likely = parts(hash).filter_map(|part| by_part.get(&part)).flatten();
        let distance = |&&i: &&usize| train[i].1.hash.map_or(u32::MAX, |other| (hash ^ other).count_ones());
        likely.min_by_key(|i| (distance(i), **i)).filter(|i| distance(i) <= NEAR).copied()
    };
    let mut found = Duplicates::default();
    for samples in others() {
        let others = prints(samples);
        let like = |(name, print): &(String, Print)| {
            let same = exact.get(print.pixels.as_str()).copied();
            let like = same.or_else(|| print.hash.and_then(near))?;
            let train = shown(&train[like].0).into_owned();
            Some(Pair { other: shown(name).into_owned(), train, exact: same.is_some() })
        };
        found.pairs.par_extend(others.par_iter().filter_map(like));
    }
    found.exact = found.pairs.iter().filter(|pair| pair.exact).count();
    found.near = found.pairs.len() - found.exact;
    found
}

/// The parts of a hash, with their numbers.
fn parts(hash: u128) -> impl Iterator<Item = (usize, u128)> {
    let bits = 128usize.div_ceil(PARTS);
    (0..PARTS).map(move |part| (part, hash >> (part * bits) & ((1 << bits) - 1)))
}

fn print(image: &RgbImage) -> Print {
    let pixels = sha256_hex(|hash| {
        hash(&image.width().to_le_bytes());
        hash(image.as_raw());
    });
    let (across, down) = (grey(image, 9, 8), grey(image, 8, 9));
    let across = (0..64).map(|i| (across[i / 8 * 9 + i % 8], across[i / 8 * 9 + i % 8 + 1]));
    let down = (0..64).map(|i| (down[i], down[i + 8]));
    let (mut bits, mut steps) = (0u128, 0);
    for (one, next) in across.chain(down) {
        bits = bits << 1 | u128::from(one > next);
        steps += u32::from(one.abs_diff(next) > 2);
    }
    Print { pixels, hash: (steps >= PLAIN).then_some(bits) }
}

/// The brightness of the picture at another size, row by row.
fn grey(image: &RgbImage, width: u32, height: u32) -> Vec<u8> {
    let whole = Rect { x: 0, y: 0, width, height };
    let small = resize(image, Rect::of(image), (width, height), whole);
    let grey = |p: &image::Rgb<u8>| {
        (0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2])) as u8
    };
    small.pixels().map(grey).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use image::imageops;

    use super::*;
    use crate::source::Source;
    use crate::watch::unwatched;

    /// A picture with soft blobs, and a seed that places them.
    fn blobs(seed: u32) -> RgbImage {
        let mut rng = engine::Rng::keyed(u64::from(seed), 0, 0, 0);
        let spots: Vec<[f32; 3]> =
            (0..9).map(|_| [rng.below(160) as f32, rng.below(120) as f32, rng.below(200) as f32]).collect();
        RgbImage::from_fn(160, 120, |x, y| {
            let near = |s: &[f32; 3]| {
                let (dx, dy) = (x as f32 - s[0], y as f32 - s[1]);
                s[2] * (-(dx * dx + dy * dy) / 600.0).exp()
            };
            let v = spots.iter().map(near).sum::<f32>().min(255.0) as u8;
            image::Rgb([v, v / 2 + 20, 255 - v])
        })
    }

    #[test]
    fn equal_and_resized_pictures_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let sample = |name: &str, image: &RgbImage| {
            let path = dir.path().join(name);
            image.save(&path).unwrap();
            Sample::new(Source::File(Path::new(&path).into()), 0)
        };
        let train = (0..20).map(|i| sample(&format!("train{i}.png"), &blobs(i))).collect();
        let smaller = imageops::resize(&blobs(7), 90, 70, imageops::FilterType::Triangle);
        let flat = RgbImage::from_pixel(40, 40, image::Rgb([9, 9, 9]));
        let test = vec![
            sample("same.bmp", &blobs(3)),
            sample("small.jpg", &smaller),
            sample("new.png", &blobs(99)),
            sample("flat.png", &flat),
        ];
        let splits = Splits { train, test: Some(test), ..Splits::default() };
        let found = find(&splits, &unwatched);
        assert_eq!((found.exact, found.near), (1, 1), "{found:?}");
        let ends = |pair: &Pair, a: &str, b: &str| pair.other.ends_with(a) && pair.train.ends_with(b);
        assert!(ends(&found.pairs[0], "same.bmp", "train3.png") && found.pairs[0].exact);
        assert!(ends(&found.pairs[1], "small.jpg", "train7.png") && !found.pairs[1].exact);
    }
}
