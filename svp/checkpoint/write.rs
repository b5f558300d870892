//! Writes files so that they are there whole or not at all.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::{File, Permissions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::data::regular::check_place;
use crate::{Error, Result};

/// Prefix and suffix of the names of unfinished files.
const PREFIX: &str = ".partial-";
const SUFFIX: &str = ".tmp";

/// The unfinished files of this process.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Removes the unfinished files of this process, which is about to end while threads of it may still be writing.
pub fn remove_unfinished() {
    remove_unfinished_in(Path::new(""));
}

/// Removes those below a folder; all for the empty path.
fn remove_unfinished_in(folder: &Path) {
    let unfinished = UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner);
    for path in unfinished.iter().filter(|path| path.starts_with(folder)) {
        // One that got its name just now is whole.
        let _ = std::fs::remove_file(path);
    }
}

/// Notes an unfinished file until it is dropped.
struct Noted(PathBuf);

impl Noted {
    fn new(path: &Path) -> Self {
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).insert(path.into());
        Noted(path.into())
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Removes the unfinished files that killed writers left beside a file, and that nobody has written to for a while. Files
/// of others who are writing there stay: a writer holds a lock. What cannot be looked at or removed stays too.
pub fn remove_abandoned_beside(path: &Path) {
    const WHILE: Duration = Duration::from_secs(60);
    let Ok(entries) = std::fs::read_dir(folder_of(path)) else { return };
    for entry in entries.flatten().filter(|entry| is_unfinished(&entry.file_name())) {
        // Between its making and its lock a file is not held, so a young one stays.
        let age =
            entry.metadata().and_then(|of| of.modified()).map(|time| time.elapsed().unwrap_or_default());
        let abandoned = || File::open(entry.path()).is_ok_and(|file| file.try_lock().is_ok());
        if entry.file_type().is_ok_and(|of| of.is_file()) && age.is_ok_and(|age| age > WHILE) && abandoned() {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn is_unfinished(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    name.starts_with(PREFIX.as_bytes()) && name.ends_with(SUFFIX.as_bytes())
}

/// The folder of a file. The parent of a bare file name is "", which means the current folder.
fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Removes the unfinished files that killed writers left in a folder. No other process may be writing there.
///
/// # Errors
/// A folder that cannot be read, or a file that cannot be removed.
pub fn remove_partial_files(folder: &Path) -> Result<()> {
    let remove = || {
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            if is_unfinished(&entry.file_name()) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    remove().map_err(|e| Error::io(folder, "remove what an interrupted run left", &e))
}

/// Writes a file under a temporary name in the same folder, syncs it and renames it to `path`. A crash, a full disk or
/// a reader at any moment sees the old file or the new one, never a part.
///
/// # Errors
/// A file that cannot be written, for which the temporary file is then removed, and a device, a pipe or a folder in its place.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<()> {
    check_place(path)?;
    replace(path, folder_of(path), write).map_err(|e| Error::io(path, "write", &e))
}

fn replace(
    path: &Path,
    folder: &Path,
    write: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> io::Result<()> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    // Temporary files are private by default, but this one becomes an ordinary file, with the permissions of the umask.
    #[cfg(unix)]
    builder.permissions(<Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o666));
    let temporary = builder.tempfile_in(folder)?;
    let _noted = Noted::new(temporary.path());
    // For `remove_abandoned_beside`. Where files cannot be locked, it removes none.
    let _ = temporary.as_file().try_lock();
    let mut buffered = BufWriter::with_capacity(1 << 20, temporary.as_file());
    write(&mut buffered)?;
    buffered.flush()?;
    drop(buffered);
    temporary.as_file().sync_all()?;
    temporary.persist(path).map_err(|e| e.error)?;
    // The new name survives a crash only once the folder is synced. Where folders cannot be opened, the rename has to
    // do.
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn replaces_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        for text in ["first, and long", "second"] {
            write_atomically(&path, |file| file.write_all(text.as_bytes())).unwrap();
            assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
        }
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn what_is_unfinished_when_the_process_ends_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        std::fs::write(&path, "old").unwrap();
        let error = write_atomically(&path, |file| {
            file.write_all(b"half of it")?;
            assert_eq!(names(folder.path()).len(), 2);
            remove_unfinished_in(folder.path());
            assert_eq!(names(folder.path()), ["a.bin"]);
            Ok(())
        });
        assert!(error.is_err(), "what was removed does not get the name");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        let noted = UNFINISHED.lock().unwrap();
        assert!(noted.iter().all(|path| !path.starts_with(folder.path())), "{noted:?}");
    }

    #[test]
    fn what_killed_writers_left_is_removed_and_what_others_write_is_not() {
        use std::time::SystemTime;
        let folder = tempfile::tempdir().unwrap();
        let old = |name: &str| {
            let file = File::create(folder.path().join(name)).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(600)).unwrap();
            file
        };
        drop(old(".partial-killed.tmp"));
        drop(old("a.tmp"));
        let held = old(".partial-held.tmp");
        held.lock().unwrap();
        File::create(folder.path().join(".partial-young.tmp")).unwrap();
        remove_abandoned_beside(&folder.path().join("b.bin"));
        let mut left = names(folder.path());
        left.sort();
        assert_eq!(left, [".partial-held.tmp", ".partial-young.tmp", "a.tmp"]);
        write_atomically(&folder.path().join("b.bin"), |_| {
            let own = names(folder.path()).into_iter().find(|name| !left.contains(name)).unwrap();
            let own = File::open(folder.path().join(own))?;
            assert!(own.try_lock().is_err(), "a writer holds its file");
            Ok(())
        })
        .unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn has_the_permissions_of_an_ordinary_file() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (ours, ordinary) = (folder.path().join("ours"), folder.path().join("ordinary"));
        write_atomically(&ours, |_| Ok(())).unwrap();
        std::fs::write(&ordinary, "").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode();
        assert_eq!(mode(&ours), mode(&ordinary));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_full_disk_keeps_the_old_file_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.bin");
        std::fs::write(&path, "old").unwrap();
        // Writing to /dev/full gives the operating system's own error for a full disk.
        let error = write_atomically(&path, |file| {
            file.write_all(b"half of it")?;
            File::options().write(true).open("/dev/full")?.write_all(b"x")
        });
        let line = error.unwrap_err().to_string();
        assert!(line.contains("a.bin") && line.contains("free some space") && !line.contains('\n'), "{line}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        assert_eq!(names(folder.path()), ["a.bin"]);
    }

    #[test]
    fn places_that_cannot_be_written_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let line = |path: &Path, kind: Option<io::ErrorKind>| {
            write_atomically(path, |_| kind.map_or(Ok(()), |k| Err(k.into()))).unwrap_err().to_string()
        };
        let missing = line(&folder.path().join("none/a.bin"), None);
        assert!(missing.contains("none/a.bin") && missing.contains("check the path"), "{missing}");
        // Root may write anywhere, so the refusal is made up.
        let read_only = line(&folder.path().join("a.bin"), Some(io::ErrorKind::ReadOnlyFilesystem));
        assert!(read_only.contains("choose a place that can be written"), "{read_only}");
        assert_eq!(names(folder.path()), [""; 0]);
    }
}
