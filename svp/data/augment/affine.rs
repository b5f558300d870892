//! Affine changes with Pillow's bicubic interpolation, `Image.transform(size, AFFINE, matrix, BICUBIC)`.

use image::RgbImage;

/// Colour of what lies outside the picture: the mean of ImageNet, rounded.
pub const OUTSIDE: [u8; 3] = [124, 116, 104];
/// Bytes that are read at a time: four pixels, and four more that fill a register.
const ROW: usize = 16;
const CHANNELS: usize = 3;
/// Values that are added at either end of a row: two pixels.
const BORDER: usize = 2 * CHANNELS;

/// `[a b c d e f]`: the output at (x, y) is taken from (a x + b y + c, d x + e y + f). A pixel lies at its centre.
pub type Matrix = [f64; 6];

/// Moves rows sideways, each by `k` pixels more than the row above it.
pub fn shear_x(k: f64) -> Matrix {
    [1.0, k, 0.0, 0.0, 1.0, 0.0]
}

/// Moves columns up or down, each by `k` pixels more than the column to its left.
pub fn shear_y(k: f64) -> Matrix {
    [1.0, 0.0, 0.0, k, 1.0, 0.0]
}

/// Moves the picture left by `x` and up by `y` pixels.
pub fn translate(x: f64, y: f64) -> Matrix {
    [1.0, 0.0, x, 0.0, 1.0, y]
}

/// Turns counter-clockwise about the centre of a picture of `width` x `height` pixels.
pub fn rotate(degrees: f64, width: u32, height: u32) -> Matrix {
    let angle = -degrees.rem_euclid(360.0).to_radians();
    let rounded = |v: f64| (v * 1e15).round() / 1e15;
    let (a, b, d) = (rounded(angle.cos()), rounded(angle.sin()), rounded(-angle.sin()));
    let (cx, cy) = (f64::from(width) / 2.0, f64::from(height) / 2.0);
    [a, b, cx - a * cx - b * cy, d, a, cy - d * cx - a * cy]
}

/// Changes the picture by `matrix`. The size stays the same, and what comes from outside becomes [`OUTSIDE`].
pub fn transform(image: &mut RgbImage, matrix: Matrix) {
    let (width, height) = image.dimensions();
    let mut out = RgbImage::new(width, height);
    let [a, _, _, d, e, _] = matrix;
    let change = if [a, d, e] == [1.0, 0.0, 1.0] { slide } else { warp };
    change(image, width as usize, height as usize, &matrix, &mut out);
    *image = out;
}

/// Four rows of four pixels each, with the bytes that follow them.
type Taps<'a> = [&'a [u8; ROW]; 4];

// The bodies are plain loops over plain arrays, because closures and iterators are not always compiled for the
// instruction sets that work on many numbers at once.
engine::simd_fn! {
    /// The general change: every pixel is taken from 4 x 4 pixels.
    fn warp<S>(_simd, source: &[u8], width: usize, height: usize, matrix: &Matrix, out: &mut [u8]) {
        let [a, b, c, d, e, f] = *matrix;
        let (w, h, stride) = (width as f64, height as f64, CHANNELS * width);
        for (y, row) in out.chunks_exact_mut(stride).enumerate() {
            let y = y as f64 + 0.5;
            for (x, pixel) in row.as_chunks_mut().0.iter_mut().enumerate() {
                let x = x as f64 + 0.5;
                let (x, y) = (a * x + b * y + c, d * x + e * y + f);
                if !(x >= 0.0 && x < w && y >= 0.0 && y < h) {
                    *pixel = OUTSIDE;
                    continue;
                }
                let (x, y) = (x - 0.5, y - 0.5);
                let (left, top) = (x.floor(), y.floor());
                let (dx, dy) = ((x - left) as f32, (y - top) as f32);
                let (left, top) = (left as isize - 1, top as isize - 1);
                let inside = left >= 0 && top >= 0 && left as usize + 4 <= width && top as usize + 4 <= height;
                let first = (top * stride as isize + left * CHANNELS as isize) as usize;
                *pixel = match source.get(first..).and_then(|rows| rows.get(..3 * stride + ROW)) {
                    Some(rows) if inside => {
                        let row = |i: usize| rows[i * stride..].first_chunk().expect("long enough");
                        interpolate([row(0), row(1), row(2), row(3)], dx, dy)
                    }
                    _ => {
                        let [r0, r1, r2, r3] = &border_taps(source, width, height, left, top);
                        interpolate([r0, r1, r2, r3], dx, dy)
                    }
                };
            }
        }
    }
}

