//! Pillow's 8-bit bicubic resampling, bit for bit. Source: Pillow's `Resample.c`; see also `docs/recipe.md`.
//!
//! There are two separable passes, the horizontal one first, each of which rounds to 8 bits. Weights are fixed-point
//! numbers with 22 fraction bits. The kernel widens when a picture shrinks (anti-aliasing). A pass that would not
//! change the size is skipped.

mod square;

use image::RgbImage;

pub use square::square;

/// Fraction bits of the fixed-point weights: 32 bits, less 8 for the pixel and 2 for overshoot.
const BITS: u32 = 22;
/// One half in fixed point. Sums start with it, so that cutting off their fraction bits rounds them.
const HALF: i32 = 1 << (BITS - 1);
/// Rows that the horizontal pass works on together.
const ROWS: usize = 5;
/// Bytes of one column of these rows, one of them unused: 16 sums fill a register.
const LANES: usize = 16;
/// Bytes that the vertical pass sums at a time, so that the sums stay in registers.
const BLOCK: usize = 32;
/// Bytes of a pixel: red, green and blue, interleaved.
const CHANNELS: usize = 3;

/// A rectangle of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rect {
    /// First column.
    pub x: u32,
    /// First row.
    pub y: u32,
    /// Columns.
    pub width: u32,
    /// Rows.
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
/// result. Pixels outside the window are never computed.
///
/// # Panics
/// When `source` is not inside the image, when `window` is not inside `size`, and when one of them is empty.
pub fn resize(image: &RgbImage, source: Rect, size: (u32, u32), window: Rect) -> RgbImage {
    assert!(source.fits(image.width(), image.height()), "{source:?} is not inside the image");
    assert!(window.fits(size.0, size.1), "{window:?} is not inside {size:?}");
    let columns = Weights::new(source.width, size.0, window.x, window.width);
    let rows = Weights::new(source.height, size.1, window.y, window.height);

    // The horizontal pass computes only the rows that the vertical pass reads.
    let (first, end) = rows.span();
    let stride = image.width() as usize * CHANNELS;
    let base = (source.y as usize + first) * stride + source.x as usize * CHANNELS;
    let view = View { data: &image.as_raw()[base..], stride, height: end - first };

    let width = window.width as usize * CHANNELS;
    let (across, line) = horizontal(&view, &columns, source.width != size.0);
    let mut out = vec![0; width * window.height as usize];
    vertical(&across, line, width, &rows, first, &mut out);
    RgbImage::from_raw(window.width, window.height, out).expect("buffer has the size of the window")
}

/// Rows of pixels inside a larger buffer; `data` starts at the first pixel.
struct View<'a> {
    data: &'a [u8],
    stride: usize,
    height: usize,
}

/// For each output position, the first input position and the weights from there on.
struct Weights {
    /// Number of weights of every output; shorter runs are padded with zeros.
    longest: usize,
    /// For each output, its first input and its number of inputs.
    bounds: Vec<(usize, usize)>,
    /// Weights, `longest` for each output.
    weights: Vec<i32>,
}

impl Weights {
    /// Weights of outputs `start..start + len` of a line of `input` pixels resized to `output`.
    fn new(input: u32, output: u32, start: u32, len: u32) -> Self {
        if input == output {
            let bounds = (start..start + len).map(|i| (i as usize, 1)).collect();
            return Weights { longest: 1, bounds, weights: vec![1 << BITS; len as usize] };
        }
        let scale = f64::from(input) / f64::from(output);
        let widen = scale.max(1.0);
        let support = 2.0 * widen;
        let longest = support.ceil() as usize * 2 + 1;
        let mut all = Weights { longest, bounds: Vec::new(), weights: vec![0; longest * len as usize] };
        for (i, weights) in (start..start + len).zip(all.weights.chunks_exact_mut(longest)) {
            let centre = (f64::from(i) + 0.5) * scale;
            let first = (centre - support + 0.5).max(0.0) as usize;
            let count = ((centre + support + 0.5) as usize).min(input as usize) - first;
            let at = |k: usize| bicubic(((k + first) as f64 - centre + 0.5) * (1.0 / widen));
            let sum: f64 = (0..count).map(at).sum();
            for (k, w) in weights[..count].iter_mut().enumerate() {
                *w = (at(k) / sum * f64::from(1 << BITS)).round() as i32;
            }
            all.bounds.push((first, count));
        }
        all
    }

