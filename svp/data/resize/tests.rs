use engine::Rng;

use super::*;

fn noise(width: u32, height: u32) -> RgbImage {
    let mut rng = Rng::keyed(width.into(), 0, height, 0);
    RgbImage::from_fn(width, height, |_, _| image::Rgb(std::array::from_fn(|_| rng.next_u32() as u8)))
}

fn all(size: (u32, u32)) -> Rect {
    Rect { x: 0, y: 0, width: size.0, height: size.1 }
}

/// The FNV-1a hash of the bytes of a picture.
fn digest(image: &RgbImage) -> u64 {
    let step = |hash: u64, &byte: &u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    image.as_raw().iter().fold(0xcbf2_9ce4_8422_2325, step)
}

type Case = ((u32, u32), (u32, u32), u64);
const PILLOW: [Case; 7] = [
    ((500, 375), (224, 224), 0xbbbf_ab9e_d2c5_25b5),
    ((97, 131), (256, 345), 0x94f0_2190_57b6_4e6a),
    ((64, 48), (64, 20), 0x3975_2ad0_f0fd_9d40),
    ((64, 48), (31, 48), 0xb151_a1ee_f011_4ef4),
    ((1, 7), (5, 3), 0xa1e8_5168_80db_4163),
    ((300, 2), (3, 90), 0xe04c_e3dd_83f1_aee5),
    ((33, 33), (32, 32), 0xe0bc_5ad1_562e_ee40),
];

fn gradient(width: u32, height: u32) -> RgbImage {
    let value = |x: u32, y: u32, c: u32| ((x * x * 3 + y * 7 * (c + 1) + x * y) % 256) as u8;
    RgbImage::from_fn(width, height, |x, y| image::Rgb([0, 1, 2].map(|c| value(x, y, c))))
}

/// The hashes are those of the bytes that `Image.resize(size, BICUBIC)` of Pillow 13.0.0 gives for the same picture.
#[test]
fn equals_pillow() {
    for (from, to, want) in PILLOW {
        let image = gradient(from.0, from.1);
        let got = digest(&resize(&image, Rect::of(&image), to, all(to)));
        assert_eq!(got, want, "{from:?} to {to:?}: {got:#x}");
    }
}

#[test]
fn a_window_is_a_part_of_the_whole() {
    let image = noise(61, 47);
    for to in [(33, 80), (61, 20), (130, 47), (61, 47)] {
        let source = Rect { x: 0, y: 0, width: 61, height: 47 };
        let whole = resize(&image, source, to, all(to));
        let window = Rect { x: to.0 / 3, y: to.1 / 4, width: to.0 / 2, height: to.1 / 2 };
        let part = resize(&image, source, to, window);
        for (x, y, pixel) in part.enumerate_pixels() {
            assert_eq!(pixel, whole.get_pixel(x + window.x, y + window.y), "{to:?} {x} {y}");
        }
    }
}

#[test]
fn a_source_box_is_a_crop_before_the_resize() {
    let image = noise(50, 40);
    let source = Rect { x: 7, y: 11, width: 30, height: 29 };
    let cut = image::imageops::crop_imm(&image, 7, 11, 30, 29).to_image();
    for to in [(16, 16), (30, 60), (64, 29), (30, 29)] {
        assert_eq!(resize(&image, source, to, all(to)), resize(&cut, Rect::of(&cut), to, all(to)));
    }
}

#[test]
fn flat_pictures_stay_flat() {
    for (from, to) in [((1, 1), (9, 5)), ((700, 3), (2, 40)), ((5, 5), (4, 6))] {
        let image = RgbImage::from_pixel(from.0, from.1, image::Rgb([3, 200, 255]));
        let out = resize(&image, Rect::of(&image), to, all(to));
        assert!(out.pixels().all(|p| p.0 == [3, 200, 255]), "{from:?} {to:?}");
    }
}

#[test]
#[should_panic(expected = "is not inside the image")]
fn a_box_outside_the_picture_is_refused() {
    let image = noise(8, 8);
    resize(&image, Rect { x: 4, y: 0, width: 5, height: 8 }, (4, 4), all((4, 4)));
}
