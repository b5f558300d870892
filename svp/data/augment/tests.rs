use std::collections::BTreeMap;
use std::mem::{Discriminant, discriminant};
use std::path::Path;

use super::erase::{Hole, erase};
use super::mix::Mixing;
use super::*;
use crate::decode;

fn rng(sample: u32) -> Rng {
    Rng::keyed(11, 0, sample, 0)
}

/// Checks that `count` of `n` draws is what probability `p` gives, within five standard deviations.
#[track_caller]
fn likely(count: usize, n: usize, p: f64) {
    let (n, count) = (n as f64, count as f64);
    let bound = 5.0 * (n * p * (1.0 - p)).sqrt();
    assert!((count - n * p).abs() < bound, "{count} of {n}, {} expected", n * p);
}

/// Checks that the mean of `values` is `mean`, within five standard errors for this `deviation`.
#[track_caller]
fn averages(values: &[f64], mean: f64, deviation: f64) {
    let found = values.iter().sum::<f64>() / values.len() as f64;
    let bound = 5.0 * deviation / (values.len() as f64).sqrt();
    assert!((found - mean).abs() < bound, "{found}, {mean} +- {bound} expected");
}

fn change(line: &str) -> Change {
    let mut words = line.split(' ');
    let name = words.next().unwrap();
    let x = words.next().map_or(f64::NAN, |x| x.parse().unwrap());
    match name {
        "autocontrast" => Change::AutoContrast,
        "equalize" => Change::Equalize,
        "invert" => Change::Invert,
        "rotate" => Change::Rotate(x),
        "posterize" => Change::Posterize(x as u32),
        "solarize" => Change::Solarize(x as u32),
        "solarize_add" => Change::SolarizeAdd(x as u8),
        "colour" => Change::Colour(x),
        "contrast" => Change::Contrast(x),
        "brightness" => Change::Brightness(x),
        "sharpness" => Change::Sharpness(x),
        "shear_x" => Change::ShearX(x),
        "shear_y" => Change::ShearY(x),
        "translate_x" => Change::TranslateX(x),
        "translate_y" => Change::TranslateY(x),
        other => panic!("{other}"),
    }
}

/// `tools/reference/augment.py` made the wanted pictures with Pillow, which interpolates in f64 instead of f32.
#[test]
fn changes_are_those_of_pillow() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/augment");
    let read = |name: &str| decode::read(&folder.join(name)).unwrap();
    let lines = std::fs::read_to_string(folder.join("changes.txt")).unwrap();
    let kinds: std::collections::HashSet<_> = lines.lines().map(|line| discriminant(&change(line))).collect();
    assert_eq!(kinds.len(), 15);
    for name in ["photo", "synthetic", "flat"] {
        let (picture, want) = (read(&format!("{name}.png")), read(&format!("{name}.want.png")));
        let bytes = picture.as_raw().len();
        assert_eq!(want.as_raw().len(), bytes * lines.lines().count());
        for (line, want) in lines.lines().zip(want.as_raw().chunks_exact(bytes)) {
            let change = change(line);
            let mut got = picture.clone();
            change.apply(&mut got);
            let off: Vec<u8> = got.as_raw().iter().zip(want).map(|(a, b)| a.abs_diff(*b)).collect();
            let (worst, wrong) = (*off.iter().max().unwrap(), off.iter().filter(|&&d| d > 0).count());
            // Near its axis a rotation hits pixels almost exactly; truncation then gives a value or the one below it.
            let most = if line.starts_with("rotate") { (1, 4) } else { (0, 0) };
            assert!(worst <= most.0 && wrong <= most.1, "{name}, {line}: {worst}, {wrong} of {bytes}");
        }
    }
}

#[test]
fn pictures_of_any_size_can_be_changed() {
    let policy: RandAugment = "rand-m9-mstd0.5-n15-inc1".parse().unwrap();
    for (sample, (w, h)) in [(1, 1), (2, 1), (1, 5), (3, 3), (4, 2), (5, 4), (97, 3)].into_iter().enumerate()
    {
        for round in 0..40 {
            let mut picture = RgbImage::from_fn(w, h, |x, y| image::Rgb([x as u8, y as u8 * 9, 200]));
            policy.draw(&mut rng(40 * sample as u32 + round)).iter().for_each(|c| c.apply(&mut picture));
            assert_eq!(picture.dimensions(), (w, h));
        }
    }
}