engine::simd_fn! {
    /// The change for matrices that only move rows: first interpolates between rows, then along the row.
    fn slide<S>(_simd, source: &[u8], width: usize, height: usize, matrix: &Matrix, out: &mut [u8]) {
        let [_, b, c, _, _, f] = *matrix;
        let (w, h, stride) = (width as f64, height as f64, CHANNELS * width);
        let mut line = vec![0.0; stride + 2 * BORDER];
        for (y, out) in out.chunks_exact_mut(stride).enumerate() {
            let y = y as f64 + 0.5;
            let from = y + f;
            let at = |x: usize| x as f64 + 0.5 + b * y + c;
            // Only these pixels come from inside the picture.
            let first = (0..width).position(|x| at(x) >= 0.0).unwrap_or(width);
            let end = (0..width).rposition(|x| at(x) < w).map_or(0, |x| x + 1);
            out.as_chunks_mut().0.fill(OUTSIDE);
            if !(from >= 0.0 && from < h) || first >= end {
                continue;
            }
            let (top, left) = ((from - 0.5).floor(), (at(first) - 0.5).floor());
            let row = |i: isize| {
                let row = (top as isize + i).clamp(0, height as isize - 1) as usize;
                &source[row * stride..(row + 1) * stride]
            };
            between([row(-1), row(0), row(1), row(2)], (from - 0.5 - top) as f32, &mut line);
            let taps = &line[CHANNELS * (left + 1.0) as usize..];
            along(taps, (at(first) - 0.5 - left) as f32, &mut out[CHANNELS * first..CHANNELS * end]);
        }
    }
}

/// Writes the row that lies `dy` below the second, and repeats its first and last pixel at either end.
#[inline(always)]
fn between(rows: [&[u8]; 4], dy: f32, line: &mut [f32]) {
    let [r0, r1, r2, r3] = rows;
    let stride = r1.len();
    let inner = &mut line[BORDER..][..stride];
    if dy == 0.0 {
        for i in 0..stride {
            inner[i] = r1[i] as f32;
        }
    } else {
        for i in 0..stride {
            inner[i] = cubic([r0[i] as f32, r1[i] as f32, r2[i] as f32, r3[i] as f32], dy);
        }
    }
    for i in (0..BORDER).rev() {
        line[i] = line[i + CHANNELS];
    }
    for i in stride + BORDER..stride + 2 * BORDER {
        line[i] = line[i - CHANNELS];
    }
}

/// Writes the values that lie `dx` behind the second of four pixels.
#[inline(always)]
fn along(taps: &[f32], dx: f32, out: &mut [u8]) {
    let n = out.len();
    let (v0, v1) = (&taps[..n], &taps[CHANNELS..][..n]);
    let (v2, v3) = (&taps[2 * CHANNELS..][..n], &taps[3 * CHANNELS..][..n]);
    for i in 0..n {
        out[i] = cubic([v0[i], v1[i], v2[i], v3[i]], dx) as u8;
    }
}

/// The taps from (x, y) on. Outside the picture, its border is repeated.
fn border_taps(source: &[u8], width: usize, height: usize, x: isize, y: isize) -> [[u8; ROW]; 4] {
    let inside = |at: isize, len: usize| at.clamp(0, len as isize - 1) as usize;
    let mut taps = [[0; ROW]; 4];
    for (i, taps) in taps.iter_mut().enumerate() {
        let first = inside(y + i as isize, height) * width;
        for (j, tap) in taps.chunks_exact_mut(CHANNELS).take(4).enumerate() {
            let at = CHANNELS * (first + inside(x + j as isize, width));
            tap.copy_from_slice(&source[at..at + CHANNELS]);
        }
    }
    taps
}

/// The pixel that lies (`dx`, `dy`) behind the second tap of both axes, clamped and truncated. Where an offset is 0, as
/// along a whole axis of shears and translations, it is the second tap itself.
#[inline(always)]
fn interpolate(taps: Taps, dx: f32, dy: f32) -> [u8; CHANNELS] {
    let mut column = [0.0; ROW];
    if dy == 0.0 {
        for i in 0..ROW {
            column[i] = taps[1][i] as f32;
        }
    } else {
        for i in 0..ROW {
            column[i] =
                cubic([taps[0][i] as f32, taps[1][i] as f32, taps[2][i] as f32, taps[3][i] as f32], dy);
        }
    }
    let mut pixel = [0; CHANNELS];
    for c in 0..CHANNELS {
        let v = [column[c], column[CHANNELS + c], column[2 * CHANNELS + c], column[3 * CHANNELS + c]];
        pixel[c] = if dx == 0.0 { v[1] as u8 } else { cubic(v, dx) as u8 };
    }
    pixel
}

/// Cubic convolution with a = -1, written in differences, so that equal taps give exactly their value.
#[inline(always)]
fn cubic([v0, v1, v2, v3]: [f32; 4], d: f32) -> f32 {
    v1 + d * ((v2 - v0) + d * ((2.0 * (v0 - v1) + v2 - v3) + d * (v1 - v0 + v3 - v2)))
}
