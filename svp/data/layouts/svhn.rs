//! SVHN, cropped digits (`docs/data.md`).

use super::published::{damaged, parts_of_80};
use super::splits::{MAT, Splits};
use crate::error::Result;
use crate::files::Files;
use crate::held::Held;
use crate::mat::{self, Array, Data, Variables};
use crate::picture::{Order, PictureArray, SIDE};
use crate::sample::Sample;

const TRAIN: &str = "train_32x32.mat";
const TEST: &str = "test_32x32.mat";

pub(super) fn fits(files: &Files) -> Result<bool> {
    Ok(files.has(TRAIN))
}

/// Reads the files. As in the published program, the first 80 % of the training file are trained on. The rest
/// validates.
pub(super) fn open(files: &Files) -> Result<Splits> {
    let mut train = read(files, TRAIN)?;
    let val = train.split_off(parts_of_80(train.len()));
    let test = files.has(TEST).then(|| read(files, TEST)).transpose()?;
    let classes = (0..10).map(|digit| digit.to_string()).collect();
    Ok(Splits { form: MAT, classes, train, val: Some(val), test, ..Splits::default() })
}

/// The samples of a file. Its pictures are one column-major array `[row column channel picture]`.
fn read(files: &Files, file: &str) -> Result<Vec<Sample>> {
    let bad = |what: &str| damaged(files, file, what);
    let Variables { all, claim } = mat::read(&files.read(file)?, &["X", "y"]).map_err(|what| bad(&what))?;
    let mut claim = Some(claim);
    let (mut pictures, mut labels) = (None, None);
    for (name, Array { dims, data }) in all {
        match (name.as_str(), data) {
            ("X", Data::Bytes(bytes)) if dims.starts_with(&[SIDE, SIDE, 3]) && dims.len() <= 4 => {
                let bytes = Held::new(bytes, claim.take().unwrap_or_default());
                pictures = Some(PictureArray::new(&files.path(file), bytes, Order::Columns));
            }
            ("y", data) => labels = Array { dims, data }.integers(),
            _ => {}
        }
    }
    let pictures = pictures.ok_or_else(|| bad("has no uint8 variable X of 32x32x3xN"))?;
    let labels = labels.ok_or_else(|| bad("has no variable y of digits"))?;
    if labels.iter().any(|&label| !(1..=10).contains(&label)) {
        return Err(bad("has labels beyond 1 to 10"));
    }
    if pictures.pictures().count() != labels.len() {
        return Err(bad("does not have as many labels as pictures"));
    }
    // The file has the label 10 for the digit 0.
    Ok(pictures.pictures().zip(labels).map(|(picture, label)| Sample::picture(picture, label % 10)).collect())
}