#[test]
fn policies_are_read_and_written() {
    let policy: RandAugment = "rand-m9-mstd0.5-inc1".parse().unwrap();
    let want = RandAugment { magnitude: 9.0, deviation: 0.5, layers: 2, increasing: true };
    assert_eq!(policy, want);
    assert_eq!(policy.to_string(), "rand-m9-mstd0.5-inc1");
    let other: RandAugment = "rand-n3-m4.5".parse().unwrap();
    assert_eq!(other, RandAugment { magnitude: 4.5, deviation: 0.0, layers: 3, increasing: false });
    assert_eq!("rand".parse::<RandAugment>().unwrap().to_string(), "rand-m10");
    for (text, part) in [
        ("augmix-m5", "not a rand- policy"),
        ("", "not a rand- policy"),
        ("rand-m11", "\"m11\" is out of range"),
        ("rand-mNaN", "has no number"),
        ("rand-n2.5", "out of range"),
        ("rand-inc2", "out of range"),
        ("rand-w0", "unknown key"),
        ("rand-", "has no number"),
    ] {
        let error = text.parse::<RandAugment>().unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("--auto-augment"), "{text}: {error}");
    }
}

/// How often a policy draws each change, with the change and its argument as text.
fn arguments(policy: &str) -> BTreeMap<String, usize> {
    let policy: RandAugment = policy.parse().unwrap();
    let mut seen = BTreeMap::new();
    for sample in 0..2_000 {
        for change in policy.draw(&mut rng(sample)) {
            *seen.entry(format!("{change:?}")).or_insert(0) += 1;
        }
    }
    seen
}

/// The arguments are those of timm's list, which `docs/recipe.md` repeats.
#[test]
fn magnitudes_become_the_published_arguments() {
    let nine = arguments("rand-m9-inc1");
    for want in [
        "AutoContrast",
        "Equalize",
        "Invert",
        "Rotate(-27.0)",
        "Rotate(27.0)",
        "Posterize(1)",
        "Solarize(26)",
        "SolarizeAdd(99)",
        "ShearX(0.27)",
        "ShearY(-0.27)",
        "TranslateX(-0.405)",
        "TranslateY(0.405)",
    ] {
        assert!(nine.contains_key(want), "{want} is not in {nine:?}");
    }
    for kind in ["Colour", "Contrast", "Brightness", "Sharpness"] {
        let factors: Vec<f64> =
            nine.keys().filter_map(|k| k.strip_prefix(kind)?.trim_matches(['(', ')']).parse().ok()).collect();
        assert_eq!(factors.len(), 2, "{kind} {factors:?}");
        assert!((factors[0] - 0.19).abs() < 1e-12 && (factors[1] - 1.81).abs() < 1e-12);
    }
    // Nine kinds have a direction and so come with two arguments each.
    assert_eq!(nine.len(), 15 + 9);
    assert!(arguments("rand-m7.4-inc1").contains_key("Posterize(2)"));
    assert!(arguments("rand-m7.5-inc1").contains_key("Posterize(1)"));
    assert!(arguments("rand-m10-inc1").contains_key("Posterize(0)"));
    let falling = arguments("rand-m9");
    for want in ["Posterize(3)", "Solarize(230)"] {
        assert!(falling.contains_key(want), "{want} is not in {falling:?}");
    }
}

