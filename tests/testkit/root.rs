//! Finds the project's files.

use std::env;
use std::path::{Path, PathBuf};

/// The project's folder, or `SVP_ROOT` where that is set, for a test program that was built on another machine.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let built = || here.ancestors().nth(2).expect("testkit lies in <project>/tests/testkit").to_path_buf();
    env::var_os("SVP_ROOT").map_or_else(built, PathBuf::from)
}

/// The folder of the program that runs: `target/<profile>/deps` for a test or a bench.
pub(crate) fn deps() -> PathBuf {
    let program = env::current_exe().expect("the path of this program");
    program.parent().expect("a program lies in a folder").to_path_buf()
}

/// `target/<profile>`, where cargo puts the programs that the tests start.
pub(crate) fn profile() -> PathBuf {
    deps().parent().expect("tests lie in <profile>/deps").to_path_buf()
}

/// `target/tmp`, cargo's folder for what tests write.
pub(crate) fn tmp() -> PathBuf {
    profile().parent().expect("<target>/<profile>").join("tmp")
}
