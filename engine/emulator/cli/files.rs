//! Files that are read within bounds, and files that are written whole or not at all.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::npy::Header;
use crate::{Failure, wrong};

/// The most bytes of a PTX file. A file at the limits of the library has far fewer.
const MOST_TEXT: u64 = 256 << 20;

/// What an array needs beside its bytes: whether each was written, and the last accesses to each word.
const NEEDED: u64 = 8;

/// How the bytes of an array stand in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Npy,
    Bin,
}

impl Format {
    /// The format that the name of a file says.
    pub fn of(path: &str) -> Result<Self, Failure> {
        match Path::new(path).extension().and_then(|extension| extension.to_str()) {
            Some("npy") => Ok(Self::Npy),
            Some("bin") => Ok(Self::Bin),
            _ => wrong(format!("{path}: the name of an array's file ends in .npy or .bin")),
        }
    }
}

/// The bytes that all arrays together may still have.
#[derive(Debug)]
pub struct Budget {
    left: u64,
    mebibytes: u64,
}

impl Budget {
    pub fn new(mebibytes: u64) -> Self {
        Self { left: mebibytes.saturating_mul(1 << 20), mebibytes }
    }

    /// Takes the bytes of the array that `what` names.
    pub fn take(&mut self, bytes: u64, what: &str) -> Result<usize, Failure> {
        let Some(left) = self.left.checked_sub(bytes) else {
            return wrong(format!(
                "{what}: with its {bytes} bytes the arrays have more than {} MiB; --max-memory MIB allows more",
                self.mebibytes
            ));
        };
        // What a system cannot give is known before it is used, where the system says so.
        let needed = bytes.saturating_mul(NEEDED).try_into().unwrap_or(usize::MAX);
        if Vec::<u8>::new().try_reserve_exact(needed).is_err() {
            return wrong(format!(
                "{what}: there is no memory for its {bytes} bytes and the notes of who used them"
            ));
        }
        self.left = left;
        // It could be reserved, so it is a size.
        Ok(bytes as usize)
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::Use(format!("{}: {error}", path.display()))
}

/// Reads a PTX file.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| failed(path, &error))?;
    file.take(MOST_TEXT + 1).read_to_end(&mut bytes).map_err(|error| failed(path, &error))?;
    if bytes.len() as u64 > MOST_TEXT {
        return wrong(format!("{}: it has more than {MOST_TEXT} bytes", path.display()));
    }
    // NVRTC counts the zero at the end of its text.
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
    String::from_utf8(bytes).map_err(|_| {
        Failure::Use(format!("{}: it is no text; PTX is what `nvcc -ptx` writes", path.display()))
    })
}

/// Reads the bytes of an array, with the header of a `.npy` file.
pub fn read_array(path: &str, budget: &mut Budget) -> Result<(Vec<u8>, Option<Header>), Failure> {
    let format = Format::of(path)?;
    let mut file = File::open(path).map_err(|error| failed(path.as_ref(), &error))?;
    let bad = |message: String| Failure::Use(format!("{path}: {message}"));
    let mut data = Vec::new();
    if format == Format::Bin {
        // A file of a system, such as a pipe, does not tell its size.
        let most = budget.left.saturating_add(1);
        file.take(most).read_to_end(&mut data).map_err(|error| failed(path.as_ref(), &error))?;
        budget.take(data.len() as u64, path)?;
        return Ok((data, None));
    }
    let header = Header::read(&mut file).map_err(bad)?;
    let bytes = budget.take(header.bytes().map_err(bad)?, path)?;
    file.take(bytes as u64 + 1).read_to_end(&mut data).map_err(|error| failed(path.as_ref(), &error))?;
    if data.len() != bytes {
        let there = if data.len() > bytes { "more".into() } else { data.len().to_string() };
        return Err(bad(format!("its header names {bytes} bytes of elements, and there are {there}")));
    }
    Ok((data, Some(header)))
}

/// Whether a file can be put at a path: what is there is a file or nothing, and the folder is there.
pub fn check_target(path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    match path.symlink_metadata() {
        Ok(there) if there.is_file() => Ok(()),
        Ok(_) => wrong(format!("{shown}: it is there, and is no regular file; nothing is written over it")),
        Err(error) if error.kind() == ErrorKind::NotFound && path.file_name().is_some() => {
            let folder = folder(path);
            if folder.is_dir() {
                return Ok(());
            }
            wrong(format!("{shown}: the folder {} is not there", folder.display()))
        }
        Err(error) => Err(failed(path, &error)),
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A file that is written whole beside its place, and then put there or dropped.
#[derive(Debug)]
pub struct Staged<'p> {
    path: &'p Path,
    beside: PathBuf,
}

impl<'p> Staged<'p> {
    /// Writes the bytes beside the path.
    pub fn write(path: &'p Path, parts: &[&[u8]]) -> Result<Self, Failure> {
        check_target(path)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let (mut number, process) = (0, std::process::id());
        let (staged, mut file) = loop {
            let beside = folder(path).join(format!(".{name}.{process}.{number}.part"));
            match OpenOptions::new().write(true).create_new(true).open(&beside) {
                Ok(file) => break (Self { path, beside }, file),
                Err(error) if error.kind() == ErrorKind::AlreadyExists && number < 100 => number += 1,
                Err(error) => return Err(failed(path, &error)),
            }
        };
        let written = parts.iter().try_for_each(|part| file.write_all(part)).and_then(|()| file.sync_all());
        written.map_err(|error| failed(path, &error))?;
        Ok(staged)
    }

    /// Puts the file at its path.
    pub fn commit(self) -> Result<(), Failure> {
        check_target(self.path)?;
        std::fs::rename(&self.beside, self.path).map_err(|error| failed(self.path, &error))
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // After a commit it is not there any more.
        let _ = std::fs::remove_file(&self.beside);
    }
}