#[test]
fn changes_are_drawn_as_often_and_as_strong_as_published() {
    let policy: RandAugment = "rand-m9-mstd0.5-inc1".parse().unwrap();
    let n = 60_000;
    let mut numbers = [0; 3];
    let mut kinds: BTreeMap<String, (Discriminant<Change>, usize)> = BTreeMap::new();
    let (mut degrees, mut black, mut posterized) = (vec![], 0, 0);
    for sample in 0..n {
        let changes = policy.draw(&mut rng(sample as u32));
        numbers[changes.len()] += 1;
        for change in changes {
            let name = format!("{change:?}");
            let name = name.split('(').next().unwrap().to_string();
            kinds.entry(name).or_insert((discriminant(&change), 0)).1 += 1;
            match change {
                Change::Rotate(q) => degrees.push(q),
                Change::Posterize(bits) => {
                    posterized += 1;
                    black += usize::from(bits == 0);
                }
                _ => {}
            }
        }
    }
    for (number, p) in numbers.into_iter().zip([0.25, 0.5, 0.25]) {
        likely(number, n, p);
    }
    assert_eq!(kinds.len(), 15);
    for (_, count) in kinds.values() {
        likely(*count, 2 * n, 0.5 / 15.0);
    }
    likely(degrees.iter().filter(|q| **q < 0.0).count(), degrees.len(), 0.5);
    let magnitudes: Vec<f64> = degrees.iter().map(|q| q.abs() / 3.0).collect();
    // These are the mean and deviation of N(9, 0.5) clamped to 10, which concerns 2.3 % of the draws.
    averages(&magnitudes, 8.9958, 0.5);
    likely(magnitudes.iter().filter(|m| **m >= 10.0).count(), magnitudes.len(), 0.02275);
    likely(magnitudes.iter().filter(|m| **m < 8.5).count(), magnitudes.len(), 0.15866);
    likely(black, posterized, 0.02275);
}

#[test]
fn jitter_stays_in_its_range_and_uses_all_of_it() {
    let mut sums = vec![];
    for sample in 0..4_000 {
        let mut picture = RgbImage::from_pixel(1, 1, image::Rgb([100; 3]));
        // Contrast and saturation do not change a grey pixel.
        enhance::jitter(&mut picture, 0.3, &mut rng(sample));
        sums.push(f64::from(picture.get_pixel(0, 0).0[0]));
    }
    assert!(sums.iter().all(|v| (70.0..=130.0).contains(v)));
    // The values are uniform on 70..130, truncated to whole numbers.
    averages(&sums, 99.5, 60.0 / 12f64.sqrt());
}

#[test]
fn erased_boxes_have_the_published_areas() {
    const SIZE: usize = 224;
    let (mut areas, mut aspects, mut tops) = (vec![], vec![], vec![]);
    for sample in 0..20_000 {
        let Hole { top, left, height, width } = Hole::draw(SIZE, &mut rng(sample)).unwrap();
        assert!(height < SIZE && width < SIZE && top + height <= SIZE && left + width <= SIZE);
        let area = (height * width) as f64 / (SIZE * SIZE) as f64;
        assert!((0.019..0.345).contains(&area));
        if area < 0.25 {
            // Boxes this small always fit, so that they show the draws as they are.
            areas.push(area);
            aspects.push((height as f64 / width as f64).ln());
            tops.push(top as f64 / (SIZE - height) as f64);
        }
    }
    averages(&areas, 0.135, 0.23 / 12f64.sqrt());
    averages(&aspects, 0.0, 2.0 * 0.3f64.ln().abs() / 12f64.sqrt());
    averages(&tops, 0.5, 1.0 / 12f64.sqrt());
}

#[test]
fn erasing_writes_normal_noise_into_one_box_of_a_quarter_of_the_images() {
    const SIZE: usize = 40;
    let n = 4_000;
    let (mut erased, mut noise) = (0, vec![]);
    for sample in 0..n {
        let mut image = vec![9.0; 3 * SIZE * SIZE];
        erase(&mut image, SIZE, 0.25, &mut rng(sample));
        let changed: Vec<usize> = (0..image.len()).filter(|&i| image[i] != 9.0).collect();
        erased += usize::from(!changed.is_empty());
        noise.extend(changed.iter().map(|&i| f64::from(image[i])));
        let planes = changed.iter().map(|i| i / (SIZE * SIZE)).collect::<std::collections::HashSet<_>>();
        assert!(changed.is_empty() || planes.len() == 3 && changed.len().is_multiple_of(3));
    }
    likely(erased, n as usize, 0.25);
    averages(&noise, 0.0, 1.0);
    let squares: Vec<f64> = noise.iter().map(|v| v * v).collect();
    averages(&squares, 1.0, 2f64.sqrt());
    likely(noise.iter().filter(|v| v.abs() < 1.0).count(), noise.len(), 0.682_689);
}

const RECIPE: Mix = Mix { mixup: 0.8, cutmix: 1.0, prob: 1.0, switch_prob: 0.5 };

