//! Texts that come from outside: how lists are decoded, and how names are shown.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::decode;

/// The text of a file: UTF-8, with or without a byte-order mark, or UTF-16 with one, as some programs of Windows write
/// it. `None` if it is neither.
pub fn decoded(bytes: Vec<u8>) -> Option<String> {
    let utf16 = |of: fn([u8; 2]) -> u16| {
        let (pairs, rest) = bytes[2..].as_chunks::<2>();
        let units: Vec<u16> = pairs.iter().map(|&pair| of(pair)).collect();
        rest.is_empty().then(|| String::from_utf16(&units).ok())?
    };
    match bytes.as_slice() {
        [0xFF, 0xFE, ..] => utf16(u16::from_le_bytes),
        [0xFE, 0xFF, ..] => utf16(u16::from_be_bytes),
        _ => String::from_utf8(bytes).ok().map(|text| match text.strip_prefix('\u{FEFF}') {
            Some(rest) => rest.to_string(),
            None => text,
        }),
    }
}

/// The most bytes of a file of settings: a thousand times those of the largest there is.
const MAX_SETTINGS: u64 = 4 << 20;

/// Reads a file of settings, which may come from a pipe as in `--config <(command)`.
///
/// # Errors
/// A file that cannot be read, is too large for settings, or is no UTF-8.
pub fn read_settings(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let file = std::fs::File::open(path)?;
    if file.take(MAX_SETTINGS + 1).read_to_string(&mut text)? as u64 > MAX_SETTINGS {
        return Err(std::io::Error::other(format!("has over {} MiB", MAX_SETTINGS >> 20)));
    }
    Ok(text)
}

/// A text in which nothing steers a terminal or breaks a line: control characters, and those that turn the direction of
/// writing or are not seen, are written as escapes like `\n` and `\u{202e}`. Names of classes and files are chosen by
/// whoever made the data set; whatever shows one passes it through here.
pub fn shown(text: &str) -> Cow<'_, str> {
    if !text.contains(steers) {
        return text.into();
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            c if steers(c) => safe.extend(c.escape_default()),
            c => safe.push(c),
        }
    }
    safe.into()
}

/// Whether a character acts on how a text is shown instead of being shown.
pub fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61C}' | '\u{200B}' | '\u{200E}' | '\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{FEFF}')
}

/// Most characters of a part of a message, and how many of its last ones are kept where it has more.
const BRIEF: [usize; 2] = [600, 200];

/// A part of a message as it is [`shown`], of which the middle is left out where it is long: a name in a file, or what a
/// file says of itself, can have any length.
pub fn brief(text: impl Into<String>) -> String {
    let (text, [most, end]) = (text.into(), BRIEF);
    let mut text = shown(&text).into_owned();
    let Some(rest) = text.chars().count().checked_sub(most + 1) else { return text };
    let at = |text: &str, n: usize| text.char_indices().nth(n).map_or(text.len(), |(at, _)| at);
    let (from, to) = (at(&text, most - end), at(&text, rest + 1 + most - end));
    text.replace_range(from..to, "...");
    text
}

/// A line of JSON in which nothing steers a terminal either. It means the same: what JSON leaves as it is, such as marks
/// of the direction of writing, can stand in strings only, where an escape stands for it.
pub fn shown_json(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for c in json.chars() {
        match c {
            // None of them lies beyond the 16 bits of such an escape.
            c if steers(c) => safe.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => safe.push(c),
        }
    }
    safe
}

/// A text of several lines as it is shown: [`shown`] line by line.
pub fn shown_lines(text: &str) -> Cow<'_, str> {
    if !text.contains(|c| c != '\n' && steers(c)) {
        return text.into();
    }
    text.split('\n').map(shown).collect::<Vec<_>>().join("\n").into()
}

/// A path as it is shown.
pub fn shown_path(path: &Path) -> String {
    shown(&path.to_string_lossy()).into_owned()
}

/// The first of many things, in one line: `a, b, c, ...`.
pub fn first<T: AsRef<str>>(all: impl IntoIterator<Item = T>) -> String {
    const MOST: usize = 3;
    let mut all = all.into_iter();
    let mut line: Vec<String> = all.by_ref().take(MOST).map(|one| brief(one.as_ref())).collect();
    if all.next().is_some() {
        line.push("...".into());
    }
    line.join(", ")
}

/// A number of things: `1 image`, `2 images`.
pub fn count(n: usize, what: &str) -> String {
    match n {
        1 => format!("1 {what}"),
        n => format!("{n} {what}s"),
    }
}

