//! Text and pictures as they stand in a page.

use image::DynamicImage;

use crate::data::text::{shown, steers};
use crate::report::encode::{jpeg, png};

/// Text for an element or a quoted attribute.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            // HTML has no way to write control characters, those that turn the direction would turn the page's, and a
            // line break would make two names look like one.
            c if steers(c) => escaped.extend(c.escape_default()),
            c => escaped.push(c),
        }
    }
    escaped
}

/// The beginning of a text as it is shown, and an ellipsis where it is longer than `most` characters; not escaped.
pub fn shortened(text: &str, most: usize) -> String {
    let text = shown(text);
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
        None => text.into(),
    }
}

/// A share in percent, such as `97.3`.
pub fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

/// A picture as the address of a PNG image, exactly.
pub fn png_address(picture: impl Into<DynamicImage>) -> String {
    format!("data:image/png;base64,{}", base64(&png(picture)))
}

/// A picture as the address of a JPEG image, smaller.
pub fn jpeg_address(picture: impl Into<DynamicImage>) -> String {
    format!("data:image/jpeg;base64,{}", base64(&jpeg(picture)))
}

/// Bytes as base64 (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0u32, |bits, i| bits << 8 | u32::from(group.get(i).copied().unwrap_or(0)));
        for i in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * i) & 63) as usize];
            text.push(if i <= group.len() { digit.into() } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markup_in_a_text_stays_text() {
        assert_eq!(
            escape("\u{202e}<b onclick=\"x('y')\">&\u{0}é\n"),
            "\\u{202e}&lt;b onclick=&quot;x(&#39;y&#39;)&quot;&gt;&amp;\\u{0}é\\n"
        );
    }

    #[test]
    fn long_texts_are_shortened_by_characters() {
        assert_eq!(shortened("éclair", 6), "éclair");
        assert_eq!(shortened("éclairs", 6), "éclai…");
        assert_eq!(shortened("a\u{1b}[31mred", 6), "a\\u{1…", "what is shown is counted");
    }

    /// The vectors of RFC 4648, section 10, and the digits that letters do not reach.
    #[test]
    fn base64_is_as_the_rfc_has_it() {
        let cases = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (bytes, text) in cases {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
        assert_eq!(base64(&[0xFB, 0xFF, 0xBF]), "+/+/");
    }
}
