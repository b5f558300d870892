//! A part of the page that the caller fills, such as what a method has learned.

use image::{Rgba, RgbaImage};

use super::svg::{bars, short};
use super::text::{escape, png_address};

/// Colours of values above and below zero, as in the style sheet.
const ABOVE: [u8; 3] = [37, 122, 196];
const BELOW: [u8; 3] = [217, 95, 14];

/// A heading with text and figures below it.
#[derive(Debug, Clone, Default)]
pub struct Section {
    /// The heading.
    pub heading: String,
    /// One paragraph below the heading; none if it is empty.
    pub text: String,
    /// The figures: bars side by side where there is room, then strips one below the other.
    pub figures: Vec<Figure>,
}

/// A figure in a [`Section`].
#[derive(Debug, Clone)]
pub enum Figure {
    /// Bars from 0, side by side for every layer.
    Bars {
        /// Stands above the chart.
        title: String,
        /// Names of the series.
        names: Vec<String>,
        /// For every layer one value a series, at least 0.
        layers: Vec<Vec<f64>>,
    },
    /// Values as colours: blue above zero, orange below, the stronger the larger.
    Strip {
        /// Stands above the picture.
        title: String,
        /// For every layer, from top to bottom, its values from left to right.
        layers: Vec<Vec<f32>>,
    },
}

impl Section {
    /// What stands below the heading, as HTML.
    pub(super) fn body(&self) -> String {
        let text = match &*self.text {
            "" => String::new(),
            text => format!("<p class=\"note\">{}</p>\n", escape(text)),
        };
        if self.figures.is_empty() {
            return text;
        }
        let (mut charts, mut strips) = (String::new(), String::new());
        for figure in &self.figures {
            match figure {
                Figure::Bars { title, names, layers } => charts += &bars(title, names, layers),
                Figure::Strip { title, layers } => strips += &strip(title, layers),
            }
        }
        let strips = if strips.is_empty() { strips } else { format!("<div>{strips}</div>\n") };
        format!("{text}<div class=\"charts\">\n{charts}{strips}</div>\n")
    }
}

/// A row of pixels for every layer.
fn strip(title: &str, layers: &[Vec<f32>]) -> String {
    let width = layers.iter().map(Vec::len).max().unwrap_or(0);
    let largest = layers.iter().flatten().fold(0.0f32, |most, v| most.max(v.abs()));
    let mut picture = RgbaImage::new(width as u32, layers.len() as u32);
    for (y, values) in (0..).zip(layers) {
        for (x, &value) in (0..).zip(values) {
            let [r, g, b] = if value >= 0.0 { ABOVE } else { BELOW };
            let strength = if largest > 0.0 { value.abs() / largest } else { 0.0 };
            picture.put_pixel(x, y, Rgba([r, g, b, (255.0 * strength).round() as u8]));
        }
    }
    let title = escape(title);
    format!(
        "<figure class=\"strip\"><figcaption>{title}: layers down, channels across, up to {} (blue above zero, orange \
         below)</figcaption><img alt=\"{title}\" style=\"--layers:{}\" src=\"{}\"></figure>\n",
        short(largest.into()),
        layers.len(),
        png_address(picture),
    )
}