#[test]
fn shares_of_mixing_are_of_the_published_distributions() {
    let n = 40_000;
    let (mut blends, mut cuts) = (vec![], vec![]);
    for batch in 0..n {
        match RECIPE.draw(1000, &mut rng(batch as u32)) {
            Mixing::Blend(share) => blends.push(share),
            Mixing::Paste { rows, columns } => cuts.push((rows, columns)),
            Mixing::Nothing => panic!("every batch is mixed"),
        }
    }
    likely(cuts.len(), n, 0.5);
    // Beta(a, a) has the mean 1/2 and the variance 1 / (4 (2a + 1)).
    averages(&blends, 0.5, (1.0 / (4.0 * 2.6f64)).sqrt());
    let squares: Vec<f64> = blends.iter().map(|share| (share - 0.5).powi(2)).collect();
    averages(&squares, 1.0 / (4.0 * 2.6), 0.081);
    // By numeric integration, the regularised incomplete beta function I(0.1; 0.8, 0.8) is 0.1317.
    likely(blends.iter().filter(|share| **share < 0.1).count(), blends.len(), 0.1317);
    // The area of a box that does not reach the border is 1 - lambda, and lambda is uniform.
    let whole: Vec<f64> = cuts
        .iter()
        .filter(|(rows, columns)| [rows, columns].iter().all(|s| s[0] > 0 && s[1] < 1000))
        .map(|(rows, columns)| (rows[1] - rows[0]) as f64 * (columns[1] - columns[0]) as f64 / 1e6)
        .collect();
    assert!(whole.len() > cuts.len() / 8);
    // Centres are uniform, so that a share (1 - r)^2 of the boxes with side r stays inside. The density of r is then
    // 12 r (1 - r)^2, with mean 0.4 and deviation 0.2.
    let sides: Vec<f64> = whole.iter().map(|area| area.sqrt()).collect();
    averages(&sides, 0.4, 0.2);
}

#[test]
fn only_what_is_on_mixes() {
    let draws = |mix: Mix| (0..400).map(move |i| mix.draw(32, &mut rng(i))).collect::<Vec<_>>();
    assert!(draws(Mix { mixup: 0.0, ..RECIPE }).iter().all(|m| matches!(m, Mixing::Paste { .. })));
    assert!(draws(Mix { cutmix: 0.0, ..RECIPE }).iter().all(|m| matches!(m, Mixing::Blend(_))));
    assert!(draws(Mix { prob: 0.0, ..RECIPE }).iter().all(|m| *m == Mixing::Nothing));
    assert!(draws(Mix { mixup: 0.0, cutmix: 0.0, ..RECIPE }).iter().all(|m| *m == Mixing::Nothing));
    let some = draws(Mix { prob: 0.3, ..RECIPE });
    likely(some.iter().filter(|m| **m != Mixing::Nothing).count(), some.len(), 0.3);
}

/// Five images of 3 x 4 x 4 values; all values of an image are its number.
fn batch() -> Vec<f32> {
    (0..5 * 48).map(|i| (i / 48) as f32).collect()
}

#[test]
fn images_are_mixed_with_those_at_mirrored_places() {
    let mut images = batch();
    assert_eq!(Mixing::Nothing.apply(&mut images, 4), 1.0);
    assert_eq!(images, batch());
    assert_eq!(Mixing::Blend(0.75).apply(&mut images, 4), 0.75);
    let values: Vec<f32> = images.chunks(48).map(|image| image[0]).collect();
    assert_eq!(values, [1.0, 1.5, 2.0, 2.5, 3.0]);
    assert!(images.chunks(48).all(|image| image.iter().all(|v| *v == image[0])));

    let mut images = batch();
    let share = Mixing::Paste { rows: [1, 3], columns: [2, 4] }.apply(&mut images, 4);
    assert_eq!(share, 0.75);
    for (i, image) in images.chunks(48).enumerate() {
        for (j, value) in image.iter().enumerate() {
            let (row, column) = (j % 16 / 4, j % 4);
            let pasted = (1..3).contains(&row) && (2..4).contains(&column);
            assert_eq!(*value, if pasted { 4 - i } else { i } as f32, "image {i} at {row} {column}");
        }
    }
}
