//! What the prompts have learned: how strongly each layer is prompted, and which channels.

use image::{Rgba, RgbaImage};

use super::svg::{bars, short};
use super::text::png_address;

/// Colours of values above and below zero, as in the style sheet.
const ABOVE: [u8; 3] = [37, 122, 196];
const BELOW: [u8; 3] = [217, 95, 14];

/// Learned scales of one kind.
pub struct Scales {
    /// What they scale.
    pub name: &'static str,
    /// Of each layer, a value a channel.
    pub layers: Vec<Vec<f32>>,
}

/// Charts of scales: their mean size in each layer, and every value. All kinds have as many layers.
pub fn scale_charts(kinds: &[Scales]) -> String {
    let names: Vec<&str> = kinds.iter().map(|kind| kind.name).collect();
    let layers = kinds.first().map_or(0, |kind| kind.layers.len());
    let sizes: Vec<Vec<f64>> =
        (0..layers).map(|i| kinds.iter().map(|kind| mean_size(&kind.layers[i])).collect()).collect();
    let strips: String = kinds.iter().map(strip).collect();
    format!(
        "<div class=\"charts\">\n{}<div>{strips}</div>\n</div>\n",
        bars("Mean size of the scales", &names, &sizes),
    )
}

fn mean_size(values: &[f32]) -> f64 {
    values.iter().map(|v| f64::from(v.abs())).sum::<f64>() / values.len().max(1) as f64
}

/// Every value: a row a layer, a column a channel.
fn strip(kind: &Scales) -> String {
    let channels = kind.layers.iter().map(Vec::len).max().unwrap_or(0);
    let largest = kind.layers.iter().flatten().fold(0.0f32, |most, v| most.max(v.abs()));
    let mut picture = RgbaImage::new(channels as u32, kind.layers.len() as u32);
    for (y, values) in (0..).zip(&kind.layers) {
        for (x, &value) in (0..).zip(values) {
            let [r, g, b] = if value >= 0.0 { ABOVE } else { BELOW };
            let strength = if largest > 0.0 { value.abs() / largest } else { 0.0 };
            picture.put_pixel(x, y, Rgba([r, g, b, (255.0 * strength).round() as u8]));
        }
    }
    format!(
        "<figure class=\"strip\"><figcaption>{}: layers down, channels across, up to {} (blue above zero, orange below)\
         </figcaption><img alt=\"{}\" style=\"--layers:{}\" src=\"{}\"></figure>\n",
        kind.name,
        short(largest.into()),
        kind.name,
        kind.layers.len(),
        png_address(picture),
    )
}
