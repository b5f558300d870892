//! Text in DejaVu Sans. The font is in the program, so that text looks the same on machines without fonts. What would
//! steer a terminal or break a line is drawn as the escape that [`shown`] makes of it, as names are chosen by others.
//!
//! `DejaVuSans.ttf` holds the Latin, Greek and Cyrillic letters and common signs of version 2.37, made by fonttools:
//! `pyftsubset DejaVuSans.ttf --unicodes=U+20-7E,U+A0-17F,U+370-3FF,U+400-45F,U+2013-2026,U+2260-2265
//! --layout-features= --no-hinting --notdef-outline --drop-tables+=GPOS,GSUB,GDEF,kern,FFTM,MATH,gasp`.

use std::sync::LazyLock;

use ab_glyph::{Font, FontRef, Glyph, OutlinedGlyph, PxScale, PxScaleFont, ScaleFont, point};

use crate::data::text::shown;

/// Height of a capital letter in pixels.
pub const TEXT_HEIGHT: u32 = 13;
/// Side of the font's em square in pixels.
const EM: f32 = 18.0;

static FONT: LazyLock<PxScaleFont<FontRef<'static>>> = LazyLock::new(|| {
    let font = FontRef::try_from_slice(include_bytes!("DejaVuSans.ttf")).expect("the font in the program");
    let units = font.units_per_em().expect("the font in the program");
    let scale = PxScale::from(EM * font.height_unscaled() / units);
    font.into_scaled(scale)
});

/// The visible characters of a text whose capitals span the rows 0 to [`TEXT_HEIGHT`] and which begins at column 0.
/// A character that the font lacks is a hollow box.
pub fn outlines(text: &str) -> impl Iterator<Item = OutlinedGlyph> {
    glyphs(text).filter_map(|(glyph, _)| FONT.outline_glyph(glyph))
}

/// Width of a text in pixels.
pub fn text_width(text: &str) -> u32 {
    glyphs(text).last().map_or(0, |(_, end)| end.ceil() as u32)
}

/// The text, or as much of its beginning with an ellipsis behind it as is at most `width` pixels wide.
pub fn shortened(text: &str, width: u32) -> String {
    let text = shown(text);
    if text_width(&text) <= width {
        return text.into();
    }
    let room = width.saturating_sub(text_width("…")) as f32;
    let kept = glyphs(&text).take_while(|&(_, end)| end <= room).count();
    let kept: String = text.chars().take(kept).collect();
    format!("{}…", kept.trim_end())
}

/// Every character with the column where the next one begins.
fn glyphs(text: &str) -> impl Iterator<Item = (Glyph, f32)> + use<> {
    let mut end = 0.0;
    let characters: Vec<char> = shown(text).chars().collect();
    characters.into_iter().map(move |c| {
        let mut glyph = FONT.scaled_glyph(c);
        glyph.position = point(end, TEXT_HEIGHT as f32);
        end += FONT.h_advance(glyph.id);
        (glyph, end)
    })
}
