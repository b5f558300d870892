//! Images with a wrong prediction.

use image::RgbImage;

use super::text::{escape, jpeg_address, percent, png_address};
use crate::data::resize::{Rect, resize};

/// Longest side of a thumbnail, in pixels. Smaller pictures stay as they are.
const SIDE: u32 = 160;
/// Pictures up to this width in pixels are enlarged without smoothing.
const SMALL: u32 = 64;

/// An image with a wrong prediction.
pub struct Mistake {
    /// Where the image comes from.
    pub name: String,
    /// The image, in its own size.
    pub picture: RgbImage,
    /// Number of its true class.
    pub truth: u32,
    /// Number of the class that was predicted.
    pub said: u32,
    /// The predicted probability of the class `said`, 0 to 1.
    pub probability: f64,
}

/// Thumbnails, each with its true class and what was predicted.
pub fn gallery(mistakes: &[Mistake], classes: &[String]) -> String {
    if mistakes.is_empty() {
        return "<p>No mistakes.</p>\n".into();
    }
    let figure = |mistake: &Mistake| {
        let [truth, said] = [mistake.truth, mistake.said].map(|class| escape(&classes[class as usize]));
        let name = escape(&mistake.name);
        let small = if mistake.picture.width() <= SMALL { " class=\"small\"" } else { "" };
        format!(
            "<figure title=\"{name}\"><img{small} alt=\"{name}\" src=\"{}\"><figcaption><b>{truth}</b><br>{said}, {}&nbsp;%\
             </figcaption></figure>\n",
            thumbnail(&mistake.picture),
            percent(mistake.probability)
        )
    };
    format!("<div class=\"gallery\">\n{}</div>\n", mistakes.iter().map(figure).collect::<String>())
}

fn thumbnail(picture: &RgbImage) -> String {
    let (width, height) = picture.dimensions();
    let longest = width.max(height);
    if longest <= SIDE {
        return png_address(picture.clone());
    }
    let side = |side: u32| (u64::from(side) * u64::from(SIDE) / u64::from(longest)).max(1) as u32;
    let (width, height) = (side(width), side(height));
    let whole = Rect { x: 0, y: 0, width, height };
    jpeg_address(resize(picture, Rect::of(picture), (width, height), whole))
}