    /// First input read by any output, and one past the last.
    fn span(&self) -> (usize, usize) {
        let last = self.bounds[self.bounds.len() - 1];
        (self.bounds[0].0, last.0 + last.1)
    }

    /// First input and weights of every output.
    fn iter(&self) -> impl Iterator<Item = (usize, &[i32])> {
        self.bounds.iter().zip(self.weights.chunks_exact(self.longest)).map(|(&(at, n), w)| (at, &w[..n]))
    }
}

/// The cubic convolution kernel with a = -0.5, as Pillow resizes with.
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

/// The same column of [`ROWS`] rows: red, green and blue of each, and an unused byte.
type Column = [u8; LANES];

/// Resizes every row of the view. Returns rows of `columns.bounds.len()` pixels, and the distance in bytes from one row
/// to the next.
fn horizontal(view: &View, columns: &Weights, resized: bool) -> (Vec<u8>, usize) {
    let (first, end) = columns.span();
    let source = |y: usize| &view.data[y * view.stride + first * CHANNELS..][..(end - first) * CHANNELS];
    let width = columns.bounds.len() * CHANNELS;
    if !resized {
        return ((0..view.height).flat_map(|y| source(y).iter().copied()).collect(), width);
    }
    // Pixels are written as four bytes, the last of which the next pixel overwrites.
    let line = width + 1;
    let mut out = vec![0; line * view.height.next_multiple_of(ROWS)];
    let mut strip: Vec<Column> = vec![[0; LANES]; end - first];
    for (group, out) in out.chunks_exact_mut(ROWS * line).enumerate() {
        for row in 0..ROWS.min(view.height - group * ROWS) {
            let pixels = source(group * ROWS + row).as_chunks::<CHANNELS>().0;
            for (column, pixel) in strip.iter_mut().zip(pixels) {
                *column[row * CHANNELS..].first_chunk_mut().expect("a pixel") = *pixel;
            }
        }
        horizontal_rows(&strip, columns, first, line, out);
    }
    (out, line)
}

// The bodies are plain integer loops, compiled for the instruction sets that multiply many integers at once.
engine::simd_fn! {
    /// Writes [`ROWS`] output rows, `line` bytes apart, from a strip that begins at column `first`.
    fn horizontal_rows<S>(_simd, strip: &[Column], columns: &Weights, first: usize, line: usize, out: &mut [u8]) {
        for (x, (at, weights)) in columns.iter().enumerate() {
            let mut sum = [HALF; LANES];
            for (column, w) in strip[at - first..].iter().zip(weights) {
                for i in 0..LANES {
                    sum[i] += w * i32::from(column[i]);
                }
            }
            let mut bytes = [0; LANES];
            for i in 0..LANES {
                bytes[i] = to_byte(sum[i]);
            }
            for row in 0..ROWS {
                let to: &mut [u8; 4] = out[row * line + x * CHANNELS..].first_chunk_mut().expect("room");
                *to = *bytes[row * CHANNELS..].first_chunk().expect("a pixel and a byte");
            }
        }
    }
}

engine::simd_fn! {
    /// Resizes the columns of `lines`: rows of `width` bytes, `line` bytes apart, the first of which is input row `first`.
    fn vertical<S>(_simd, lines: &[u8], line: usize, width: usize, rows: &Weights, first: usize, out: &mut [u8]) {
        for (out, (at, weights)) in out.chunks_exact_mut(width).zip(rows.iter()) {
            let lines = &lines[(at - first) * line..];
            let mut x = 0;
            while x + BLOCK <= width {
                let mut sum = [HALF; BLOCK];
                for (k, w) in weights.iter().enumerate() {
                    let v: &[u8; BLOCK] = lines[k * line + x..].first_chunk().expect("a whole block");
                    for i in 0..BLOCK {
                        sum[i] += w * i32::from(v[i]);
                    }
                }
                let block: &mut [u8; BLOCK] = out[x..].first_chunk_mut().expect("a whole block");
                for i in 0..BLOCK {
                    block[i] = to_byte(sum[i]);
                }
                x += BLOCK;
            }
            for x in x..width {
                let terms = weights.iter().enumerate().map(|(k, w)| w * i32::from(lines[k * line + x]));
                out[x] = to_byte(HALF + terms.sum::<i32>());
            }
        }
    }
}

#[cfg(test)]
mod tests;
