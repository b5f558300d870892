//! Pictures of data sets that come as one array of small pictures: CIFAR and SVHN.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::{Rgb, RgbImage};

use crate::held::Held;

/// Pixels a side of a picture.
pub const SIDE: usize = 32;
/// Bytes of a picture.
pub const BYTES: usize = 3 * SIDE * SIDE;

/// Pictures of 32x32 pixels, each a red, a green and a blue plane.
#[derive(Debug)]
pub(crate) struct PictureArray {
    /// The file that they come from.
    path: PathBuf,
    bytes: Held,
    order: Order,
}

/// How the pixels of a plane follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Row by row.
    Rows,
    /// Column by column.
    Columns,
}

/// One of the pictures of an array.
#[derive(Debug, Clone)]
pub struct Picture {
    array: Arc<PictureArray>,
    number: u32,
}

impl PictureArray {
    /// The pictures that follow one another in `bytes`. Bytes at the end that are too few for a picture are left out.
    pub fn new(path: &Path, bytes: Held, order: Order) -> Arc<Self> {
        Arc::new(PictureArray { path: path.into(), bytes, order })
    }

    /// Every picture.
    pub fn pictures(self: &Arc<Self>) -> impl Iterator<Item = Picture> {
        let array = self.clone();
        (0..(self.bytes.len() / BYTES) as u32).map(move |number| Picture { array: array.clone(), number })
    }
}

impl Picture {
    /// The 8-bit picture.
    pub(crate) fn rgb(&self) -> RgbImage {
        let bytes = &self.array.bytes[self.number as usize * BYTES..][..BYTES];
        RgbImage::from_fn(SIDE as u32, SIDE as u32, |x, y| {
            let (x, y) = (x as usize, y as usize);
            let at = match self.array.order {
                Order::Rows => y * SIDE + x,
                Order::Columns => x * SIDE + y,
            };
            Rgb([0, 1, 2].map(|plane| bytes[plane * SIDE * SIDE + at]))
        })
    }
}

impl PartialEq for Picture {
    fn eq(&self, other: &Self) -> bool {
        self.array.path == other.array.path && self.number == other.number
    }
}

impl fmt::Display for Picture {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{}:{}", self.array.path.display(), self.number)
    }
}