/// How many files there are of each ending, most frequent first: `12 .txt, 1 .db`.
pub(crate) fn endings<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> String {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for path in paths {
        let ending = path.extension().map(|ending| format!(".{}", ending.to_string_lossy().to_lowercase()));
        *counts.entry(ending.unwrap_or_else(|| "without an ending".into())).or_default() += 1;
    }
    let mut counts: Vec<(String, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    first_of_many(counts.into_iter().map(|(ending, n)| format!("{n} {ending}")))
}

fn first_of_many(all: impl Iterator<Item = String>) -> String {
    const MOST: usize = 8;
    let all: Vec<String> = all.collect();
    let more = if all.len() > MOST { ", ..." } else { "" };
    format!("{}{more}", all[..all.len().min(MOST)].join(", "))
}

/// What to do about pictures of formats that are not read.
pub(crate) const CONVERT: &str = "convert them to jpeg or png";

/// Lines about files that are no pictures that can be read, and about what was passed over.
pub(crate) fn left_out(others: &[PathBuf], passed_over: &[PathBuf]) -> Vec<String> {
    let mut lines = Vec::new();
    let (unread, others): (Vec<&PathBuf>, Vec<&PathBuf>) =
        others.iter().partition(|path| decode::is_unread_name(path));
    if !unread.is_empty() {
        let n = count(unread.len(), "picture");
        lines.push(format!("left out: {n} of formats that are not read ({}); {CONVERT}", endings(unread)));
    }
    if !others.is_empty() {
        let n = count(others.len(), "file");
        let which = endings(others);
        lines.push(format!("left out because their names are not those of images: {n} ({which})"));
    }
    let (pictures, foreign): (Vec<&PathBuf>, Vec<&PathBuf>) =
        passed_over.iter().partition(|path| decode::is_image_name(path));
    let is_hidden =
        |path: &&PathBuf| path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
    let (hidden, outside): (Vec<&PathBuf>, Vec<&PathBuf>) = pictures.into_iter().partition(is_hidden);
    if !hidden.is_empty() {
        let names = first(hidden.iter().map(|path| shown_path(path)));
        lines.push(format!("left out: {}: {names}", count(hidden.len(), "hidden image")));
    }
    if !outside.is_empty() {
        let names = first(outside.iter().map(|path| shown_path(path)));
        let n = count(outside.len(), "image");
        lines.push(format!("left out: {n} with .. in the path in an archive: {names}"));
    }
    if !foreign.is_empty() {
        let names = first(foreign.iter().map(|path| shown_path(path)));
        let n = count(foreign.len(), "folder");
        lines
            .push(format!("left out: {n} in which other programs keep thumbnails or deleted files: {names}"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_decoded_whatever_wrote_them() {
        let utf16 = |mark: [u8; 2], of: fn(u16) -> [u8; 2]| {
            [mark.to_vec(), "é 1\r\n".encode_utf16().flat_map(of).collect()].concat()
        };
        assert_eq!(decoded("\u{FEFF}é 1\r\n".into()).unwrap(), "é 1\r\n");
        assert_eq!(decoded("é 1".into()).unwrap(), "é 1");
        assert_eq!(decoded(utf16([0xFF, 0xFE], u16::to_le_bytes)).unwrap(), "é 1\r\n");
        assert_eq!(decoded(utf16([0xFE, 0xFF], u16::to_be_bytes)).unwrap(), "é 1\r\n");
        for bytes in [&b"\xFF\xFEa"[..], b"\xFF\xFE\x00\xD8", b"\xE9", b"\x80abc"] {
            assert_eq!(decoded(bytes.into()), None, "{bytes:?}");
        }
    }

    #[test]
    fn settings_are_read_up_to_a_size() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s.toml");
        std::fs::write(&path, "a = 1").unwrap();
        assert_eq!(read_settings(&path).unwrap(), "a = 1");
        std::fs::write(&path, vec![b'#'; MAX_SETTINGS as usize + 1]).unwrap();
        assert_eq!(read_settings(&path).unwrap_err().to_string(), "has over 4 MiB");
        #[cfg(target_os = "linux")]
        assert_eq!(read_settings(Path::new("/dev/zero")).unwrap_err().to_string(), "has over 4 MiB");
    }

    #[test]
    fn shown_names_do_not_steer() {
        assert!(matches!(shown("Größe 日本 'a' \"b\" \\ 😀"), Cow::Borrowed(_)));
        assert_eq!(shown("a\nb\x1b[31m\t\u{7f}\u{9b}"), "a\\nb\\u{1b}[31m\\t\\u{7f}\\u{9b}");
        assert_eq!(shown("\u{202e}gpj.exe\u{200b}\u{2028}"), "\\u{202e}gpj.exe\\u{200b}\\u{2028}");
    }

    #[test]
    fn json_does_not_steer_and_means_the_same() {
        let name = "a\n\u{1b}[2J\u{7f}\u{9b}\u{202e}\u{feff} \u{fc}\u{1f600}\"\\";
        let json = shown_json(&serde_json::to_string(name).unwrap());
        assert!(!json.contains(steers), "{json:?}");
        assert_eq!(serde_json::from_str::<String>(&json).unwrap(), name);
        assert_eq!(shown_lines("a\n\u{1b}b\n"), "a\n\\u{1b}b\n");
    }

    #[test]
    fn the_middle_of_a_long_text_is_left_out() {
        let [most, end] = BRIEF;
        let text = "é".repeat(most);
        assert_eq!(brief(text.clone()), text);
        let long = format!("é{}{}", "x".repeat(80_000), "y".repeat(end));
        let cut = format!("é{}...{}", "x".repeat(most - end - 1), "y".repeat(end));
        assert_eq!(brief(long), cut);
        assert_eq!(first([&"z".repeat(most + 1)[..]]).len(), most + 3);
    }

    #[test]
    fn what_is_left_out_is_counted_by_ending() {
        let paths = |names: &[&str]| names.iter().map(PathBuf::from).collect::<Vec<_>>();
        let lines = left_out(
            &paths(&["a.txt", "b.TXT", "c.heic", "LICENSE"]),
            &paths(&["x/@eaDir", "x/.a.jpg", "x/._b.png", "x.tar/../c.png"]),
        );
        assert_eq!(
            lines,
            [
                "left out: 1 picture of formats that are not read (1 .heic); convert them to jpeg or png",
                "left out because their names are not those of images: 3 files (2 .txt, 1 without an ending)",
                "left out: 2 hidden images: x/.a.jpg, x/._b.png",
                "left out: 1 image with .. in the path in an archive: x.tar/../c.png",
                "left out: 1 folder in which other programs keep thumbnails or deleted files: x/@eaDir",
            ]
        );
        assert_eq!(first(["a", "b", "c", "d"]), "a, b, c, ...");
        assert_eq!(left_out(&[], &[]), [""; 0]);
    }
}
