//! Where a program finds the fake CUDA driver and the fake cuBLASLt of crate `fake-cuda`.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fs, process};

/// The names by which programs ask for the two libraries.
const NAMES: [&str; 5] =
    ["libcuda.so", "libcuda.so.1", "libcublasLt.so", "libcublasLt.so.12", "libcublasLt.so.13"];

/// A folder to be the `LD_LIBRARY_PATH` of a program. Cargo builds the library beside the tests of every package that
/// depends on the crate.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(make)
}

fn make() -> PathBuf {
    let deps = env::current_exe().unwrap().parent().expect("a test lies in a folder").to_path_buf();
    let library = deps.join("libfake_cuda.so");
    assert!(library.is_file(), "{} was not built", library.display());
    let profile = deps.parent().and_then(Path::file_name).expect("<profile>/deps").to_string_lossy();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fake_cuda_{profile}"));
    fs::create_dir_all(&folder).unwrap();
    // Other processes may do the same now: each link appears at once, whole. Links, as the two libraries must be one.
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
