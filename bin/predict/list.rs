//! The images that are given: files, folders, and lists on standard input.

use std::ffi::OsString;
use std::io::Read;
use std::path::{Path, PathBuf};

use svp::data::text::decoded;
use svp::{Error, Result};
use svp_cli::{complain, images_at};

/// Stands for a list of paths on standard input.
const LIST: &str = "-";

/// All images of the arguments, and whether each argument and each path of a list has some; those that have none are
/// told.
pub fn images(arguments: &[PathBuf]) -> (Vec<PathBuf>, bool) {
    let (mut images, mut all) = (vec![], true);
    let mut note = |found: Result<Vec<PathBuf>>| match found {
        Ok(found) => images.extend(found),
        Err(error) => {
            complain(&error);
            all = false;
        }
    };
    for argument in arguments {
        match argument.as_os_str() == LIST {
            false => note(images_at(argument)),
            true => match listed() {
                Ok(paths) => paths.iter().for_each(|path| note(images_at(path))),
                Err(error) => note(Err(error)),
            },
        }
    }
    (images, all)
}

/// The paths on standard input.
fn listed() -> Result<Vec<PathBuf>> {
    let mut bytes = vec![];
    let place = Path::new("standard input");
    std::io::stdin().lock().read_to_end(&mut bytes).map_err(|e| Error::io(place, "read", &e))?;
    let paths = paths(bytes);
    if paths.is_empty() {
        return Err(Error::path(place, "lists no images", "give it a path a line"));
    }
    Ok(paths)
}

/// The paths of a list: one a line, or parted by zeros as `find -print0` does. Blank lines are passed over.
fn paths(bytes: Vec<u8>) -> Vec<PathBuf> {
    let bytes = match bytes.starts_with(&[0xEF]) || bytes.starts_with(&[0xFF]) || bytes.starts_with(&[0xFE]) {
        // A mark of Windows in front, which says how the text is encoded.
        true => decoded(bytes.clone()).map_or(bytes, String::into_bytes),
        false => bytes,
    };
    let mark = if bytes.contains(&0) { 0 } else { b'\n' };
    let lines = bytes.split(|&byte| byte == mark).map(|line| match line {
        [line @ .., b'\r'] if mark == b'\n' => line,
        line => line,
    });
    lines.filter(|line| !line.trim_ascii().is_empty()).map(|line| path(line).into()).collect()
}

/// A path of any bytes, as the system has them.
#[cfg(unix)]
fn path(bytes: &[u8]) -> OsString {
    std::os::unix::ffi::OsStringExt::from_vec(bytes.to_vec())
}

#[cfg(not(unix))]
fn path(bytes: &[u8]) -> OsString {
    String::from_utf8_lossy(bytes).into_owned().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_whatever_wrote_them() {
        let read = |bytes: &[u8]| {
            let paths = paths(bytes.to_vec());
            paths.iter().map(|path| path.to_str().unwrap().to_string()).collect::<Vec<_>>()
        };
        assert_eq!(read(b"a b.jpg\n\n  \nc.png"), ["a b.jpg", "c.png"]);
        assert_eq!(read(b"a.jpg\r\nb.jpg\r\n"), ["a.jpg", "b.jpg"]);
        assert_eq!(read(b"a\nb.jpg\0c.jpg\0"), ["a\nb.jpg", "c.jpg"]);
        assert_eq!(read("\u{FEFF}é.jpg\r\n".as_bytes()), ["é.jpg"]);
        assert_eq!(read(b"\xFF\xFEa\0\n\0b\0"), ["a", "b"]);
        assert_eq!(read(b"\n"), [""; 0]);
    }
}
