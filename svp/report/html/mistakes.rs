//! Pictures that the model is wrong about.

use image::RgbImage;

use super::text::{escape, jpeg_address, percent, png_address};
use crate::data::resize::{Rect, resize};

/// Longest side of a thumbnail, in pixels; smaller pictures stay as they are.
const SIDE: u32 = 160;
/// Pictures up to this width are enlarged pixel by pixel.
const SMALL: u32 = 64;

/// A picture that the model takes for something else.
pub struct Mistake {
    /// Where the picture comes from.
    pub name: String,
    pub picture: RgbImage,
    pub truth: u32,
    pub said: u32,
    /// Of the class `said`, 0 to 1.
    pub probability: f64,
}

/// Thumbnails with what is wrong about them.
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
