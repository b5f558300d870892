//! Where the project's files are.

use std::path::PathBuf;

/// The project's folder: `SVP_ROOT` for a test program that was built in another place.
pub fn root() -> PathBuf {
    std::env::var_os("SVP_ROOT").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from)
}
