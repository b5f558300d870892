//! Affine changes with Pillow's bicubic interpolation: `Image.transform(size, AFFINE, matrix, BICUBIC)`.

use image::RgbImage;

/// Colour of what lies outside the picture: the ImageNet mean.
pub const FILL: [u8; 3] = [124, 116, 104];
/// Bytes read at a time: four pixels, and what fills a register.
const ROW: usize = 16;
const CHANNELS: usize = 3;
/// Values by which a row is longer on either side: two pixels.
const BORDER: usize = 2 * CHANNELS;

/// `[a b c d e f]`: output pixel (x, y) is taken from (a x + b y + c, d x + e y + f), pixels at their centres.
pub type Matrix = [f64; 6];

/// Rows move sideways by `k` pixels a row.
pub fn shear_x(k: f64) -> Matrix {
    [1.0, k, 0.0, 0.0, 1.0, 0.0]
}

/// Columns move by `k` pixels a column.
pub fn shear_y(k: f64) -> Matrix {
    [1.0, 0.0, 0.0, k, 1.0, 0.0]
}

/// The picture moves left and up by these pixels.
pub fn translate(x: f64, y: f64) -> Matrix {
    [1.0, 0.0, x, 0.0, 1.0, y]
}

/// Counter-clockwise about the centre of a `width` x `height` picture.
pub fn rotate(degrees: f64, width: u32, height: u32) -> Matrix {
    let angle = -degrees.rem_euclid(360.0).to_radians();
    let rounded = |v: f64| (v * 1e15).round() / 1e15;
    let (a, b, d) = (rounded(angle.cos()), rounded(angle.sin()), rounded(-angle.sin()));
    let (cx, cy) = (f64::from(width) / 2.0, f64::from(height) / 2.0);
    [a, b, cx - a * cx - b * cy, d, a, cy - d * cx - a * cy]
}

/// Changes the picture by `matrix`: of the same size, [`FILL`] where nothing of it lies.
pub fn transform(image: &mut RgbImage, matrix: Matrix) {
    let (width, height) = image.dimensions();
    let mut out = RgbImage::new(width, height);
    let [a, _, _, d, e, _] = matrix;
    let change = if [a, d, e] == [1.0, 0.0, 1.0] { slide } else { warp };
    change(image, width as usize, height as usize, &matrix, &mut out);
    *image = out;
}

/// Four rows of four pixels, and what is beside them.
type Taps<'a> = [&'a [u8; ROW]; 4];

// Plain loops over plain arrays, compiled for the instruction sets that work on many numbers at once: what a closure
// or an iterator would do is not always compiled for them.
engine::simd_fn! {
    fn warp<S>(_simd, source: &[u8], width: usize, height: usize, matrix: &Matrix, out: &mut [u8]) {
        let [a, b, c, d, e, f] = *matrix;
        let (w, h, stride) = (width as f64, height as f64, CHANNELS * width);
        for (y, row) in out.chunks_exact_mut(stride).enumerate() {
            let y = y as f64 + 0.5;
            for (x, pixel) in row.as_chunks_mut().0.iter_mut().enumerate() {
                let x = x as f64 + 0.5;
                let (x, y) = (a * x + b * y + c, d * x + e * y + f);
                if !(x >= 0.0 && x < w && y >= 0.0 && y < h) {
                    *pixel = FILL;
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
    /// Where every row of the result is a row of the picture, moved: the row in between, then every pixel of it.
    fn slide<S>(_simd, source: &[u8], width: usize, height: usize, matrix: &Matrix, out: &mut [u8]) {
        let [_, b, c, _, _, f] = *matrix;
        let (w, h, stride) = (width as f64, height as f64, CHANNELS * width);
        let mut line = vec![0.0; stride + 2 * BORDER];
        for (y, out) in out.chunks_exact_mut(stride).enumerate() {
            let y = y as f64 + 0.5;
            let from = y + f;
            let at = |x: usize| x as f64 + 0.5 + b * y + c;
            // The pixels that come from inside the picture.
            let first = (0..width).position(|x| at(x) >= 0.0).unwrap_or(width);
            let end = (0..width).rposition(|x| at(x) < w).map_or(0, |x| x + 1);
            out.as_chunks_mut().0.fill(FILL);
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

/// Writes the row at `dy` between the second and the third, its border repeated on both sides.
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

/// Every value at `dx` between the second and the third of four pixels.
#[inline(always)]
fn along(taps: &[f32], dx: f32, out: &mut [u8]) {
    let n = out.len();
    let (v0, v1) = (&taps[..n], &taps[CHANNELS..][..n]);
    let (v2, v3) = (&taps[2 * CHANNELS..][..n], &taps[3 * CHANNELS..][..n]);
    for i in 0..n {
        out[i] = cubic([v0[i], v1[i], v2[i], v3[i]], dx) as u8;
    }
}

/// The taps from (x, y) on; places outside the picture repeat its border.
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

/// The pixel at (`dx`, `dy`) between the second and the third tap of both axes, clamped and truncated. At 0, which
/// whole axes of shears and translations are, it is the second tap itself.
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

/// Cubic convolution with a = -1, in differences: equal taps give exactly their value.
#[inline(always)]
fn cubic([v0, v1, v2, v3]: [f32; 4], d: f32) -> f32 {
    v1 + d * ((v2 - v0) + d * ((2.0 * (v0 - v1) + v2 - v3) + d * (v1 - v0 + v3 - v2)))
}
