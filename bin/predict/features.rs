//! The file of features.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use svp::data::text::shown_path;
use svp::report::NpyWriter;
use svp::{Error, Result};
use svp_cli::{check_place, whole};

/// An array of features, and beside it a list of the images that its rows are of.
pub struct Features {
    place: PathBuf,
    rows: NpyWriter<File>,
    names: File,
}

/// Checks the name of such a file.
pub fn check(path: &Path) -> Result<()> {
    if path.extension().is_none_or(|ending| !ending.eq_ignore_ascii_case("npy")) {
        let hint = "give --features a name that ends in .npy";
        return Err(Error::path(path, "is not the name of a NumPy file", hint));
    }
    check_place(path)
}

impl Features {
    /// Begins the files, for features of this width.
    pub fn create(path: &Path, width: usize) -> Result<Self> {
        let create = |path: &Path| File::create(path).map_err(|e| Error::io(path, "write", &e));
        let mut names = path.as_os_str().to_os_string();
        names.push(".txt");
        let (rows, names) = (create(path)?, create(Path::new(&names))?);
        let rows = NpyWriter::new(rows, width).map_err(|e| Error::io(path, "write", &e))?;
        Ok(Features { place: path.into(), rows, names })
    }

    /// Appends a row for each of these images.
    pub fn append(&mut self, images: &[&Path], values: &[f32]) -> Result<()> {
        let names: String = images.iter().map(|image| shown_path(image) + "\n").collect();
        let write = || self.names.write_all(names.as_bytes()).and_then(|()| self.rows.append(values));
        whole(write).map_err(|e| Error::io(&self.place, "write", &e))
    }
}
