//! Writes the list of ops that `registry.rs` includes: every folder with a `cases.rs`, by name.

use std::path::Path;
use std::{env, fs};

fn main() {
    // Without `rerun-if-changed`, Cargo runs this again whenever a file of the package changes.
    let package = env::var("CARGO_MANIFEST_DIR").expect("set by Cargo");
    let entries = fs::read_dir(package).expect("the package's folder");
    let mut ops: Vec<String> = entries
        .map(|entry| entry.expect("a readable folder"))
        .filter(|entry| entry.path().join("cases.rs").is_file())
        .map(|entry| entry.file_name().into_string().expect("the name of a Rust module"))
        .collect();
    ops.sort();
    let boxes: String = ops.iter().map(|op| format!("Box::new(crate::{op}::cases::Cases),\n")).collect();
    let out = env::var("OUT_DIR").expect("set by Cargo");
    fs::write(Path::new(&out).join("ops.rs"), format!("vec![\n{boxes}]\n")).expect("OUT_DIR is writable");
}
