//! Pillow's 8-bit bicubic resampling, bit for bit (`spec/recipe.md` section 11; Pillow's `Resample.c`).
//!
//! Two separable passes, horizontal first, each rounded to 8 bits; weights are fixed-point with 22 fraction
//! bits, the kernel widens when shrinking (anti-aliasing); a pass whose size does not change is skipped.

use image::RgbImage;

/// Fraction bits of the fixed-point weights: 32 less 8 for the pixel and 2 for overshoot.
const BITS: u32 = 22;
/// One half in fixed point: where a sum starts, to be rounded.
const HALF: i32 = 1 << (BITS - 1);
/// Rows that the horizontal pass works on together.
const ROWS: usize = 4;
/// Bytes that the vertical pass sums at a time: the sums stay in registers.
const BLOCK: usize = 32;
/// Pixels are interleaved red, green, blue.
const CHANNELS: usize = 3;

/// A rectangle of pixels: left, top, width, height.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    pub x: u32,
    pub y: u32,
    pub width: u32,
    pub height: u32,
}

impl Rect {
    /// The rectangle of a whole image.
    pub fn of(image: &RgbImage) -> Self {
        Rect { x: 0, y: 0, width: image.width(), height: image.height() }
    }

    fn fits(&self, width: u32, height: u32) -> bool {
        let end = |start: u32, len: u32| u64::from(start) + u64::from(len);
        self.width > 0
            && self.height > 0
            && end(self.x, self.width) <= width.into()
            && end(self.y, self.height) <= height.into()
    }
}

/// Cuts `source` out of `image`, resizes it to `size` (width, height) and returns the part `window` of the
/// result; pixels outside the window are never computed.
///
/// # Panics
/// When `source` is not inside the image or `window` not inside `size`, or one of them is empty.
pub fn resize(image: &RgbImage, source: Rect, size: (u32, u32), window: Rect) -> RgbImage {
    assert!(source.fits(image.width(), image.height()), "{source:?} is not inside the image");
    assert!(window.fits(size.0, size.1), "{window:?} is not inside {size:?}");
    let columns = Taps::new(source.width, size.0, window.x, window.width);
    let rows = Taps::new(source.height, size.1, window.y, window.height);

    // Only the source rows that the vertical pass reads.
    let (first, end) = rows.span();
    let stride = image.width() as usize * CHANNELS;
    let base = (source.y as usize + first) * stride + source.x as usize * CHANNELS;
    let view = View { data: &image.as_raw()[base..], stride, height: end - first };

    let width = window.width as usize * CHANNELS;
    let across = horizontal(&view, &columns, source.width != size.0);
    let out = if source.height == size.1 {
        across
    } else {
        let mut out = vec![0; width * window.height as usize];
        vertical(&across, width, &rows, first, &mut out);
        out
    };
    RgbImage::from_raw(window.width, window.height, out).expect("buffer has the size of the window")
}

/// Rows of pixels inside a larger buffer; `data` starts at the first pixel.
struct View<'a> {
    data: &'a [u8],
    stride: usize,
    height: usize,
}

/// For each output position: the first input position and the weights from there on.
struct Taps {
    /// Longest run of weights; shorter ones are padded with zeros.
    longest: usize,
    /// (first input, number of inputs) per output.
    bounds: Vec<(usize, usize)>,
    /// `longest` weights per output.
    weights: Vec<i32>,
}

impl Taps {
    /// Weights of outputs `start..start + len` of a line of `input` pixels resized to `output`.
    fn new(input: u32, output: u32, start: u32, len: u32) -> Self {
        if input == output {
            let bounds = (start..start + len).map(|i| (i as usize, 1)).collect();
            return Taps { longest: 1, bounds, weights: vec![1 << BITS; len as usize] };
        }
        let scale = f64::from(input) / f64::from(output);
        let widen = scale.max(1.0);
        let support = 2.0 * widen;
        let longest = support.ceil() as usize * 2 + 1;
        let mut taps = Taps { longest, bounds: Vec::new(), weights: vec![0; longest * len as usize] };
        for (i, weights) in (start..start + len).zip(taps.weights.chunks_exact_mut(longest)) {
            let centre = (f64::from(i) + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let count = ((centre + support + 0.5) as usize).min(input as usize) - first;
            let at = |k: usize| bicubic(((k + first) as f64 - centre + 0.5) * (1.0 / widen));
            let sum: f64 = (0..count).map(at).sum();
            for (k, w) in weights[..count].iter_mut().enumerate() {
                *w = (at(k) / sum * f64::from(1 << BITS)).round() as i32;
            }
            taps.bounds.push((first, count));
        }
        taps
    }

    /// First input read by any output, and one past the last.
    fn span(&self) -> (usize, usize) {
        let last = self.bounds[self.bounds.len() - 1];
        (self.bounds[0].0, last.0 + last.1)
    }

    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.bounds.iter().zip(self.weights.chunks_exact(self.longest)).map(|(&(at, n), w)| (at, &w[..n]))
    }
}

