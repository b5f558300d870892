//! Data sets that come as one array of small pictures: CIFAR and SVHN.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{Rgb, RgbImage};

/// Pixels a side.
pub const SIDE: usize = 32;
/// Bytes of a picture.
pub const BYTES: usize = 3 * SIDE * SIDE;

/// Pictures of 32x32 pixels, a red, a green and a blue plane each.
#[derive(Debug)]
pub(super) struct Pixels {
    /// The file they come from.
    path: PathBuf,
    bytes: Vec<u8>,
    order: Order,
}

/// How the pixels of a plane follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Rows,
    Columns,
}

/// One of the pictures of an array.
#[derive(Debug, Clone)]
pub struct Picture {
    pixels: Arc<Pixels>,
    number: u32,
}

impl Pixels {
    /// The pictures in `bytes`, one behind the other; a rest too short for a picture is left out.
    pub fn new(path: &Path, bytes: Vec<u8>, order: Order) -> Arc<Self> {
        Arc::new(Pixels { path: path.into(), bytes, order })
    }

    pub fn pictures(self: &Arc<Self>) -> impl Iterator<Item = Picture> {
        let pixels = self.clone();
        (0..(self.bytes.len() / BYTES) as u32).map(move |number| Picture { pixels: pixels.clone(), number })
    }
}

impl Picture {
    pub(super) fn rgb(&self) -> RgbImage {
        let bytes = &self.pixels.bytes[self.number as usize * BYTES..][..BYTES];
        RgbImage::from_fn(SIDE as u32, SIDE as u32, |x, y| {
            let (x, y) = (x as usize, y as usize);
            let at = match self.pixels.order {
                Order::Rows => y * SIDE + x,
                Order::Columns => x * SIDE + y,
            };
            Rgb([0, 1, 2].map(|plane| bytes[plane * SIDE * SIDE + at]))
        })
    }
}

impl PartialEq for Picture {
    fn eq(&self, other: &Self) -> bool {
        self.pixels.path == other.pixels.path && self.number == other.number
    }
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}", self.pixels.path.display(), self.number)
    }
}
