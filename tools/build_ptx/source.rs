//! Kernel sources: a `kernel.cu` and the headers it includes by `#include "..."`, directly or through others.

use std::path::{Component, Path, PathBuf};

use data::sha256::sha256_hex;

/// A kernel file with all it includes. Names are relative to the workspace, so that a hash and a compiled
/// file are the same on every machine.
pub struct Source {
    pub name: PathBuf,
    pub text: String,
    pub headers: Vec<Header>,
}

pub struct Header {
    pub name: PathBuf,
    /// As the `#include` writes it.
    pub spelling: String,
    pub text: String,
}

impl Source {
    fn read(root: &Path, name: PathBuf) -> Result<Self, String> {
        let text = read(root, &name)?;
        let mut source = Source { name: name.clone(), text: text.clone(), headers: vec![] };
        source.include(root, &name, &text)?;
        Ok(source)
    }

    /// Adds the headers that the file `name` of this text includes.
    fn include(&mut self, root: &Path, name: &Path, text: &str) -> Result<(), String> {
        for spelling in text.lines().filter_map(included) {
            let header = normal(&name.with_file_name("").join(spelling));
            match self.headers.iter().find(|known| known.spelling == spelling) {
                Some(known) if known.name == header => continue,
                Some(known) => {
                    let (known, header) = (known.name.display(), header.display());
                    return Err(format!("{}: {spelling} is {known} and {header}", self.name.display()));
                }
                None => {}
            }
            let text = read(root, &header)?;
            let name = header.clone();
            self.headers.push(Header { name: header, spelling: spelling.into(), text: text.clone() });
            self.include(root, &name, &text)?;
        }
        Ok(())
    }

    /// The compiled file's name.
    pub fn ptx(&self) -> PathBuf {
        self.name.with_extension("ptx")
    }

    /// SHA-256 over names and texts, in the order of their first inclusion.
    pub fn hash(&self) -> String {
        let headers = self.headers.iter().map(|header| (&header.name, &header.text));
        let all = [(&self.name, &self.text)].into_iter().chain(headers);
        sha256_hex(|put| {
            all.for_each(|(name, text)| put(format!("{} {}\n{text}", name.display(), text.len()).as_bytes()));
        })
    }
}

/// Every `kernel.cu` below `root`, by name.
pub fn all(root: &Path) -> Result<Vec<Source>, String> {
    let mut names = vec![];
    find(root, Path::new(""), &mut names)?;
    names.sort();
    names.into_iter().map(|name| Source::read(root, name)).collect()
}

fn find(root: &Path, below: &Path, names: &mut Vec<PathBuf>) -> Result<(), String> {
    let fault = |err| format!("{}: {err}", below.display());
    for entry in std::fs::read_dir(root.join(below)).map_err(fault)? {
        let entry = entry.map_err(fault)?;
        let (file, name) = (entry.file_name(), below.join(entry.file_name()));
        let hidden = file.to_string_lossy().starts_with('.');
        if entry.file_type().map_err(fault)?.is_dir() {
            if !hidden && file != "target" {
                find(root, &name, names)?;
            }
        } else if file == "kernel.cu" {
            names.push(name);
        }
    }
    Ok(())
}

fn read(root: &Path, name: &Path) -> Result<String, String> {
    std::fs::read_to_string(root.join(name)).map_err(|err| format!("{}: {err}", name.display()))
}

fn included(line: &str) -> Option<&str> {
    let rest = line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("include")?;
    rest.trim_start().strip_prefix('"')?.split('"').next()
}

/// The path with every `x/..` taken out.
fn normal(path: &Path) -> PathBuf {
    let mut normal = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                normal.pop();
            }
            part => normal.push(part),
        }
    }
    normal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_found_and_change_the_hash() {
        assert_eq!(included("  # include \"../common/a.cuh\" // b"), Some("../common/a.cuh"));
        assert_eq!(included("#include <cuda.h>"), None);
        assert_eq!(normal(Path::new("ptx/op/../common/./a.cuh")), Path::new("ptx/common/a.cuh"));
        let root = std::env::temp_dir().join(format!("build_ptx-{}", std::process::id()));
        for folder in ["op", "common", "target/op"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        let write = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
        write("op/kernel.cu", "#include \"../common/a.cuh\"\n");
        write("target/op/kernel.cu", "");
        write("common/a.cuh", "#include \"b.cuh\"\n");
        write("common/b.cuh", "int b;\n");
        let sources = all(&root).unwrap();
        let names: Vec<_> = sources[0].headers.iter().map(|header| header.name.clone()).collect();
        assert_eq!((sources.len(), sources[0].ptx()), (1, PathBuf::from("op/kernel.ptx")));
        assert_eq!(names, ["common/a.cuh", "common/b.cuh"].map(PathBuf::from));
        write("common/b.cuh", "int c;\n");
        assert_ne!(all(&root).unwrap()[0].hash(), sources[0].hash());
        std::fs::remove_file(root.join("common/b.cuh")).unwrap();
        assert!(all(&root).err().unwrap().starts_with("common/b.cuh: "));
        std::fs::remove_dir_all(&root).unwrap();
    }
}
