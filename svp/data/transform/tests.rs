use std::path::Path;

use super::*;
use crate::decode;

fn golden(name: &str) -> RgbImage {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden");
    decode::read(&dir.join(name)).unwrap()
}

/// A picture with structure.
fn picture(width: u32, height: u32) -> RgbImage {
    RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 5) as u8, (y * 7) as u8, (x * y) as u8]))
}

fn eval(size: u32) -> Transform {
    Transform::eval(size, Normalisation::IMAGENET)
}

fn any_rng() -> Rng {
    Rng::keyed(0, 0, 0, 0)
}

/// The goldens are Pillow's own output. The arithmetic is Pillow's, so that nothing differs at all.
#[test]
fn evaluation_equals_the_goldens() {
    for name in ["photo_500x375", "photo_301x467", "photo_32x32"] {
        let got = eval(224).pixels(&golden(&format!("{name}.png")), &mut any_rng());
        let want = golden(&format!("{name}.eval224.png"));
        assert_eq!(got.dimensions(), (224, 224));
        let worst = got.as_raw().iter().zip(want.as_raw()).map(|(a, b)| a.abs_diff(*b)).max();
        assert_eq!(worst, Some(0), "{name}");
    }
}

#[test]
fn normalised_values_are_planes_of_the_given_mean_and_deviation() {
    let image = RgbImage::from_fn(40, 40, |_, _| image::Rgb([0, 128, 255]));
    let (bytes, half) = ([0.0, 128.0, 255.0], [(0.5, 0.5); 3]);
    let imagenet = [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)];
    for (by, want) in [(Normalisation::IMAGENET, imagenet), (Normalisation::HALF, half)] {
        let transform = Transform::eval(40, by);
        let mut out = vec![f32::NAN; transform.values()];
        transform.apply(&image, &mut any_rng(), &mut out);
        for ((plane, v), (mean, std)) in out.chunks(1600).zip(bytes).zip(want) {
            let want = (v / 255.0 - mean) / std;
            assert!(plane.iter().all(|x| (x - want).abs() < 1e-6), "{by:?}: {} {want}", plane[0]);
        }
    }
}

#[test]
fn small_sizes_leave_a_ready_picture_alone_and_crop_others() {
    let mut rng = any_rng();
    let ready = picture(32, 32);
    assert_eq!(eval(32).pixels(&ready, &mut rng), ready);
    for (w, h) in [(28, 28), (35, 40), (1, 1), (3, 500), (500, 3), (32, 64)] {
        assert_eq!(eval(32).pixels(&picture(w, h), &mut rng).dimensions(), (32, 32));
    }
    // The shorter side is kept, which leaves the middle rows of the picture.
    let tall = picture(32, 64);
    let got = eval(32).pixels(&tall, &mut rng);
    assert!((0..32).all(|y| got.get_pixel(5, y) == tall.get_pixel(5, y + 16)));
}

#[test]
fn small_training_pictures_are_shifted_by_at_most_four_pixels() {
    let image = RgbImage::from_pixel(32, 32, image::Rgb([255; 3]));
    let transform =
        Transform::train(32, Normalisation::IMAGENET, Augment { flip: false, ..Augment::default() });
    let mut seen = std::collections::HashSet::new();
    for sample in 0..2000 {
        let out = transform.pixels(&image, &mut Rng::keyed(3, 0, sample, 1));
        let black = |line: &mut dyn Iterator<Item = u32>, on_x: bool| {
            line.take_while(|&i| (if on_x { out.get_pixel(i, 16) } else { out.get_pixel(16, i) }).0 == [0; 3])
                .count() as i32
        };
        let x = black(&mut (0..32), true) - black(&mut (0..32).rev(), true);
        let y = black(&mut (0..32), false) - black(&mut (0..32).rev(), false);
        seen.insert((x, y));
    }
    assert_eq!(seen.len(), 81, "every shift from -4 to 4 on both axes, and no other");
    assert!(seen.iter().all(|(x, y)| x.abs() <= 4 && y.abs() <= 4));
}

#[test]
fn half_of_the_training_pictures_are_mirrored() {
    let ramp = RgbImage::from_fn(64, 64, |x, _| image::Rgb([x as u8 * 4; 3]));
    let transform =
        Transform::train(48, Normalisation::IMAGENET, Augment { scale_min: 0.5, ..Augment::default() });
    let mirrored = |sample| {
        let out = transform.pixels(&ramp, &mut Rng::keyed(9, 0, sample, 1));
        out.get_pixel(0, 24).0[0] > out.get_pixel(47, 24).0[0]
    };
    let count = (0..2000).filter(|&sample| mirrored(sample)).count();
    // 1,000 are expected, with a standard deviation of 22; the bound is five of these.
    assert!(count.abs_diff(1000) < 112, "{count}");
}

#[test]
fn random_crops_have_the_published_distribution() {
    let (w, h) = (500, 375);
    let (mut areas, mut ratios, mut left, mut tries) = (0.0, 0.0, 0.0, 0.0);
    let mut rng = any_rng();
    for _ in 0..20_000 {
        let Rect { x, y, width, height } = random_crop(w, h, 0.08, &mut rng);
        assert!(width > 0 && height > 0 && x + width <= w && y + height <= h);
        let (cw, ch) = (f64::from(width), f64::from(height));
        let area = cw * ch / f64::from(w * h);
        assert!((0.079..=1.0).contains(&area) && (0.745..=1.345).contains(&(cw / ch)));
        if area < 0.5 {
            // Crops this small always fit, so that they show the draws as they are.
            areas += area;
            ratios += (cw / ch).ln();
            left += f64::from(x) / f64::from((w - width).max(1));
            tries += 1.0;
        }
    }
    // Means of uniform draws over 0.08..0.5, -0.288..0.288 and 0..1; tolerance is five standard errors.
    for (sum, mean, width) in [(areas, 0.29, 0.42), (ratios, 0.0, 0.5754), (left, 0.5, 1.0)] {
        let error = (sum / tries - mean).abs();
        assert!(error < 5.0 * width / (12.0f64 * tries).sqrt(), "{} {mean}", sum / tries);
    }
}

#[test]
fn a_crop_that_never_fits_falls_back_to_the_centre() {
    let whole = |w, h| random_crop(w, h, 1.0, &mut any_rng());
    assert_eq!(whole(1000, 10), Rect { x: 493, y: 0, width: 13, height: 10 });
    assert_eq!(whole(10, 1000), Rect { x: 0, y: 493, width: 10, height: 13 });
    assert_eq!(whole(1, 1), Rect { x: 0, y: 0, width: 1, height: 1 });
    for sample in 0..500 {
        let rng = &mut Rng::keyed(1, 0, sample, 0);
        let transform = Transform::train(40, Normalisation::IMAGENET, Augment::default());
        assert_eq!(transform.pixels(&picture(1, 1 + sample % 7), rng).dimensions(), (40, 40));
    }
}

/// Enlarged, a line of 65,535 pixels would be 16 million pixels long, so that only the window may be computed.
#[test]
fn extreme_aspect_ratios_cost_no_memory() {
    let line = picture(65_535, 1);
    assert_eq!(eval(224).pixels(&line, &mut any_rng()).dimensions(), (224, 224));
    assert_eq!(eval(224).pixels(&picture(1, 1), &mut any_rng()).dimensions(), (224, 224));
}
