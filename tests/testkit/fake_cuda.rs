//! Provides the stand-ins for the CUDA driver and cuBLASLt, which crate `fake-cuda` builds, in a folder for programs.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{fs, process};

use crate::root::{deps, profile, tmp};

/// The names by which programs ask for the driver, cuBLASLt and CUPTI.
const NAMES: [&str; 6] = [
    "libcuda.so",
    "libcuda.so.1",
    "libcublasLt.so",
    "libcublasLt.so.12",
    "libcublasLt.so.13",
    "libcupti.so.12",
];

/// A folder to use as the `LD_LIBRARY_PATH` of a program.
///
/// Cargo builds the library beside the tests of every package that depends on `fake-cuda`; this panics in other
/// packages.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(make)
}

fn make() -> PathBuf {
    let library = deps().join("libfake_cuda.so");
    assert!(library.is_file(), "{} was not built", library.display());
    let profile = profile();
    let profile = profile.file_name().expect("<profile>/deps").to_string_lossy();
    let folder = tmp().join(format!("fake_cuda_{profile}"));
    fs::create_dir_all(&folder).unwrap();
    // Other processes may do the same now, so each link must appear whole at once. They are links because the
    // libraries must be one file.
    for name in NAMES.map(|name| folder.join(name)) {
        let new = name.with_extension(format!("new{}", process::id()));
        if fs::read_link(&name).is_ok_and(|target| target == library) {
            continue;
        }
        symlink(&library, &new).unwrap();
        fs::rename(&new, &name).unwrap();
    }
    folder
}
