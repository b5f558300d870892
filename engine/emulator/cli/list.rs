//! `list`, and the kernels of a file.

use std::fmt::Write;
use std::path::Path;

use ptx_emulator::{Entry, Module};

use crate::files::read_text;
use crate::{Failure, shown, wrong};

/// Reads and parses a PTX file.
pub fn module(path: &Path) -> Result<Module, Failure> {
    let text = read_text(path)?;
    Module::parse(&path.to_string_lossy(), &text).map_err(|error| Failure::Use(error.to_string()))
}

/// One line for each kernel and each variable of a file.
pub fn list(path: &Path) -> Result<String, Failure> {
    let module = module(path)?;
    let mut out = String::new();
    for entry in module.entries() {
        let widths: Vec<_> = entry.params.iter().map(|param| param.bytes.to_string()).collect();
        let widths =
            if widths.is_empty() { "none".into() } else { format!("of {} bytes", widths.join(", ")) };
        let _ = write!(out, "kernel {}: parameters {widths}", shown(&entry.name));
        if let Some([x, y, z]) = entry.max_threads {
            let how = if entry.exact_threads { "" } else { "up to " };
            let _ = write!(out, "; blocks of {how}{x} x {y} x {z} threads");
        }
        if entry.shared > 0 {
            let _ = write!(out, "; {} bytes of static shared memory", entry.shared);
        }
        out.push('\n');
    }
    for global in module.globals() {
        let space = if global.constant { ".const" } else { ".global" };
        let _ = writeln!(out, "variable {}: {} bytes of {space} memory", shown(&global.name), global.bytes);
    }
    Ok(out)
}

/// The kernel of this name, or the only one whose name in C++, without a namespace, is this.
pub fn kernel<'m>(module: &'m Module, name: &str) -> Result<&'m Entry, Failure> {
    if let Some(entry) = module.entry(name) {
        return Ok(entry);
    }
    let mangled = format!("_Z{}{name}", name.len());
    let alike: Vec<_> = module.entries().iter().filter(|entry| entry.name.starts_with(&mangled)).collect();
    let names = |entries: &[&Entry]| {
        // A file may have very many.
        let names: Vec<_> = entries.iter().take(20).map(|entry| entry.name.as_str()).collect();
        let more = if entries.len() > 20 { ", ..." } else { "" };
        if names.is_empty() { "none".into() } else { names.join(", ") + more }
    };
    match alike[..] {
        [entry] => Ok(entry),
        [] => {
            let all: Vec<_> = module.entries().iter().collect();
            wrong(format!("{} has no kernel `{name}`; there are: {}", module.file(), names(&all)))
        }
        _ => wrong(format!("{} has several kernels `{name}`; name one of: {}", module.file(), names(&alike))),
    }
}