/// The cubic convolution kernel with a = -0.5.
fn bicubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    match x.abs() {
        x if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
        x if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
        _ => 0.0,
    }
}

#[inline(always)]
fn to_byte(sum: i32) -> u8 {
    (sum >> BITS).clamp(0, 255) as u8
}

/// The same column of [`ROWS`] rows, red, green, blue and an unused byte each.
type Column = [u8; 4 * ROWS];

/// Resizes every row of the view; returns rows of `columns.bounds.len()` pixels.
fn horizontal(view: &View, columns: &Taps, resized: bool) -> Vec<u8> {
    let width = columns.bounds.len() * CHANNELS;
    let mut out = vec![0; width * view.height];
    let (first, end) = columns.span();
    let source = |y: usize| &view.data[y * view.stride + first * CHANNELS..][..(end - first) * CHANNELS];
    if !resized {
        out.chunks_exact_mut(width).enumerate().for_each(|(y, out)| out.copy_from_slice(source(y)));
        return out;
    }
    let mut strip: Vec<Column> = vec![[0; 4 * ROWS]; end - first];
    for (group, out) in out.chunks_mut(ROWS * width).enumerate() {
        for row in 0..out.len() / width {
            let pixels = source(group * ROWS + row).chunks_exact(CHANNELS);
            for (column, pixel) in strip.iter_mut().zip(pixels) {
                column[4 * row..][..CHANNELS].copy_from_slice(pixel);
            }
        }
        horizontal_rows(&strip, columns, first, width, out);
    }
    out
}

// Plain integer loops, but compiled for the instruction sets that multiply many integers at once.
engine::simd_fn! {
    /// Up to [`ROWS`] output rows of `width` bytes from a strip that begins at column `first`.
    fn horizontal_rows<S>(_simd, strip: &[Column], columns: &Taps, first: usize, width: usize, out: &mut [u8]) {
        for (x, (at, weights)) in columns.iter().enumerate() {
            let mut sum = [HALF; 4 * ROWS];
            for (column, w) in strip[at - first..].iter().zip(weights) {
                for i in 0..4 * ROWS {
                    sum[i] += w * i32::from(column[i]);
                }
            }
            for (row, sum) in out.chunks_exact_mut(width).zip(sum.chunks_exact(4)) {
                row[x * CHANNELS..][..CHANNELS].copy_from_slice(&[to_byte(sum[0]), to_byte(sum[1]), to_byte(sum[2])]);
            }
        }
    }
}

engine::simd_fn! {
    /// Resizes columns: `lines` are rows of `width` bytes, the first of them input row `first`.
    fn vertical<S>(_simd, lines: &[u8], width: usize, rows: &Taps, first: usize, out: &mut [u8]) {
        for (out, (at, weights)) in out.chunks_exact_mut(width).zip(rows.iter()) {
            let lines = &lines[(at - first) * width..];
            let mut blocks = out.chunks_exact_mut(BLOCK);
            let mut x = 0;
            for block in &mut blocks {
                let mut sum = [HALF; BLOCK];
                for (line, w) in lines.chunks_exact(width).zip(weights) {
                    let v: &[u8; BLOCK] = line[x..][..BLOCK].try_into().expect("a whole block");
                    for i in 0..BLOCK {
                        sum[i] += w * i32::from(v[i]);
                    }
                }
                for i in 0..BLOCK {
                    block[i] = to_byte(sum[i]);
                }
                x += BLOCK;
            }
            for (i, byte) in blocks.into_remainder().iter_mut().enumerate() {
                let terms = lines.chunks_exact(width).zip(weights).map(|(line, w)| w * i32::from(line[x + i]));
                *byte = to_byte(HALF + terms.sum::<i32>());
            }
        }
    }
}

#[cfg(test)]
#[path = "resize_tests.rs"]
mod tests;
