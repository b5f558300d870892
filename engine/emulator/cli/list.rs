//! `list`: the kernels and the variables of a file.

use std::fmt::Write;
use std::path::Path;

use ptx_emulator::Module;

use crate::files::read_text;
use crate::{Failure, shown};

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
        let _ = write!(out, "kernel {}", shown(&entry.name));
        let readable = entry.readable();
        if readable != entry.name {
            let _ = write!(out, ", {}", shown(&readable));
        }
        let _ = write!(out, ": parameters {widths}");
        if let Some([x, y, z]) = entry.max_threads {
            let how = if entry.exact_threads { "" } else { "up to " };
            let _ = write!(out, "; blocks of {how}{x} x {y} x {z} threads");
        }
        if entry.shared > 0 {
            let _ = write!(out, "; {} bytes of static shared memory", entry.shared);
        }
        if let Some(reason) = &entry.unsupported {
            let _ = write!(out, "; cannot run: {reason}");
        }
        out.push('\n');
    }
    for global in module.globals() {
        let space = if global.constant { ".const" } else { ".global" };
        let _ = writeln!(out, "variable {}: {} bytes of {space} memory", shown(&global.name), global.bytes);
    }
    Ok(out)
}
