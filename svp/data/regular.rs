//! Regular files: how they are opened, and whether they stay what they were.
//!
//! A data set comes from others, and a named pipe in it would let a reader wait for ever. So nothing but a regular file
//! is opened, here and in everything that reads files of a data set.

use std::fs::{File, FileType, Metadata, OpenOptions};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::error::{Error, Result};

/// Opens a regular file for reading. Links are followed.
///
/// # Errors
/// A file that cannot be opened, and anything that is not a regular file, such as a named pipe, a device or a folder,
/// which is told without waiting for it.
pub fn open_regular(path: &Path) -> Result<File> {
    let failed = |e: std::io::Error| Error::io(path, "open", &e);
    check_regular(path, &std::fs::metadata(path).map_err(failed)?)?;
    let mut options = OpenOptions::new();
    options.read(true);
    // What was a file above may be a pipe by now; then neither opening nor reading waits.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path).map_err(failed)?;
    check_regular(path, &file.metadata().map_err(failed)?)?;
    Ok(file)
}

/// Checks that a file can be written at `path`: that nothing is there yet, or a regular file. To replace a device would
/// take it from everyone, and to write to a pipe could wait for ever.
///
/// # Errors
/// Anything else that is there.
pub fn check_place(path: &Path) -> Result<()> {
    match std::fs::metadata(path) {
        Ok(meta) if !meta.is_file() => {
            let what = format!("cannot be written: is {}, not a regular file", kind(meta.file_type()));
            Err(Error::path(path, what, "give the name of a file"))
        }
        _ => Ok(()),
    }
}

/// Checks that what lies at `path` is a regular file.
///
/// # Errors
/// Anything else.
pub(crate) fn check_regular(path: &Path, meta: &Metadata) -> Result<()> {
    if meta.is_file() {
        return Ok(());
    }
    let what = format!("is {}, not a regular file", kind(meta.file_type()));
    Err(Error::path(path, what, "replace or remove it"))
}

/// What something is that is not a regular file.
fn kind(of: FileType) -> &'static str {
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if of.is_fifo() {
            return "a named pipe";
        } else if of.is_socket() {
            return "a socket";
        } else if of.is_block_device() || of.is_char_device() {
            return "a device";
        }
    }
    if of.is_dir() { "a folder" } else { "of an unknown kind" }
}

/// A file as it was when it was opened, to tell later whether another program changed it.
#[derive(Debug, Clone)]
pub struct Seen {
    path: PathBuf,
    identity: Identity,
}

/// By what a file is told: its length in bytes, the time of its last change, and where the system keeps it, which is the
/// device and the number of the file.
#[derive(Debug, Clone, PartialEq)]
struct Identity {
    length: u64,
    modified: Option<SystemTime>,
    at: (u64, u64),
}

impl Identity {
    fn of(meta: &Metadata) -> Self {
        #[cfg(unix)]
        let at = {
            use std::os::unix::fs::MetadataExt;
            (meta.dev(), meta.ino())
        };
        #[cfg(not(unix))]
        let at = (0, 0);
        Identity { length: meta.len(), modified: meta.modified().ok(), at }
    }
}

impl Seen {
    /// The open `file` at `path` as it is now.
    ///
    /// # Errors
    /// A file that the system tells nothing about.
    pub fn of(path: &Path, file: &File) -> Result<Self> {
        let meta = file.metadata().map_err(|e| Error::io(path, "look at", &e))?;
        Ok(Seen { path: path.into(), identity: Identity::of(&meta) })
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length in bytes.
    pub fn length(&self) -> u64 {
        self.identity.length
    }

    /// Checks that the path still leads to the same file with the same length and time of change. Nothing is read.
    ///
    /// # Errors
    /// A file that was changed, replaced or removed.
    pub fn unchanged(&self) -> Result<()> {
        let what = match std::fs::metadata(&self.path) {
            Ok(meta) => {
                let now = Identity::of(&meta);
                match now {
                    _ if now == self.identity => return Ok(()),
                    _ if now.at != self.identity.at => "was replaced by another file since it was opened",
                    _ => "was changed by another program since it was opened",
                }
            }
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => "was removed since it was opened",
            Err(e) => return Err(Error::io(&self.path, "look at", &e)),
        };
        Err(Error::path(&self.path, what, HINT))
    }

    /// The error about a file that ends before the bytes that it had when it was opened.
    pub(crate) fn shortened(&self) -> Error {
        Error::path(&self.path, SHORTENED, HINT)
    }
}

/// What is wrong with a file that ends before the bytes that it had when it was opened.
pub(crate) const SHORTENED: &str = "is shorter than when it was opened: another program changed it";
/// What to do about a file that another program changed.
const HINT: &str = "put the old file back, or start anew with the file as it is now";

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    #[test]
    fn files_that_change_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let (path, other) = (dir.path().join("a.tar"), dir.path().join("b.tar"));
        fs::write(&path, b"some bytes").unwrap();
        let file = open_regular(&path).unwrap();
        let seen = Seen::of(&path, &file).unwrap();
        seen.unchanged().unwrap();
        let told = |want: &str| {
            let told = seen.unchanged().unwrap_err().to_string();
            assert!(told.contains("a.tar") && told.contains(want) && !told.contains('\n'), "{told}");
        };
        let then = fs::metadata(&path).unwrap().modified().unwrap();
        let touch = |time| File::options().write(true).open(&path).unwrap().set_modified(time).unwrap();
        touch(then + Duration::from_secs(9));
        told("was changed");
        touch(then);
        seen.unchanged().unwrap();
        fs::write(&path, b"some").unwrap();
        touch(then);
        told("was changed");
        fs::write(&other, b"some bytes").unwrap();
        fs::rename(&other, &path).unwrap();
        touch(then);
        told("was replaced");
        fs::remove_file(&path).unwrap();
        told("was removed");
    }

    #[test]
    #[cfg(unix)]
    fn nothing_but_files_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe.npy");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for (path, want) in
            [(&*pipe, "a named pipe"), (Path::new("/dev/null"), "a device"), (dir.path(), "a folder")]
        {
            let told = check_place(path).unwrap_err().to_string();
            assert!(told.contains(want) && told.contains("cannot be written"), "{told}");
        }
        let file = dir.path().join("file");
        check_place(&file).unwrap();
        fs::write(&file, b"old").unwrap();
        check_place(&file).unwrap();
    }

    #[test]
    #[cfg(unix)]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe.jpg");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let link = dir.path().join("link.jpg");
        std::os::unix::fs::symlink(&pipe, &link).unwrap();
        let socket = dir.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        for (path, want) in [
            (&*pipe, "pipe.jpg: is a named pipe, not a regular file; "),
            (&*link, "link.jpg: is a named pipe, not a regular file; "),
            (&*socket, "socket: is a socket, not a regular file; "),
            (dir.path(), "is a folder, not a regular file; "),
            (Path::new("/dev/zero"), "/dev/zero: is a device, not a regular file; "),
            (&dir.path().join("none"), "none: cannot open: "),
        ] {
            let told = open_regular(path).unwrap_err().to_string();
            assert!(told.contains(want), "{want}: {told}");
        }
    }
}
